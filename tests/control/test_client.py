"""The client of the control socket: light, and clear about who does not answer."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from motia_trio import App, open_runtime
from motia_trio.control.client import NoAnswer, ask, listens

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_client_that_loads_next_to_nothing_is_enough(tmp_path: Path) -> None:
    """Neither Trio nor pydantic: `motia-trio status` answers at once."""
    program = f"""
import sys
from pathlib import Path
from motia_trio.control.client import ask
print(ask(Path({str(tmp_path)!r}), "status", {{}})["state"])
print(*{{name.partition(".")[0] for name in sys.modules}})
"""
    async with open_runtime(App(root=tmp_path), control=tmp_path, observers=()):
        done = await trio.run_process([sys.executable, "-c", program], capture_stdout=True)
    state, loaded = done.stdout.decode().splitlines()
    assert state == "running"
    heavy = {"trio", "pydantic", "pydantic_core", "msgspec", "attrs", "hypercorn", "sqlite3"}
    assert not set(loaded.split()) & heavy


def answering(place: Path, answer: bytes) -> subprocess.Popen[str]:
    """A process that listens, and says the same to everybody."""
    program = f"""
import sys, time
from pathlib import Path
from motia_trio.control.place import listen
listener, _ = listen(Path({str(place)!r}))
print("ready", flush=True)
connection, _ = listener.accept()
connection.recv(65536)
connection.sendall({answer!r})
if not {answer!r}:
    sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "process {pid} did not answer within 0.2 s"),
        (b'{"v":1,"res', "process {pid} hung up before it had answered"),
        (b"220 mail.example.org ESMTP\n", "process {pid}: Extra data"),
        (b"[]\n", "process {pid}: no answer of the control protocol"),
    ],
)
def test_who_does_not_answer_as_a_service_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes, words: str
) -> None:
    monkeypatch.setattr("motia_trio.control.client.PATIENCE", 0.2)
    process = answering(tmp_path, answer)
    try:
        pid = process.pid if sys.platform == "linux" else "unknown"
        with pytest.raises(NoAnswer, match=words.format(pid=pid)):
            ask(tmp_path, "status", {})
    finally:
        process.communicate(timeout=60)


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NoAnswer, match=r"file/.motia/control.sock: cannot be connected to: Not a"):
        listens(tmp_path / "file" / ".motia")
