"""Attacks on conditions, triggers, transactions, loading, and on all of it at once."""

from __future__ import annotations

import random
import sys
import tempfile
import threading
import time
from contextlib import aclosing
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from motia_trio import (
    App,
    Closed,
    HandlerFailed,
    LoadFailed,
    MotiaHttpArgs,
    MotiaTrioError,
    TimedOut,
    cron,
    http,
    multi_trigger_step,
    open_runtime,
    queue,
    step,
)
from motia_trio.events import (
    AskFailed,
    AttemptFailed,
    DeadLettered,
    HandlerOverdue,
    StepSkipped,
    TickFailed,
    TransactionRepeated,
)
from motia_trio.loader import load_steps
from motia_trio.streamed import Streamed
from tests.support import Notebook, project
from tests.test_attacks_asks import asks_of
from tests.test_attacks_middleware import behind
from tests.test_attacks_streams import ask

# conditions


async def test_an_error_that_a_condition_raises_again_and_again_does_not_grow(
    autojump_clock: Any,
) -> None:
    error = LookupError("the same object")

    async def condition(input: Any) -> bool:
        raise error

    @step(queue("work", condition=condition, config={"maxRetries": 50}), name="Work")
    async def work(input: Any) -> None:
        """Never run."""

    async with open_runtime(App([work]), observers=()) as rt:
        await rt.enqueue("work")
        await trio.sleep(10_000)
        (letter,) = rt.dead_letters.list()
    assert len(letter.failures) == 51
    assert getattr(error, "__notes__", []) == ["raised by the condition of its queue trigger"]


async def test_a_condition_that_gives_an_awaitable_from_a_plain_function() -> None:
    async def later(answer: bool) -> bool:  # noqa: FBT001
        await trio.lowlevel.checkpoint()
        return answer

    def condition(input: Any, ctx: Any) -> Any:
        return later(input == "yes")

    @step(queue("work", condition=condition), name="Work")
    async def work(input: Any) -> Any:
        return input

    async with open_runtime(App([work]), observers=()) as rt:
        assert await rt.ask("work", "yes") == "yes"
        with pytest.raises(HandlerFailed, match="condition was not met"):
            await rt.ask("work", "no")


# several triggers


async def test_a_message_that_fits_one_schema_and_no_condition_is_no_dead_letter() -> None:
    """Only what fits no schema at all is one."""

    async def never(input: Any) -> bool:
        return False

    @step(
        queue("work", input={"type": "integer"}),
        queue("work", input={"type": "string"}, condition=never),
        name="Work",
    )
    async def work(input: Any) -> None:
        """Never run."""

    notebook = Notebook()
    async with open_runtime(App([work]), observers=[notebook]) as rt:
        await rt.enqueue("work", "text")
        await rt.enqueue("work", [])
        await rt.quiesce()
    assert len(notebook.of(StepSkipped)) == 1
    assert len(notebook.of(DeadLettered)) == 1


async def test_the_trigger_that_has_the_message_says_how_much_time_there_is(
    autojump_clock: Any,
) -> None:
    """On ctx as for the bound, longer or shorter than the first one's."""
    left: list[float] = []

    async def is_long(input: Any) -> bool:
        return bool(input == "long")

    async def never(input: Any) -> bool:
        return False

    @step(
        queue("work", condition=never, config={"timeout": 20}),
        queue("work", condition=is_long, config={"timeout": 100}),
        queue("work", config={"timeout": 5, "maxRetries": 0}),
        name="Work",
    )
    async def work(input: Any, ctx: Any) -> None:
        left.append(round(ctx.time_left()))
        await trio.sleep(50)

    notebook = Notebook()
    async with open_runtime(App([work]), observers=[notebook]) as rt:
        await rt.enqueue("work", "long")
        await rt.quiesce()
        assert notebook.of(AttemptFailed) == []
        await rt.enqueue("work", "short")
        began = trio.current_time()
        await rt.quiesce()
        assert trio.current_time() - began == 5
    assert left == [100, 5]


async def test_a_second_trigger_that_is_overdue_is_told_of_in_its_own_time() -> None:
    gate = threading.Event()

    @step(
        queue("work", input={"type": "integer"}, config={"timeout": 900}),
        queue("work", config={"timeout": 0.1}),
        name="Work",
    )
    def work(input: Any) -> None:
        gate.wait(20)

    notebook = Notebook()
    async with open_runtime(App([work]), observers=[notebook]) as rt:
        await rt.enqueue("work", "text")
        with trio.move_on_after(5):
            while not notebook.of(HandlerOverdue):
                await trio.sleep(0.05)
        gate.set()
    assert len(notebook.of(HandlerOverdue)) == 1


def test_handlers_of_a_multi_trigger_step_that_cannot_be_are_told_at_load() -> None:
    config = {"name": "Multi", "triggers": [queue("a"), cron("@hourly")]}

    async def handler(input: Any) -> None:
        """Never run."""

    for handlers in ({"queue": handler}, {"queue": handler, "cron": None}, {"queue": 5, "cron": 5},
                  {"queue": handler, "cron": handler, "tick": handler}, {}):  # fmt: skip
        with pytest.raises(LoadFailed):
            multi_trigger_step(config).handlers(handlers)  # type: ignore[arg-type]


# transactions


async def test_a_contended_transaction_that_hangs_does_not_hold_up_those_of_other_steps(
    where: dict[str, Any], autojump_clock: Any
) -> None:
    """A failure stays in its step."""
    tries: dict[str, int] = {"Hangs": 0, "Fine": 0}

    async def contend(ctx: Any, name: str) -> None:
        tries[name] += 1
        await ctx.state.get("g", name)
        await trio.sleep(1)
        await ctx.state.set("g", name, tries[name])

    @step(queue("hangs", config={"timeout": 500}), delivery="transactional", name="Hangs")
    async def hangs(input: Any, ctx: Any) -> None:
        await contend(ctx, "Hangs")
        if tries["Hangs"] > 1:
            await trio.sleep_forever()

    @step(queue("fine", config={"timeout": 60}), delivery="transactional", name="Fine")
    async def fine(input: Any, ctx: Any) -> None:
        await contend(ctx, "Fine")

    notebook = Notebook()
    app = App([hangs, fine], shutdown_timeout=1, **where)
    async with open_runtime(app, observers=[notebook]) as rt:
        for name in ("Hangs", "Fine"):
            await rt.enqueue(name.lower())
            await trio.sleep(0.5)
            await rt.state.set("g", name, -1)  # a conflict
            await trio.sleep(5)
        await trio.sleep(30)
        assert await rt.state.get("g", "Fine") == 2
    assert [told.step for told in notebook.of(TransactionRepeated)] == ["Hangs", "Fine"]
    assert [told for told in notebook.of(AttemptFailed) if told.step == "Fine"] == []


async def test_a_transactional_step_that_begins_anew_begins_with_its_middleware_and_request(
    autojump_clock: Any,
) -> None:
    """As they were."""
    bodies: list[Any] = []

    async def around(req: Any, ctx: Any, following: Any) -> Any:
        req.body["n"] += 1
        assert not hasattr(ctx, "seen")
        ctx.seen = True
        return await following()

    async def condition(input: Any, ctx: Any) -> bool:
        return bool(await ctx.state.get("g", "k") != "closed")

    @step(
        http("POST", "/", middleware=[around], condition=condition),
        delivery="transactional",
        name="Get",
    )
    async def get(req: Any, ctx: Any) -> Any:
        bodies.append(req.body["n"])
        await trio.sleep(1)
        await ctx.state.set("g", "done", len(bodies))
        return {"status": 200, "body": bodies[-1]}

    async with open_runtime(App([get]), observers=()) as rt:

        async def disturb() -> None:
            await trio.sleep(0.5)
            await rt.state.set("g", "k", "open")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(disturb)
            assert await ask(rt, {"n": 1}) == {"status": 200, "body": 2}
        assert bodies == [2, 2]
        assert await rt.state.get("g", "done") == 2


async def test_a_transactional_step_cannot_stream_and_closes_what_it_was_given() -> None:
    closed: list[Any] = []

    class Rows:
        def __aiter__(self) -> Any:
            return self

        async def __anext__(self) -> Any:
            return "x"

        async def aclose(self) -> None:
            closed.append(1)

    @step(http("GET", "/"), delivery="transactional", name="Get")
    async def get(req: Any) -> Any:
        return {"status": 200, "body": Rows()}

    notebook = Notebook()
    async with open_runtime(App([get]), observers=[notebook]) as rt:
        with pytest.raises(HandlerFailed):
            await ask(rt)
    assert "cannot stream" in notebook.of(AskFailed)[0].error
    assert closed == [1]


async def test_a_tick_of_a_transactional_step_that_conflicts_runs_again(
    where: dict[str, Any], autojump_clock: Any
) -> None:
    ran: list[int] = []

    @step(cron("0 0 1 1 *"), delivery="transactional", name="Tick")
    async def tick(ctx: Any) -> None:
        ran.append(1)
        await ctx.state.get("g", "k")
        await trio.sleep(1)
        await ctx.state.set("g", "n", len(ran))

    notebook = Notebook()
    async with open_runtime(App([tick], **where), observers=[notebook]) as rt:
        await rt.run_cron("Tick")
        await trio.sleep(0.5)
        await rt.state.set("g", "k", 1)
        await rt.quiesce()
        assert await rt.state.get("g", "n") == 2
        assert rt.tree()["Tick"].schedules[0].running == 0
    assert notebook.of(TickFailed) == []


# loading


def test_what_a_step_file_has_lying_around_is_not_made_to_run(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that raises when one asks for its class is nobody's step."""
    monkeypatch.setenv("PROXY_RAISES", "1")  # it stays in memory, and other tests look around there
    project(
        tmp_path,
        {
            "steps/a_step.py": "import os\n"
            "class Proxy:\n"
            "    @property\n"
            "    def __class__(self):\n"
            "        if 'PROXY_RAISES' in os.environ:\n"
            "            raise RuntimeError('outside of the application')\n"
            "        return Proxy\n"
            "current_app = Proxy()\n"
            "config = {'name': 'A', 'triggers': [{'type': 'queue', 'topic': 'a'}]}\n"
            "async def handler(input): pass\n"
        },
    )
    (made,) = load_steps(tmp_path)
    assert made.name == "A"


# all of it


@pytest.mark.parametrize("kind", ["plain", "threads", "streams", "conditions", "crashes"])
async def test_nothing_outlives_the_runtime(kind: str) -> None:
    """Whatever was under way when it was left by an error."""

    async def condition(input: Any) -> bool:
        await trio.sleep_forever()
        return True

    def rows() -> Any:
        while True:
            yield "x"
            time.sleep(0.01)

    def around_what_is_left(req: Any, ctx: Any, following: Any) -> Any:
        return following()

    async def hang(req: Any, ctx: Any) -> Any:
        if kind == "streams":
            return {"status": 200, "body": rows()}
        if kind == "crashes":
            sys.exit()
        return await ctx.ask("never", 1)

    given: dict[str, Any] = {}
    if kind == "threads":
        given["middleware"] = [around_what_is_left]
    if kind == "conditions":
        given["condition"] = condition
    made = step(http("GET", "/", **given), enqueues=["never"], name="Get")(hang)

    @step(queue("never"), name="Never")
    async def never(input: Any) -> None:
        await trio.sleep_forever()

    ended: list[Any] = []

    async def one(rt: Any) -> None:
        try:
            answer = await ask(rt)
            if isinstance(answer, Streamed):
                async for _ in answer:
                    pass
        except (Closed, HandlerFailed) as error:
            ended.append(error)
        except Exception as error:  # noqa: BLE001 - none is left without one
            ended.append(error)

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            with pytest.raises(ZeroDivisionError):
                async with open_runtime(App([made, never]), observers=()) as rt:
                    for _ in range(5):
                        nursery.start_soon(one, rt)
                    await trio.sleep(0.1)
                    1 / 0  # noqa: B018
    assert len(ended) == 5
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if "around_what_is_left" in name or "rows" in name]


@pytest.mark.parametrize("timeout", [n / 10 for n in range(1, 99) if n / 10 + 1 - n / 10 < 1][:5])
async def test_whoever_watches_over_bounds_lets_time_go_on(
    timeout: float,  # noqa: ASYNC109
    autojump_clock: Any,
) -> None:
    """Where one sum of floats says that a time has come, and another that it has not."""

    async def get(req: Any) -> Any:
        with trio.CancelScope(shield=True):
            await trio.sleep(100)

    async with open_runtime(behind(handler=get, config={"timeout": timeout}), observers=()) as rt:
        with pytest.raises(TimedOut):
            await ask(rt)
        await rt.quiesce()


@settings(max_examples=30)
@given(number=st.integers(0, 2**32), sqlite=st.booleans())
def test_whatever_happens_nothing_is_left_in_hand(*, number: int, sqlite: bool) -> None:
    """Requests, messages, times, asks and streams; failures, crashes, and askers that leave."""
    seed = random.Random(number)

    async def perhaps() -> None:
        await trio.sleep(seed.choice([0, 0, 0.1, 1, 20]))
        luck = seed.random()
        if luck < 0.1:
            raise OSError("no luck")
        if luck < 0.12:
            sys.exit()
        if luck < 0.14:
            raise Closed("not ours")
        if luck < 0.2:
            with trio.CancelScope(shield=luck < 0.16):
                await trio.sleep(8)

    async def around(req: Any, ctx: Any, following: Any) -> Any:
        await perhaps()
        answers = [await following() for _ in range(seed.choice([0, 1, 1, 1, 2]))]
        await perhaps()
        return answers[-1] if answers else {"status": 204}

    async def condition(input: Any, ctx: Any) -> bool:
        await perhaps()
        return seed.random() < 0.9

    async def rows(ctx: Any) -> Any:
        try:
            for each in range(seed.choice([0, 1, 20])):
                yield {"data": each}
                await perhaps()
        finally:
            await trio.lowlevel.checkpoint()

    one = {"timeout": 10, "concurrency": 2, "maxRetries": 1}

    @step(
        http("GET", "/", middleware=[around], condition=condition, config=one),
        queue("a", condition=condition, config=one),
        queue("a", config={**one, "timeout": 3}),
        cron("* * * * *", condition=condition),
        enqueues=["b"],
        name="A",
    )
    async def a(input: Any, ctx: Any) -> Any:
        await perhaps()
        luck = seed.random()
        if luck < 0.3:
            return await ctx.ask("b", 1, timeout=seed.choice([None, 0.1, 5]))
        if luck < 0.4:
            ctx.ask("b", 2)
        return {"status": 200, "body": rows(ctx) if ctx.is_http() else None}

    @step(http("GET", "/b", middleware=[around], config=one), enqueues=["a", "b"], name="W")
    async def writes(args: MotiaHttpArgs, ctx: Any) -> None:
        async with aclosing(rows(ctx)) as given:
            async for row in given:
                written = args.response.writer.write(row)
                if seed.random() < 0.8:
                    await written
        if seed.random() < 0.3:
            args.response.close()
        await perhaps()

    @step(
        queue("b", config=one),
        enqueues=["a"],
        name="B",
        delivery=seed.choice(["immediate", "transactional"]),
    )
    async def b(input: Any, ctx: Any) -> Any:
        await ctx.state.get("g", "k")
        await perhaps()
        await ctx.state.set("g", "k", 1)
        return await ctx.ask("a", 1) if seed.random() < 0.1 else 2

    async def client(rt: Any) -> None:
        await trio.sleep(seed.random() * 30)
        with trio.CancelScope() as scope:
            if seed.random() < 0.3:
                scope.deadline = trio.current_time() + seed.choice([0, 0.05, 0.1, 1, 10])
            try:
                if seed.random() < 0.5:
                    await rt.ask(seed.choice("ab"), 1, timeout=seed.choice([0.1, 10, 30]))
                    return
                streamed = await ask(rt, step=seed.choice("AW"))
                if isinstance(streamed, Streamed):
                    try:
                        async for _ in streamed:
                            await trio.sleep(seed.choice([0, 0, 0.1]))
                            if seed.random() < 0.05:
                                break
                    finally:  # as an edge does
                        streamed.abandon()
            except MotiaTrioError:
                pass

    async def main(root: str) -> None:
        store = "sqlite:///store.db" if sqlite else "memory:"
        app = App([a, b, writes], root=root, store=store, mailbox=5, shutdown_timeout=1)
        async with open_runtime(app, observers=()) as rt:
            async with trio.open_nursery() as nursery:
                for _ in range(30):
                    nursery.start_soon(client, rt)
            rt._shared.scheduler.stop()  # noqa: SLF001 - its times would go on for ever
            with trio.fail_after(5000):
                await rt.quiesce()
            await trio.sleep(4000)  # quarantines, retries
            with trio.fail_after(5000):
                await rt.quiesce()
            for actor in rt.tree().actors:
                left = actor.deliveries
                assert (left.waiting, left.leased, left.delayed) == (0, 0, 0), actor
                assert (actor.mailbox.used, actor.in_flight) == (0, 0), actor
            assert rt.tree().in_flight == 0
            assert asks_of(rt)._asked == {}  # noqa: SLF001
            assert rt.tree()["A"].schedules[0].running == 0

    with tempfile.TemporaryDirectory() as root:
        trio.run(main, root, clock=trio.testing.MockClock(autojump_threshold=0))
