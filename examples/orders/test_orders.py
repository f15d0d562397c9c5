"""Walks through the example's page as its reader would; then some who want the same kettle."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from examples.conversation import await_record
from examples.walkthrough import Walk, blocks, commands
from tests.support import Command, command, run_command

PAGE = Path(__file__).with_name("README.md")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A copy of the example, so that it begins without a store."""
    copy = tmp_path / "examples" / "orders"
    ignored = shutil.ignore_patterns(".*", "test_*", "__pycache__", "strike")
    shutil.copytree(PAGE.parent, copy, ignore=ignored)
    return copy


@pytest.mark.skipif(shutil.which("curl") is None, reason="the page speaks with curl")
@pytest.mark.usefixtures("shop")
def test_every_command_of_the_page_does_what_the_page_shows(tmp_path: Path) -> None:
    """Outputs, statuses and the log; through a strike and a kill -9, to an orderly stop."""
    with Walk.begin(tmp_path) as walk:
        for language, block in blocks(PAGE):
            if language == "text":
                walk.log(block)
            else:
                for line, shown in commands(block):
                    walk.console(line, shown)
        assert walk.stop() == 0


def order(running: Command, number: str) -> None:
    answer = httpx.post(f"{running.url}/orders", json={"id": number, "item": "kettle"})
    assert (answer.status_code, answer.json()) == (202, {"id": number})


def orders(running: Command, *numbers: str) -> Iterator[Any]:
    return (httpx.get(f"{running.url}/orders/{number}").json() for number in numbers)


def test_two_orders_do_not_get_one_kettle(shop: Path) -> None:
    """Nor does an order that is posted twice."""
    code, out, err = run_command("state", "set", "stock", "kettle", "1", "--dir", str(shop))
    assert (code, out) == (0, "set stock kettle\n"), err  # no service runs: it opens the store
    with command(shop, "--log-format", "json") as running:
        for number in ("1", "2", "1"):
            order(running, number)
        await_record(running, "shipped")
        found = list(orders(running, "1", "2"))
        assert running.stop()[0] == 0
    assert sorted(each["status"] for each in found) == ["out of stock", "shipped"]
