"""Where a function runs, and how it is kept from keeping what it was given."""

from __future__ import annotations

import ctypes
import types
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar

import trio
from outcome import Error

from motia_trio.errors import HandlerIgnoredCancel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator

__all__ = ["PATIENCE", "drive", "in_thread", "to_its_end"]

T = TypeVar("T")

# how often a coroutine may catch its cancellation and wait again before it is abandoned; cleaning
# up takes one for each thing that is awaited meanwhile, so honest code stays far below
PATIENCE = 1000


@types.coroutine
def drive(
    coroutine: Coroutine[Any, Any, T], before_wait: Callable[[], None] | None = None
) -> Generator[Any, Any, T]:
    """Run a coroutine in this task, with context variables of its own and limited patience.

    ``before_wait`` is called once, when it is about to wait for the first time: time enough to set
    a deadline, which a coroutine that never waits does not need.

    What it sets in context variables is gone when it ends. When it has swallowed ``Cancelled``
    :data:`PATIENCE` times it is left where it is, for ever, and

    Raises:
        HandlerIgnoredCancel: instead of looping for ever. What cannot be ended this way: a shielded
            wait, and what goes on inside a nursery that the coroutine opened itself.
    """
    context = copy_context()
    run = context.run
    cancels = 0
    task = trio.lowlevel.current_task()
    nurseries = len(task.child_nurseries)
    try:
        trap = run(coroutine.send, None)
        if before_wait is not None:
            before_wait()
        while True:
            try:
                value = yield trap
            except BaseException as error:  # noqa: BLE001, ASYNC103 - it is the coroutine's to take
                trap = run(coroutine.throw, error)
                continue  # noqa: ASYNC104
            # Trio sends the outcome of a wait, and the wait raises it: a Cancelled passes here
            if type(value) is Error and isinstance(value.error, trio.Cancelled):
                cancels += 1
                if cancels > PATIENCE and len(task.child_nurseries) == nurseries:
                    _never_drop(coroutine)
                    raise HandlerIgnoredCancel(
                        f"caught its cancellation {PATIENCE} times and went on; it was abandoned"
                    )
            trap = run(coroutine.send, value)
    except StopIteration as stop:
        result: T = stop.value
        return result


async def to_its_end(awaitable: Awaitable[T], before_wait: Callable[[], None] | None = None) -> T:
    """Await something that is no coroutine, as :func:`drive` runs those. A checkpoint if it is."""

    async def wait() -> T:
        return await awaitable

    return await drive(wait(), before_wait)


def _never_drop(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Keep a coroutine for ever, through the end of the interpreter too.

    To drop it is to close it, and one that swallows everything would swallow that as well, and
    then spin where no scheduler is left: the process would never end.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(coroutine))


async def in_thread(function: Callable[..., T], *args: Any, limiter: trio.CapacityLimiter) -> T:
    """Run a function in a worker thread and give what it returns. A checkpoint.

    A thread cannot be stopped: a cancellation waits until the function returns, or until it calls
    back into Trio, where it gets the ``Cancelled``.
    """

    def call() -> tuple[T]:
        # in a tuple: Trio refuses a coroutine, which is what a plain decorator around an async
        # function gives, and which the caller may well know to await
        return (function(*args),)

    name = f"{getattr(function, '__name__', None)} from {trio.lowlevel.current_task().name}"
    (result,) = await trio.to_thread.run_sync(
        call, limiter=limiter, abandon_on_cancel=False, thread_name=name
    )
    return result
