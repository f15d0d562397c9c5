"""What may be published, in which form, and what comes of its key, its delay and its id."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import trio

from motia_trio import App, MessageTooLarge, NotEncodable, Service, open_runtime, queue, step
from motia_trio.errors import StoreBroken
from motia_trio.outgoing import LONGEST, Outgoing, outgoing
from motia_trio.store.sqlite.writer import Writer

DAY = 86_400.0
YEAR = 365 * DAY
SOON = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


# the forms


def test_a_topic_alone_is_a_message_of_nothing() -> None:
    assert outgoing("work") == [Outgoing("work", b"null")]


def test_every_option_may_be_a_keyword() -> None:
    (made,) = outgoing("work", {"n": 1}, group="g", at=SOON, key="k", priority=-10, expires=5)
    assert made == Outgoing(
        "work", b'{"n":1}', "g", None, SOON.timestamp(), "k", priority=-10, expires=5.0
    )
    assert outgoing("work", 1, delay=3)[0].delay == 3.0


@pytest.mark.parametrize("group", ["messageGroupId", "message_group_id", "group"])
@pytest.mark.parametrize("delay", ["delaySeconds", "delay_seconds", "delay"])
def test_a_mapping_takes_every_spelling_of_a_key(group: str, delay: str) -> None:
    message = {"topic": "work", "data": [1], group: "g", delay: 2, "key": "k", "priority": 3}
    assert outgoing({**message, "expires": SOON}) == [
        Outgoing("work", b"[1]", "g", 2.0, None, "k", 3, None, SOON.timestamp())
    ]


def test_a_mapping_may_lack_its_data_and_have_keys_that_say_nothing() -> None:
    """Code that passes on what it may not have."""
    message = {"topic": "work", "messageGroupId": None, "key": None, "priority": None, "at": None}
    assert outgoing(message) == [Outgoing("work", b"null")]
    assert outgoing("work", None, group=None, priority=None) == [Outgoing("work", b"null")]


@pytest.mark.parametrize("many", [list, tuple])
def test_a_list_is_that_many_messages_in_its_order(many: Any) -> None:
    made = outgoing(many({"topic": "work", "data": n} for n in range(3)))
    assert [each.payload for each in made] == [b"0", b"1", b"2"]
    assert outgoing([]) == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (({"topic": "a", "dealy": 1},), "does not know the key 'dealy'; did you mean 'delay'?"),
        (({"topic": "a", "message_group": 1},), "did you mean 'message_group_id'?"),
        (({"topic": "a", "payload": 1},), "'payload'; it knows topic, data, messageGroupId"),
        (({"topic": "a", 7: 1},), "does not know the key 7"),
        (({"data": 1},), "enqueue needs a topic: {'data': 1}"),
        (({"topic": None},), "a topic is a non-empty string, not None"),
        (("",), "a topic is a non-empty string, not ''"),
        (({"topic": "a", "group": "b", "messageGroupId": "c"},), "'messageGroupId'.* twice"),
        (({"topic": "a", "delay": 1, "delaySeconds": 2},), "'delaySeconds'.* twice"),
        (("caf\ud800",), "a topic must be writable as UTF-8"),
    ],
)
def test_a_message_that_is_written_wrong_is_refused_by_the_name_of_its_key(
    given: tuple[Any, ...], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        outgoing(*given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((7,), r"takes \{'topic': …, 'data': …\} or \(topic, data\), not 7"),
        ((None,), "not None"),
        ((["work"],), "not 'work'"),
        (([{"topic": "a"}, 3],), "not 3"),
        (({"topic": "a"}, 1), "takes no more arguments; they are keys of the message"),
    ],
)
def test_what_is_no_message_is_refused_with_the_form_of_one(
    given: tuple[Any, ...], words: str
) -> None:
    with pytest.raises(TypeError, match=words):
        outgoing(*given)


def test_an_option_beside_a_mapping_is_refused() -> None:
    """It would be of one message or of all."""
    with pytest.raises(TypeError, match="they are keys of the message"):
        outgoing([{"topic": "a"}], priority=3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"group": 7}, "messageGroupId is a string, not 7"),
        ({"group": "\ud800"}, "messageGroupId must be writable as UTF-8"),
        ({"delay": -1}, "delaySeconds is a number of seconds from 0, not -1"),
        ({"delay": "1"}, "delaySeconds is a number of seconds from 0, not '1'"),
        ({"delay": True}, "delaySeconds .* not True"),
        ({"delay": math.nan}, "delaySeconds .* not nan"),
        ({"delay": LONGEST * 2}, "delaySeconds is a number of seconds"),
        ({"delay": 10**400}, "delaySeconds is more than there is time"),
        ({"delay": 1, "at": SOON}, "delaySeconds and at say the same thing; give one"),
        ({"at": datetime(2030, 1, 1)}, "at is a datetime with a timezone, such as"),  # noqa: DTZ001
        ({"at": 1_900_000_000}, "at is a datetime with a timezone"),
        ({"at": "2030-01-01T00:00:00Z"}, "at is a datetime with a timezone"),
        ({"key": ""}, "key is a non-empty string, not ''"),
        ({"key": 7}, "key is a non-empty string, not 7"),
        ({"key": "ä" * 257}, "key has 514 bytes, over the limit of 512"),
        ({"priority": 11}, "priority is a whole number from -10 to 10, not 11"),
        ({"priority": -11}, "priority is a whole number from -10 to 10, not -11"),
        ({"priority": 1.0}, "priority is a whole number .* not 1.0"),
        ({"priority": True}, "priority is a whole number .* not True"),
        ({"priority": "high"}, "priority is a whole number .* not 'high'"),
        ({"expires": -0.1}, "expires is a number of seconds from 0, or a datetime with a timezone"),
        ({"expires": "1"}, "expires is a number of seconds from 0, or a datetime"),
        ({"expires": datetime(2030, 1, 1)}, "expires is a datetime with a timezone"),  # noqa: DTZ001
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_what_would(
    options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        outgoing("work", 1, **options)
    with pytest.raises(ValueError, match=words):
        outgoing({"topic": "work", "data": 1, **options})


def test_what_has_no_json_form_is_refused_by_the_path_to_it() -> None:
    with pytest.raises(NotEncodable, match=r"\$\.a\[1\]: NaN"):
        outgoing("work", {"a": [1, math.nan]})


def test_a_time_is_a_moment_whatever_its_timezone() -> None:
    east = timezone(timedelta(hours=9))
    (made,) = outgoing("work", at=SOON.astimezone(east), expires=SOON.astimezone(east))
    assert made.at == made.expires_at == SOON.timestamp()


def test_when_it_is_due_is_said_by_the_message_or_else_by_the_queue() -> None:
    def due(**options: Any) -> float:
        return outgoing("work", **options)[0].due_at(1000.0, delay=7.0)

    assert due() == 1007.0
    assert due(delay=0) == 1000.0
    assert due(delay=2) == 1002.0
    assert due(at=datetime.fromtimestamp(1003, UTC)) == 1003.0
    assert due(at=datetime.fromtimestamp(3, UTC)) == 1000.0


# what comes of it


class Inbox:
    """A step that writes down what it gets, and when."""

    def __init__(self, topic: str = "work", **limits: Any) -> None:
        self.got: list[Any] = []
        self.times: list[float] = []

        @step(queue(topic, config=limits), name=f"Inbox {topic}")
        async def inbox(data: Any) -> None:
            self.got.append(data)
            self.times.append(trio.current_time())

        self.step = inbox


async def run_in_step(rt: Service, made: list[Any]) -> None:
    """Have the step ``Go`` run, and wait for all that follows."""
    await rt.enqueue("go")
    with trio.fail_after(20):
        await rt.quiesce()
    assert made, [letter.failures for letter in rt.dead_letters.list()]


async def test_a_handler_gets_ids_that_sort_in_the_order_of_its_calls(
    where: dict[str, Any],
) -> None:
    """One for a message of either form, a list for a list."""
    inbox = Inbox()
    ids: list[Any] = []

    @step(queue("go"), enqueues=["work"], name="Go")
    async def go(data: Any, ctx: Any) -> None:
        ids.append(await ctx.enqueue("work", 0))
        ids.append(await ctx.enqueue({"topic": "work", "data": 1}))
        ids.append(await ctx.emit([{"topic": "work", "data": n} for n in (2, 3)]))
        ids.append(await ctx.enqueue([{"topic": "work", "data": 4}]))
        assert await ctx.enqueue([]) == []

    async with open_runtime(App([inbox.step, go], **where), observers=()) as rt:
        ids.append([await rt.enqueue("work", -1)])
        await run_in_step(rt, ids)
    assert [type(each) for each in ids] == [list, str, str, list, list]
    flat = [each for some in ids for each in ([some] if isinstance(some, str) else some)]
    assert all(isinstance(each, str) for each in flat)
    assert flat == sorted(set(flat))
    assert sorted(inbox.got) == [-1, 0, 1, 2, 3, 4]


async def test_a_handler_in_a_thread_gets_the_ids_themselves(where: dict[str, Any]) -> None:
    inbox = Inbox()
    ids: list[Any] = []

    @step(queue("go"), enqueues=["work"], name="Go")
    def go(data: Any, ctx: Any) -> None:
        ids.append(ctx.enqueue("work", 0))
        ids.extend(ctx.enqueue([{"topic": "work", "data": n} for n in (1, 2)]))

    async with open_runtime(App([inbox.step, go], **where), observers=()) as rt:
        await run_in_step(rt, ids)
    assert len(ids) == 3
    assert ids == sorted(ids)
    assert sorted(inbox.got) == [0, 1, 2]


async def test_what_is_not_awaited_is_published_all_the_same(where: dict[str, Any]) -> None:
    """Before the invocation ends, also when it ends with an error."""
    inbox = Inbox()

    @step(queue("go", config={"maxRetries": 0}), enqueues=["work"], name="Go")
    async def go(data: Any, ctx: Any) -> None:
        ctx.enqueue("work", 1)
        ctx.emit({"topic": "work", "data": 2})
        raise OSError("after all that")

    async with open_runtime(App([inbox.step, go], **where), observers=()) as rt:
        await run_in_step(rt, [True])
        assert len(rt.dead_letters.list()) == 1
    assert inbox.got == [1, 2]


async def test_what_a_lifespan_does_not_await_is_published_all_the_same(
    where: dict[str, Any],
) -> None:
    """When it has begun, and when it has ended."""
    inbox = Inbox()

    @asynccontextmanager
    async def lifespan(ctx: Any) -> AsyncIterator[None]:
        ctx.enqueue("work", "begun")
        yield
        ctx.enqueue("work", "ended")

    @step(queue("go"), name="Go", lifespan=lifespan)
    async def go(data: Any) -> None:
        """Never run."""

    async with open_runtime(App([inbox.step, go], **where), observers=()) as rt:
        store = rt.store
        with trio.fail_after(20):
            while not inbox.got:
                await trio.lowlevel.checkpoint()
        assert inbox.got == ["begun"]
    if where["store"] == "memory:":
        assert [counts.waiting for counts in store.counts(math.inf).values()] == [1]
        return
    async with open_runtime(App([inbox.step], **where), observers=()) as rt:
        with trio.fail_after(20):
            await rt.quiesce()
    assert inbox.got == ["begun", "ended"]


@pytest.mark.parametrize(
    "bad",
    [
        {"topic": "work", "data": math.inf},
        {"topic": "work", "dealy": 1},
        {"topic": "work", "data": "x" * 2000},
        {"topic": "work", "priority": 99},
        {},
        "work",
    ],
    ids=["infinite", "key", "large", "priority", "no topic", "no mapping"],
)
async def test_of_a_list_all_is_kept_or_nothing(where: dict[str, Any], bad: Any) -> None:
    inbox = Inbox()
    raised: list[Exception] = []

    @step(queue("go"), enqueues=["work"], name="Go")
    async def go(data: Any, ctx: Any) -> None:
        good = {"topic": "work", "data": 1, "key": "k"}
        try:
            await ctx.enqueue([good, bad, good])
        except (ValueError, TypeError, MessageTooLarge) as error:
            raised.append(error)
        await ctx.enqueue("work", "after", key="k")

    app = App([inbox.step, go], message_limit=1000, **where)
    async with open_runtime(app, observers=()) as rt:
        await run_in_step(rt, raised)
    assert inbox.got == ["after"]


async def test_a_message_over_the_limit_is_refused_with_topic_size_and_limit() -> None:
    inbox = Inbox()
    async with open_runtime(App([inbox.step], message_limit=10), observers=()) as rt:
        await rt.enqueue("work", "12345678")
        words = "topic 'work': 11 bytes are over the limit of 10; raise message_limit"
        with pytest.raises(MessageTooLarge, match=words):
            await rt.enqueue("work", "123456789")
        await rt.quiesce()
    assert inbox.got == ["12345678"]


async def test_a_mapping_given_to_the_runtime_is_refused_with_what_it_takes() -> None:
    """It takes the topic first, as its signature says."""
    async with open_runtime(App([Inbox().step]), observers=()) as rt:
        with pytest.raises(TypeError, match=r"rt\.enqueue takes \(topic, data, …\)"):
            await rt.enqueue({"topic": "work"})  # type: ignore[arg-type]


# delays


async def test_a_delay_of_nothing_overrides_the_one_of_the_queue(
    where: dict[str, Any], autojump_clock: Any
) -> None:
    inbox = Inbox(delaySeconds=60)
    async with open_runtime(App([inbox.step], **where), observers=()) as rt:
        began = trio.current_time()
        await rt.enqueue("work", "queue's")
        await rt.enqueue("work", "now", delay=0)
        await rt.enqueue("work", "own", delay=5)
        await rt.enqueue("work", "past", at=datetime(2001, 1, 1, tzinfo=UTC))
        await trio.sleep(100)
    took = [round(time - began, 2) for time in inbox.times]
    assert sorted(zip(took, inbox.got, strict=True)) == [
        (0.0, "now"), (0.0, "past"), (5.0, "own"), (60.0, "queue's"),
    ]  # fmt: skip


async def test_a_time_to_come_is_when_it_is_due(where: dict[str, Any], autojump_clock: Any) -> None:
    inbox = Inbox(delaySeconds=7)
    async with open_runtime(App([inbox.step], **where), observers=()) as rt:
        began = trio.current_time()
        await rt.enqueue("work", at=datetime.now(UTC) + timedelta(hours=3))
        await trio.sleep(4 * 3600)
    (time,) = inbox.times
    assert 3 * 3600 - 20 < time - began <= 3 * 3600 + 20  # the day's time is the real one's


async def test_a_delay_of_years_goes_on_when_the_store_is_opened_again(
    on_disk: dict[str, Any], autojump_clock: Any
) -> None:
    inbox = Inbox()
    app = App([inbox.step], **on_disk)
    async with open_runtime(app, observers=()) as rt:
        await rt.enqueue("work", "late", delay=3 * YEAR)
        await rt.enqueue("work", "never", delay=9000 * YEAR)
    async with open_runtime(app, observers=()) as rt:
        await trio.sleep(3 * YEAR - DAY)
        assert inbox.got == []
        await trio.sleep(2 * DAY)
        assert inbox.got == ["late"]
        assert rt.tree()["Inbox work"].deliveries.delayed == 1


# keys


async def test_a_key_makes_it_the_first_message_for_a_day(
    where: dict[str, Any], autojump_clock: Any
) -> None:
    """The second call gives the first one's id, and nothing is delivered again; then it does."""
    inbox = Inbox()
    async with open_runtime(App([inbox.step], **where), observers=()) as rt:
        first = await rt.enqueue("work", 1, key="k")
        assert await rt.enqueue("work", 2, key="k") == first  # in flight
        await rt.quiesce()
        assert await rt.enqueue("work", 3, key="k") == first  # done
        await trio.sleep(DAY - 1)
        assert await rt.enqueue("work", 4, key="k") == first
        await trio.sleep(2)
        second = await rt.enqueue("work", 5, key="k")
        assert second > first
        assert await rt.enqueue("work", 6, key="k") == second
        await trio.sleep(1)
    assert inbox.got == [1, 5]


async def test_each_topic_has_keys_of_its_own(where: dict[str, Any], autojump_clock: Any) -> None:
    one, other = Inbox("one"), Inbox("other")
    async with open_runtime(App([one.step, other.step], **where), observers=()) as rt:
        assert await rt.enqueue("one", 1, key="k") != await rt.enqueue("other", 1, key="k")
        await rt.enqueue("one", 2, key="l")
        await rt.quiesce()
    assert (one.got, other.got) == ([1, 2], [1])


async def test_of_two_that_enqueue_a_key_at_once_one_is_first(where: dict[str, Any]) -> None:
    inbox = Inbox()
    ids: list[str] = []

    async with open_runtime(App([inbox.step], **where), observers=()) as rt:

        async def enqueue(number: int) -> None:
            ids.append(await rt.enqueue("work", number, key="k"))

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(enqueue, number)
        await rt.quiesce()
    assert len(ids) == 20
    assert len(set(ids)) == 1
    assert len(inbox.got) == 1


async def test_a_key_twice_in_one_list_is_one_message(where: dict[str, Any]) -> None:
    inbox = Inbox()
    ids: list[Any] = []

    @step(queue("go"), enqueues=["work"], name="Go")
    async def go(data: Any, ctx: Any) -> None:
        keys = ["a", "b", "a", None]
        ids.extend(
            await ctx.enqueue(
                [{"topic": "work", "data": n, "key": key} for n, key in enumerate(keys)]
            )
        )

    async with open_runtime(App([inbox.step, go], **where), observers=()) as rt:
        await run_in_step(rt, ids)
    assert ids[2] == ids[0]
    assert len(set(ids)) == 3
    assert sorted(inbox.got) == [0, 1, 3]


async def test_a_key_is_known_when_the_store_is_opened_again(on_disk: dict[str, Any]) -> None:
    inbox = Inbox()
    app = App([inbox.step], **on_disk)
    async with open_runtime(app, observers=()) as rt:
        first = await rt.enqueue("work", 1, key="k")
        await rt.quiesce()
    async with open_runtime(app, observers=()) as rt:
        assert await rt.enqueue("work", 2, key="k") == first
        await rt.quiesce()
    assert inbox.got == [1]


async def test_a_key_of_a_topic_that_nobody_hears_is_not_kept(on_disk: dict[str, Any]) -> None:
    """When somebody listens, the next one is the first."""
    deaf, inbox = Inbox("other"), Inbox()
    async with open_runtime(App([deaf.step], **on_disk), observers=()) as rt:
        first = await rt.enqueue("work", 1, key="k")
        assert await rt.enqueue("work", 2, key="k") != first
        assert rt.tree().unheard == {"work": 2}
    async with open_runtime(App([inbox.step], **on_disk), observers=()) as rt:
        assert await rt.enqueue("work", 3, key="k") != first
        await rt.quiesce()
    assert inbox.got == [3]


async def test_a_key_is_not_known_before_its_message_is_kept(
    on_disk: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who comes second while the first is on its way is not told that it is there, if it fails."""
    inbox, errors = Inbox(), 0
    ids: list[str] = []
    async with open_runtime(App([inbox.step], **on_disk), observers=()) as rt:

        def fails(*_: Any) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        async def enqueue() -> None:
            nonlocal errors
            try:
                ids.append(await rt.enqueue("work", 1, key="k"))
            except StoreBroken:
                errors += 1

        with monkeypatch.context() as patch:
            patch.setattr(Writer, "_write", fails)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(enqueue)
                nursery.start_soon(enqueue)
        assert (ids, errors) == ([], 2)
        await enqueue()
        await rt.quiesce()
    assert len(ids) == 1
    assert inbox.got == [1]


async def test_a_key_serves_a_topic_with_many_listeners_once_each(where: dict[str, Any]) -> None:
    got: list[str] = []

    def listener(name: str) -> Any:
        @step(queue("work"), name=name)
        async def listen(data: Any) -> None:
            got.append(name)

        return listen

    app = App([listener(name) for name in "abc"], **where)
    async with open_runtime(app, observers=()) as rt:
        for _ in range(3):
            await rt.enqueue("work", key="k")
        await rt.quiesce()
    assert sorted(got) == ["a", "b", "c"]


async def test_a_trace_may_be_given_and_goes_down_the_chain(where: dict[str, Any]) -> None:
    """Else each call from outside begins one."""
    traces: list[tuple[Any, str]] = []

    @step(queue("work"), name="Work")
    async def work(data: Any, ctx: Any) -> None:
        traces.append((data, ctx.trace_id))

    @step(queue("go"), enqueues=["work"], name="Go")
    async def go(data: Any, ctx: Any) -> None:
        await ctx.enqueue("work", data)

    async with open_runtime(App([work, go], **where), observers=()) as rt:
        await rt.enqueue("go", 0, trace_id="f" * 32)
        for number in (1, 2):
            await rt.enqueue("go", number)
        await rt.quiesce()
    found = dict(traces)
    assert found[0] == "f" * 32
    assert len(set(found.values())) == 3
