"""Promise 8: stop accepting, let what runs finish, give the rest back, exit 0."""

from __future__ import annotations

import re
import signal
import threading
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from motia_trio import App, Service, http, open_runtime, queue, step
from motia_trio.messages import Delivery, GiveBack
from tests.support import Command, command, project

SLOW = """
import trio

config = {"name": "Slow", "triggers": [{"type": "http", "method": "GET", "path": "/slow/:seconds"}]}

async def handler(req, ctx):
    ctx.logger.info("began")
    await trio.sleep(float(req.path_params.seconds))
    return {"status": 200, "body": "done"}
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_a_request_finish_and_exits_0(tmp_path: Path, number: int) -> None:
    """The client in flight gets its answer; nobody else is accepted; nothing more on stdout."""
    project(tmp_path, {"steps/slow_step.py": SLOW})
    with command(tmp_path) as running:
        answers: list[httpx.Response] = []
        url = running.url
        client = threading.Thread(target=lambda: answers.append(httpx.get(f"{url}/slow/1")))
        client.start()
        assert running.process.stderr is not None
        while "began" not in running.process.stderr.readline():
            pass
        code, out, _ = running.stop(number)
        client.join()
    assert [answer.text for answer in answers] == ["done"]
    assert (code, out) == (0, "")
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/slow/0")


def test_an_idle_connection_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    """A keep-alive client is closed, not waited for."""
    project(tmp_path, {"steps/slow_step.py": SLOW})
    with command(tmp_path) as running, httpx.Client() as client:
        assert client.get(f"{running.url}/slow/0").text == "done"
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(timeout=10) == 0


def test_work_over_the_limit_is_cancelled(tmp_path: Path) -> None:
    """``--shutdown-timeout`` bounds the wait."""
    project(tmp_path, {"steps/slow_step.py": SLOW})
    with command(tmp_path, "--shutdown-timeout", "0.3") as running:
        url = running.url

        def ask() -> None:
            with pytest.raises(httpx.HTTPError):
                httpx.get(f"{url}/slow/1000", timeout=60).raise_for_status()

        client = threading.Thread(target=ask)
        client.start()
        assert running.process.stderr is not None
        while "began" not in running.process.stderr.readline():
            pass
        code, _, _ = running.stop()
        client.join()
    assert code == 0


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    """Without waiting for what runs."""
    project(tmp_path, {"steps/slow_step.py": SLOW})
    with command(tmp_path) as running:
        url = running.url

        def ask() -> None:
            with pytest.raises(httpx.HTTPError):
                httpx.get(f"{url}/slow/1000", timeout=60)

        client = threading.Thread(target=ask)
        client.start()
        assert running.process.stderr is not None
        while "began" not in running.process.stderr.readline():
            pass
        running.process.send_signal(signal.SIGTERM)
        while "stopping" not in running.process.stderr.readline():
            pass
        code, _, _ = running.stop()
        client.join()
    assert code == 128 + signal.SIGTERM


async def test_leaving_the_scope_finishes_what_runs_and_gives_back_the_rest(
    autojump_clock: Any,
) -> None:
    """What is in hand ends well; what waits is back in the store, no attempt counted."""
    done: list[int] = []

    @step(queue("work", config={"concurrency": 2}), name="Work")
    async def work(number: int) -> None:
        await trio.sleep(5)
        done.append(number)

    async with open_runtime(App([work]), observers=()) as rt:
        for number in range(10):
            await rt.enqueue("work", number)
        await trio.sleep(1)
    assert sorted(done) == [0, 1]
    counts = rt.tree()["Work"].deliveries
    assert (counts.waiting, counts.leased, counts.dead) == (8, 0, 0)


async def test_what_is_over_the_limit_is_given_back_unattempted(autojump_clock: Any) -> None:
    """A stop is no failure of the message."""

    @step(queue("work"), name="Work")
    async def work(data: Any) -> None:
        await trio.sleep(1000)

    began = trio.current_time()
    async with open_runtime(App([work], shutdown_timeout=3), observers=()) as rt:
        await rt.enqueue("work")
        await trio.sleep(1)
    assert trio.current_time() - began == pytest.approx(4)
    counts = rt.tree()["Work"].deliveries
    assert (counts.waiting, counts.leased, counts.delayed, counts.dead) == (1, 0, 0, 0)


WORK = """
import trio
from pathlib import Path

config = {{
    "name": "Work",
    "triggers": [{{"type": "queue", "topic": "work", "config": {{"concurrency": 2}}}}],
}}
folder = Path({folder!r})

async def handler(data, ctx):
    ctx.logger.info(f"began {{data.number}}.")
    while not (folder / "go").exists():
        await trio.sleep(0.01)
    with open(folder / "done", "a") as file:
        file.write(f"{{data.number}}\\n")
    ctx.logger.info(f"ended {{data.number}}.")
"""
TAKE = """
config = {"name": "Take", "triggers": [{"type": "http", "method": "POST", "path": "/take"}],
          "enqueues": ["work"]}

async def handler(req, ctx):
    for number in range(req.body["count"]):
        await ctx.enqueue("work", {"number": number})
    return {"status": 202, "body": {}}
"""


def _next(running: Command, word: str) -> int:
    """Read the log until something has begun or ended; give which."""
    assert running.process.stderr is not None
    while True:
        line = running.process.stderr.readline()
        assert line, "the service has ended"
        if found := re.search(rf"{word} (\d+)\.", line):
            return int(found[1])


async def _left(app: App, step: str) -> list[Delivery]:
    """What a step still has to handle, in the order in which it will."""
    async with open_runtime(app, idle=True, observers=()) as rt:
        leased = await rt.store.lease(step, 10_000, time.time() + 1)
        for delivery in leased.deliveries:
            await rt.store.settle(delivery, GiveBack(), time.time())
    return list(leased.deliveries)


@pytest.mark.parametrize(("limit", "done"), [("20", [0, 1]), ("0.1", [])])
def test_a_signal_gives_back_what_waits_and_the_next_start_goes_on_in_order(
    tmp_path: Path, limit: str, done: list[int]
) -> None:
    """What ran is finished, if it can be in time. What did not get there is as if never begun."""
    project(
        tmp_path,
        {"steps/work_step.py": WORK.format(folder=str(tmp_path)), "steps/take_step.py": TAKE},
    )
    options = ["--store", "sqlite:///store.db", "--mailbox", "4"]
    with command(tmp_path, *options, "--shutdown-timeout", limit) as running:
        answer = httpx.post(f"{running.url}/take", json={"count": 10})
        assert answer.status_code == 202
        assert [_next(running, "began"), _next(running, "began")] == [0, 1]
        running.process.send_signal(signal.SIGTERM)
        assert running.process.stderr is not None
        while "stopping" not in running.process.stderr.readline():
            pass
        if done:
            (tmp_path / "go").touch()
        out, err = running.process.communicate(timeout=60)
        assert (running.process.returncode, out) == (0, "")
        assert "began" not in err
    app = App.from_directory(tmp_path, store="sqlite:///store.db")
    left = trio.run(_left, app, "Work")
    assert [each.message.data["number"] for each in left] == list(range(len(done), 10))
    assert {(each.attempt, each.crashes) for each in left} == {(1, 0)}
    (tmp_path / "go").touch()
    with command(tmp_path, *options) as running:
        begun = [_next(running, "began") for _ in left]
        code, _, _ = running.stop()
    assert code == 0
    assert begun == [each.message.data["number"] for each in left]
    assert sorted(map(int, (tmp_path / "done").read_text().split())) == list(range(10))
    assert trio.run(_left, app, "Work") == []


async def test_what_waits_in_the_file_begins_in_order_without_a_stampede(tmp_path: Path) -> None:
    """A thousand messages and a mailbox of five: the rest stays in the store until its turn."""
    begun: list[int] = []
    most = 0
    running: list[Service] = []

    @step(queue("work", config={"concurrency": 3}), name="Work")
    async def work(number: int) -> None:
        nonlocal most
        actor = running[0].tree()["Work"]
        most = max(most, actor.mailbox.used + actor.in_flight)
        begun.append(number)
        if number % 7 == 0:
            await trio.lowlevel.checkpoint()

    app = App([work], root=tmp_path, store="sqlite:///store.db", mailbox=5)
    async with open_runtime(app, idle=True, observers=()) as rt:
        for start in range(0, 1000, 50):
            async with trio.open_nursery() as nursery:
                for number in range(start, start + 50):
                    nursery.start_soon(rt.enqueue, "work", number)
    ids = [delivery.message.data for delivery in await _left(app, "Work")]
    assert sorted(ids) == list(range(1000))
    async with open_runtime(app, observers=()) as rt:
        running.append(rt)
        with trio.fail_after(60):
            await rt.quiesce()
    assert begun == ids
    assert 5 <= most <= 5 + 3


async def test_leaving_the_scope_gives_back_to_the_file_what_waits(
    tmp_path: Path, autojump_clock: Any
) -> None:
    """In the mailbox, in the store, or in a handler's hand when the time was up."""
    began: list[int] = []

    @step(queue("work", config={"concurrency": 2}), name="Work")
    async def work(number: int) -> None:
        began.append(number)
        await trio.sleep(5 if number < 2 else 1000)

    app = App([work], root=tmp_path, store="sqlite:///store.db", mailbox=3, shutdown_timeout=10)
    async with open_runtime(app, observers=()) as rt:
        for number in range(10):
            await rt.enqueue("work", number)
        await trio.sleep(6)
        assert began == [0, 1, 2, 3]
    left = await _left(app, "Work")
    assert [each.message.data for each in left] == list(range(2, 10))
    assert {(each.attempt, each.crashes) for each in left} == {(1, 0)}


async def test_a_lifespan_is_left_when_the_scope_is(autojump_clock: Any) -> None:
    """After the last handler, before the runtime is gone."""

    told: list[str] = []

    @asynccontextmanager
    async def lifespan(ctx: Any) -> Any:
        told.append("entered")
        yield {"pool": 1}
        told.append("left")

    @step(http("GET", "/x"), queue("work"), name="Work", lifespan=lifespan)
    async def work(data: Any, ctx: Any) -> None:
        await trio.sleep(2)
        told.append(f"handled with {ctx.resources}")

    async with open_runtime(App([work]), observers=()) as rt:
        await rt.enqueue("work")
        await trio.sleep(1)
    assert told == ["entered", "handled with {'pool': 1}", "left"]
