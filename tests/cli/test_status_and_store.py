"""``motia-trio status`` and ``motia-trio store``, with the service running and without."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from motia_trio.store.sqlite.lock import locked
from tests.support import command, invoke, project

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Shop


def test_status_tells_how_the_service_and_its_steps_are(shop: Shop) -> None:
    shop.bury("piano")
    code, out, err = shop.run("status")
    about, table = out.split("\n\n")
    lines = dict(re.split(r"  +", line, maxsplit=1) for line in about.splitlines())
    assert lines["project"] == str(shop.root)
    assert lines["store"] == "sqlite:///.motia/store.db"
    header, *rows = (re.split(r"  +", line) for line in table.splitlines())
    assert header == ["STEP", "STATE", "IN FLIGHT", "WAITING", "DELAYED", "DEAD", "RESTARTS"]
    if shop.running:
        assert (code, err) == (0, "")
        assert re.fullmatch(r"running, process \d+, for \d+s \(since \S+Z\)", lines["service"])
        assert lines["http"].startswith("http://127.0.0.1:")
        assert rows == [
            ["Ship", "running", "0", "0", "0", "1", "0"],
            ["Tell", "running", "0", "0", "0", "0", "0"],
        ]
    else:
        assert (code, err) == (3, "motia-trio: no service runs here\n")
        assert (lines["service"], lines["http"]) == ("not running", "-")
        assert [row[0] for row in rows] == ["Ship"]
        assert rows[0][5] == "1"


def test_status_as_json_has_the_same_names_either_way(shop: Shop) -> None:
    shop.bury("piano")
    told = json.loads(shop.run("status", "--json")[1])
    assert list(told) == [
        "state", "pid", "started_at", "uptime", "http", "streams", "followers", "project", "store",
        "in_flight", "steps", "unheard",
    ]  # fmt: skip
    assert list(told["steps"][0]) == [
        "name", "source", "state", "in_flight", "overdue", "waiting", "leased", "delayed", "dead",
        "restarts", "crashes", "last_error",
    ]  # fmt: skip
    assert (told["state"] == "running") is shop.running


def test_status_where_nothing_has_run_yet_makes_nothing(tmp_path: Path) -> None:
    code, out, err = invoke("status", "--dir", tmp_path)
    assert (code, err) == (3, "motia-trio: no service runs here\n")
    assert "not running" in out
    assert not list(tmp_path.iterdir())


def test_info_tells_what_is_in_the_file(shop: Shop) -> None:
    shop.bury("piano")
    shop.out("state", "set", "g", "k", "1")
    info = shop.json("store", "info")
    assert info["path"] == str(shop.root / ".motia" / "store.db")
    assert info["bytes"] > 0
    assert info["steps"] == [{"name": "Ship", "waiting": 0, "leased": 0, "delayed": 0, "dead": 1}]
    assert (info["items"], info["dead_letters"]) == ({"": 1}, 1)
    out = shop.out("store", "info")
    assert re.search(r"^dead letters  1$", out, re.MULTILINE)
    assert re.search(r"^state keys    1$", out, re.MULTILINE)
    assert re.search(r"^Ship +0 +0 +0 +1$", out, re.MULTILINE)


def test_a_backup_is_a_store(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name is relative to where the command is run."""
    shop.out("state", "set", "g", "k", "1")
    monkeypatch.chdir(tmp_path)
    told = shop.json("store", "backup", "copy.db")
    assert told["target"] == str(tmp_path / "copy.db")
    assert told["bytes"] == (tmp_path / "copy.db").stat().st_size
    connection = sqlite3.connect(tmp_path / "copy.db")
    assert connection.execute("SELECT grp, key, value FROM item").fetchall() == [("g", "k", b"1")]
    connection.close()
    code, _, err = shop.run("store", "backup", "copy.db")
    assert (code, err) == (
        1,
        f"motia-trio: {tmp_path / 'copy.db'}: exists already; name another file\n",
    )
    code, _, err = shop.run("store", "backup", "missing/copy.db")
    assert (code, "could not be copied to" in err) == (1, True)
    assert "copy2.db" in shop.out("store", "backup", "copy2.db")


def test_vacuum_makes_the_file_smaller(shop: Shop) -> None:
    for key in "abc":
        shop.out("state", "set", "g", key, json.dumps("x" * 500_000))
        shop.out("state", "delete", "g", key)
    told = shop.json("store", "vacuum")
    assert told["bytes_after"] < told["bytes_before"] / 2
    out = shop.out("store", "vacuum")
    assert re.fullmatch(r".*store\.db: \d+\.\d KiB -> \d+\.\d KiB\n", out)


# what is in the way


@pytest.mark.parametrize(
    "arguments",
    [
        ["dead-letters", "list"],
        ["dead-letters", "redrive", "--all"],
        ["state", "list"],
        ["state", "get", "g", "k"],
        ["store", "info"],
        ["store", "vacuum"],
        ["store", "backup", "no-such.db"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_where_nothing_has_run_yet_there_is_nothing_and_nothing_is_made(
    tmp_path: Path, arguments: list[str]
) -> None:
    code, out, err = invoke(*arguments, "--dir", tmp_path)
    assert (code, out) == (1, "")
    assert err.startswith(f"motia-trio: {tmp_path}/.motia/store.db: there is no store yet: nothing")
    assert not list(tmp_path.iterdir())


def test_a_store_in_memory_is_there_while_its_service_runs(tmp_path: Path) -> None:
    root = project(tmp_path, {"steps/a_step.py": STEP, "motia.toml": 'store = "memory:"\n'})
    code, _, err = invoke("state", "list", "--dir", root)
    assert code == 1
    assert f"no service runs in {root}, and its store, memory:, is there only while one" in err
    code, out, _ = invoke("status", "--dir", root)
    assert (code, "memory:" in out) == (3, True)
    with command(root):
        assert invoke("state", "set", "g", "k", "1", "--dir", root)[0] == 0
        assert invoke("state", "list", "g", "--dir", root)[1] == "KEY  VALUE\nk    1\n"
        code, _, err = invoke("store", "info", "--dir", root)
        assert (code, err) == (1, "motia-trio: the store is memory:, which has no file\n")


STEP = """
config = {"name": "A", "triggers": [{"type": "queue", "topic": "t"}]}

async def handler(input, ctx):
    pass
"""


def test_who_has_the_store_and_does_not_answer_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that opened the project itself, without the socket."""
    monkeypatch.setattr("motia_trio.cli.project.LOCKED_FOR", 0.1)
    root = project(tmp_path, {"steps/a_step.py": STEP})
    program = f"""
import sys, trio
from motia_trio import App, open_runtime
async def main():
    app = App.from_directory({str(root)!r}, store="sqlite:///.motia/store.db")
    async with open_runtime(app, observers=()):
        print("ready", flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
trio.run(main)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        code, _, err = invoke("state", "list", "--dir", root)
        assert code == 1
        assert f".motia/store.db: process {process.pid} has it open; stop it first" in err
        assert f"nobody listens on {root}/.motia/control.sock" in err
        code, _, err = invoke("status", "--dir", root)
        assert code == 3
        if sys.platform == "linux":
            assert f"process {process.pid} has {root}/.motia/store.db open, but nobody" in err
        process.communicate(timeout=60)


def test_a_lock_that_is_held_for_a_moment_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another command, or by a service that is just starting or stopping."""
    root = project(tmp_path, {"steps/a_step.py": STEP})
    assert invoke("state", "set", "g", "k", "1", "--dir", root)[0] == 0
    held = ExitStack()
    held.enter_context(locked(root / ".motia" / "store.db"))
    monkeypatch.setattr("time.sleep", lambda _: held.close())
    with held:
        assert invoke("state", "get", "g", "k", "--dir", root)[:2] == (0, "1\n")


def test_settings_come_from_where_the_service_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project(tmp_path, {"steps/a_step.py": STEP})
    monkeypatch.setenv("MOTIA_TRIO_STORE", "sqlite:///elsewhere.db")
    assert invoke("emit", "t", "--dir", root)[0] == 0
    assert (root / "elsewhere.db").exists()
    assert not (root / ".motia").exists()
    monkeypatch.setenv("MOTIA_TRIO_PROT", "1")
    code, _, err = invoke("emit", "t", "--dir", root)
    assert (code, "unknown setting 'prot'; did you mean 'port'?" in err) == (1, True)


def test_a_store_that_is_none_is_told(tmp_path: Path) -> None:
    root = project(tmp_path, {"steps/a_step.py": STEP, ".motia/store.db": "no store\n" * 999})
    for arguments in (["state", "list"], ["emit", "t"], ["store", "info"]):
        code, _, err = invoke(*arguments, "--dir", root)
        assert code == 1
        assert "store.db: damaged, or not a store" in err
    code, _, err = invoke("status", "--dir", root)
    assert (code, "damaged, or not a store" in err) == (3, True)
