"""What several tests use: an observer that keeps what it is told, and a running command."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import attrs
import pytest
from click.testing import CliRunner

from motia_trio.cli import main
from motia_trio.events import Event

E = TypeVar("E")

# a test with a parameter `store` runs on each, in the folder that is its app's root
both_stores = pytest.mark.parametrize(
    "store", [pytest.param("memory:", id="memory"), pytest.param("sqlite:///store.db", id="sqlite")]
)


@contextmanager
def open_to_all() -> Iterator[Path]:
    """A folder that any user can get at, for tests of what a user without rights is told.

    What the tests use otherwise may lie in the private folder of whoever runs them.
    """
    for place in (tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"):  # noqa: S108
        ways = [Path(place), *Path(place).parents]
        if os.access(place, os.W_OK) and all(way.stat().st_mode & stat.S_IXOTH for way in ways):
            with tempfile.TemporaryDirectory(dir=place) as name:
                yield Path(name)
            return
    pytest.skip("there is no folder here that every user can get at")


@attrs.define
class Notebook:
    """An observer that writes everything down."""

    events: list[Event] = attrs.field(factory=list)

    def observe(self, event: Event, /) -> None:
        """Note one event."""
        self.events.append(event)

    def of(self, kind: type[E]) -> list[E]:
        """The events of one kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]


@attrs.define
class Command:
    """A running ``motia-trio run``."""

    process: subprocess.Popen[str]
    ready: str

    @property
    def url(self) -> str:
        """Where it serves HTTP."""
        return self._told()[1]

    @property
    def streams_url(self) -> str:
        """Where it serves streams."""
        return self._told()[2]

    def _told(self) -> re.Match[str]:
        where = r"://127\.0\.0\.1:\d+"
        found = re.fullmatch(rf"ready http=(http{where})(?: streams=(ws{where}))?\n", self.ready)
        assert found is not None, f"not the ready line: {self.ready!r}"
        return found

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        """Send a signal; give the exit code, and what else came on stdout and stderr."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


@contextmanager
def command(directory: Path, *options: str, env: dict[str, str] | None = None) -> Iterator[Command]:
    """Run the command on a project, until it says that it is ready."""
    ports = ["--port", "0", "--stream-port", "0"]
    arguments = [sys.executable, "-m", "motia_trio", "run", str(directory), *ports, *options]
    process = subprocess.Popen(
        arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
    )
    try:
        assert process.stdout is not None
        yield Command(process, process.stdout.readline())
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def project(root: Path, files: dict[str, str]) -> Path:
    """Write a project of step files."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def run_command(*arguments: str, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Run the command to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "motia_trio", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **(env or {})},
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def invoke(*arguments: str | Path, input: str | None = None) -> tuple[int, str, str]:
    """Run the command in this process: exit code, stdout, stderr. What it talks to is real."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], input=input)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@contextmanager
def child(program: Path, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """Run a program of a test's own, which may die; what it says on stdout can be read."""
    process = subprocess.Popen(
        [sys.executable, str(program), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def words(value: object) -> str:
    """A parameter's repr as its test's id: the same in every process that runs the tests."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
