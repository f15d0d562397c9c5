"""The deliveries that were given up: look at them, have them tried again, forget them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from motia_trio.messages import DeadLetter
    from motia_trio.shared import Shared

__all__ = ["DeadLetters"]


class DeadLetters:
    """What ``rt.dead_letters`` is. A dead letter is kept until it is redriven or discarded."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def list(
        self,
        *,
        step: str | None = None,
        topic: str | None = None,
        older_than: float | None = None,
        after: int = 0,
        limit: int | None = None,
    ) -> Sequence[DeadLetter]:
        """Tell them in the order in which their messages came: those that fit every filter.

        ``older_than`` is in seconds since it died. To go through very many, give a ``limit`` and
        the ``id`` of the last one as ``after``.
        """
        now = self._shared.clock.now()
        return self._shared.store.dead_letters(
            step=step,
            topic=topic,
            died_before=None if older_than is None else now - older_than,
            after=after,
            limit=limit,
        )

    def get(self, id: int) -> DeadLetter:  # noqa: A002 - what it is called everywhere
        """Give one.

        Raises:
            KeyError: there is none of this id.
            TypeError: it is no id.
        """
        found = self._shared.store.dead_letters(ids=_checked([id]))
        if not found:
            raise KeyError(f"there is no dead letter {id:016x}")
        return found[0]

    async def redrive(self, ids: Collection[int]) -> Sequence[int]:
        """Have them handled again, and give the ids of those that there were. A checkpoint.

        Each keeps its message, its step and its trace id; its attempts begin anew, and it does not
        expire any more.
        """
        shared, ids = self._shared, _checked(ids)
        found = await shared.store.redrive(ids, shared.clock.now())
        shared.feeder.look()
        return found

    async def discard(self, ids: Collection[int]) -> Sequence[int]:
        """Forget them for good, and give the ids of those that there were. A checkpoint."""
        return await self._shared.store.discard(_checked(ids))


def _checked(ids: object) -> list[int]:
    """Give the ids: a store would take no ids at all for those of every dead letter."""
    if isinstance(ids, Iterable):
        numbers = [*ids]
        if all(isinstance(each, int) for each in numbers):
            return numbers
    raise TypeError(f"ids of dead letters are ints in a list, such as [letter.id], not {ids!r:.80}")
