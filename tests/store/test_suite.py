"""The suite for stores as others use it: with pytest alone, in a file of their own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

THEIRS = """
from pathlib import Path

from attrs import evolve

from motia_trio.messages import Ack
from motia_trio.store import MemoryStore, Store
from motia_trio.testing import StoreConformance


class WithoutPriority(MemoryStore):
    async def commit(self, work, now):
        messages = [(evolve(message, priority=0), routes) for message, routes in work.messages]
        return await super().commit(evolve(work, messages=messages), now)


class Generous(MemoryStore):
    async def settle(self, delivery, outcome, now):
        try:
            await super().settle(delivery, outcome, now)
        except KeyError:
            assert isinstance(outcome, Ack)


class Deaf(MemoryStore):
    def opened(self, now, react=None, follow=None):
        return super().opened(now, react)


class Suite(StoreConformance):
    examples = 3

    def make_store(self, folder: Path) -> Store:
        return MemoryStore()


class TestTheirs(Suite):
    pass


class TestWithoutPriority(Suite):
    def make_store(self, folder: Path) -> Store:
        return WithoutPriority()


class TestGenerous(Suite):
    def make_store(self, folder: Path) -> Store:
        return Generous()


class TestDeaf(Suite):
    def make_store(self, folder: Path) -> Store:
        return Deaf()


class TestForgetful(Suite):
    durable = True
"""


def test_theirs_need_no_plugin_and_a_wrong_one_fails(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(THEIRS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")  # else ours, if the folder is below it
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:trio", "-p", "no:anyio", "--tb=line", "-W",
         "error", "-p", "no:cacheprovider", "-k", "TestTheirs or comes_first or settled_again or survives or told_once_and_nothing", "test_theirs.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    failed = set(re.findall(r"^FAILED test_theirs.py::(\w+)::(\w+)", done.stdout, re.MULTILINE))
    assert {suite for suite, _ in failed} == {
        "TestWithoutPriority", "TestGenerous", "TestDeaf", "TestForgetful",
    }, done.stdout  # fmt: skip
    assert {
        ("TestWithoutPriority", "test_the_higher_priority_comes_first"),
        ("TestGenerous", "test_a_lease_that_has_ended_cannot_be_settled_again"),
        ("TestDeaf", "test_each_commit_of_changes_is_told_once_and_nothing_of_the_state"),
        ("TestForgetful", "test_what_was_kept_survives_the_process"),
    } <= failed
    assert re.search(r"\d+ failed, \d+ passed", done.stdout)


def test_what_is_missing_is_told_with_how_to_get_it() -> None:
    program = """
import sys
sys.modules["hypothesis"] = None
import motia_trio.testing
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines()[-1] == (
        "ImportError: motia_trio.testing.stores.conformance needs pytest and hypothesis: "
        "pip install 'motia-trio[testing]'"
    )
