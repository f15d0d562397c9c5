"""Good clients beside bad ones: those that never read, talk rubbish, or reset in their handshake.

The service, the good and the bad are processes of their own. As `FUZZ_STREAMS=10` says how many
hundreds of good ones there are (1), with a fifth as many of each kind of bad ones, `10` is the size
that is asked for: 1,000 beside 3 times 200. `FUZZ_SECONDS` is for how long each part goes on (3).
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
import pytest

SIZE = float(os.environ.get("FUZZ_STREAMS", "1"))
SECONDS = float(os.environ.get("FUZZ_SECONDS", "3"))
GOOD, BAD = int(100 * SIZE), int(20 * SIZE)
# changes a second; each goes to all of them
PACE = 10
# seconds for a p99 that no disturbed one has to be below, on a machine that has others to serve
FLOOR = 0.25
MB = 1_000_000
HERE = Path(__file__).parent


@attrs.define
class Program:
    """A process that answers lines with lines."""

    process: subprocess.Popen[str]

    def ask(self, line: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        found: dict[str, Any] = json.loads(self.hear())
        return found

    def hear(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        return line

    def end(self) -> tuple[int, str]:
        """Close its stdin; give its exit code, and what it said on stderr."""
        _, err = self.process.communicate(timeout=60)
        return self.process.returncode, err


@contextmanager
def program(name: str, *arguments: str) -> Iterator[Program]:
    process = subprocess.Popen(
        [sys.executable, str(HERE / name), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
    )
    try:
        yield Program(process)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(autouse=True)
def _many_files() -> Iterator[None]:
    before = soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = GOOD + 3 * BAD + 500
    if soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            pytest.skip(f"{hard} files may be open here, and {wanted} are needed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def settle(server: Program, before: dict[str, Any]) -> dict[str, Any]:
    """Wait until all is as it was before."""
    names = ("connections", "subscriptions", "present", "files", "tasks")
    until = time.monotonic() + 20
    while True:
        now = server.ask("look")
        left = {name: (before[name], now[name]) for name in names if now[name] > before[name]}
        if not left:
            return now
        assert time.monotonic() < until, f"not given back: {left}"
        time.sleep(0.1)


def test_good_clients_are_served_as_ever_beside_bad_ones(tmp_path: Path) -> None:
    """Each change comes to each of them, once, in order and in time; and nothing is left behind."""
    with program("crowd_server.py", f"sqlite:///{tmp_path}/store.db") as server:
        port = str(urlsplit(json.loads(server.hear())["url"]).port)
        server.ask("write 1000")
        time.sleep(0.2)
        server.ask("write 0")
        nobody = server.ask("look")
        with program("crowd_clients.py", port, f"good={GOOD}") as good:
            assert good.hear() == "ready\n"
            server.ask(f"write {PACE}")
            time.sleep(1)
            good.ask("what was that")
            time.sleep(SECONDS)
            calm = good.ask("what was that")
            before = server.ask("look")
            kinds = (f"deaf={BAD}", f"rubbish={BAD}", f"resets={BAD}")
            with program("crowd_clients.py", port, *kinds) as bad:
                assert bad.hear() == "ready\n"
                good.ask("what was that")
                at_first = server.ask("look")
                time.sleep(2 * SECONDS)
                disturbed = good.ask("what was that")
                amid = server.ask("look")
                attacks = bad.ask("what was that")["clients"]
                assert bad.end() == (0, "")
            after = settle(server, before)
            good.ask("what was that")
            time.sleep(SECONDS)
            again = good.ask("what was that")
            server.ask("write 0")
            time.sleep(0.3)
            last = good.ask("what was that")
            written = server.ask("look")["written"]
            code, err = good.end()
            assert (code, err) == (0, "")
        empty = settle(server, nobody)
        code, err = server.end()
    undisturbed = max(calm["p99"], again["p99"])
    ratio = disturbed["p99"] / undisturbed
    print(
        f"\n{GOOD} good, 3 x {BAD} bad ({attacks['connected']} connections of theirs, "
        f"{attacks['gone']} ended): p99 {calm['p99'] * 1000:.1f} ms before and "
        f"{again['p99'] * 1000:.1f} after, beside the bad ones {disturbed['p99'] * 1000:.1f} "
        f"({ratio:.2f}), p50 {calm['p50'] * 1000:.1f} and "
        f"{disturbed['p50'] * 1000:.1f} ms, worst {calm['worst'] * 1000:.0f} and "
        f"{disturbed['worst'] * 1000:.0f} ms; {written} changes, "
        f"{last['clients']['heard']} deliveries; resident {before['rss'] / MB:.0f} MB, "
        f"{at_first['rss'] / MB:.0f} when they came, {amid['rss'] / MB:.0f} amid them, "
        f"{after['rss'] / MB:.0f} after; CPU {(amid['cpu'] - at_first['cpu']) / 2 / SECONDS:.0%}; "
        f"ended: {dict(empty['ended'])}"
    )
    assert (code, err) == (0, "")
    assert empty["failures"] == []
    for found in (calm, disturbed, again, last):
        assert found["problems"] == []
    assert last["clients"]["heard"] == (written - nobody["written"]) * GOOD
    assert disturbed["number"] >= PACE * SECONDS * GOOD
    assert disturbed["p99"] < max(2 * undisturbed, FLOOR)
    assert amid["rss"] - before["rss"] < 40 * MB + 3 * BAD * 0.3 * MB
    assert attacks["connected"] > 3 * BAD
