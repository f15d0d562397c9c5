"""What waits to be sent on one connection: bounded, in order, and merged where it grows. Pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from motia_trio.streams.wire import Message

__all__ = ["Outbox"]


class Outbox:
    """Messages in the order in which they are to be sent.

    From half its limits on (in messages and in bytes) it keeps only the newest state of each item:
    an update takes the place of the one before it, a create that is not sent yet goes with its
    item. What was sent by ``send`` is never merged. The answers to joins, be they of any size, do
    not count, and nothing is merged across them.
    """

    __slots__ = ("_answers", "_bytes", "_limit", "_limit_bytes", "_next", "_of", "_waiting")

    def __init__(self, limit: int, limit_bytes: int) -> None:
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._waiting: OrderedDict[int, Message] = OrderedDict()
        # the numbers of those that answer joins
        self._answers: set[int] = set()
        self._bytes = 0
        self._next = 0
        # the number of the last change of each item; None as long as nothing is merged
        self._of: dict[tuple[str, str, str | None], int] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def end(self) -> int:
        """The number that the next message gets: all that waits has a smaller one."""
        return self._next

    def has_sent(self, end: int) -> bool:
        """Whether all that waited when :attr:`end` was so has been taken out."""
        return next(iter(self._waiting), end) >= end

    @property
    def bytes(self) -> int:
        """Bytes of what waits, answers to joins left out."""
        return self._bytes

    def answer(self, messages: Iterable[Message]) -> None:
        """Put in what a join is answered with."""
        for message in messages:
            self._answers.add(self._next)
            self._waiting[self._next] = message
            self._next += 1
        if self._of is not None:
            self._of = {}

    def put(self, message: Message) -> bool:
        """Put a message behind the others. False: there is no room, even when all is merged."""
        if self._of is None and self._is_half_full():
            self._merge_all()
        self._add(message)
        if self._of is None and self._is_over():  # a large one, that may be the next of its item
            self._merge_all()
        return not self._is_over()

    def take(self) -> Message | None:
        """Take the first out."""
        if not self._waiting:
            return None
        number, message = self._waiting.popitem(last=False)
        if number in self._answers:
            self._answers.discard(number)
        else:
            self._bytes -= len(message.text)
            if self._of is not None and self._of.get(message.place) == number:
                del self._of[message.place]
        if not self._waiting:
            self._of = None
        return message

    def _counted(self) -> int:
        return len(self._waiting) - len(self._answers)

    def _is_half_full(self) -> bool:
        return 2 * self._counted() >= self._limit or 2 * self._bytes >= self._limit_bytes

    def _is_over(self) -> bool:
        count = self._counted()  # one may be of any size
        return count > self._limit or (self._bytes > self._limit_bytes and count > 1)

    def _merge_all(self) -> None:
        waiting, self._waiting = self._waiting, OrderedDict()
        self._bytes, self._of = 0, {}
        for number, message in waiting.items():
            if number in self._answers:
                self._waiting[number] = message
                self._of = {}
            else:
                self._add(message, number)

    def _add(self, message: Message, number: int | None = None) -> None:
        if number is None:
            number, self._next = self._next, self._next + 1
        if self._of is not None and message.is_change:
            merged = self._merged(self._of, message)
            if merged is None:
                return
            message = merged
            self._of[message.place] = number
        self._waiting[number] = message
        self._bytes += len(message.text)

    def _merged(
        self, of: dict[tuple[str, str, str | None], int], message: Message
    ) -> Message | None:
        """Take the change before out that this one makes needless, and give what is left to say."""
        number = of.get(message.place)
        if number is None:
            return message
        before = self._waiting[number]
        if before.kind == "delete":  # what comes after it is another item
            return message
        del self._waiting[number], of[message.place]
        self._bytes -= len(before.text)
        if before.kind == "create":
            return None if message.kind == "delete" else message.as_create()
        return message
