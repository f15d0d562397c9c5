"""Where a function runs, and how it is kept from keeping what it was given."""

from __future__ import annotations

import types
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from motia_trio.errors import HandlerIgnoredCancel

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

__all__ = ["PATIENCE", "drive", "in_thread"]

T = TypeVar("T")

# how often a coroutine may catch its cancellation and wait again before it is abandoned; cleaning
# up takes one for each thing that is awaited meanwhile, so honest code stays far below
PATIENCE = 1000

# coroutines that refused to be closed: kept, because dropping them would try to close them again
_abandoned: list[Coroutine[Any, Any, Any]] = []


@types.coroutine
def drive(
    coroutine: Coroutine[Any, Any, T], before_wait: Callable[[], None] | None = None
) -> Generator[Any, Any, T]:
    """Run a coroutine in this task, with context variables of its own and limited patience.

    ``before_wait`` is called once, when it is about to wait for the first time: time enough to set
    a deadline, which a coroutine that never waits does not need.

    What it sets in context variables is gone when it ends. When it has swallowed ``Cancelled``
    :data:`PATIENCE` times it is closed, or left behind if it resists even that, and

    Raises:
        HandlerIgnoredCancel: instead of looping for ever. Only a shielded wait, or a nursery of its
            own whose children resist, cannot be ended this way.
    """
    context = copy_context()
    run = context.run
    cancels = 0
    try:
        trap = run(coroutine.send, None)
        if before_wait is not None:
            before_wait()
        while True:
            try:
                value = yield trap
            except trio.Cancelled as cancelled:
                cancels += 1
                if cancels > PATIENCE and not trio.lowlevel.current_task().child_nurseries:
                    _abandon(coroutine)
                    raise HandlerIgnoredCancel(
                        f"caught its cancellation {PATIENCE} times and went on; it was abandoned"
                    ) from None
                trap = run(coroutine.throw, cancelled)
            except BaseException as error:  # noqa: BLE001 - thrown in by Trio: the coroutine's, not ours
                trap = run(coroutine.throw, error)
            else:
                trap = run(coroutine.send, value)
    except StopIteration as stop:
        result: T = stop.value
        return result


def _abandon(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Close a coroutine, or keep it for ever if it will not be closed."""
    try:
        coroutine.close()
    except BaseException:  # noqa: BLE001 - whatever it raises now, it was asked to end
        _abandoned.append(coroutine)


async def in_thread(
    function: Callable[..., T], *args: Any, limiter: trio.CapacityLimiter
) -> T:
    """Run a function in a worker thread and give what it returns. A checkpoint.

    A thread cannot be stopped: a cancellation waits until the function returns, or until it calls
    back into Trio, where it gets the ``Cancelled``.
    """
    return await trio.to_thread.run_sync(
        function, *args, limiter=limiter, abandon_on_cancel=False
    )
