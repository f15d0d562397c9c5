"""Where the socket is, and whose."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from motia_trio.control.place import SOCKET, NoSocket, connect, listen, peer_pid, unlink

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def listening(folder: Path) -> Iterator[socket.socket]:
    listener, identity = listen(folder)
    with listener:
        yield listener
        unlink(folder, identity)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def talk(folder: Path, listener: socket.socket) -> None:
    """See that a connection gets through."""
    client = connect(folder, 5)
    assert client is not None
    server, _ = listener.accept()
    with client, server:
        client.sendall(b"hello")
        assert server.recv(5) == b"hello"
        if sys.platform == "linux":
            assert peer_pid(client) == os.getpid()


def long(folder: Path) -> Path:
    """A folder whose path is too long for a socket."""
    deep = folder / ("x" * 120) / "project" / ".motia"
    deep.mkdir(parents=True)
    return deep


def test_who_finds_the_socket_can_connect_and_nothing_else_is_left(tmp_path: Path) -> None:
    with listening(tmp_path) as listener:
        assert names(tmp_path) == [SOCKET]
        talk(tmp_path, listener)
    assert names(tmp_path) == []
    assert connect(tmp_path, 5) is None


def test_its_mode_is_for_the_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with listening(tmp_path):
            mode = (tmp_path / SOCKET).stat().st_mode
    finally:
        os.umask(before)
    assert stat.S_IMODE(mode) == 0o600


def test_it_never_has_another_mode_under_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets its name by a rename, when it has its mode and is listening."""
    seen: list[tuple[int, bool]] = []
    rename = type(tmp_path).rename

    def look(path: Path, target: Path) -> Path:
        with socket.socket(socket.AF_UNIX) as client:
            reached = client.connect_ex(str(path)) == 0
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert not target.exists()
        seen.append((stat.S_IMODE(path.stat().st_mode), reached))
        return rename(path, target)

    monkeypatch.setattr(type(tmp_path), "rename", look)
    with listening(tmp_path):
        assert seen == [(0o600, True)]


def test_a_folder_whose_path_is_too_long_for_a_socket_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is reached by a link, which is there for a moment."""
    folder = long(tmp_path)
    with tempfile.TemporaryDirectory() as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        with listening(folder) as listener:
            talk(folder, listener)
            assert names(folder) == [SOCKET]
        assert names(folder) == []
        assert names(Path(short)) == []


def test_neither_is_a_long_path_for_temporary_files_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = long(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with listening(folder) as listener:
        talk(folder, listener)


DIES = """
import os, sys
from pathlib import Path
from motia_trio.control.place import listen
listen(Path(sys.argv[1]))
os._exit(9)
"""


@pytest.mark.parametrize("make", [lambda folder: folder, long], ids=["short", "long"])
def test_what_a_dead_process_left_is_replaced(tmp_path: Path, make: object) -> None:
    folder: Path = make(tmp_path)  # type: ignore[operator]
    subprocess.run([sys.executable, "-c", DIES, str(folder)], check=False)
    (folder / ".control-left").mkdir()  # as of one that died in the middle
    assert (folder / SOCKET).exists()
    assert connect(folder, 5) is None
    with listening(folder) as listener:
        talk(folder, listener)
    assert names(folder) == []


def test_a_socket_that_somebody_listens_on_stays_and_the_error_names_him(tmp_path: Path) -> None:
    with listening(tmp_path) as listener:
        with pytest.raises(NoSocket) as caught:
            listen(tmp_path)
        assert f"process {os.getpid()} serves this project already" in str(caught.value)
        assert str(tmp_path / SOCKET) in str(caught.value)
        listener.accept()[0].close()  # the question whether anybody listens
        talk(tmp_path, listener)


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / SOCKET).write_text("precious")
    with pytest.raises(NoSocket, match=r"control.sock is in the way: it is no socket; remove it"):
        listen(tmp_path)
    assert (tmp_path / SOCKET).read_text() == "precious"
    assert connect(tmp_path, 5) is None


def test_a_socket_that_took_its_place_is_not_removed(tmp_path: Path) -> None:
    """Somebody removed the first by hand."""
    first, identity = listen(tmp_path)
    (tmp_path / SOCKET).unlink()
    with first, listening(tmp_path) as second:
        unlink(tmp_path, identity)
        talk(tmp_path, second)


def test_a_folder_that_cannot_be_written_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        listen(tmp_path / "missing")


def test_more_connections_than_are_taken_wait_no_longer_than_they_said(tmp_path: Path) -> None:
    with listening(tmp_path) as listener:
        listener.listen(0)
        clients = []
        with pytest.raises(TimeoutError, match="too many connections wait there"):
            while True:
                clients.append(connect(tmp_path, 0.05))
        for client in clients:
            assert client is not None
            client.close()


RACES = """
import sys
from pathlib import Path
from motia_trio.control.place import NoSocket, listen
sys.stdin.readline()
try:
    listener, _ = listen(Path(sys.argv[1]))
except NoSocket as error:
    print("refused", flush=True)
else:
    print("listens", flush=True)
sys.stdin.readline()
"""


def test_of_several_that_start_at_once_one_listens(tmp_path: Path) -> None:
    """And that one can be reached."""
    subprocess.run([sys.executable, "-c", DIES, str(tmp_path)], check=False)
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACES, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(5)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    said = {racer.pid: racer.stdout.readline().strip() for racer in racers if racer.stdout}
    try:
        assert sorted(said.values()) == ["listens"] + ["refused"] * 4
        client = connect(tmp_path, 5)
        assert client is not None
        with client:
            if sys.platform == "linux":
                assert said[peer_pid(client) or 0] == "listens"
    finally:
        for racer in racers:
            racer.communicate("done\n", timeout=60)
