"""The tasks that work off one mailbox."""

from __future__ import annotations

import contextvars
import itertools
from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from motia_trio.actors import Crew, Hand, Lane, Mailbox, drive
from motia_trio.actors.crew import KEEP_IDLE
from motia_trio.actors.placement import PATIENCE
from motia_trio.errors import HandlerIgnoredCancel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

publisher = contextvars.ContextVar("publisher", default="nobody")


class Shop:
    """A crew whose work is to wait for as many seconds as the entry says."""

    def __init__(
        self, limits: dict[str, int], work: Callable[[Hand, Any], Awaitable[None]] | None = None
    ) -> None:
        lanes = {name: Lane(limit, 1000) for name, limit in limits.items()}
        self.mailbox = Mailbox[Any](1000, lanes)
        self.crew = Crew[Any](self.mailbox, work or self.work)
        self.done: list[Any] = []
        self.now = dict.fromkeys(lanes, 0)
        self.most = dict.fromkeys(lanes, 0)
        self.most_at_all = 0
        self.hands: set[int] = set()

    def offer(self, lane: str, seconds: float) -> None:
        assert self.mailbox.offer(lane, (lane, seconds))

    async def work(self, hand: Hand, entry: tuple[str, float]) -> None:
        lane, seconds = entry
        self.hands.add(id(trio.lowlevel.current_task()))
        self.now[lane] += 1
        self.most[lane] = max(self.most[lane], self.now[lane])
        self.most_at_all = max(self.most_at_all, sum(self.now.values()))
        if seconds:
            await trio.sleep(seconds)
        self.now[lane] -= 1
        self.done.append(seconds)


async def test_entries_that_came_before_the_start_are_worked_off(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    shop = Shop({"a": 1})
    for n in range(3):
        shop.offer("a", n)
    shop.crew.start(nursery)
    await trio.sleep(10)
    assert shop.done == [0, 1, 2]


async def test_a_burst_that_one_hand_can_clear_is_cleared_by_one_hand(
    nursery: trio.Nursery,
) -> None:
    shop = Shop({"a": 10})
    shop.crew.start(nursery)
    for _ in range(30):
        shop.offer("a", 0)
    await wait_all_tasks_blocked()
    assert len(shop.done) == 30
    assert len(shop.hands) == 1


async def test_a_burst_of_work_that_waits_gets_as_many_hands_as_its_lane_allows(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    shop = Shop({"a": 4})
    shop.crew.start(nursery)
    for _ in range(12):
        shop.offer("a", 2)
    await trio.sleep(5)
    assert len(shop.done) == 8
    await trio.sleep(2)
    assert len(shop.done) == 12
    assert shop.most == {"a": 4}


async def test_each_lane_has_its_own_limit(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    shop = Shop({"a": 1, "b": 3})
    shop.crew.start(nursery)
    for _ in range(6):
        shop.offer("a", 1)
        shop.offer("b", 1)
    await trio.sleep(20)
    assert shop.most == {"a": 1, "b": 3}
    assert len(shop.done) == 12


async def test_a_lane_that_is_held_up_does_not_hold_up_another(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    shop = Shop({"a": 1, "b": 1})
    shop.crew.start(nursery)
    for seconds in (1000, 0, 0):
        shop.offer("a", seconds)
    for _ in range(3):
        shop.offer("b", 2)
    await trio.sleep(10)
    assert shop.done == [2, 2, 2]


async def test_a_hand_that_never_waits_lets_others_run(nursery: trio.Nursery) -> None:
    shop = Shop({"a": 1})
    turns: list[int] = []

    async def other() -> None:
        while len(shop.done) < 500:
            turns.append(len(shop.done))
            await trio.lowlevel.checkpoint()

    for _ in range(500):
        shop.offer("a", 0)
    shop.crew.start(nursery)
    await other()
    assert len(turns) >= 7
    assert max(b - a for a, b in itertools.pairwise(turns)) <= 64


async def test_hands_that_are_not_needed_go_home(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    shop = Shop({"a": 50})
    shop.crew.start(nursery)
    for _ in range(50):
        shop.offer("a", 1)
    await trio.sleep(5)
    assert len(shop.hands) == 50
    assert len(nursery.child_tasks) == KEEP_IDLE


# who summons whom


@pytest.mark.parametrize(
    ("entries", "hands"),
    [
        ([0, 0, 0, 0], 1),
        ([0, 0, 5, 0, 0], 2),
        ([5, 0, 0, 0], 2),
        ([0, 0, 0, 5], 1),
        ([5, 0, 5, 0, 5, 0], 4),
        ([5, 5, 5], 3),
    ],
)
async def test_a_hand_summons_another_when_it_is_about_to_wait_and_more_is_there(
    autojump_clock: MockClock, nursery: trio.Nursery, entries: list[float], hands: int
) -> None:
    """So there are as many hands as wait, and one for the rest, if there is a rest."""
    shop = Shop({"a": 10})
    shop.crew.start(nursery)
    for seconds in entries:
        shop.offer("a", seconds)
    await trio.sleep(1)
    assert len(shop.done) == entries.count(0)
    await trio.sleep(10)
    assert sorted(shop.done) == sorted(entries)
    assert len(shop.hands) == hands


async def test_a_burst_wakes_one_of_the_idle_hands_and_not_all(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    shop = Shop({"a": 10})
    shop.crew.start(nursery)
    for _ in range(5):
        shop.offer("a", 1)
    await trio.sleep(2)
    assert len(shop.hands) == 5
    for _ in range(3):
        shop.hands.clear()
        for _ in range(20):
            shop.offer("a", 0)
        await wait_all_tasks_blocked()
        assert len(shop.hands) == 1
    assert len(shop.done) == 65


async def test_work_that_waits_often_summons_another_at_its_first_wait_alone(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """What comes while it waits summons by itself."""
    begun: list[tuple[str, float]] = []

    async def work(hand: Hand, name: str) -> None:
        begun.append((name, trio.current_time()))
        for _ in range(10):
            await trio.sleep(1)

    shop = Shop({"a": 10}, work)
    shop.crew.start(nursery)
    began = trio.current_time()
    shop.mailbox.offer("a", "first")
    await trio.sleep(2.5)
    assert len(nursery.child_tasks) == 1
    shop.mailbox.offer("a", "second")
    shop.mailbox.offer("a", "third")
    await trio.sleep(1)
    assert [(name, at - began) for name, at in begun] == [
        ("first", 0), ("second", 2.5), ("third", 2.5),
    ]  # fmt: skip
    assert len(nursery.child_tasks) == 3


async def test_a_hand_that_comes_for_what_another_has_taken_meanwhile_is_there_for_the_next(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """Nobody is thought to be on the way for ever."""
    gate = trio.Event()
    done: list[str] = []

    async def work(hand: Hand, name: str) -> None:
        if name == "waits":
            await gate.wait()
        done.append(name)

    shop = Shop({"a": 10}, work)
    shop.crew.start(nursery)
    shop.mailbox.offer("a", "waits")
    shop.mailbox.offer("a", "first")
    await trio.sleep(1)
    assert done == ["first"]  # and its hand is idle now
    for _ in range(5):  # whichever of both hands is first
        gate.set()
        shop.mailbox.offer("a", "taken")
        await trio.sleep(1)
        gate = trio.Event()
        shop.mailbox.offer("a", "waits")
        await trio.sleep(1)
        shop.mailbox.offer("a", "next")
        await trio.sleep(1)
        assert done[-1] == "next"
    gate.set()
    await trio.sleep(1)
    assert shop.mailbox.in_hand == len(shop.mailbox.waiting()) == 0


async def test_work_that_cannot_be_taken_summons_nobody(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """Of a lane at its limit, or over the bound of a probe."""
    shop = Shop({"a": 1, "b": 5})
    shop.crew.start(nursery)
    for _ in range(3):
        shop.offer("a", 1)
    await trio.sleep(0.5)
    assert len(nursery.child_tasks) == 1
    shop.crew.let(1)
    shop.offer("b", 1)
    await trio.sleep(0.1)
    assert len(nursery.child_tasks) == 1
    shop.crew.let(None)
    await trio.sleep(0.1)
    assert len(nursery.child_tasks) == 2
    await trio.sleep(5)
    assert len(shop.done) == 4
    assert shop.most == {"a": 1, "b": 1}


# one at a time: a probe


async def test_only_one_entry_is_let_in_until_the_bound_is_lifted(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    shop = Shop({"a": 3, "b": 3})
    shop.crew.let(1)
    shop.crew.start(nursery)
    for _ in range(3):
        shop.offer("a", 2)
        shop.offer("b", 2)
    await trio.sleep(3)
    assert (shop.most_at_all, len(shop.done)) == (1, 1)
    shop.crew.let(None)
    await trio.sleep(10)
    assert len(shop.done) == 6
    assert shop.most_at_all > 1


# the bound on one piece of work


async def test_a_hand_whose_bound_was_hit_is_as_good_as_new(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    told: list[tuple[str, bool, float]] = []

    async def work(hand: Hand, item: tuple[str, float]) -> None:
        name, seconds = item
        hand.bind(trio.current_time() + 5)
        hand.arm()
        try:
            await trio.sleep(seconds)
        except trio.Cancelled:
            pass
        hit = hand.unbind()
        with trio.CancelScope(shield=True):
            await trio.sleep(1)  # to settle takes its time
        told.append((name, hit, trio.current_time()))

    shop = Shop({"a": 1}, work)
    shop.crew.start(nursery)
    for item in (("quick", 1), ("slow", 50), ("just", 4), ("slow again", 6), ("last", 1)):
        shop.mailbox.offer("a", item)
    began = trio.current_time()
    await trio.sleep(100)
    assert [(name, hit, at - began) for name, hit, at in told] == [
        ("quick", False, 2),
        ("slow", True, 8),
        ("just", False, 13),
        ("slow again", True, 19),
        ("last", False, 21),
    ]


async def test_a_bound_that_is_not_armed_does_not_count(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    hits: list[bool] = []

    async def work(hand: Hand, seconds: float) -> None:
        hand.bind(trio.current_time() + 1)
        await trio.sleep(seconds)
        hits.append(hand.unbind())

    shop = Shop({"a": 1}, work)
    shop.crew.start(nursery)
    shop.mailbox.offer("a", 5)
    await trio.sleep(10)
    assert hits == [False]


async def test_a_bound_ends_one_hand_and_no_other(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    ended: list[tuple[float, bool]] = []

    async def work(hand: Hand, bound: float) -> None:
        hand.bind(trio.current_time() + bound)
        hand.arm()
        with trio.move_on_after(10):
            try:
                await trio.sleep_forever()
            finally:
                ended.append((bound, hand.unbind()))

    shop = Shop({"a": 3}, work)
    shop.crew.start(nursery)
    for bound in (3, 20, 4):
        shop.mailbox.offer("a", bound)
    await trio.sleep(30)
    assert ended == [(3, True), (4, True), (20, False)]
    assert shop.mailbox.in_hand == 0


# stopping


async def test_a_stop_lets_hands_finish_and_takes_nothing_more(autojump_clock: MockClock) -> None:
    shop = Shop({"a": 2})
    async with trio.open_nursery() as nursery:
        shop.crew.start(nursery)
        for _ in range(5):
            shop.offer("a", 4)
        await trio.sleep(1)
        shop.crew.stop()
        shop.offer("a", 4)
    assert trio.current_effective_deadline() == float("inf")
    assert shop.done == [4, 4]
    assert shop.mailbox.waiting() == [("a", 4)] * 4


async def test_a_stop_sends_idle_hands_home(autojump_clock: MockClock) -> None:
    shop = Shop({"a": 2})
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            shop.crew.start(nursery)
            shop.offer("a", 1)
            await trio.sleep(2)
            assert len(nursery.child_tasks) == 1
            shop.crew.stop()


async def test_a_cancellation_ends_hands_at_work_and_idle_ones(autojump_clock: MockClock) -> None:
    shop = Shop({"a": 3})
    async with trio.open_nursery() as nursery:
        shop.crew.start(nursery)
        for seconds in (0, 1000, 1000):
            shop.offer("a", seconds)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert shop.done == [0]
    assert shop.mailbox.in_hand == 0


async def test_what_the_work_raises_ends_the_crew_and_leaves_the_lane_free(
    autojump_clock: MockClock,
) -> None:
    async def work(hand: Hand, item: int) -> None:
        await trio.sleep(1)
        raise LookupError(item)

    shop = Shop({"a": 1}, work)
    with pytest.raises(ExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            shop.crew.start(nursery)
            shop.mailbox.offer("a", 17)
            shop.mailbox.offer("a", 18)
    (error,) = caught.value.exceptions
    assert (type(error), error.args) == (LookupError, (17,))
    assert shop.mailbox.in_hand == 0
    assert shop.mailbox.waiting() == [18]


async def swallow_in_a_scope() -> None:
    with trio.move_on_after(1000):
        for _ in range(3 * PATIENCE):
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                pass


async def test_a_crash_tells_why_though_a_coroutine_was_left_inside_a_scope_of_its_own(
    autojump_clock: MockClock,
) -> None:
    async def work(hand: Hand, item: int) -> None:
        hand.bind(trio.current_time() + 5)
        hand.arm()
        await drive(swallow_in_a_scope())

    shop = Shop({"a": 1}, work)
    with pytest.raises(ExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            shop.crew.start(nursery)
            shop.mailbox.offer("a", 17)
    (error,) = caught.value.exceptions
    assert type(error) is HandlerIgnoredCancel


# context variables


async def test_hands_work_in_the_context_of_the_start_and_not_of_who_published(
    nursery: trio.Nursery,
) -> None:
    seen: list[str] = []

    async def work(hand: Hand, item: int) -> None:
        seen.append(publisher.get())
        await trio.lowlevel.checkpoint()

    async def publish(name: str) -> None:
        publisher.set(name)
        shop.mailbox.offer("a", 1)
        await trio.lowlevel.checkpoint()

    shop = Shop({"a": 3}, work)
    publisher.set("starter")
    shop.crew.start(nursery)
    publisher.set("test")
    async with trio.open_nursery() as publishers:
        for name in ("first", "second", "third"):
            publishers.start_soon(publish, name)
    await wait_all_tasks_blocked()
    assert seen == ["starter"] * 3


# the law


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from("abc"), st.integers(1, 3), min_size=1),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 3)), max_size=30),
    st.none() | st.integers(1, 3),
)
def test_everything_is_done_once_and_no_limit_is_ever_passed(
    limits: dict[str, int], entries: list[tuple[int, int, int]], only: int | None
) -> None:
    async def main() -> None:
        shop = Shop(limits)
        shop.crew.let(only)
        names = list(limits)
        async with trio.open_nursery() as nursery:
            shop.crew.start(nursery)
            for which, seconds, pause in entries:
                if pause:
                    await trio.sleep(pause / 2)
                shop.offer(names[which % len(names)], seconds)
            await trio.sleep(1000)
            shop.crew.stop()
        assert sorted(shop.done) == sorted(seconds for _, seconds, _ in entries)
        assert shop.mailbox.in_hand == 0
        assert all(shop.most[name] <= limit for name, limit in limits.items())
        assert only is None or shop.most_at_all <= only

    trio.run(main, clock=MockClock(autojump_threshold=0))
