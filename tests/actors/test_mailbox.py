"""A bounded mailbox with lanes."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from motia_trio.actors import Lane, Mailbox


def mailbox(capacity: int = 10, **lanes: tuple[int, ...]) -> Mailbox[Any]:
    """A mailbox with lanes given as ``name=(limit, share)``, or ``(limit, share, kept)``.

    One wide lane ``a`` without any.
    """
    return Mailbox(capacity, {n: Lane(*of) for n, of in (lanes or {"a": (99, 99)}).items()})


async def test_entries_of_a_lane_come_out_in_the_order_they_went_in() -> None:
    box = mailbox()
    for item in "xyz":
        assert box.offer("a", item)
    assert [box.take() for _ in range(4)] == [("a", "x"), ("a", "y"), ("a", "z"), None]


async def test_a_full_mailbox_refuses_and_counts_what_it_refused() -> None:
    box = mailbox(2)
    assert [box.offer("a", n) for n in range(4)] == [True, True, False, False]
    statistics = box.statistics()
    assert (statistics.used, statistics.received, statistics.refused) == (2, 2, 2)


async def test_a_lane_that_has_its_share_leaves_room_for_the_others() -> None:
    box = mailbox(4, a=(9, 2), b=(9, 4))
    assert [box.offer("a", n) for n in range(3)] == [True, True, False]
    assert (box.room("a"), box.room("b")) == (0, 2)
    assert box.offer("b", 0)


async def test_places_that_are_kept_for_a_lane_are_left_free_by_the_others() -> None:
    box = mailbox(5, a=(9, 9, 1), b=(9, 9, 2), c=(9, 9))
    assert (box.room("a"), box.room("b"), box.room("c")) == (3, 4, 2)
    assert [box.reserve("c") for _ in range(3)] == [True, True, False]
    assert (box.room("a"), box.room("b"), box.room("c")) == (1, 2, 0)
    assert [box.offer("b", n) for n in range(3)] == [True, True, False]
    assert [box.offer("a", n) for n in range(2)] == [True, False]
    assert box.take() is not None
    assert [(name, box.used(name)) for name in "abc"] in (
        [("a", 0), ("b", 2), ("c", 2)], [("a", 1), ("b", 1), ("c", 2)],
    )  # fmt: skip
    assert not box.offer("c", 0), "it was taken out of a place that is kept"
    box.free("c")
    assert box.reserve("c")


async def test_a_lane_that_has_more_than_is_kept_for_it_keeps_nobody_out() -> None:
    box = mailbox(4, a=(9, 9, 1), b=(9, 9, 1))
    assert [box.offer("a", n) for n in range(4)] == [True, True, True, False]
    assert (box.room("a"), box.room("b")) == (0, 1)
    box.take()
    assert (box.room("a"), box.room("b")) == (1, 2)


async def test_a_lane_at_its_limit_waits_while_others_are_served() -> None:
    box = mailbox(10, a=(1, 9), b=(2, 9))
    for n in range(3):
        box.offer("a", n)
        box.offer("b", n)
    assert sorted(taken[0] for _ in range(6) if (taken := box.take())) == ["a", "b", "b"]
    assert not box.takeable()
    box.done("a")
    assert box.take() == ("a", 1)


async def test_lanes_are_served_in_turn() -> None:
    box = mailbox(30, a=(99, 99), b=(99, 99), c=(99, 99))
    for lane in "abc":
        for n in range(3):
            box.offer(lane, n)
    lanes = [taken[0] for _ in range(9) if (taken := box.take())]
    assert [set(lanes[at : at + 3]) for at in (0, 3, 6)] == [set("abc")] * 3


async def test_only_bounds_what_is_in_hand_over_all_lanes() -> None:
    box = mailbox(10, a=(9, 9), b=(9, 9))
    box.offer("a", 1)
    box.offer("b", 1)
    assert box.take(only=1) is not None
    assert box.take(only=1) is None
    assert box.take(only=2) is not None


async def test_a_place_can_be_kept_and_filled_or_given_back() -> None:
    box = mailbox(2)
    assert box.reserve("a")
    assert box.reserve("a")
    assert not box.reserve("a")
    assert not box.offer("a", "late")
    assert box.take() is None
    box.fill("a", "kept")
    box.free("a")
    assert box.room("a") == 1
    assert box.take() == ("a", "kept")


async def test_an_entry_is_told_unless_its_lane_is_at_its_limit() -> None:
    told: list[int] = []
    box = mailbox(10, a=(1, 9))
    box.on_entry = lambda: told.append(1)
    box.offer("a", 1)
    box.take()
    box.offer("a", 2)
    assert len(told) == 1
    box.done("a")
    box.offer("a", 3)
    assert len(told) == 2


async def test_draining_gives_all_that_waits_and_keeps_what_is_in_hand_and_reserved() -> None:
    box = mailbox(10, a=(9, 9), b=(9, 9))
    for n in range(3):
        box.offer("a", n)
    box.offer("b", 9)
    box.take()
    box.reserve("b")
    left = box.waiting()
    assert len(left) == 3
    assert box.drain() == left
    assert (box.in_hand, box.statistics().used, box.waiting()) == (1, 0, [])
    assert box.room("b") == 8  # the one that is reserved has its place


async def test_some_lanes_can_be_drained_and_the_others_left() -> None:
    box = mailbox(10, a=(9, 9), b=(9, 9), c=(9, 9))
    for lane in "abc":
        box.offer(lane, lane)
    assert box.drain("a", "c") == ["a", "c"]
    assert box.waiting() == ["b"]


async def test_the_oldest_age_is_that_of_the_entry_that_waits_longest(
    autojump_clock: MockClock,
) -> None:
    box = mailbox(10, a=(9, 9), b=(9, 9))
    assert box.statistics().oldest_age == 0
    box.offer("b", 1)
    await trio.sleep(5)
    box.offer("a", 1)
    await trio.sleep(2)
    assert box.statistics().oldest_age == 7
    box.take()
    box.take()
    assert box.statistics().oldest_age == 0


async def test_the_peak_stays() -> None:
    box = mailbox(5)
    for n in range(3):
        box.offer("a", n)
    box.drain()
    box.offer("a", 1)
    assert (box.statistics().peak, box.statistics().used, box.statistics().capacity) == (3, 1, 5)


async def test_lanes_can_be_asked_for() -> None:
    box = mailbox(5, a=(1, 2))
    assert (box.has("a"), box.has("b"), box.share("a")) == (True, False, 2)


# priority


def put(box: Mailbox[Any], *entries: tuple[Any, int], lane: str = "a") -> None:
    """Put entries in, each with its priority."""
    for item, priority in entries:
        assert box.reserve(lane)
        box.fill(lane, item, priority)


async def test_an_entry_goes_before_those_of_lower_priority_and_behind_its_equals() -> None:
    box = mailbox(20)
    put(box, ("a", 0), ("b", -10), ("c", 10), ("d", 0), ("e", 10), ("f", 3), ("g", -10))
    order = "cefadbg"
    assert box.waiting() == list(order)
    assert [box.take() for _ in order] == [("a", item) for item in order]


async def test_what_is_offered_has_the_priority_of_nothing_in_particular() -> None:
    box = mailbox()
    put(box, ("low", -1), ("high", 1))
    box.offer("a", "plain")
    assert box.waiting() == ["high", "plain", "low"]


async def test_priority_counts_within_a_lane_alone() -> None:
    """The other lanes have their turn."""
    box = mailbox(10, a=(9, 9), b=(9, 9))
    put(box, ("low", -10), lane="a")
    put(box, *((f"high {n}", 10) for n in range(3)), lane="b")
    assert [taken[1] for _ in range(4) if (taken := box.take())] == [
        "low", "high 0", "high 1", "high 2",
    ]  # fmt: skip


async def test_an_entry_of_high_priority_is_as_old_as_it_is(autojump_clock: MockClock) -> None:
    """The oldest age is not that of the first in the row."""
    box = mailbox()
    put(box, ("old", 0))
    await trio.sleep(5)
    put(box, ("new", 10))
    await trio.sleep(1)
    assert box.statistics().oldest_age == 6
    assert box.take() == ("a", "new")
    assert box.statistics().oldest_age == 6


# taking out what waits


async def test_what_fits_is_withdrawn_and_its_places_are_free() -> None:
    box = mailbox(6, a=(9, 9), b=(9, 9))
    for n in range(5):
        box.offer("a", n)
    box.offer("b", 0)
    assert not box.offer("a", 5)
    assert box.withdraw("a", lambda n: n % 2 == 0) == [0, 2, 4]
    assert box.waiting() == [1, 3, 0]
    assert (box.room("a"), box.room("b"), box.statistics().used) == (3, 3, 3)
    assert box.withdraw("a", lambda n: n % 2 == 0) == []
    assert box.room("a") == 3


async def test_what_is_in_hand_or_reserved_is_not_withdrawn() -> None:
    box = mailbox(3)
    box.offer("a", 1)
    box.offer("a", 2)
    assert box.take() == ("a", 1)
    assert box.reserve("a")
    assert box.withdraw("a", lambda _: True) == [2]
    assert (box.in_hand, box.room("a")) == (1, 2)
    box.fill("a", 3)
    assert box.take() == ("a", 3)


async def test_what_stays_keeps_its_order_its_priority_and_its_age(
    autojump_clock: MockClock,
) -> None:
    box = mailbox()
    put(box, ("a", 0), ("b", 5), ("c", 0), ("d", -5))
    await trio.sleep(3)
    assert box.withdraw("a", lambda item: item == "a") == ["a"]
    assert box.statistics().oldest_age == 3
    put(box, ("e", 0))
    assert box.waiting() == ["b", "c", "e", "d"]


async def test_a_lane_that_is_not_there_has_nothing_to_be_withdrawn_from() -> None:
    box = mailbox(3, a=(1, 1))
    with pytest.raises(KeyError):
        box.withdraw("b", lambda _: True)


@pytest.mark.parametrize("capacity", [0, -1])
def test_a_mailbox_without_room_is_refused(capacity: int) -> None:
    with pytest.raises(ValueError, match=f"at least 1 entry, not {capacity}"):
        mailbox(capacity)


def test_a_lane_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="limit"):
        Lane(limit=0, share=1)
    with pytest.raises(ValueError, match="share"):
        Lane(limit=1, share=0)
    with pytest.raises(ValueError, match="kept"):
        Lane(limit=1, share=1, kept=-1)


def test_more_kept_places_than_there_are_are_refused() -> None:
    with pytest.raises(ValueError, match="4 places are kept for lanes of a mailbox that has 3"):
        mailbox(3, a=(1, 1, 2), b=(1, 1, 2))


# the laws, after any run of operations

LANES = st.dictionaries(
    st.sampled_from("abc"),
    st.builds(Lane, st.integers(1, 3), st.integers(1, 4), st.integers(0, 2)),
    min_size=1,
    max_size=3,
)
OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from([
            "offer", "offer", "reserve", "reserve", "fill", "fill", "free", "take", "take", "done",
            "drain", "withdraw",
        ]),
        st.integers(0, 2),
        st.integers(-2, 2),
    ),
    max_size=60,
)  # fmt: skip


class Plain:
    """What a mailbox should hold: lists of entries, and numbers."""

    def __init__(self, capacity: int, lanes: dict[str, Lane]) -> None:
        self.capacity = capacity
        self.lanes = lanes
        self.waiting: dict[str, list[int]] = {name: [] for name in lanes}
        self.priorities: dict[int, int] = {}
        self.reserved = dict.fromkeys(lanes, 0)
        self.in_hand = dict.fromkeys(lanes, 0)
        self.received = self.refused = self.peak = 0

    @property
    def used(self) -> int:
        return sum(map(len, self.waiting.values())) + sum(self.reserved.values())

    def room(self, lane: str) -> int:
        used = {name: len(self.waiting[name]) + self.reserved[name] for name in self.lanes}
        kept = sum(
            max(0, other.kept - used[name]) for name, other in self.lanes.items() if name != lane
        )
        free = self.capacity - self.used - kept
        return max(0, min(free, self.lanes[lane].share - used[lane]))

    def put(self, lane: str, item: int, priority: int) -> None:
        self.priorities[item] = priority
        self.waiting[lane].append(item)
        self.waiting[lane].sort(key=lambda each: (-self.priorities[each], each))

    @property
    def everything(self) -> list[int]:
        return [each for items in self.waiting.values() for each in items]

    def takeable(self) -> set[str]:
        return {n for n in self.lanes if self.waiting[n] and self.in_hand[n] < self.lanes[n].limit}


def step(
    box: Mailbox[int], plain: Plain, operation: str, lane: str, item: int, priority: int
) -> None:
    """Do one operation to both, and check what it gives."""
    room = plain.room(lane)
    match operation:
        case "offer":
            assert box.offer(lane, item) is (room > 0)
            if room:
                plain.put(lane, item, 0)
            plain.received += room > 0
            plain.refused += room == 0
        case "reserve":
            assert box.reserve(lane) is (room > 0)
            plain.reserved[lane] += room > 0
        case "fill" if plain.reserved[lane]:
            box.fill(lane, item, priority)
            plain.reserved[lane] -= 1
            plain.put(lane, item, priority)
            plain.received += 1
        case "free" if plain.reserved[lane]:
            box.free(lane)
            plain.reserved[lane] -= 1
        case "take":
            ready = plain.takeable()
            if (taken := box.take()) is None:
                assert not ready
            else:
                assert taken[0] in ready
                assert taken[1] == plain.waiting[taken[0]].pop(0)
                plain.in_hand[taken[0]] += 1
        case "done" if plain.in_hand[lane]:
            box.done(lane)
            plain.in_hand[lane] -= 1
        case "withdraw":
            found = [each for each in plain.waiting[lane] if each % 3 == priority]
            assert box.withdraw(lane, lambda each: each % 3 == priority) == found
            plain.waiting[lane] = [each for each in plain.waiting[lane] if each not in found]
        case "drain":
            assert box.drain() == plain.everything
            for items in plain.waiting.values():
                items.clear()
    plain.peak = max(plain.peak, len(plain.everything))


@settings(deadline=None)
@given(st.integers(1, 6), LANES, OPERATIONS)
def test_any_run_of_operations_keeps_the_laws(
    capacity: int, lanes: dict[str, Lane], operations: list[tuple[str, int, int]]
) -> None:
    capacity = max(capacity, sum(lane.kept for lane in lanes.values()))

    async def main() -> None:
        box, plain = Mailbox[int](capacity, lanes), Plain(capacity, lanes)
        names = list(lanes)
        for item, (operation, which, priority) in enumerate(operations):
            step(box, plain, operation, names[which % len(names)], item, priority)
            statistics = box.statistics()
            assert statistics.used == len(plain.everything) <= plain.used <= capacity
            assert (statistics.received, statistics.refused) == (plain.received, plain.refused)
            assert statistics.peak == plain.peak
            assert box.in_hand == sum(plain.in_hand.values())
            assert box.takeable() == bool(plain.takeable())
            assert box.waiting() == plain.everything
            for name, lane in lanes.items():
                assert box.room(name) == plain.room(name)
                assert box.used(name) == len(plain.waiting[name]) + plain.reserved[name]
                assert box.room(name) >= min(lane.kept, lane.share) - box.used(name)
                assert len(plain.waiting[name]) + plain.reserved[name] <= lane.share
                assert plain.in_hand[name] <= lane.limit

    trio.run(main, clock=MockClock())
