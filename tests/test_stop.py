"""How a stop goes: one limit for all of it, an answer for every request, an end for the process."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import httpx
import pytest
import trio

from motia_trio import App, http, open_runtime, queue, step
from motia_trio.events import ActorCrashed, ActorQuarantined
from tests.support import Notebook


async def test_a_request_that_outlives_the_stop_is_told_503() -> None:
    """Its handler is cancelled at the limit, and the connection is not just dropped."""
    entered = trio.Event()

    @step(http("GET", "/slow"), name="Slow")
    async def slow() -> Any:
        entered.set()
        await trio.sleep_forever()

    answers: list[httpx.Response] = []

    async def ask(url: str) -> None:
        async with httpx.AsyncClient() as client:
            answers.append(await client.get(f"{url}/slow", timeout=30))

    async with trio.open_nursery() as nursery:
        async with open_runtime(
            App([slow], shutdown_timeout=0.2), http="127.0.0.1:0", observers=()
        ) as rt:
            nursery.start_soon(ask, str(rt.http_url))
            await entered.wait()
            began = trio.current_time()
        assert trio.current_time() - began < 5
    assert [answer.status_code for answer in answers] == [503]
    assert answers[0].json() == {"error": "Overloaded"}


async def test_the_limit_counts_once_for_edges_and_actors() -> None:
    """Not once for each."""

    @step(queue("work"), http("GET", "/slow"), name="Slow")
    async def slow() -> Any:
        await trio.sleep_forever()

    async def ask(url: str) -> None:
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"{url}/slow", timeout=30)).status_code == 503

    async with trio.open_nursery() as nursery:
        async with open_runtime(
            App([slow], shutdown_timeout=1), http="127.0.0.1:0", observers=()
        ) as rt:
            await rt.enqueue("work")
            nursery.start_soon(ask, str(rt.http_url))
            with trio.fail_after(5):
                while rt.tree()["Slow"].in_flight < 2:
                    await trio.sleep(0.01)
            began = trio.current_time()
        assert trio.current_time() - began < 1.9
    assert rt.tree()["Slow"].deliveries.waiting == 1


async def test_no_message_is_begun_while_the_edges_drain() -> None:
    """What waits is given back at once; the request that is being answered is finished."""
    handled: list[int] = []

    @step(queue("work", config={"concurrency": 1}), name="Work")
    async def work(number: int) -> None:
        handled.append(number)
        await trio.sleep(0.2)

    @step(http("GET", "/slow"), name="Slow")
    async def slow() -> Any:
        await trio.sleep(1)
        return {"status": 200, "body": "done"}

    answers: list[str] = []

    async def ask(url: str) -> None:
        async with httpx.AsyncClient() as client:
            answers.append((await client.get(f"{url}/slow", timeout=30)).text)

    async with trio.open_nursery() as nursery:
        async with open_runtime(App([work, slow]), http="127.0.0.1:0", observers=()) as rt:
            nursery.start_soon(ask, str(rt.http_url))
            with trio.fail_after(5):
                while rt.tree()["Slow"].in_flight < 1:
                    await trio.sleep(0.01)
            for number in range(5):
                await rt.enqueue("work", number)
            with trio.fail_after(5):
                while not handled:
                    await trio.sleep(0.01)
    assert answers == ["done"]
    assert handled == [0]
    assert rt.tree()["Work"].deliveries.waiting == 4


STUBBORN = """
import trio
from motia_trio import App, open_runtime, queue, step

@step(queue("work", infrastructure={"handler": {"timeout": 0.1}, "queue": {"maxRetries": 0}}))
async def stubborn(data):
    while True:
        try:
            await trio.sleep(1)
        except BaseException:
            pass

async def main():
    async with open_runtime(App([stubborn]), observers=()) as rt:
        await rt.enqueue("work")
        while not rt.dead_letters.list():
            await trio.sleep(0.05)

trio.run(main)
print("left")
"""


@pytest.mark.parametrize("caught", ["BaseException", "trio.Cancelled"])
def test_the_process_ends_though_a_handler_was_abandoned(caught: str) -> None:
    """One that swallows everything for ever would also swallow its being dropped."""
    program = STUBBORN.replace("BaseException", caught)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "left\n", "")


async def test_the_crash_of_an_abandoned_handler_is_told_by_its_cause(autojump_clock: Any) -> None:
    """Not by the scopes that it left open."""

    @step(queue("work", infrastructure={"handler": {"timeout": 1}}), name="Work")
    async def stubborn(data: Any) -> None:
        while True:
            try:
                await trio.sleep(1)
            except BaseException:  # noqa: BLE001, S110, ASYNC103, ASYNC104 - what is tested
                pass

    notebook = Notebook()
    async with open_runtime(App([stubborn]), observers=[notebook]) as rt:
        await rt.enqueue("work")
        await trio.sleep(300)
    crashes = [event.error for event in notebook.of(ActorCrashed)]
    crashes += [event.error for event in notebook.of(ActorQuarantined)]
    assert crashes
    for error in crashes:
        assert "HandlerIgnoredCancel" in error
        assert "corrupted" not in error
