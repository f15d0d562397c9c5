"""The hub: from committed changes to those who follow them. Pure fan-out; it knows no sockets.

The store tells of changes in the order of its commits, once they are kept. Each is encoded once,
and pushed to every connection that follows its item or its group: one message per change and
connection, however many of its subscriptions match.
"""

from __future__ import annotations

import heapq
from collections import deque
from math import inf
from typing import TYPE_CHECKING

import trio
from attrs import define, field, frozen

from motia_trio.streams.rooms import Room, Shown
from motia_trio.streams.wire import Batch, Kind, item_data, items_data, make_message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from motia_trio.actors import WallClock
    from motia_trio.store import Change, Snapshot, Store
    from motia_trio.streams.rooms import Member, Subscription
    from motia_trio.streams.wire import Message

__all__ = ["Hub", "HubStatistics"]

# pushes after which others have their turn; so many members may be told of a change at once
AT_ONCE = 64
# changes that wait for their turn before those who write are made to wait
BEHIND = 32
# bytes of changes that are sent to each member at once, at least one of any size
BATCH_BYTES = 32 * 1024
# the time for which snapshots are asked: with it an item is there until a change says that it is
# gone. By the clock it would be missing to who joins just when it has expired, and is renewed by a
# write that was asked for before
_ALL = -inf


@frozen
class HubStatistics:
    """How the hub is at one moment.

    ``groups`` that somebody is in, ``waiting`` changes and events that crowds have not been told of
    yet, ``pushed`` messages to single connections since the start, and connections ``lagged`` that
    were closed because they could not be told fast enough.
    """

    connections: int
    subscriptions: int
    groups: int
    waiting: int
    pushed: int
    lagged: int


@frozen
class _Sent:
    """An event of ``send``, waiting for its turn among the changes."""

    stream: str
    group: str
    key: str | None
    event: bytes = field(repr=False)


@define(order=True)
class _Answer:
    """What a join is answered with, in its place behind ``seq``; ``since`` is that of the join."""

    seq: int
    number: int
    member: Member = field(order=False)
    subscription: Subscription = field(order=False)
    since: int | None = field(order=False)
    snapshot: Snapshot = field(order=False)


class Hub:
    """Who follows what, and how far they have been told.

    :meth:`tell` is the store's ``follow``. Small crowds are told at once; what is for a large one
    waits for the task :meth:`run`, which lets others have their turn, and whoever writes waits when
    that is behind.
    """

    def __init__(self, store: Store, clock: WallClock) -> None:
        self._store = store
        self._clock = clock
        self._rooms: dict[tuple[str, str], Room] = {}
        self._inbox: deque[Change | _Sent] = deque()
        self._answers: list[_Answer] = []
        self._shown = Shown()
        self._numbers = 0
        self._stamp = 0
        self._wake = trio.Event()
        self._calm = trio.Event()
        self._busy = 0  # how much a crowd is being told of
        self._over = False
        #: the ``seq`` of the last change that everybody has been told of whom it concerns
        self.told = 0
        #: what is counted for :meth:`statistics`; sessions count themselves
        self.connections = self.subscriptions = self.pushed = self.lagged = 0

    def statistics(self) -> HubStatistics:
        """Tell how it is."""
        return HubStatistics(
            self.connections,
            self.subscriptions,
            len(self._rooms),
            len(self._inbox) + self._busy,
            self.pushed,
            self.lagged,
        )

    # what is to be told

    def start(self) -> None:
        """Begin after the last change that the store had when it was opened."""
        self.told = self._store.snapshot("(hub)", "-", "-", self._clock.now()).seq

    def tell(self, changes: Sequence[Change]) -> None:
        """Tell of changes that are kept, in the order of their commits. Returns at once."""
        pushes = 0
        for change in changes:
            place = change.place
            room = self._rooms.get((place.space, place.group))
            if room is not None:
                room.changed = change.seq
                self._shown.drop(room)
            if self._is_behind():
                self._inbox.append(change)
            elif room is None:
                self.told = change.seq
            elif pushes + len(room.present) <= AT_ONCE:
                self._push_all(room, self._of_change(change), place.key)
                pushes += len(room.present)
                self.told = change.seq
            else:
                self._inbox.append(change)
                self._wake.set()
        self._answer_those_due()

    def send(self, stream: str, group: str, key: str | None, event: bytes) -> None:
        """Tell of an event that is not kept; ``event`` is JSON. Returns at once."""
        room = self._rooms.get((stream, group))
        if room is None:
            return
        sent = _Sent(stream, group, key, event)
        if self._is_behind() or len(room.present) > AT_ONCE:
            self._inbox.append(sent)
            self._wake.set()
        else:
            self._push_all(room, self._of_event(sent, self.told), key)

    def _is_behind(self) -> bool:
        return bool(self._inbox) or self._busy > 0

    @property
    def is_crowded(self) -> bool:
        """Whether so much is to be told that whoever writes has to wait."""
        return len(self._inbox) > BEHIND and not self._over

    async def wait_for_turn(self) -> None:
        """Wait as long as too much is to be told. A checkpoint then."""
        while self.is_crowded:
            await self._calm.wait()

    async def settled(self) -> None:
        """Wait until all that was committed has been told. A checkpoint if there is something."""
        while self._is_behind() and not self._over:
            await self._calm.wait()

    async def run(self) -> None:
        """Tell large crowds of what there is, until cancelled."""
        try:
            while True:
                await self._wake.wait()
                self._wake = trio.Event()
                await self._tell_all()
        finally:  # nobody is told any more, so nobody has to wait for that
            self._over = True
            self._calm.set()

    async def _tell_all(self) -> None:
        pushes = 0
        while self._inbox:
            entries = self._take()
            self._busy = len(entries)
            pushes = await self._tell_crowd(entries, pushes)
            self._busy = 0
            for entry in entries:
                if not isinstance(entry, _Sent):
                    self.told = entry.seq
            self._answer_those_due()
            if len(self._inbox) <= BEHIND:
                self._calm.set()
                self._calm = trio.Event()

    def _take(self) -> list[Change | _Sent]:
        """Take out what is next for one group: who is in it is sent all of that at once.

        It ends where a join is to be answered.
        """
        entries: list[Change | _Sent] = []
        place = _place_of(self._inbox[0])[:2]
        answered_at = self._answers[0].seq if self._answers else inf
        size, told = 0, self.told
        while self._inbox and len(entries) < BEHIND and told < answered_at:
            entry = self._inbox[0]
            size += _size_of(entry)
            if entries and (size > BATCH_BYTES or _place_of(entry)[:2] != place):
                break
            entries.append(self._inbox.popleft())
            if not isinstance(entry, _Sent):
                told = entry.seq
        return entries

    async def _tell_crowd(self, entries: list[Change | _Sent], pushes: int) -> int:
        stream, group, _ = _place_of(entries[0])
        room = self._rooms.get((stream, group))
        if room is None:
            return pushes
        messages: list[Message] = []
        told = self.told
        for entry in entries:
            if isinstance(entry, _Sent):
                messages.append(self._of_event(entry, told))
            else:
                messages.append(self._of_change(entry))
                told = entry.seq
        batch = Batch(messages)
        # one system call, or as many places in an outbox; and where much waits, more comes: who
        # writes has its turn all the sooner, and the next batch is the larger
        weight = 1 if len(messages) == 1 else 2 + len(messages) // 8
        # of each message, who follows its item alone
        alone = {
            message: [member for member in followers if member not in room.members]
            for message in messages
            if (followers := room.items.get(message.place[2] or ""))
        }
        for member in list(room.members):
            if pushes >= AT_ONCE:
                pushes = 0
                await trio.lowlevel.checkpoint()
            if member in room.members:
                member.push_batch(batch)
                self.pushed += len(messages)
            else:  # it has left the group meanwhile, but perhaps not an item of it
                for message in alone:
                    self._push_to_follower(room, message, member)
            pushes += weight
        for message, members in alone.items():
            for member in members:
                if pushes >= AT_ONCE:
                    pushes = 0
                    await trio.lowlevel.checkpoint()
                self._push_to_follower(room, message, member)
                pushes += 1
        return pushes

    def _push_to_follower(self, room: Room, message: Message, member: Member) -> None:
        """Push a message about an item to who follows it, if it still does."""
        if member in room.items.get(message.place[2] or "", ()):
            member.push(message)
            self.pushed += 1

    def _push_all(self, room: Room, message: Message, key: str | None) -> None:
        for member in room.whom(key):
            member.push(message)
            self.pushed += 1

    # who is there

    def arrive(self, member: Member, subscription: Subscription) -> None:
        """Count a member in, who may join: :meth:`begin` follows when there is room to answer."""
        room = self._rooms.setdefault((subscription.stream, subscription.group), Room())
        room.enter(member)
        self.subscriptions += 1

    def begin(self, member: Member, subscription: Subscription) -> None:
        """Answer a join, and have the member sent every change from there on.

        The snapshot and the beginning are one point of the commit order. Returns at once; the
        answer comes when everything that the snapshot has in it was told.

        Raises:
            OSError: the store could not be read.
        """
        if subscription.over:
            return
        stream, group, key = subscription.stream, subscription.group, subscription.key
        since = subscription.since
        room = self._rooms[stream, group]
        whole = key is None and since is None
        if whole and not self._is_behind() and room.is_fresh(self.told):
            self._answer_with("sync", room.data, member, subscription)
            return
        snapshot = self._store.snapshot(stream, group, key, _ALL, since)
        self._numbers += 1
        answer = _Answer(snapshot.seq, self._numbers, member, subscription, since, snapshot)
        if snapshot.seq <= self.told and not self._busy:
            self._answer(answer)
        else:
            heapq.heappush(self._answers, answer)

    def depart(self, member: Member, subscription: Subscription) -> None:
        """Send a member nothing more of what it followed."""
        if subscription.over:
            return
        subscription.over = True
        self.subscriptions -= 1
        place = subscription.stream, subscription.group
        room = self._rooms[place]
        room.leave(member, subscription)
        if not room.present:
            self._shown.drop(room)
            del self._rooms[place]

    def presence(self, stream: str, group: str) -> int:
        """Tell how many connections are in a group now, or follow an item of it."""
        room = self._rooms.get((stream, group))
        return len(room.present) if room is not None else 0

    # answers to joins

    def _answer_those_due(self) -> None:
        # not while a crowd is told: who is still to be told of what came before comes first
        while self._answers and self._answers[0].seq <= self.told and not self._busy:
            due = heapq.heappop(self._answers)
            if not due.subscription.over:
                self._answer(due)

    def _answer(self, answer: _Answer) -> None:
        member, subscription, snapshot = answer.member, answer.subscription, answer.snapshot
        if snapshot.missed is not None:
            since = answer.since or 0
            place = subscription.stream, subscription.group, subscription.key
            # who is cut off in the midst of it resumes from what it had before
            seq = since if snapshot.missed else self.told
            data = b'{"since":%d}' % since
            messages = [self._message("resume", data, seq, *place, subscription.id)]
            for missed in snapshot.missed:
                where = subscription.stream, subscription.group, missed.key
                if missed.item is None:
                    data = item_data(b"{}", missed.key)
                else:
                    data = item_data(missed.item.value, missed.key)
                messages.append(self._message(missed.kind, data, missed.seq, *where))
            self._begin(member, subscription)
            member.answer(messages)
            return
        if subscription.key is None:
            room = self._rooms[subscription.stream, subscription.group]
            data = items_data((key, item.value) for key, item in snapshot.items.items())
            if room.changed <= snapshot.seq:
                self._shown.keep(room, data, snapshot.seq)
            self._answer_with("sync", data, member, subscription)
            return
        item = snapshot.items.get(subscription.key)
        found = None if item is None else item_data(item.value, subscription.key)
        self._answer_with("sync", found, member, subscription)

    def _answer_with(
        self, kind: Kind, data: bytes | None, member: Member, subscription: Subscription
    ) -> None:
        place = subscription.stream, subscription.group, subscription.key
        self._begin(member, subscription)
        member.answer([self._message(kind, data, self.told, *place, subscription.id)])

    def _begin(self, member: Member, subscription: Subscription) -> None:
        if subscription.begun:
            return
        subscription.begun = True
        room = self._rooms[subscription.stream, subscription.group]
        room.follow(member, subscription.key)

    def refusal(self, refused: Subscription) -> Message:
        """Tell a client that it may not join."""
        place = refused.stream, refused.group, refused.key
        return self._message("unauthorized", None, self.told, *place, refused.id)

    # messages

    def _of_change(self, change: Change) -> Message:
        place = change.place
        if change.new is None:
            kind: Kind = "delete"
            data = item_data(change.old or b"{}", place.key)
        else:
            kind = "create" if change.old is None else "update"
            data = item_data(change.new, place.key)
        return self._message(kind, data, change.seq, *place)

    def _of_event(self, sent: _Sent, told: int) -> Message:
        return self._message("event", sent.event, told, sent.stream, sent.group, sent.key)

    def _message(
        self,
        kind: Kind,
        data: bytes | None,
        seq: int,
        stream: str,
        group: str,
        key: str | None,
        subscription: str | None = None,
    ) -> Message:
        self._stamp = max(int(self._clock.now() * 1000) * 1000, self._stamp + 1)
        return make_message(
            kind,
            data,
            stamp=self._stamp,
            seq=seq,
            stream=stream,
            group=group,
            key=key,
            subscription=subscription,
        )


def _place_of(entry: Change | _Sent) -> tuple[str, str, str | None]:
    """What it is about."""
    return (entry.stream, entry.group, entry.key) if isinstance(entry, _Sent) else entry.place


def _size_of(entry: Change | _Sent) -> int:
    """How many bytes it has to tell, about."""
    return len(entry.event) if isinstance(entry, _Sent) else len(entry.new or entry.old or b"")
