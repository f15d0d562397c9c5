"""The place where one task waits for one answer."""

from __future__ import annotations

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from motia_trio.actors import Reply


async def test_an_answer_that_is_there_is_given_at_once() -> None:
    reply = Reply[int]()
    assert not reply.given
    assert reply.set(5)
    assert reply.given
    assert await reply.wait() == 5


async def test_an_answer_wakes_who_waits(nursery: trio.Nursery) -> None:
    reply = Reply[int]()
    got: list[int] = []

    async def wait() -> None:
        with assert_checkpoints():
            got.append(await reply.wait())

    nursery.start_soon(wait)
    await wait_all_tasks_blocked()
    assert got == []
    reply.set(5)
    await wait_all_tasks_blocked()
    assert got == [5]


async def test_an_error_is_raised_where_the_answer_is_awaited() -> None:
    reply = Reply[int]()
    reply.fail(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        await reply.wait()


async def test_the_first_answer_counts_and_later_ones_are_told_so() -> None:
    reply = Reply[int]()
    assert reply.set(1)
    assert not reply.set(2)
    assert not reply.fail(ValueError("late"))
    assert await reply.wait() == 1


async def test_nobody_needs_to_wait_any_more(autojump_clock: trio.testing.MockClock) -> None:
    reply = Reply[int]()
    with trio.move_on_after(1) as scope:
        await reply.wait()
    assert scope.cancelled_caught
    assert reply.set(5)
    assert await reply.wait() == 5


async def test_an_answer_and_a_cancellation_at_once_lose_nothing(nursery: trio.Nursery) -> None:
    reply = Reply[int]()
    got: list[int] = []
    scope = trio.CancelScope()

    async def wait() -> None:
        with scope:
            got.append(await reply.wait())

    nursery.start_soon(wait)
    await wait_all_tasks_blocked()
    reply.set(5)
    scope.cancel()
    await wait_all_tasks_blocked()
    assert got == [5]
