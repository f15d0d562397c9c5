"""Promise 6: memory is bounded, and who is too fast is told."""

from __future__ import annotations

import gc
import tracemalloc
from collections import Counter
from typing import Any

import httpx
import pytest
import trio

from motia_trio import App, MessageTooLarge, http, open_runtime, queue, step


async def test_a_thousand_requests_against_a_small_mailbox_get_200_or_503(
    autojump_clock: Any,
) -> None:
    """Mailbox 10, slow handler: nothing else comes back, and nothing is left over."""

    @step(http("POST", "/slow", config={"concurrency": 5}), name="Slow")
    async def slow(req: Any) -> Any:
        await trio.sleep(1)
        return {"status": 200, "body": req.body}

    answers: Counter[int] = Counter()
    async with open_runtime(App([slow], mailbox=10), observers=()) as rt:
        transport = httpx.ASGITransport(rt.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:

            async def ask() -> None:
                answer = await client.post("/slow", json="x" * 10_000, timeout=None)
                answers[answer.status_code] += 1
                if answer.status_code == 503:
                    assert answer.json() == {"error": "Overloaded"}
                    assert int(answer.headers["retry-after"]) >= 1

            async def burst() -> None:
                async with trio.open_nursery() as nursery:
                    for _ in range(100):
                        nursery.start_soon(ask)

            for _ in range(
                12
            ):  # Trio forgets the deadlines of scopes that are over by the thousand
                await burst()
            gc.collect()
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(9):
                await burst()
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - before
            tracemalloc.stop()
        mailbox = rt.tree()["Slow"].mailbox
    assert set(answers) == {200, 503}
    assert answers.total() == 2100
    assert mailbox.capacity == mailbox.peak == 10
    assert mailbox.used == 0
    assert mailbox.refused == answers[503]
    assert mailbox.received == answers[200]
    assert grown < 200_000, f"{grown} bytes more after 900 requests"


async def test_over_real_sockets_too() -> None:
    """The same through hypercorn."""

    @step(http("GET", "/slow", config={"concurrency": 2}), name="Slow")
    async def slow() -> Any:
        await trio.sleep(0.02)
        return {"status": 200, "body": "ok"}

    answers: Counter[int] = Counter()
    async with open_runtime(App([slow], mailbox=3), http="127.0.0.1:0", observers=()) as rt:
        limits = httpx.Limits(max_connections=40)
        async with httpx.AsyncClient(base_url=str(rt.http_url), limits=limits) as client:

            async def ask() -> None:
                answers[(await client.get("/slow", timeout=60)).status_code] += 1

            async with trio.open_nursery() as nursery:
                for _ in range(200):
                    nursery.start_soon(ask)
    assert set(answers) == {200, 503}
    assert answers.total() == 200


async def test_messages_over_the_mailbox_wait_in_the_store(autojump_clock: Any) -> None:
    """A full mailbox blocks no publisher and loses nothing; the order stays."""
    handled: list[int] = []

    @step(queue("work", config={"concurrency": 1}), name="Work")
    async def work(number: int) -> None:
        await trio.sleep(0.01)
        handled.append(number)

    async with open_runtime(App([work], mailbox=10), observers=()) as rt:
        began = trio.current_time()
        for number in range(1000):
            await rt.enqueue("work", number)
        assert trio.current_time() == began, "the publisher did not wait"
        actor = rt.tree()["Work"]
        assert actor.mailbox.used <= 10
        assert actor.deliveries.leased <= 11
        assert actor.deliveries.waiting >= 989
        await rt.quiesce()
        assert rt.tree()["Work"].mailbox.peak == 10
    assert handled == list(range(1000))


async def test_a_request_body_over_the_limit_is_refused() -> None:
    """413, said before the body is read where its length is declared."""

    @step(http("POST", "/big"))
    async def big(req: Any) -> Any:
        return {"status": 200, "body": len(req.raw_body)}

    parts = 0
    sent: list[Any] = []

    async def endless() -> Any:
        nonlocal parts
        parts += 1
        return {"type": "http.request", "body": b"x" * 100, "more_body": True}

    async def send(event: Any) -> None:
        sent.append(event)

    async with open_runtime(App([big], body_limit=1000), observers=()) as rt:
        transport = httpx.ASGITransport(rt.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            answer = await client.post("/big", content=b"x" * 1001)
            assert answer.status_code == 413
            assert answer.json() == {"error": "Request body too large", "limit": 1000}
            assert (await client.post("/big", content=b"x" * 1000)).json() == 1000
        scope = {"type": "http", "method": "POST", "path": "/big", "headers": []}
        await rt.asgi(scope, endless, send)
        assert parts == 11, "no more was read than showed that it is too large"
        assert sent[0]["status"] == 413


async def test_a_message_over_the_limit_is_refused_to_whoever_enqueues_it() -> None:
    """With the size and the limit; nothing is stored of its batch."""
    seen: list[Any] = []

    @step(queue("work"), name="Work")
    async def work(data: Any) -> None:
        seen.append(data)

    @step(queue("batch"), enqueues=["work"], name="Batch")
    async def batch(data: Any, ctx: Any) -> None:
        with pytest.raises(MessageTooLarge):
            await ctx.enqueue(
                [
                    {"topic": "work", "data": "small"},
                    {"topic": "work", "data": "x" * 2000},
                ]
            )

    async with open_runtime(App([work, batch], message_limit=1000), observers=()) as rt:
        with pytest.raises(MessageTooLarge, match="2002 bytes are over the limit of 1000"):
            await rt.enqueue("work", "x" * 2000)
        await rt.enqueue("batch")
        await rt.quiesce()
    assert seen == []


async def test_requests_are_not_starved_by_messages_of_the_same_step(autojump_clock: Any) -> None:
    """A step with both: deliveries take at most half of its mailbox."""

    @step(http("GET", "/both"), queue("both", config={"concurrency": 1}), name="Both")
    async def both(input: Any, ctx: Any) -> Any:
        if ctx.is_queue():
            await trio.sleep(5)
        return {"status": 200, "body": ctx.trigger.type}

    async with open_runtime(App([both], mailbox=10), observers=()) as rt:
        for _ in range(50):
            await rt.enqueue("both")
        transport = httpx.ASGITransport(rt.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            answer = await client.get("/both", timeout=None)
        assert (answer.status_code, answer.text) == (200, "http")
        assert rt.tree()["Both"].mailbox.used <= 5
