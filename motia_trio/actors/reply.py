"""The place where one task waits for one answer."""

from __future__ import annotations

from typing import Generic, TypeVar

import trio
from outcome import Error, Outcome, Value

__all__ = ["Reply"]

T = TypeVar("T")


class Reply(Generic[T]):
    """One answer from one task to one other. The first one given counts; later ones are dropped."""

    __slots__ = ("_answer", "_task")

    def __init__(self) -> None:
        self._answer: Outcome[T] | None = None
        self._task: trio.lowlevel.Task | None = None

    @property
    def given(self) -> bool:
        """Whether there is an answer."""
        return self._answer is not None

    @property
    def awaited(self) -> bool:
        """Whether somebody waits now."""
        return self._task is not None

    def set(self, value: T) -> bool:
        """Answer with a value. Gives False if there already was an answer."""
        return self._set(Value(value))

    def fail(self, error: BaseException) -> bool:
        """Answer with an error, to be raised where the answer is awaited."""
        return self._set(Error(error))

    def _set(self, answer: Outcome[T]) -> bool:
        if self._answer is not None:
            return False
        self._answer = answer
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)
            self._task = None
        return True

    async def wait(self) -> T:
        """Wait for the answer and give it, or raise it. A checkpoint if it has to wait."""
        if self._answer is None:
            self._task = trio.lowlevel.current_task()

            def abort(_: object) -> trio.lowlevel.Abort:
                self._task = None
                return trio.lowlevel.Abort.SUCCEEDED

            await trio.lowlevel.wait_task_rescheduled(abort)
        if self._answer is None:
            raise RuntimeError("woken without an answer")
        return self._answer.unwrap()
