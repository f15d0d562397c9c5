"""What is kept of groups for the next who joins."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from motia_trio.streams.rooms import Room, Shown


@given(st.lists(st.tuples(st.integers(0, 4), st.one_of(st.none(), st.integers(0, 60)))))
def test_what_is_kept_is_bounded_and_the_newest(does: list[tuple[int, int | None]]) -> None:
    shown, rooms = Shown(100), [Room() for _ in range(5)]
    order: list[int] = []
    for which, size in does:
        if which in order:
            order.remove(which)
        if size is None:
            shown.drop(rooms[which])
        else:
            shown.keep(rooms[which], b"x" * size, which)
            order.append(which)
        kept = [number for number, room in enumerate(rooms) if room.data_seq >= 0]
        assert shown.bytes == sum(len(room.data) for room in rooms) <= 100
        assert set(kept) <= set(order)
        order = [number for number in order if number in kept]


def test_a_group_that_is_larger_than_all_that_may_be_kept_is_not_kept() -> None:
    shown, room = Shown(100), Room()
    shown.keep(room, b"x" * 101, 7)
    assert (shown.bytes, room.data, room.data_seq) == (0, b"", -1)
