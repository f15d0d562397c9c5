"""Walks through an example's page: runs what it says, and compares what comes with what it shows.

A ``console`` block has commands behind ``$``, each with its output; a ``text`` block has lines of
the log, in their order. Times, ids and the like may differ; a trace id that is shown twice is one.
What only looks is repeated until it is as shown, as readers take their time.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

PATIENCE = 15.0  # seconds
PORT, STREAM_PORT = "3111", "3112"  # what a page has; here they are whichever are free

# what differs from run to run
_VARIABLE = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d))"
    r"|(?P<date>date: [^\n]+ GMT)"
    r"|(?P<trace>\b[0-9a-f]{32}\b)"
    r"|(?P<letter>\b[0-9a-f]{16}\b)"
    r"|(?P<process>process \d+)"
    r"|(?P<number>(?:ms=|next in )\d+\.\d+)"
    r"|(?P<age>\b\d+s\b)"
    r"|(?P<space> {2,})"
    r"|(?P<cut>…)"
)
_PATTERNS = {
    "time": r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)",
    "date": r"date: [^\n]+ GMT",
    "letter": r"[0-9a-f]{16}",
    "process": r"process \d+",
    "number": r"(?:ms=|next in )\d+\.\d+",
    "age": r"\d+s",
    "space": r" +",
}


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """The fenced blocks of a page: language and text."""
    for found in re.finditer(r"^```(\w+)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE):
        yield found[1], re.sub(" +$", "", found[2], flags=re.MULTILINE)


def commands(block: str) -> Iterator[tuple[str, str]]:
    """The commands of a ``console`` block, each with the output that is shown."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def pattern(shown: str, cut: str) -> str:
    """What fits all that a run may give for what is shown. ``cut``: what an ellipsis stands for."""
    traces: dict[str, str] = {}

    def variable(found: re.Match[str]) -> str:
        kind, text = str(found.lastgroup), found[0]
        if kind == "cut":
            return cut
        if kind == "trace":
            if text in traces:
                return f"(?P={traces[text]})"
            traces[text] = f"trace{len(traces)}"
            return f"(?P<{traces[text]}>[0-9a-f]{{32}})"
        return _PATTERNS[kind]

    made, end = "", 0
    for found in _VARIABLE.finditer(shown):
        made += re.escape(shown[end : found.start()]) + variable(found)
        end = found.end()
    return made + re.escape(shown[end:])


@attrs.define
class Walk:
    """A reader with two terminals: one for the service, one for everything else."""

    folder: Path
    _tools: Path
    _service: subprocess.Popen[str] | None = None
    _port: str = PORT
    _stream_port: str = STREAM_PORT

    @classmethod
    @contextmanager
    def begin(cls, root: Path) -> Iterator[Walk]:
        """Stand in ``root``, with ``curl`` and ``motia-trio`` at hand, until the block is left."""
        tools = root / "bin"
        tools.mkdir()
        for name, line in {
            "motia-trio": f'exec {sys.executable} -m motia_trio "$@"',
            # what the answer was is noted, for what does not print it
            "curl": f'PATH=${{PATH#*:}} exec curl --silent --dump-header {tools}/headers "$@"',
        }.items():
            (tools / name).write_text(f"#!/bin/sh\n{line}\n")
            (tools / name).chmod(0o755)
        walk = cls(root, tools)
        try:
            yield walk
        finally:
            if walk._service is not None:
                walk._service.kill()
                walk._service.communicate()

    def console(self, command: str, shown: str) -> None:
        """Run one command, and see that its output is as shown."""
        if command.startswith("cd "):
            self.folder /= command.removeprefix("cd ")
        elif command.startswith("motia-trio run"):
            self._serve(command, shown)
        else:
            self._run(command, shown)

    def log(self, shown: str) -> None:
        """See that the lines are in the log of the service, in this order."""
        lines = pattern(shown.rstrip(), "[^\n]*")
        others = "\n(?:[^\n]*\n)*?"  # between those that are shown
        wanted = re.compile(f"^{lines.replace(re.escape(chr(10)), others)}$", re.MULTILINE)
        self._await(self._log.read_text, wanted.search, f"the log has:\n{shown}")

    def stop(self) -> int:
        """Have the service stop in order; give its exit code."""
        assert self._service is not None
        self._service.send_signal(signal.SIGINT)
        return self._service.wait(PATIENCE)

    @property
    def _log(self) -> Path:
        return self._tools / "log"

    def _serve(self, command: str, shown: str) -> None:
        assert self._service is None, "the page serves while it serves"
        with self._log.open("w") as log:
            self._service = subprocess.Popen(
                ["bash", "-c", f"exec {command} --port 0 --stream-port 0"],  # noqa: S607 - a reader's shell
                cwd=self.folder,
                env=self._environment(),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._service.stdout is not None
        ready = self._service.stdout.readline()
        found = re.search(r"http=\S+:(\d+)(?: streams=\S+:(\d+))?$", ready)
        assert found is not None, f"not ready: {self._log.read_text()}"
        self._port, self._stream_port = found[1], found[2] or STREAM_PORT
        assert self._as_on_the_page(ready) == shown.rstrip()

    def _run(self, command: str, shown: str) -> None:
        killed = re.search(r"\bkill -9 \d+", command)
        if killed is not None:
            assert self._service is not None, "the page kills what does not run"
            command = command.replace(killed[0], f"kill -9 {self._service.pid}")
        command = command.replace(f"localhost:{PORT}", f"localhost:{self._port}")
        wanted = re.compile(pattern(shown.rstrip(), ".*"), re.DOTALL)
        looks = re.search(r" (-X|set|run|redrive|emit) |^(touch|rm) |kill ", command) is None

        def ask() -> str:
            done = subprocess.run(
                ["bash", "-c", command],  # noqa: S607 - a reader's shell
                cwd=self.folder,
                env=self._environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,  # as a terminal has it
                text=True,
                timeout=60,
                check=False,
            )
            return self._as_on_the_page(done.stdout)

        patience = PATIENCE if looks else 0
        self._await(ask, wanted.fullmatch, f"$ {command}\n{shown}", patience)
        if command.startswith("curl") and not re.search(r" -(i|w) ", command):
            status = (self._tools / "headers").read_text().split()[1]
            assert status.startswith("2"), f"$ {command}\nanswered {status}, and the page hides it"
        if killed is not None and self._service is not None:
            assert self._service.wait(PATIENCE) == -signal.SIGKILL
            self._service.communicate()
            self._service = None

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": f"{self._tools}:{os.environ['PATH']}"}

    def _as_on_the_page(self, text: str) -> str:
        ours = str(self.folder)
        text = text.replace(ours, f"/srv/motia_trio/examples/{self.folder.name}")
        text = text.replace(f":{self._port}", f":{PORT}")
        text = text.replace(f":{self._stream_port}", f":{STREAM_PORT}")
        return re.sub(" +$", "", text, flags=re.MULTILINE).rstrip()

    def _await(
        self,
        look: Callable[[], str],
        fits: Callable[[str], Any],
        words: str,
        patience: float = PATIENCE,
    ) -> None:
        end = time.monotonic() + patience
        while fits(seen := look()) is None:
            if time.monotonic() > end:
                raise AssertionError(f"{words}\nis on the page, but here it is\n{seen}")
            time.sleep(0.05)
