"""Promise 8: stop accepting, let what runs finish, give the rest back, exit 0."""

from __future__ import annotations

import signal
import threading
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from motia_trio import App, http, open_runtime, queue, step
from tests.support import command, project

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
