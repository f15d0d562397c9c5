"""Ids of messages sort as they were given, and fit what a file can hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motia_trio.store.ids import FAN_BITS, MessageIds, delivery_id

LATEST = 8_000_000_000.0  # in the year 2223


@given(st.lists(st.floats(0, LATEST)), st.integers(0, 2**50))
def test_ids_grow_whatever_the_clock_does(times: list[float], last: int) -> None:
    ids = MessageIds(last)
    given = [ids.next(now) for now in times]
    assert given == sorted(set(given))
    assert all(len(each) == 14 and int(each, 16) > last for each in given)


def test_an_id_says_when_it_was_given() -> None:
    assert int(MessageIds().next(1234.567), 16) >> 8 == 1_234_567


def test_ids_run_ahead_of_a_clock_that_stands_still() -> None:
    ids = MessageIds()
    first = int(ids.next(1.0), 16)
    assert [int(ids.next(1.0), 16) for _ in range(1000)] == [first + n for n in range(1, 1001)]


def test_ids_of_deliveries_sort_as_their_messages_and_fit_63_bits() -> None:
    number = int(MessageIds().next(LATEST), 16)
    most = (1 << FAN_BITS) - 2
    ids = [delivery_id(number, 0), delivery_id(number, most), delivery_id(number + 1, 0)]
    assert ids == sorted(set(ids))
    assert ids[-1] < 2**63
    assert {each >> FAN_BITS for each in ids[:2]} == {number}
    with pytest.raises(ValueError, match="a message goes to 4095 steps at the most"):
        delivery_id(number, most + 1)
