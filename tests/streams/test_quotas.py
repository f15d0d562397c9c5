"""How much of something there may be: in all, and for each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motia_trio.streams.quotas import Quota


def test_there_is_so_much_in_all() -> None:
    quota = Quota(2)
    assert quota.take("a") is None
    assert quota.take("a") is None
    assert quota.take("b") == "2 in all"
    quota.give("a")
    assert quota.take("b") is None


def test_there_is_so_much_for_each() -> None:
    quota = Quota(10, each=1)
    assert quota.take("a") is None
    assert quota.take("a") == "1 for one address"
    assert quota.take("b") is None
    quota.give("a")
    assert quota.take("a") is None


@pytest.mark.parametrize("each", [0, None])
def test_none_may_be_had_where_there_is_none(each: int | None) -> None:
    assert Quota(0, each).take("a") == "0 in all"
    assert Quota(1, 0).take("a") == "0 for one address"


@given(
    st.integers(0, 6),
    st.none() | st.integers(0, 4),
    st.lists(st.tuples(st.booleans(), st.sampled_from("abc"))),
)
def test_what_is_out_is_what_was_taken_and_not_given_back(
    total: int, each: int | None, calls: list[tuple[bool, str]]
) -> None:
    quota = Quota(total, each)
    out = {"a": 0, "b": 0, "c": 0}
    for takes, who in calls:
        if takes:
            room = sum(out.values()) < total and (each is None or out[who] < each)
            assert (quota.take(who) is None) == room
            out[who] += room
        elif out[who]:
            quota.give(who)
            out[who] -= 1
        assert quota.out == sum(out.values())


def test_many_are_given_back_at_once_and_nothing_is_remembered_of_who_has_none() -> None:
    quota = Quota(1000, each=3)
    for number in range(300):
        for _ in range(3):
            assert quota.take(f"address {number}") is None
        quota.give(f"address {number}", 3)
    assert quota.out == 0
    assert not quota._by  # noqa: SLF001 - what would be a leak cannot be seen from outside
