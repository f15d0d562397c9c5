"""Where a function runs, and what it cannot do to the task that runs it."""

from __future__ import annotations

import contextvars
import threading
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from motia_trio.actors import drive, in_thread
from motia_trio.actors.placement import PATIENCE
from motia_trio.errors import HandlerIgnoredCancel

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

variable = contextvars.ContextVar("variable", default="unset")


async def test_what_a_coroutine_returns_is_given(autojump_clock: MockClock) -> None:
    async def work() -> int:
        await trio.sleep(3)
        await trio.lowlevel.checkpoint()
        return 17

    began = trio.current_time()
    assert await drive(work()) == 17
    assert trio.current_time() - began == 3


async def test_what_a_coroutine_raises_passes_with_its_traceback(autojump_clock: MockClock) -> None:
    async def work() -> None:
        await trio.sleep(1)
        raise LookupError("x")

    with pytest.raises(LookupError) as caught:
        await drive(work())
    assert caught.traceback[-1].name == "work"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, StopAsyncIteration])
async def test_errors_that_are_not_plain_exceptions_pass(
    autojump_clock: MockClock, kind: type[BaseException]
) -> None:
    async def work() -> None:
        await trio.sleep(1)
        raise kind

    with pytest.raises(kind):
        await drive(work())


async def test_what_a_wait_raises_is_raised_in_the_coroutine(autojump_clock: MockClock) -> None:
    async def work() -> str:
        event = trio.Event()
        try:
            with trio.fail_after(1):
                await event.wait()
        except trio.TooSlowError:
            return "too slow"
        return "set"

    assert await drive(work()) == "too slow"


async def test_context_variables_do_not_leak_in_or_out(autojump_clock: MockClock) -> None:
    variable.set("outside")
    seen: list[str] = []

    async def work() -> None:
        seen.append(variable.get())
        variable.set("inside")
        await trio.sleep(1)
        seen.append(variable.get())

    await drive(work())
    assert seen == ["outside", "inside"]
    assert variable.get() == "outside"


async def test_coroutines_that_run_side_by_side_have_their_own_variables(
    autojump_clock: MockClock,
) -> None:
    async def work(name: str) -> str:
        variable.set(name)
        await trio.sleep(1)
        return variable.get()

    results: dict[str, str] = {}

    async def run(name: str) -> None:
        results[name] = await drive(work(name))

    async with trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(run, name)
    assert results == {name: name for name in "abc"}


async def test_tasks_and_threads_that_a_coroutine_starts_inherit_its_variables() -> None:
    seen: list[str] = []

    async def child() -> None:
        await trio.lowlevel.checkpoint()
        seen.append(variable.get())

    async def work() -> None:
        variable.set("inside")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
        seen.append(await trio.to_thread.run_sync(variable.get))

    await drive(work())
    assert seen == ["inside", "inside"]


async def test_before_wait_is_called_once_and_only_if_the_coroutine_waits(
    autojump_clock: MockClock,
) -> None:
    calls: list[int] = []

    async def at_once() -> int:
        return 1

    async def waits() -> int:
        await trio.sleep(1)
        await trio.sleep(1)
        return 2

    assert await drive(at_once(), lambda: calls.append(1)) == 1
    assert calls == []
    assert await drive(waits(), lambda: calls.append(2)) == 2
    assert calls == [2]


async def test_a_deadline_set_in_before_wait_bounds_the_first_wait(
    autojump_clock: MockClock,
) -> None:
    with trio.CancelScope() as scope:

        def arm() -> None:
            scope.deadline = trio.current_time() + 1

        async def wait() -> None:
            await trio.sleep_forever()

        await drive(wait(), arm)
    assert scope.cancelled_caught
    assert trio.current_time() == 1


async def test_a_cancellation_reaches_the_coroutine_and_lets_it_clean_up(
    autojump_clock: MockClock,
) -> None:
    cleaned: list[str] = []

    async def work() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.move_on_after(5, shield=True):
                await trio.sleep(2)
            cleaned.append("up")

    with trio.move_on_after(1) as scope:
        await drive(work())
    assert scope.cancelled_caught
    assert cleaned == ["up"]
    assert trio.current_time() == 3


async def test_a_coroutine_may_catch_its_cancellation_some_times(autojump_clock: MockClock) -> None:
    async def work() -> str:
        for _ in range(PATIENCE):
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                pass
        return "done all the same"

    with trio.move_on_after(1):
        assert await drive(work()) == "done all the same"
        return
    pytest.fail("was cancelled")


# bounded, so that a failure of these tests is no hang
STUBBORNNESS = 3 * PATIENCE


async def swallow(times: list[int]) -> None:
    while len(times) < STUBBORNNESS:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            times.append(1)


async def drive_till_abandoned(coroutine: Coroutine[Any, Any, None]) -> None:
    with trio.move_on_after(1), pytest.raises(HandlerIgnoredCancel, match=f"{PATIENCE} times"):
        await drive(coroutine)
    await trio.sleep(1)  # the task is as good as before


async def test_a_coroutine_that_swallows_its_cancellation_for_ever_is_abandoned(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    swallowed: list[int] = []
    nursery.start_soon(drive_till_abandoned, swallow(swallowed))
    await trio.sleep(5)
    assert len(swallowed) == PATIENCE


async def test_a_nursery_of_the_caller_does_not_protect_a_stubborn_coroutine(
    autojump_clock: MockClock,
) -> None:
    async with trio.open_nursery():
        await drive_till_abandoned(swallow([]))


async def test_a_coroutine_may_open_nurseries(autojump_clock: MockClock) -> None:
    done: list[float] = []

    async def child(seconds: float) -> None:
        await trio.sleep(seconds)
        done.append(seconds)

    async def work() -> str:
        async with trio.open_nursery() as nursery:
            for seconds in (3, 1, 2):
                nursery.start_soon(child, seconds)
        return "all done"

    assert await drive(work()) == "all done"
    assert done == [1, 2, 3]


async def test_children_of_a_coroutine_are_cancelled_with_it(autojump_clock: MockClock) -> None:
    cleaned: list[int] = []

    async def child() -> None:
        try:
            await trio.sleep_forever()
        finally:
            cleaned.append(1)

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
            nursery.start_soon(child)

    with trio.move_on_after(1) as scope:
        await drive(work())
    assert scope.cancelled_caught
    assert cleaned == [1, 1]


async def test_an_error_in_a_child_comes_out_of_the_coroutine(autojump_clock: MockClock) -> None:
    async def child() -> None:
        raise LookupError("child")

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
            await trio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        await drive(work())
    assert [type(leaf) for leaf in caught.value.exceptions] == [LookupError]


async def test_a_scope_inside_the_coroutine_is_its_own(autojump_clock: MockClock) -> None:
    async def work() -> str:
        with trio.move_on_after(1):
            await trio.sleep_forever()
        return "went on"

    assert await drive(work()) == "went on"


# threads


async def test_a_function_runs_in_a_thread_of_its_own() -> None:
    limiter = trio.CapacityLimiter(1)
    assert await in_thread(threading.get_ident, limiter=limiter) != threading.get_ident()
    assert limiter.borrowed_tokens == 0


async def test_a_function_gets_its_arguments_and_its_errors_come_back() -> None:
    assert await in_thread(max, 1, 2, limiter=trio.CapacityLimiter(1)) == 2
    with pytest.raises(ZeroDivisionError):
        await in_thread(divmod, 1, 0, limiter=trio.CapacityLimiter(1))


@pytest.fixture(name="gate")
def _gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


async def test_no_more_threads_run_than_the_limiter_allows(
    gate: threading.Event, nursery: trio.Nursery
) -> None:
    limiter = trio.CapacityLimiter(2)
    running: list[int] = []

    def work() -> None:
        running.append(1)
        gate.wait(10)

    async def run() -> None:
        await in_thread(work, limiter=limiter)

    for _ in range(3):
        nursery.start_soon(run)
    await wait_all_tasks_blocked()
    assert limiter.borrowed_tokens == 2
    assert limiter.statistics().tasks_waiting == 1
    gate.set()


async def test_a_thread_that_calls_back_gets_the_cancellation(autojump_clock: MockClock) -> None:
    outcome: list[Any] = []

    def work() -> None:
        try:
            trio.from_thread.run(trio.sleep_forever)
        except BaseException as error:
            outcome.append(type(error))
            raise

    with trio.move_on_after(1) as scope:
        await in_thread(work, limiter=trio.CapacityLimiter(1))
    assert scope.cancelled_caught
    assert outcome == [trio.Cancelled]


async def test_a_thread_that_finishes_late_keeps_its_result() -> None:
    def work() -> str:
        scope.cancel()
        return "finished"

    with trio.CancelScope() as scope:
        result = await in_thread(work, limiter=trio.CapacityLimiter(1))
    assert result == "finished"
