"""The whole of it in processes of its own: a service, the commands, and two services."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from motia_trio.control.place import SOCKET
from tests.cli.conftest import FILES
from tests.support import command, invoke, project, run_command

if TYPE_CHECKING:
    from tests.support import Command


def socket_of(root: Path) -> Path:
    return root / ".motia" / SOCKET


def test_the_commands_talk_to_a_service_and_go_on_without_it(tmp_path: Path) -> None:
    """What was kept before is there after; a socket is for the owner alone, and gone at the end."""
    root = project(tmp_path, FILES)
    in_it = ("--dir", str(root))
    with command(root) as service:
        assert stat.S_IMODE(socket_of(root).stat().st_mode) == 0o600
        assert run_command("state", "set", "g", "k", "[1]", *in_it)[0] == 0
        code, out, _ = run_command("emit", "order.placed", '{"bad": 1}', *in_it)
        assert (code, len(out)) == (0, 15)
        letters: list[dict[str, Any]] = []
        while not letters:
            letters = json.loads(invoke("dead-letters", "list", "--json", *in_it)[1])
        code, out, _ = run_command("status", "--json", *in_it)
        assert (code, json.loads(out)["pid"]) == (0, service.process.pid)
        assert json.loads(out)["http"] == service.url
        assert service.stop()[0] == 0
    assert not socket_of(root).exists()
    assert run_command("state", "get", "g", "k", *in_it)[1] == "[\n  1\n]\n"
    code, out, err = run_command("dead-letters", "redrive", letters[0]["id"], *in_it)
    assert (code, out, err) == (0, "redriven 1\n", "")
    code, out, err = run_command("status", *in_it)
    assert (code, err) == (3, "motia-trio: no service runs here\n")


def kill(service: Command) -> None:
    service.process.send_signal(signal.SIGKILL)
    service.process.wait(timeout=60)


def test_after_a_kill_the_commands_go_on_and_so_does_the_next_service(tmp_path: Path) -> None:
    """Nobody listens on the socket that is left."""
    root = project(tmp_path, FILES)
    with command(root) as service:
        assert invoke("state", "set", "g", "k", "1", "--dir", root)[0] == 0
        kill(service)
    assert socket_of(root).exists()
    assert invoke("status", "--dir", root)[0] == 3
    assert invoke("state", "get", "g", "k", "--dir", root) == (0, "1\n", "")
    with command(root) as service:
        code, out, _ = invoke("status", "--json", "--dir", root)
        assert (code, json.loads(out)["pid"]) == (0, service.process.pid)


def test_a_second_service_is_told_of_the_first_and_leaves_it_alone(tmp_path: Path) -> None:
    root = project(tmp_path, FILES)
    with command(root) as service:
        code, out, err = run_command("run", str(root), "--port", "0")
        assert (code, out) == (1, "")
        assert f"store.db: process {service.process.pid} has it open; stop it first" in err
        code, out, err = run_command("run", str(root), "--port", "0", "--store", "memory:")
        assert (code, out) == (1, "")
        assert f"process {service.process.pid} serves this project already, and listens on" in err
        assert "--port" not in err
        assert invoke("status", "--dir", root)[0] == 0


def test_a_project_deep_down_is_served_and_reached(tmp_path: Path) -> None:
    """Deeper than the path of a socket may be."""
    root = project(tmp_path / ("deep" * 30), FILES)
    with command(root) as service:
        assert run_command("state", "set", "g", "k", "1", "--dir", str(root))[0] == 0
        assert service.stop()[0] == 0
    assert not socket_of(root).exists()


def test_a_service_waits_a_moment_for_a_store_that_a_command_has(tmp_path: Path) -> None:
    root = project(tmp_path, FILES)
    (root / ".motia").mkdir()
    program = f"""
import sys
from pathlib import Path
from motia_trio.store.sqlite.lock import locked
with locked(Path({str(root / ".motia" / "store.db")!r})):
    print("locked", flush=True)
    sys.stdin.read(1)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "locked\n"
        with subprocess.Popen(
            [sys.executable, "-m", "motia_trio", "run", str(root), "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as service:
            assert service.stderr is not None
            assert service.stdout is not None
            holder.communicate("x", timeout=60)
            assert service.stdout.readline().startswith("ready http=")
            service.terminate()
            service.communicate(timeout=60)
            assert service.returncode == 0


def test_status_loads_next_to_nothing_when_the_service_runs(tmp_path: Path) -> None:
    root = project(tmp_path, FILES)
    program = f"""
import sys
from motia_trio.cli import main
try:
    main(["status", "--dir", {str(root)!r}])
finally:
    print(*{{name.partition(".")[0] for name in sys.modules}})
"""
    with command(root):
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & {"trio", "pydantic", "msgspec", "attrs", "hypercorn", "sqlite3"}


def test_where_there_can_be_no_socket_the_service_runs_without(tmp_path: Path) -> None:
    root = project(tmp_path, {**FILES, ".motia": "a file"})
    with command(root, "--store", "memory:") as service:
        code, _, err = service.stop()
    assert code == 0
    assert "control.sock: cannot be made: " in err


def test_a_reader_that_goes_away_is_no_error_worth_words(tmp_path: Path) -> None:
    """As of ``motia-trio state get g k | head -1``."""
    root = project(tmp_path, FILES)
    much = json.dumps([*range(100_000)])
    assert invoke("state", "set", "g", "k", "-", "--dir", root, input=much)[0] == 0
    with subprocess.Popen(
        [sys.executable, "-m", "motia_trio", "state", "get", "g", "k", "--dir", str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as listing:
        assert listing.stdout is not None
        assert listing.stderr is not None
        listing.stdout.readline()
        listing.stdout.close()
        assert listing.stderr.read() == ""


@pytest.mark.parametrize(
    "command_line",
    [
        "", "run", "status", "emit", "dead-letters", "dead-letters list", "dead-letters show",
        "dead-letters redrive", "dead-letters discard", "state", "state get", "state set",
        "state delete", "state list", "store", "store info", "store vacuum", "store backup",
    ],
)  # fmt: skip
def test_every_command_says_what_it_does(command_line: str) -> None:
    """With an example where there is something to give."""
    code, out, err = invoke(*command_line.split(), "--help")
    assert (code, err) == (0, "")
    assert ("Commands:" in out) is ("Example" not in out)
