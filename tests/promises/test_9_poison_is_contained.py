"""Promise 9: a step that keeps crashing is quarantined, alone, and probed again.

(A message that kills the process is a matter of the durable store.)
"""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trio

from motia_trio import App, RestartPolicy, StepQuarantined, http, open_runtime, queue, step
from motia_trio.events import ActorCrashed, ActorQuarantined, ActorRecovered
from tests.support import Notebook


async def test_a_crash_loop_quarantines_one_step_and_no_other(autojump_clock: Any) -> None:
    """Its messages wait, its routes answer 503; the others do not notice."""
    handled: list[Any] = []
    broken = True

    @step(http("GET", "/bad"), queue("bad"), name="Bad")
    async def bad(data: Any, ctx: Any) -> Any:
        if broken:
            sys.exit("broken")
        handled.append(data if ctx.is_queue() else "request")
        return {"status": 200, "body": "ok"}

    @step(http("GET", "/fine"), queue("fine"), name="Fine")
    async def fine(data: Any, ctx: Any) -> Any:
        return {"status": 200, "body": "ok"}

    notebook = Notebook()
    async with open_runtime(App([bad, fine]), observers=[notebook]) as rt:
        transport = httpx.ASGITransport(rt.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            statuses = []
            for _ in range(4):
                statuses.append((await client.get("/bad", timeout=None)).status_code)
                await trio.sleep(0.9)
            assert statuses == [500] * 4
            assert rt.tree()["Bad"].state == "quarantined"
            refused = await client.get("/bad")
            assert refused.status_code == 503
            assert 1 <= int(refused.headers["retry-after"]) <= 5
            assert (await client.get("/fine")).status_code == 200
            await rt.enqueue("bad", "waits")
            assert rt.tree()["Bad"].deliveries.waiting == 1
            assert rt.tree()["Fine"].state == "running"
            assert rt.tree()["Fine"].crashes == 0

            broken = False
            await trio.sleep(6)  # the cool-down, and the probe takes the message that waited
            assert handled == ["waits"]
            assert rt.tree()["Bad"].state == "running"
            assert (await client.get("/bad")).status_code == 200
    assert len(notebook.of(ActorCrashed)) == 3
    assert len(notebook.of(ActorQuarantined)) == 1
    assert [event.step for event in notebook.of(ActorRecovered)] == ["Bad"]


async def test_the_cool_down_doubles_while_the_probe_fails(autojump_clock: Any) -> None:
    """One probe at a time, less and less often."""

    @asynccontextmanager
    async def lifespan(ctx: Any) -> Any:
        raise OSError("no database")
        yield

    @step(queue("bad"), name="Bad", lifespan=lifespan)
    async def bad(data: Any) -> None:
        """Never run."""

    notebook = Notebook()
    policy = RestartPolicy(cool_down=10, cool_down_cap=40)
    async with open_runtime(App([bad]), observers=[notebook], restarts=policy) as rt:
        await rt.enqueue("bad")
        await trio.sleep(200)
        assert rt.tree()["Bad"].deliveries.waiting == 1
        assert "no database" in (rt.tree()["Bad"].last_error or "")
    assert [event.cool_down for event in notebook.of(ActorQuarantined)][:5] == [10, 20, 40, 40, 40]


async def test_a_lifespan_that_recovers_after_crashes_is_entered_anew(autojump_clock: Any) -> None:
    """Resources belong to one life of the actor."""
    lives = 0

    @asynccontextmanager
    async def lifespan(ctx: Any) -> Any:
        nonlocal lives
        lives += 1
        yield lives

    seen: list[int] = []

    @step(queue("work"), name="Work", lifespan=lifespan)
    async def work(data: Any, ctx: Any) -> None:
        seen.append(ctx.resources)
        if data == "exit":
            sys.exit()

    async with open_runtime(App([work]), observers=()) as rt:
        await rt.enqueue("work", "a")
        await rt.quiesce()
        await rt.enqueue("work", "exit")
        await trio.sleep(0.5)
        await rt.enqueue("work", "b")
        await rt.quiesce()
        assert rt.tree()["Work"].restarts == 1
    assert seen[0] == 1
    assert seen[-1] == 2


async def test_a_message_that_raises_spends_attempts_and_no_restarts(autojump_clock: Any) -> None:
    """The two budgets are two."""

    @step(queue("work"), name="Work")
    async def work(data: Any) -> None:
        raise ValueError(data)

    async with open_runtime(App([work]), observers=()) as rt:
        for number in range(20):
            await rt.enqueue("work", number)
        await trio.sleep(100)
        actor = rt.tree()["Work"]
        assert (actor.state, actor.crashes, actor.deliveries.dead) == ("running", 0, 20)


async def test_work_beside_a_crash_is_given_back_unattempted(autojump_clock: Any) -> None:
    """Siblings of the message that ended the actor did nothing wrong."""
    attempts: list[tuple[str, int]] = []

    @step(queue("work", config={"maxRetries": 0}), name="Work")
    async def work(data: str) -> None:
        attempts.append((data, 1))
        await trio.sleep(1)
        if data == "exit":
            sys.exit()
        await trio.sleep(1)

    async with open_runtime(App([work]), observers=()) as rt:
        await rt.enqueue("work", "innocent")
        await rt.enqueue("work", "exit")
        await trio.sleep(60)
        assert [letter.message.data for letter in rt.dead_letters.list()] == ["exit"]
    assert [name for name, _ in attempts] == ["innocent", "exit", "innocent"]


async def test_an_embedding_program_may_have_a_quarantine_raised_to_it(autojump_clock: Any) -> None:
    """With ``raise_quarantine=True`` the scope ends with StepQuarantined."""

    @step(queue("bad", config={"maxRetries": 9}), name="Bad")
    async def bad(data: Any) -> None:
        sys.exit("broken")

    with pytest.raises(StepQuarantined, match=r"step 'Bad' crashed 4 times; last: .*broken"):
        async with open_runtime(App([bad]), observers=(), raise_quarantine=True) as rt:
            for _ in range(4):
                await rt.enqueue("bad")
            await trio.sleep_forever()
