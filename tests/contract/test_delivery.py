"""Contract §8: who gets a message, how often, when, and what becomes of it in the end."""

from __future__ import annotations

import statistics
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
import trio

from motia_trio import App, Service, cron, http, open_runtime, queue, step
from motia_trio.events import AttemptFailed
from tests.contract.conftest import Project, Serving
from tests.contract.dialects import Dialect
from tests.support import Notebook

Where = dict[str, Any]
FAILS = "async def handler(input, ctx):\n    saw(input)\n    raise OSError('no luck')"


async def until_dead(rt: Service, *, letters: int = 1) -> Any:
    """Wait for dead letters, and give the first."""
    with trio.fail_after(100_000):
        while len(rt.dead_letters.list()) < letters:
            await trio.sleep(1)
    return rt.dead_letters.list()[0]


# who gets it


async def test_every_step_with_a_matching_trigger_gets_its_own_delivery(
    dialect: Dialect, files: Project, where: Where
) -> None:
    """every step with a matching queue trigger gets its own delivery of it"""
    code = "async def handler(input, ctx):\n    saw(['%s', input])"
    app = files.app(
        dialect.queue("t", code % "a", name="A"),
        dialect.queue("t", code % "b", name="B"),
        dialect.queue("other", code % "c", name="C"),
        store=where["store"],
    )
    async with open_runtime(app, observers=()) as rt:
        await rt.enqueue("t", 1)
        await rt.quiesce()
    assert sorted(files.seen) == [["a", 1], ["b", 1]]


async def test_with_its_own_attempts(where: Where, autojump_clock: Any) -> None:
    """with its own attempts."""
    attempts: Counter[str] = Counter()

    @step(queue("t"), name="Well")
    async def well(input: Any) -> None:
        attempts["Well"] += 1

    @step(queue("t", config={"maxRetries": 1}), name="Ill")
    async def ill(input: Any) -> None:
        attempts["Ill"] += 1
        raise OSError("no luck")

    async with open_runtime(App([well, ill], **where), observers=()) as rt:
        await rt.enqueue("t", 1)
        letter = await until_dead(rt)
    assert letter.step == "Ill"
    assert attempts == {"Well": 1, "Ill": 2}


async def test_a_message_is_stored_once(on_disk: Where) -> None:
    """A message is stored once"""

    async def handler(input: Any) -> None:
        pass

    steps = [step(queue("t"), name=f"S{number}")(handler) for number in range(20)]
    async with open_runtime(App(steps, **on_disk), observers=(), idle=True) as rt:
        await rt.enqueue("t", "x" * 500_000)
        waiting = [actor.deliveries.waiting for actor in rt.tree().actors]
    assert waiting == [1] * 20
    assert (on_disk["root"] / "store.db").stat().st_size < 1_000_000


# at least once


async def test_acknowledged_only_after_the_handler_returned(where: Where) -> None:
    """At least once: acknowledged only after the handler returned."""
    begun: list[Any] = []
    go = trio.Event()

    @step(queue("t"), name="S")
    async def handler(input: Any) -> None:
        begun.append(input)
        await go.wait()

    async with open_runtime(App([handler], **where), observers=()) as rt:
        await rt.enqueue("t", 1)
        with trio.fail_after(5):
            while not begun:
                await trio.sleep(0.001)
        counts = rt.tree()["S"].deliveries
        assert counts.leased == 1
        go.set()
        await rt.quiesce()
        counts = rt.tree()["S"].deliveries
        assert (counts.leased, counts.waiting) == (0, 0)


async def test_what_was_cut_short_comes_again(on_disk: Where) -> None:
    """At least once: acknowledged only after the handler returned."""
    begun: list[Any] = []
    ended: list[Any] = []

    @step(queue("t"), name="S")
    async def handler(input: Any) -> None:
        begun.append(input)
        if len(begun) == 1:
            await trio.sleep_forever()
        ended.append(input)

    with trio.move_on_after(0.2):
        async with open_runtime(App([handler], **on_disk), observers=()) as rt:
            await rt.enqueue("t", 1)
            await trio.sleep_forever()
    assert (begun, ended) == ([1], [])
    async with open_runtime(App([handler], **on_disk), observers=()) as rt:
        await rt.quiesce()
    assert (begun, ended) == ([1, 1], [1])


# retries


async def test_max_retries_3_by_default_so_4_attempts(
    dialect: Dialect, files: Project, autojump_clock: Any
) -> None:
    """`maxRetries` 3 by default and means retries, so 4 attempts (seen)."""
    async with open_runtime(files.app(dialect.queue("t", FAILS)), observers=()) as rt:
        await rt.enqueue("t", 1)
        letter = await until_dead(rt)
    assert files.seen == [1] * 4
    assert [failure.attempt for failure in letter.failures] == [1, 2, 3, 4]


@pytest.mark.parametrize("retries", [0, 1, 5])
async def test_max_retries_means_retries(
    retries: int, dialect: Dialect, files: Project, autojump_clock: Any
) -> None:
    """`maxRetries` … means retries"""
    text = dialect.queue("t", FAILS, limits={"queue": {"maxRetries": retries}})
    async with open_runtime(files.app(text), observers=()) as rt:
        await rt.enqueue("t", 1)
        await until_dead(rt)
    assert files.seen == [1] * (retries + 1)


async def waits_of(config: Any, times: int = 1, **more: Any) -> list[list[float]]:
    """The seconds before each retry of messages that always fail, of each message."""
    notebook = Notebook()

    @step(queue("t", config=config, **more), name="S")
    async def handler(input: Any) -> None:
        raise OSError("no luck")

    async with open_runtime(App([handler]), observers=[notebook]) as rt:
        for number in range(times):
            await rt.enqueue("t", number)
        await until_dead(rt, letters=times)
    waits: dict[str, list[float]] = {}
    for event in notebook.of(AttemptFailed):
        if event.retry_in is not None:
            waits.setdefault(event.message_id, []).append(event.retry_in)
    return [*waits.values()]


async def test_backoff_1_s_doubling_with_jitter(autojump_clock: Any) -> None:
    """Backoff 1 s, doubling, with jitter"""
    waits = await waits_of({"maxRetries": 4}, times=50)
    for number, base in enumerate([1, 2, 4, 8]):
        column = [each[number] for each in waits]
        assert 0.5 * base <= min(column) < max(column) <= 1.5 * base
        assert statistics.mean(column) == pytest.approx(base, rel=0.25)
        assert len(set(column)) > 25


async def test_backoff_is_what_is_waited(autojump_clock: Any) -> None:
    """Backoff 1 s, doubling, with jitter"""
    times: list[float] = []

    @step(queue("t"), name="S")
    async def handler(input: Any) -> None:
        times.append(trio.current_time())
        raise OSError("no luck")

    async with open_runtime(App([handler]), observers=()) as rt:
        await rt.enqueue("t")
        await until_dead(rt)
    waited = [b - a for a, b in pairwise(times)]
    for wait, base in zip(waited, [1, 2, 4], strict=True):
        assert 0.5 * base <= wait <= 1.5 * base + 0.1


async def test_backoff_at_most_60_s(autojump_clock: Any) -> None:
    """at most 60 s"""
    (waits,) = await waits_of({"maxRetries": 12})
    assert max(waits) <= 60
    assert waits[-1] == pytest.approx(60, rel=0.01)


async def test_backoff_type_fixed(autojump_clock: Any) -> None:
    """unless `backoffType: fixed`, … say otherwise."""
    (waits,) = await waits_of({"maxRetries": 4, "backoffType": "fixed", "backoffDelayMs": 2500})
    assert waits == [2.5] * 4


async def test_backoff_delay_ms(autojump_clock: Any) -> None:
    """unless … `backoffDelayMs` … say otherwise."""
    (waits,) = await waits_of({"maxRetries": 3, "backoffDelayMs": 100})
    for wait, base in zip(waits, [0.1, 0.2, 0.4], strict=True):
        assert 0.5 * base <= wait <= 1.5 * base


@pytest.mark.parametrize(
    "infrastructure",
    [{"handler": {"backoffRate": 10}}, {"queue": {"backoffRate": 10}}],
    ids=["handler", "queue"],
)
async def test_backoff_rate(infrastructure: Any, autojump_clock: Any) -> None:
    """unless … `backoffRate` say otherwise."""
    (waits,) = await waits_of({"maxRetries": 2}, infrastructure=infrastructure)
    for wait, base in zip(waits, [1, 10], strict=True):
        assert 0.5 * base <= wait <= 1.5 * base


@pytest.mark.parametrize(
    ("limits", "attempts"),
    [
        ({"handler": {"retries": 1}}, 2),
        ({"queue": {"maxRetries": 2}}, 3),
        ({"handler": {"timeout": 5}, "queue": {"maxRetries": 1, "visibilityTimeout": 60}}, 2),
    ],
)
async def test_limits_stand_where_each_dialect_has_them(
    limits: Any, attempts: int, dialect: Dialect, files: Project, autojump_clock: Any
) -> None:
    """§1, limits: `infrastructure: {handler, queue}` on the step; on the trigger; `config` on the
    trigger"""
    async with open_runtime(
        files.app(dialect.queue("t", FAILS, limits=limits)), observers=()
    ) as rt:
        await rt.enqueue("t", 1)
        await until_dead(rt)
    assert len(files.seen) == attempts


# the bound of an attempt


async def test_handler_timeout_default_30_s_for_http(
    dialect: Dialect, files: Project, in_process: Serving, autojump_clock: Any
) -> None:
    """`handler.timeout` (default 30 s for http, …)"""
    code = """
import trio
async def handler(req, ctx):
    await trio.sleep(float(req.query_params.seconds))
    return {"status": 200}
"""
    async with in_process(files.app(dialect.http("GET", "/x", code))) as (_, client):
        began = trio.current_time()
        assert (await client.get("/x?seconds=29")).status_code == 200
        assert (await client.get("/x?seconds=31")).status_code == 504
        assert trio.current_time() - began == pytest.approx(59, abs=2)


@pytest.mark.parametrize("kind", ["queue", "state", "stream", "cron"])
async def test_handler_timeout_default_900_s_for_everything_else(
    kind: str, in_process: Serving, autojump_clock: Any
) -> None:
    """`handler.timeout` (default …, 900 s for everything else: steps that call models run for
    minutes)"""
    trigger = {
        "queue": {"type": "queue", "topic": "t"},
        "state": {"type": "state", "groupId": "g"},
        "stream": {"type": "stream", "streamName": "s"},
        "cron": {"type": "cron", "expression": "0 0 * * *"},
    }[kind]
    took: list[float] = []

    async def handler(input: Any, ctx: Any) -> None:
        began = trio.current_time()
        try:
            await trio.sleep(10_000)
        finally:
            took.append(trio.current_time() - began)

    app = App([step({"name": "S", "triggers": [trigger]}, handler)], streams=[{"name": "s"}])
    async with in_process(app) as (rt, _):
        if kind == "queue":
            await rt.enqueue("t")
        elif kind == "state":
            await rt.state.set("g", "k", 1)
        elif kind == "stream":
            await rt.streams.s.set("g", "k", 1)
        with trio.fail_after(90_000):
            while not took:
                await trio.sleep(60)
    assert took[0] == pytest.approx(900, abs=1)


@pytest.mark.parametrize(
    ("limits", "bound"),
    [
        ({"handler": {"timeout": 10}}, 10),
        ({"queue": {"visibilityTimeout": 20}}, 20),
        ({"handler": {"timeout": 10}, "queue": {"visibilityTimeout": 60}}, 10),
        ({"handler": {"timeout": 60}, "queue": {"visibilityTimeout": 10}}, 10),
    ],
)
async def test_timeout_and_visibility_timeout_both_bound_one_attempt(
    limits: Any, bound: float, dialect: Dialect, files: Project, autojump_clock: Any
) -> None:
    """`handler.timeout` … and `visibilityTimeout` both bound one attempt; at the bound it is
    cancelled"""
    code = """
import trio
async def handler(input, ctx):
    began = trio.current_time()
    try:
        await trio.sleep(1000)
    finally:
        saw(trio.current_time() - began)
"""
    limits = {**limits, "queue": {**limits.get("queue", {}), "maxRetries": 1}}
    text = dialect.queue("t", code, limits=limits)
    async with open_runtime(files.app(text), observers=()) as rt:
        await rt.enqueue("t")
        letter = await until_dead(rt)
    assert files.seen == [pytest.approx(bound, abs=0.1)] * 2
    assert "TimedOut" in letter.failures[0].error


@pytest.mark.parametrize("clean_up", [0, 50], ids=["at once", "slow to end"])
async def test_a_message_is_never_handled_twice_at_the_same_time(
    clean_up: float, autojump_clock: Any
) -> None:
    """at the bound it is cancelled, and only then tried again: a message is never handled twice at
    the same time (seen: it is, elsewhere)."""
    running = 0
    attempts = 0

    @step(
        queue("t", infrastructure={"handler": {"timeout": 10}, "queue": {"visibilityTimeout": 10}}),
        name="S",
    )
    async def handler(input: Any) -> None:
        nonlocal running, attempts
        running += 1
        attempts += 1
        assert running == 1
        try:
            await trio.sleep(1000)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(clean_up)
            running -= 1

    async with open_runtime(App([handler]), observers=()) as rt:
        await rt.enqueue("t")
        letter = await until_dead(rt)
    assert attempts == 4
    assert all("TimedOut" in failure.error for failure in letter.failures)


# dead letters


async def test_out_of_attempts_dead_letter(
    dialect: Dialect, files: Project, autojump_clock: Any
) -> None:
    """Out of attempts → dead letter, with the payload, every attempt's error and time"""
    code = "async def handler(input, ctx):\n    raise OSError(f'no luck with {input.a}')"
    text = dialect.queue("t", code, limits={"queue": {"maxRetries": 2}})
    async with open_runtime(files.app(text), observers=()) as rt:
        await rt.enqueue("t", {"a": 1})
        letter = await until_dead(rt)
    assert letter.message.data == {"a": 1}
    assert letter.message.topic == "t"
    assert [failure.error for failure in letter.failures] == ["OSError: no luck with 1"] * 3
    (where,) = {failure.where for failure in letter.failures}
    assert where.startswith("steps/00_step.py:")
    assert where.endswith(" in handler")
    times = [failure.started_at for failure in letter.failures]
    assert times == sorted(times)
    assert all(failure.started_at <= failure.ended_at for failure in letter.failures)
    assert times[1] - times[0] > 0.5


async def test_kept_until_redriven(on_disk: Where) -> None:
    """kept until redriven or discarded."""
    well = False
    done: list[Any] = []

    @step(queue("t", config={"maxRetries": 0}), name="S")
    async def handler(input: Any) -> None:
        if not well:
            raise OSError("no luck")
        done.append(input)

    async with open_runtime(App([handler], **on_disk), observers=()) as rt:
        await rt.enqueue("t", 1)
        await rt.quiesce()
    well = True
    async with open_runtime(App([handler], **on_disk), observers=()) as rt:
        await rt.quiesce()
        (letter,) = rt.dead_letters.list()
        await rt.dead_letters.redrive([letter.id])
        await rt.quiesce()
        assert rt.dead_letters.list() == []
    assert done == [1]


async def test_kept_until_discarded(where: Where, autojump_clock: Any) -> None:
    """kept until redriven or discarded."""

    @step(queue("t", config={"maxRetries": 0}), name="S")
    async def handler(input: Any) -> None:
        raise OSError("no luck")

    async with open_runtime(App([handler], **where), observers=()) as rt:
        await rt.enqueue("t", 1)
        await rt.quiesce()
        await trio.sleep(365 * 86_400)
        (letter,) = rt.dead_letters.list()
        await rt.dead_letters.discard([letter.id])
        assert rt.dead_letters.list() == []


# fifo


async def test_fifo_one_group_strictly_in_order_other_groups_in_parallel(
    dialect: Dialect, files: Project, autojump_clock: Any
) -> None:
    """`fifo`: per step, messages of one `messageGroupId` strictly in order, other groups in
    parallel"""
    code = """
import trio
async def handler(input, ctx):
    saw(["begin", input])
    await trio.sleep(1)
    saw(["end", input])
"""
    text = dialect.queue("t", code, limits={"queue": {"type": "fifo"}})
    async with open_runtime(files.app(text), observers=()) as rt:
        began = trio.current_time()
        for number in range(5):
            for group in "abc":
                await rt.enqueue("t", f"{group}{number}", group=group)
        await rt.quiesce()
        took = trio.current_time() - began
    for group in "abc":
        own = [[what, name] for what, name in files.seen if name[0] == group]
        assert own == [[what, f"{group}{n}"] for n in range(5) for what in ("begin", "end")]
    assert took < 10


async def test_fifo_is_per_step(autojump_clock: Any) -> None:
    """`fifo`: per step"""
    seen: dict[str, list[int]] = {"Slow": [], "Fast": []}

    @step(queue("t", config={"type": "fifo"}), name="Slow")
    async def slow(input: Any) -> None:
        await trio.sleep(100)
        seen["Slow"].append(input)

    @step(queue("t", config={"type": "fifo"}), name="Fast")
    async def fast(input: Any) -> None:
        seen["Fast"].append(input)

    async with open_runtime(App([slow, fast]), observers=()) as rt:
        for number in range(3):
            await rt.enqueue("t", number, group="g")
        await trio.sleep(50)
        assert seen == {"Slow": [], "Fast": [0, 1, 2]}
        await rt.quiesce()
    assert seen == {"Slow": [0, 1, 2], "Fast": [0, 1, 2]}


@pytest.mark.parametrize("ends", ["done", "dead"])
async def test_a_failing_head_holds_its_group_back(ends: str, autojump_clock: Any) -> None:
    """a failing head holds its group back until it is done or dead (seen: later messages of a group
    are dropped)."""
    began: list[str] = []

    @step(queue("t", config={"type": "fifo", "maxRetries": 2}), name="S")
    async def handler(input: Any) -> None:
        began.append(input)
        if input == "a0" and not (ends == "done" and began.count("a0") == 3):
            raise OSError("no luck")

    async with open_runtime(App([handler]), observers=()) as rt:
        for name in ("a0", "a1", "b0", "a2", "b1"):
            await rt.enqueue("t", name, group=name[0])
        await trio.sleep(100)
        await rt.quiesce()
        dead = [letter.message.data for letter in rt.dead_letters.list()]
    assert [name for name in began if name[0] == "a"] == ["a0", "a0", "a0", "a1", "a2"]
    assert [name for name in began if name[0] == "b"] == ["b0", "b1"]
    assert began.index("b1") < began.index("a1")
    assert dead == (["a0"] if ends == "dead" else [])


# later


@pytest.mark.parametrize("by", ["delaySeconds", "at", "queue"])
async def test_delay_seconds_and_at_are_kept_through_restarts(
    by: str, on_disk: Where, it_is: Any, autojump_clock: Any
) -> None:
    """`delaySeconds` and `at` are kept through restarts."""
    wall = it_is("2026-01-01T00:00Z")
    came: list[float] = []
    config = {"delaySeconds": 100} if by == "queue" else {}

    @step(queue("t", config=config), name="S")
    async def handler(input: Any) -> None:
        came.append(input)

    @step(queue("go"), enqueues=["t"], name="Go")
    async def go(input: Any, ctx: Any) -> None:
        if by == "delaySeconds":
            await ctx.enqueue({"topic": "t", "data": 1, "delaySeconds": 100})
        elif by == "at":
            at = datetime.fromtimestamp(wall, UTC) + timedelta(seconds=100)
            await ctx.enqueue("t", 1, at=at)
        else:
            await ctx.enqueue("t", 1)

    app = App([handler, go], **on_disk)
    async with open_runtime(app, observers=()) as rt:
        await rt.enqueue("go")
        await rt.quiesce()
    it_is("2026-01-01T00:01Z")
    async with open_runtime(app, observers=()) as rt:
        await trio.sleep(30)
        assert came == []
        await trio.sleep(20)
        await rt.quiesce()
    assert came == [1]


async def test_key_makes_an_enqueue_idempotent_for_a_day(where: Where, autojump_clock: Any) -> None:
    """`key` makes an enqueue idempotent for a day."""
    came: list[Any] = []

    @step(queue("t"), queue("other"), name="S")
    async def handler(input: Any) -> None:
        came.append(input)

    async with open_runtime(App([handler], **where), observers=()) as rt:
        first = await rt.enqueue("t", 1, key="k")
        await rt.quiesce()
        assert await rt.enqueue("t", 2, key="k") == first
        await trio.sleep(86_000)
        assert await rt.enqueue("t", 3, key="k") == first
        await rt.enqueue("other", 4, key="k")
        await trio.sleep(1000)
        assert await rt.enqueue("t", 5, key="k") != first
        await rt.quiesce()
    assert came == [1, 4, 5]


# how many at once


@pytest.mark.parametrize(("kind", "most"), [("standard", 10), ("fifo", 1), ("config", 3)])
async def test_concurrency_of_queues(kind: str, most: int, autojump_clock: Any) -> None:
    """`concurrency`: 10 for standard queues, 1 per group for fifo"""
    config: dict[str, Any] = {"type": "fifo"} if kind == "fifo" else {}
    if kind == "config":
        config["concurrency"] = 3
    running = peak = 0

    @step(queue("t", config=config), name="S")
    async def handler(input: Any) -> None:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await trio.sleep(1)
        running -= 1

    async with open_runtime(App([handler]), observers=()) as rt:
        for number in range(30):
            await rt.enqueue("t", number, group="g")
        await rt.quiesce()
    assert peak == most


async def test_concurrency_1_for_cron(autojump_clock: Any) -> None:
    """`concurrency`: … 1 for cron"""
    running = peak = runs = 0

    @step(cron("* * * * * *"), name="S")
    async def handler(input: Any, ctx: Any) -> None:
        nonlocal running, peak, runs
        running += 1
        runs += 1
        peak = max(peak, running)
        await trio.sleep(2.5)
        running -= 1

    async with open_runtime(App([handler]), observers=()):
        await trio.sleep(30)
    assert runs > 5
    assert peak == 1


async def test_concurrency_100_for_http(in_process: Serving, autojump_clock: Any) -> None:
    """`concurrency`: … 100 for http"""
    running = peak = 0
    statuses: Counter[int] = Counter()

    @step(http("GET", "/x"), name="S")
    async def handler(req: Any) -> Any:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await trio.sleep(1)
        running -= 1
        return {"status": 200}

    async with in_process([handler], mailbox=200) as (_, client), trio.open_nursery() as nursery:

        async def ask() -> None:
            statuses[(await client.get("/x")).status_code] += 1

        for _number in range(150):
            nursery.start_soon(ask)
    assert peak == 100
    assert statuses == {200: 150}


# what retrying cannot help


@pytest.mark.parametrize(
    "schema",
    [
        "{'type': 'object', 'properties': {'id': {'type': 'integer'}}, 'required': ['id']}",
        "Order",
    ],
    ids=["JSON Schema", "pydantic"],
)
async def test_input_that_does_not_fit_goes_to_the_dead_letters_at_once(
    schema: str, dialect: Dialect, files: Project, where: Where
) -> None:
    """Input that does not fit its schema goes to the dead letters at once with the reason: retrying
    cannot help (seen: the handler runs anyway)."""
    code = """
from pydantic import BaseModel
class Order(BaseModel):
    id: int
async def handler(input, ctx):
    saw(input.id)
"""
    app = files.app(dialect.queue("t", code, input=schema), store=where["store"])
    async with open_runtime(app, observers=()) as rt:
        await rt.enqueue("t", {"id": "x"})
        await rt.enqueue("t", {"id": 7})
        await rt.quiesce()
        (letter,) = rt.dead_letters.list()
    assert files.seen == [7]
    assert letter.message.data == {"id": "x"}
    assert "id" in letter.reason
    assert "fit" in letter.reason or "schema" in letter.reason


@pytest.mark.parametrize("by", ["queue", "state", "stream"])
async def test_a_chain_longer_than_50_hops_is_stopped(by: str, where: Where) -> None:
    """A chain of triggers longer than 50 hops is stopped with a clear dead letter: a step that
    triggers itself does not eat the machine."""
    runs = 0
    more = {"queue": {"topic": "t"}, "state": {}, "stream": {"streamName": "s"}}[by]

    async def go_on(where: Any) -> None:
        if by == "queue":
            await where.enqueue("t", runs)
        else:
            items = where.state if by == "state" else where.streams.s
            await items.set("g", "k", runs)

    async def handler(input: Any, ctx: Any) -> None:
        nonlocal runs
        runs += 1
        await go_on(ctx)

    config = {"name": "S", "triggers": [{"type": by, **more}], "enqueues": ["t"]}
    async with open_runtime(
        App([step(config, handler)], streams=[{"name": "s"}], **where), observers=()
    ) as rt:
        await go_on(rt)
        await rt.quiesce()
        (letter,) = rt.dead_letters.list()
    assert runs in {50, 51}
    assert "50 hops" in letter.reason
