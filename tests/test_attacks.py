"""What was found by attacking: each is the way in which it was found."""

from __future__ import annotations

import asyncio
import math
import random
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import AsyncMock

import httpx
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from motia_trio import App, LoadFailed, NotEncodable, http, open_runtime, queue, step
from motia_trio.events import ActorCrashed, AskFailed
from motia_trio.failures import leaves, tell_error
from tests.support import Notebook


def virtual(main: Any) -> None:
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@given(
    number=st.integers(0, 2**32),
    mailbox=st.integers(1, 4),
    steps=st.integers(1, 4),
    fifo=st.booleans(),
)
def test_nothing_that_is_due_is_left_waiting(
    *, number: int, mailbox: int, steps: int, fifo: bool
) -> None:
    """Many steps, small mailboxes, failures, delays, publishers that are cancelled."""
    seed = random.Random(number)
    done: list[Any] = []

    async def work(data: Any) -> None:
        await trio.sleep(seed.choice([0, 0, 0.1, 1]))
        if seed.random() < 0.3:
            raise OSError("no luck")
        if seed.random() < 0.02:
            sys.exit()
        done.append(data)

    config = {"type": "fifo" if fifo else "standard", "concurrency": seed.choice([1, 2, 10])}
    made = [step(queue(f"t{n}", config=config), name=f"S{n}")(work) for n in range(steps)]

    async def main() -> None:
        async with open_runtime(App(made, mailbox=mailbox), observers=()) as rt:

            async def publish(number: int) -> None:
                await trio.sleep(seed.random() * 3)
                with trio.CancelScope() as scope:
                    if seed.random() < 0.2:
                        scope.deadline = trio.current_time()
                    delay = seed.choice([None, None, 0.5, 2])
                    await rt.enqueue(f"t{number % steps}", number, delay=delay)

            async with trio.open_nursery() as nursery:
                for each in range(40):
                    nursery.start_soon(publish, each)
            await trio.sleep(4000)
            with trio.fail_after(4000):
                await rt.quiesce()
            for actor in rt.tree().actors:
                left = actor.deliveries
                assert (left.waiting, left.leased, left.delayed) == (0, 0, 0), actor
                assert actor.mailbox.used == 0
            assert rt.tree().in_flight == 0

    virtual(main)


async def test_a_cancelled_publisher_leaves_no_place_reserved(autojump_clock: Any) -> None:
    """And the feeder learns of the place."""

    @step(queue("work"), name="Work")
    async def work(data: Any) -> None:
        await trio.sleep(0.1)

    async with open_runtime(App([work], mailbox=1), observers=()) as rt:
        for _ in range(20):
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(rt.enqueue, "work")
                nursery.cancel_scope.deadline = trio.current_time()
            await rt.enqueue("work")
        with trio.fail_after(100):
            await rt.quiesce()
        assert rt.tree()["Work"].deliveries.waiting == 0


@pytest.mark.parametrize("delay", [10**400, float("inf"), -1, "1", True])
async def test_a_batch_that_is_refused_leaves_no_place_reserved(delay: Any) -> None:
    """However often it is tried."""
    got: list[Any] = []

    @step(queue("work"), name="Work")
    async def work(data: Any) -> None:
        got.append(data)

    @step(queue("go"), enqueues=["work"], name="Go")
    async def go(data: Any, ctx: Any) -> None:
        for _ in range(10):
            with pytest.raises(ValueError, match="delaySeconds"):
                await ctx.enqueue([{"topic": "work"}, {"topic": "work", "delaySeconds": delay}])
        await ctx.enqueue("work", "last")

    async with open_runtime(App([work, go], mailbox=3), observers=()) as rt:
        await rt.enqueue("go")
        await rt.quiesce()
    assert got == ["last"]


@asynccontextmanager
async def swallows(ctx: Any) -> Any:
    """A lifespan that keeps every error to itself."""
    try:
        yield
    except Exception:  # noqa: BLE001, S110 - what is tested
        pass


@asynccontextmanager
async def cancels_itself(ctx: Any) -> Any:
    """A lifespan with a scope around its yield that ends."""
    with trio.move_on_after(1):
        yield


async def test_an_actor_that_ends_though_nobody_stopped_it_is_restarted(
    autojump_clock: Any,
) -> None:
    """Never a silently dead step."""

    @step(queue("a"), name="Swallows", lifespan=swallows)
    async def exits(data: Any) -> None:
        if data == "exit":
            sys.exit()

    @step(queue("b"), name="Cancels", lifespan=cancels_itself)
    async def fine(data: Any) -> None:
        pass

    notebook = Notebook()
    async with open_runtime(App([exits, fine]), observers=[notebook]) as rt:
        await rt.enqueue("a", "exit")
        await trio.sleep(3)
        assert rt.tree()["Swallows"].crashes >= 1
        assert rt.tree()["Cancels"].crashes >= 1
        assert {event.step for event in notebook.of(ActorCrashed)} == {"Swallows", "Cancels"}
        await rt.enqueue("a", "fine")
        await rt.enqueue("b", "fine")
        await trio.sleep(100)
        assert rt.tree()["Swallows"].state == "running"
        assert rt.tree()["Cancels"].deliveries.waiting == 0


@pytest.mark.parametrize("kind", [GeneratorExit, asyncio.CancelledError, BaseException])
async def test_a_lifespan_that_raises_anything_is_a_crash_of_its_step_alone(
    kind: type[BaseException], autojump_clock: Any
) -> None:
    class Scope:
        async def __aenter__(self) -> None:
            raise kind("odd")

        async def __aexit__(self, *_: object) -> None:
            """Never called."""

    got: list[Any] = []

    @step(queue("bad"), name="Bad", lifespan=lambda ctx: Scope())
    async def bad() -> None:
        """Never run."""

    @step(queue("fine"), name="Fine")
    async def fine(data: Any) -> None:
        got.append(data)

    async with open_runtime(App([bad, fine]), observers=()) as rt:
        await trio.sleep(5)
        assert rt.tree()["Bad"].state == "quarantined"
        await rt.enqueue("fine", 1)
        await trio.sleep(1)
    assert got == [1]


async def test_a_cancellation_that_a_handler_kept_and_raises_again_is_its_own_failure(
    autojump_clock: Any,
) -> None:
    """It ends neither the runtime nor, without a word, the actor."""
    kept: list[BaseException] = []

    @step(queue("work", config={"maxRetries": 1}), name="Work")
    async def work(data: Any) -> None:
        if not kept:
            with trio.move_on_after(0):
                try:
                    await trio.sleep_forever()
                except trio.Cancelled as error:
                    kept.append(error)
                    raise
        raise kept[0]

    notebook = Notebook()
    async with open_runtime(App([work]), observers=[notebook]) as rt:
        await rt.enqueue("work")
        await trio.sleep(60)
        (letter,) = rt.dead_letters.list()
        assert [failure.error.split(":")[0] for failure in letter.failures] == ["Cancelled"] * 2
        assert rt.tree()["Work"].state == "running"
    assert len(notebook.of(ActorCrashed)) == 2


async def test_a_keyboard_interrupt_passes_even_after_the_bound(autojump_clock: Any) -> None:
    @step(queue("work", config={"timeout": 1}), name="Work")
    async def work(data: Any) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        async with open_runtime(App([work]), observers=()) as rt:
            await rt.enqueue("work")
            await trio.sleep(60)


async def test_a_message_that_cannot_be_worked_off_is_a_dead_letter() -> None:
    """Whatever breaks on the way to its handler, it is not lost and nobody waits for ever."""
    from motia_trio.messages import Origin
    from motia_trio.outgoing import Outgoing

    @step(queue("work"), name="Work")
    async def work(data: Any) -> None:
        """Never run."""

    async with open_runtime(App([work]), observers=()) as rt:
        await rt._shared.router.publish([Outgoing("work", b"{broken")], Origin("0" * 32))  # noqa: SLF001
        with trio.fail_after(5):
            await rt.quiesce()
        (letter,) = rt.dead_letters.list()
        assert letter.reason.startswith("could not be worked off: MalformedJson")


@pytest.mark.parametrize(
    "data",
    [(x for x in [math.nan]), map(float, ["inf"]), 10**5000, {"deep": [10**400, 10**4999]}],
    ids=["generator", "map", "digits", "deep"],
)
async def test_what_no_reader_takes_is_refused_to_the_writer(data: Any) -> None:
    @step(queue("work"), name="Work")
    async def work(data: Any) -> None:
        """Never run."""

    async with open_runtime(App([work]), observers=()) as rt:
        with pytest.raises(NotEncodable):
            await rt.enqueue("work", data)


def test_a_group_as_deep_as_one_likes_can_be_told() -> None:
    error: Exception = ValueError("innermost")
    for _ in range(3000):
        error = ExceptionGroup("g", [error])
    assert [str(leaf) for leaf in leaves(error)] == ["innermost"]


def test_a_cause_that_is_itself_can_be_told() -> None:
    error = ValueError("x")
    error.__cause__ = error
    assert tell_error(error).error == "ValueError: x"


def test_a_handler_with_a_yield_is_refused_at_load() -> None:
    """Calling it would run nothing, and the message would count as done."""

    def generator(data: Any) -> Any:
        yield

    async def async_generator(data: Any) -> Any:
        yield

    for handler in (generator, async_generator):
        with pytest.raises(LoadFailed, match="has a yield"):
            step(queue("a"))(handler)


def test_a_mock_can_be_a_handler() -> None:
    made = step(queue("a"), name="A")(AsyncMock())
    assert made.step.name == "A"


async def test_what_breaks_when_it_is_looked_at_is_a_500_like_any_other() -> None:
    """Status, headers and body of a handler may run code."""

    class Broken:
        @property
        def status(self) -> int:
            raise RuntimeError("broken")

        def __repr__(self) -> str:
            raise RuntimeError("broken repr")

    class Unspeakable:
        def __str__(self) -> str:
            raise RuntimeError("broken str")

    answers: list[Any] = [
        Broken(),
        {"status": 10**5000},
        {"status": 200, "headers": {"x": Unspeakable()}},
        {"status": 200, "headers": {Unspeakable(): "x"}},
    ]

    @step(http("GET", "/:n"), name="Broken")
    async def handler(req: Any, ctx: Any) -> Any:
        ctx.logger.info("before", {"broken": Broken(), "x y": 1})
        return answers[int(req.path_params.n)]

    notebook = Notebook()
    async with open_runtime(App([handler]), observers=[notebook]) as rt:
        transport = httpx.ASGITransport(rt.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            for number in range(len(answers)):
                answer = await client.get(f"/{number}")
                assert answer.status_code == 500
                assert answer.json()["traceId"] == answer.headers["x-trace-id"]
    assert len(notebook.of(AskFailed)) == len(answers)


@pytest.mark.parametrize("charset", ["undefined", "punycode", "idna", "unicode_escape", "base64"])
async def test_a_charset_that_nobody_writes_in_is_malformed(charset: str) -> None:
    @step(http("POST", "/a"))
    async def handler(req: Any) -> Any:
        return {"status": 200, "body": req.body}

    async with open_runtime(App([handler]), observers=()) as rt:
        transport = httpx.ASGITransport(rt.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            headers = {"content-type": f"text/plain; charset={charset}"}
            with trio.fail_after(5):
                answer = await client.post("/a", content=b"a" * 200_000, headers=headers)
    assert answer.status_code == 400


async def test_a_body_that_does_not_come_is_given_up(autojump_clock: Any) -> None:
    """At the bound of the trigger."""

    @step(http("POST", "/a", config={"timeout": 5}))
    async def handler(req: Any) -> Any:
        """Never run."""

    sent: list[Any] = []

    async def receive() -> Any:
        await trio.sleep_forever()

    async def send(event: Any) -> None:
        sent.append(event)

    async with open_runtime(App([handler]), observers=()) as rt:
        began = trio.current_time()
        headers = [(b"content-length", b"10")]
        await rt.asgi(
            {"type": "http", "method": "POST", "path": "/a", "headers": headers}, receive, send
        )
        assert trio.current_time() - began == 5
    assert sent[0]["status"] == 408


async def test_topics_that_are_made_up_do_not_fill_memory() -> None:
    """The first thousand are counted by name."""

    @step(queue("go"), name="Go")
    async def go(data: Any, ctx: Any) -> None:
        for number in range(3000):
            await ctx.enqueue(f"nobody.{number}")

    notebook = Notebook()
    async with open_runtime(App([go]), observers=[notebook]) as rt:
        await rt.enqueue("go")
        await rt.quiesce()
        unheard = rt.tree().unheard
    assert len(unheard) <= 1001
    assert sum(unheard.values()) == 3000
    assert len(notebook.events) < 3000


async def test_a_stop_while_an_actor_restarts_answers_what_waits(autojump_clock: Any) -> None:
    """503, not silence."""
    crashed = trio.Event()

    @step(http("GET", "/a"), queue("a"), name="A")
    async def handler(input: Any, ctx: Any) -> Any:
        if ctx.is_queue():
            crashed.set()
            sys.exit()
        return {"status": 200, "body": "ok"}

    answers: list[httpx.Response] = []
    async with trio.open_nursery() as nursery:
        async with open_runtime(App([handler]), observers=()) as rt:
            transport = httpx.ASGITransport(rt.asgi)

            async def ask() -> None:
                async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
                    answers.append(await client.get("/a", timeout=None))

            await rt.enqueue("a")
            await crashed.wait()
            await trio.sleep(0.01)
            assert rt.tree()["A"].state == "restarting"
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            began = trio.current_time()
        assert trio.current_time() - began < 5
    assert [answer.status_code for answer in answers] == [503]


def test_a_closed_stdout_does_not_keep_the_process_from_ending(tmp_path: Any) -> None:
    """A second signal still ends it at once."""
    from tests.support import project

    project(
        tmp_path,
        {
            "steps/a_step.py": "config = {'name': 'A', 'triggers': "
            "[{'type': 'queue', 'topic': 'a'}]}\ndef handler(i): pass\n"
        },
    )
    program = (
        f"exec {sys.executable} -m motia_trio run {tmp_path} --port 0 >&- 2>{tmp_path}/err & "
        "P=$!; for i in $(seq 100); do grep -q memory: "
        f"{tmp_path}/err && break; grep -q 'live in memory' {tmp_path}/err && break; sleep 0.1; "
        "done; kill -TERM $P; wait $P; echo $?"
    )
    done = subprocess.run(
        ["/bin/bash", "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == "0", (done, (tmp_path / "err").read_text())
