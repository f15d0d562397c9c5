"""Each kind of trigger of a step has a lane: a flood in one keeps nothing in another waiting."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trio

from motia_trio import App, Overloaded, Stream, cron, http, open_runtime, queue, state, step, stream
from motia_trio.data import Request
from motia_trio.events import AppWarned
from tests.support import Notebook

# so long does the flood's handler take, and so soon does everything else begin: virtual seconds
SLOW, SOON = 60.0, 0.5
# more messages than all hands and places there are, a hundred times over
FLOOD = 2000

# beside the handlers of these tests, they declare the streams that these follow
ALL, OTHER = Stream("all"), Stream("s")

mailboxes = pytest.mark.parametrize("mailbox", [1, 4, 100])


class Everything:
    """A step with a trigger of each kind. Those of the ``slow`` kinds keep its hands busy."""

    def __init__(self, *slow: str) -> None:
        self.slow = slow
        self.began: dict[str, list[float]] = defaultdict(list)
        self.got: dict[str, list[Any]] = defaultdict(list)
        self.in_hand: Counter[str] = Counter()
        self.most_in_hand: Counter[str] = Counter()

        triggers = (queue("all"), state(group_id="all"), stream("all"))

        @step(http("GET", "/all"), cron("@yearly"), *triggers, name="All")
        async def everything(input: Any, ctx: Any) -> Any:
            kind = ctx.trigger.type
            self.began[kind].append(trio.current_time())
            self.got[kind].append(_told(kind, input))
            self.in_hand[kind] += 1
            self.most_in_hand[kind] = max(self.most_in_hand[kind], self.in_hand[kind])
            try:
                if kind in self.slow:
                    await trio.sleep(SLOW)
            finally:
                self.in_hand[kind] -= 1
            return {"status": 200, "body": kind}

        self.step = everything

    async def cause(self, kind: str, rt: Any, name: str = "n") -> None:
        """Have a trigger of one kind fire once."""
        if kind == "http":
            transport = httpx.ASGITransport(rt.asgi)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                self.answer = await client.get("/all", timeout=None)
        elif kind == "cron":
            await rt.run_cron("All")
        elif kind == "queue":
            await rt.enqueue("all", name)
        elif kind == "state":
            await rt.state.set("all", name, 1)
        else:
            await rt.streams["all"].set("g", name, {"n": 1})

    async def see_that_others_begin_soon(self, rt: Any) -> None:
        """Of each kind that is not slow something begins soon, one by one and all at once."""
        kinds = [
            kind for kind in ("state", "stream", "http", "cron", "queue") if kind not in self.slow
        ]
        for kind in kinds:
            await self._begins_soon(kind, rt, f"{kind} alone")
        async with trio.open_nursery() as nursery:
            for kind in kinds:
                nursery.start_soon(self._begins_soon, kind, rt, f"{kind} with others")

    async def _begins_soon(self, kind: str, rt: Any, name: str) -> None:
        before, at = len(self.began[kind]), trio.current_time()
        await self.cause(kind, rt, name)
        await trio.sleep(SOON)
        (began,) = self.began[kind][before:]
        assert at <= began < at + SOON, f"{kind} waited"


def _told(kind: str, input: Any) -> Any:
    if kind == "queue":
        return input
    if kind == "state":
        return input.item_id
    return input.id if kind == "stream" else None


@asynccontextmanager
async def flooded(kind: str, mailbox: int, where: dict[str, Any]) -> AsyncIterator[Any]:
    """A runtime in which one kind has far more to do than it can, and the step that does it."""
    all_ = Everything(kind)
    app = App([all_.step], mailbox=mailbox, shutdown_timeout=0, **where)
    async with open_runtime(app, observers=()) as rt:
        async with trio.open_nursery() as nursery:
            for number in range(FLOOD):
                nursery.start_soon(all_.cause, kind, rt, f"{number:04}")
        await trio.sleep(1)
        assert all_.in_hand[kind] == 10
        assert rt.tree()["All"].deliveries.waiting > FLOOD - 200
        yield rt, all_


@mailboxes
@pytest.mark.parametrize("kind", ["queue", "state", "stream"])
async def test_a_flood_of_what_is_stored_for_one_kind_keeps_no_other_waiting(
    kind: str, mailbox: int, where: dict[str, Any], autojump_clock: Any
) -> None:
    async with flooded(kind, mailbox, where) as (rt, all_):
        await all_.see_that_others_begin_soon(rt)
        assert (all_.answer.status_code, all_.answer.text) == (200, "http")
        assert rt.tree()["All"].deliveries.waiting > FLOOD - 200


@mailboxes
async def test_a_flood_of_requests_keeps_nothing_that_is_stored_and_no_time_waiting(
    mailbox: int, where: dict[str, Any], autojump_clock: Any
) -> None:
    all_ = Everything("http")

    async def insist(rt: Any) -> None:
        """Ask until there is room, and then again."""
        while True:
            try:
                await rt.request("All", 0, Request({}, b""), "0" * 32)
            except Overloaded:
                await trio.sleep(0.05)

    app = App([all_.step], mailbox=mailbox, shutdown_timeout=0, **where)
    async with open_runtime(app, observers=()) as rt, trio.open_nursery() as nursery:
        for _ in range(250):
            nursery.start_soon(insist, rt)
        await trio.sleep(10)
        assert all_.in_hand["http"] == 100
        refused = rt.tree()["All"].mailbox.refused
        await all_.see_that_others_begin_soon(rt)
        assert rt.tree()["All"].mailbox.refused > refused
        nursery.cancel_scope.cancel()


async def test_what_is_behind_the_flood_is_handled_too_and_everything_once(
    where: dict[str, Any], autojump_clock: Any
) -> None:
    all_ = Everything("queue")
    async with open_runtime(App([all_.step], mailbox=4, **where), observers=()) as rt:
        for number in range(200):
            await rt.enqueue("all", f"{number:04}")
            await rt.state.set("all", f"{number:04}", number)
            await rt.streams["all"].set("g", f"{number:04}", {"n": number})
        await rt.quiesce()
        assert rt.tree()["All"].deliveries.waiting == 0
        assert list(rt.dead_letters.list()) == []
    names = [f"{number:04}" for number in range(200)]
    assert {kind: sorted(got) for kind, got in all_.got.items()} == dict.fromkeys(
        ("queue", "state", "stream"), names
    )


async def test_each_kind_has_hands_of_its_own(where: dict[str, Any], autojump_clock: Any) -> None:
    all_ = Everything("queue", "state", "stream")
    async with open_runtime(App([all_.step], **where), observers=()) as rt:
        for number in range(50):
            for kind in all_.slow:
                await all_.cause(kind, rt, str(number))
        await rt.quiesce()
    assert all_.most_in_hand == {"queue": 10, "state": 10, "stream": 10}


async def test_a_mailbox_has_a_place_for_each_kind_however_small_it_is(
    autojump_clock: Any,
) -> None:
    steps = [Everything().step, _watcher([], queue("one"))]
    async with open_runtime(App(steps, mailbox=1), observers=()) as rt:
        tree = rt.tree()
        assert (tree["All"].mailbox.capacity, tree["Changing"].mailbox.capacity) == (5, 1)


# being opened again


@mailboxes
async def test_after_a_restart_with_everything_waiting_none_waits_for_the_flood(
    mailbox: int, on_disk: dict[str, Any], autojump_clock: Any
) -> None:
    all_ = Everything("queue")
    async with open_runtime(App([all_.step], **on_disk), observers=(), idle=True) as rt:
        async with trio.open_nursery() as nursery:
            for number in range(FLOOD):
                nursery.start_soon(rt.enqueue, "all", number)
        for number in range(30):
            await all_.cause("state", rt, str(number))
            await all_.cause("stream", rt, str(number))
    assert not all_.got
    at = trio.current_time()
    app = App([all_.step], mailbox=mailbox, shutdown_timeout=0, **on_disk)
    async with open_runtime(app, observers=()) as rt:
        await trio.sleep(SOON)
        for kind in ("state", "stream"):
            assert sorted(all_.got[kind], key=int) == [str(number) for number in range(30)]
            assert max(all_.began[kind]) < at + SOON
        assert all_.in_hand["queue"] == 10


async def test_what_waits_in_the_lanes_of_a_mailbox_goes_back_when_it_is_left(
    on_disk: dict[str, Any], autojump_clock: Any
) -> None:
    """Attempts that were cut short, and places in the mailbox, of all lanes: nothing is lost."""
    all_ = Everything("queue", "state", "stream")
    names = [str(number) for number in range(40)]
    app = App([all_.step], mailbox=20, shutdown_timeout=0.1, **on_disk)
    for _ in range(3):
        async with open_runtime(app, observers=()) as rt:
            if not all_.got:
                for name in names:
                    for kind in all_.slow:
                        await all_.cause(kind, rt, name)
            await trio.sleep(1)
            assert rt.tree()["All"].mailbox.used > 0
    all_.got.clear()
    async with open_runtime(app, observers=()) as rt:
        await rt.quiesce()
        assert list(rt.dead_letters.list()) == []
    assert {kind: sorted(got, key=int) for kind, got in all_.got.items()} == dict.fromkeys(
        all_.slow, names
    )


# order


@mailboxes
async def test_the_changes_of_one_key_come_in_their_order_whatever_floods_the_step(
    mailbox: int, where: dict[str, Any], autojump_clock: Any
) -> None:
    got: dict[tuple[str, str], list[int]] = defaultdict(list)
    tries: Counter[tuple[str, str, int]] = Counter()

    @step(
        queue("flood"),
        state(group_id="g"),
        stream("s"),
        name="Watch",
        infrastructure={"queue": {"backoffType": "fixed", "backoffDelayMs": 100}},
    )
    async def watch(input: Any, ctx: Any) -> None:
        if ctx.is_queue():
            await trio.sleep(SLOW)
            return
        kind = ctx.trigger.type
        key = input.item_id if kind == "state" else input.id
        number = input.new_value if kind == "state" else input.event.data.n
        await trio.sleep(number % 3 / 10)
        tries[kind, key, number] += 1
        if number % 7 == 3 and tries[kind, key, number] == 1:
            raise OSError("try again")
        got[kind, key].append(number)

    app = App([watch], mailbox=mailbox, shutdown_timeout=0, **where)
    async with open_runtime(app, observers=()) as rt:
        for number in range(100):
            await rt.enqueue("flood")
            for key in "abc":
                await rt.state.set("g", key, number)
                await rt.streams["s"].set("g", key, {"n": number})
        await trio.sleep(SLOW)
        assert rt.tree()["Watch"].deliveries.waiting
    assert got == {(kind, key): list(range(100)) for kind in ("state", "stream") for key in "abc"}


# steps that change


def _watcher(got: list[Any], *triggers: Any) -> Any:
    @step(*triggers, name="Changing")
    async def changing(input: Any, ctx: Any) -> None:
        got.append(ctx.trigger.type)

    return changing


async def _leave_behind(on_disk: dict[str, Any]) -> None:
    """Leave three deliveries of each stored kind, of a step that has all three."""
    changing = _watcher([], queue("all"), state(), stream("all"))
    async with open_runtime(App([changing], **on_disk), observers=(), idle=True) as rt:
        for number in range(3):
            await rt.enqueue("all", number)
            await rt.state.set("all", str(number), 1)
            await rt.streams["all"].set("all", str(number), {"n": 1})


@pytest.mark.parametrize(
    ("kept", "trigger"), [("queue", queue("all")), ("state", state()), ("stream", stream("all"))]
)
async def test_what_waits_for_a_kind_that_the_step_has_no_more_becomes_dead_letters_in_its_turn(
    kept: str, trigger: Any, on_disk: dict[str, Any], autojump_clock: Any
) -> None:
    await _leave_behind(on_disk)
    got: list[str] = []
    notebook = Notebook()
    app = App([_watcher(got, trigger)], mailbox=1, **on_disk)
    async with open_runtime(app, observers=[notebook]) as rt:
        await rt.quiesce()
        topics = {"queue": "all", "state": "(state)", "stream": "(stream)"}
        others = sorted(topics[kind] for kind in topics if kind != kept)
        letters = rt.dead_letters.list()
        assert Counter(letter.reason for letter in letters) == {
            f"the step has no trigger for {topic!r} any more": 3 for topic in others
        }
        assert got == [kept] * 3
        # and again, as long as it has none
        assert len(await rt.dead_letters.redrive([letter.id for letter in letters])) == 6
        await rt.quiesce()
        letters = rt.dead_letters.list()
        assert len(letters) == 6
    assert not notebook.of(AppWarned)
    everything = _watcher(got, stream("all"), queue("all"), state())
    async with open_runtime(App([everything], **on_disk), observers=()) as rt:
        await rt.dead_letters.redrive([letter.id for letter in letters])
        await rt.quiesce()
        assert list(rt.dead_letters.list()) == []
    assert Counter(got) == {"queue": 3, "state": 3, "stream": 3}


async def test_a_flood_of_what_was_left_of_a_kind_keeps_nothing_from_being_handled(
    on_disk: dict[str, Any], autojump_clock: Any
) -> None:
    """It comes in by a lane of another kind, and leaves it room."""
    async with open_runtime(App([_watcher([], state())], **on_disk), observers=(), idle=True) as rt:
        async with trio.open_nursery() as nursery:
            for number in range(FLOOD):
                nursery.start_soon(rt.state.set, "all", str(number), 1)
    got: list[str] = []
    app = App([_watcher(got, queue("all"), http("GET", "/all"))], mailbox=4, **on_disk)
    async with open_runtime(app, observers=()) as rt:
        await rt.enqueue("all")
        with trio.fail_after(SOON):
            await rt.quiesce()
        assert len(rt.dead_letters.list()) == FLOOD
    assert got == ["queue"]


async def test_what_is_stored_for_a_step_that_takes_nothing_stored_any_more_is_told_and_waits(
    on_disk: dict[str, Any],
) -> None:
    await _leave_behind(on_disk)
    got: list[str] = []
    notebook = Notebook()
    async with open_runtime(
        App([_watcher(got, http("GET", "/all"))], **on_disk), observers=[notebook]
    ) as rt:
        agenda, rounds = rt.store.agenda, 0

        def count(now: float) -> Any:
            nonlocal rounds
            rounds += 1
            return agenda(now)

        rt.store.agenda = count  # type: ignore[method-assign]
        with trio.fail_after(20):
            await rt.quiesce()  # nobody waits for what nobody will do
        await trio.sleep(0.2)
        assert rounds < 10  # nor looks for it all the time
        assert rt.tree()["Changing"].deliveries.waiting == 9
    (warned,) = notebook.of(AppWarned)
    assert warned.message == (
        "9 messages wait in the store for step 'Changing', which has no trigger for messages any "
        "more: they wait on until it has one"
    )
    everything = _watcher(got, stream("all"), queue("all"), state())
    async with open_runtime(App([everything], **on_disk), observers=()) as rt:
        await rt.quiesce()
    assert Counter(got) == {"queue": 3, "state": 3, "stream": 3}


# taking back


async def test_a_message_that_waits_in_its_lane_can_be_cancelled_and_the_others_stay(
    where: dict[str, Any], autojump_clock: Any
) -> None:
    all_ = Everything("queue", "state")
    async with open_runtime(App([all_.step], **where), observers=()) as rt:
        ids = [await rt.enqueue("all", str(number)) for number in range(80)]
        for number in range(20):
            await all_.cause("state", rt, str(number))
        await trio.sleep(1)
        assert [await rt.cancel(ids[at]) for at in (0, 15, 79)] == [0, 1, 1]
        await rt.quiesce()
    assert {*map(int, all_.got["queue"])} == {*range(80)} - {15, 79}
    assert sorted(map(int, all_.got["state"])) == list(range(20))
