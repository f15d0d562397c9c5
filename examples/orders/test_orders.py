"""Starts the example as a user does, kills it, and starts it again."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from examples.conversation import await_record
from tests.support import Command, command, run_command


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A copy of the example, so that it begins without a store."""
    copy = tmp_path / "orders"
    shutil.copytree(Path(__file__).parent, copy, ignore=shutil.ignore_patterns(".*", "test_*"))
    return copy


def serve(shop: Path) -> Any:
    return command(shop, "--log-format", "json")


def stock(shop: Path, item: str, number: int) -> None:
    code, out, err = run_command("state", "set", "stock", item, str(number), "--dir", str(shop))
    assert (code, out) == (0, f"set stock {item}\n"), err


def order(running: Command, number: str) -> None:
    answer = httpx.post(f"{running.url}/orders", json={"id": number, "item": "kettle"})
    assert (answer.status_code, answer.json()) == (202, {"id": number})


def orders(running: Command, *numbers: str) -> Iterator[Any]:
    return (httpx.get(f"{running.url}/orders/{number}").json() for number in numbers)


def test_an_order_survives_kill_9_between_two_attempts(shop: Path) -> None:
    """It is taken from the stock once, and shipped by the process that comes after."""
    stock(shop, "kettle", 5)  # no service runs: the command opens the store itself
    with serve(shop) as running:
        order(running, "17")
        failed = await_record(running, "attempt 1 of 6 failed")
        running.process.send_signal(signal.SIGKILL)
        running.process.wait()
    assert failed["fields"]["error"] == "ConnectionError: the carrier's line is busy"

    with serve(shop) as running:
        again = await_record(running, "of 6 failed")
        shipped = await_record(running, "shipped")
        [found] = orders(running, "17")
        code, _, _ = running.stop()
    assert found == {"id": "17", "item": "kettle", "status": "shipped", "parcel": "parcel-17"}
    assert failed["trace_id"] == again["trace_id"] == shipped["trace_id"]
    assert code == 0
    assert run_command("state", "get", "stock", "kettle", "--dir", str(shop))[1] == "4\n"


def test_two_orders_do_not_get_one_kettle(shop: Path) -> None:
    """Nor does an order that is posted twice."""
    with serve(shop) as running:
        stock(shop, "kettle", 1)  # a service runs: the command talks to it
        for number in ("1", "2", "1"):
            order(running, number)
        await_record(running, "shipped")
        found = list(orders(running, "1", "2"))
        assert httpx.get(f"{running.url}/orders/3").status_code == 404
        assert running.stop()[0] == 0
    assert sorted(each["status"] for each in found) == ["out of stock", "shipped"]
    assert run_command("state", "get", "stock", "kettle", "--dir", str(shop))[1] == "0\n"
