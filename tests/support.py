"""What several tests use: an observer that keeps what it is told, and a running command."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import attrs

from motia_trio.events import Event

E = TypeVar("E")


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
        found = re.fullmatch(r"ready http=(http://127\.0\.0\.1:\d+)\n", self.ready)
        assert found is not None, f"not the ready line: {self.ready!r}"
        return found[1]

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        """Send a signal; give the exit code, and what else came on stdout and stderr."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


@contextmanager
def command(directory: Path, *options: str, env: dict[str, str] | None = None) -> Iterator[Command]:
    """Run the command on a project, until it says that it is ready."""
    arguments = [sys.executable, "-m", "motia_trio", "run", str(directory), "--port", "0", *options]
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
