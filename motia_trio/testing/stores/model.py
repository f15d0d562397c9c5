"""The contract in plain lists: nothing is fast, everything is obvious."""

# assert is how a test speaks
# ruff: noqa: S101

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from attrs import define, evolve

from motia_trio import codec
from motia_trio.errors import Conflict, ValueTooLarge
from motia_trio.messages import Ack, Bury, DeadLetter, GiveBack, Retry
from motia_trio.store import (
    KEY_LIFETIME,
    Agenda,
    Change,
    Clear,
    Counts,
    Item,
    Missed,
    Place,
    Put,
    Remove,
    Update,
    UpdateInvalid,
    Window,
    apply_ops,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from motia_trio.messages import Failure, Message, Outcome, Route
    from motia_trio.store import Kind, Write

__all__ = ["Claim", "Kept", "Letter", "Model"]


@define(eq=False)
class Claim:
    """One delivery. ``pinned``: it is the head of its group, and will be until it is gone."""

    message: Message
    index: int
    route: Route
    due_at: float
    failures: tuple[Failure, ...] = ()
    leased: bool = False
    pinned: bool = False
    id: int = 0

    @property
    def rank(self) -> tuple[float, str, int]:
        """Its place among those of one priority, or of one group."""
        return self.due_at, self.message.id, self.index

    @property
    def window(self) -> Window:
        """The step, and the lane of it."""
        return Window(self.route.step, self.route.lane)

    @property
    def group(self) -> tuple[Window, str | None]:
        """The step and lane, and the fifo group in it."""
        return self.window, self.route.fifo


@define(eq=False)
class Letter:
    """One dead letter, and the claim it was."""

    claim: Claim
    reason: str
    died_at: float

    def told(self) -> DeadLetter:
        """What the store tells of it."""
        claim = self.claim
        return DeadLetter(
            claim.id, claim.message, claim.route.step, self.reason, claim.failures, self.died_at
        )


@define(eq=False)
class Kept:
    """One item. ``stamp`` stands for its version, which is the store's to choose.

    ``made`` is the stamp that it had when it was made.
    """

    value: bytes
    expires_at: float | None
    stamp: int
    made: int

    def live(self, now: float) -> bool:
        """Whether it has not expired."""
        return self.expires_at is None or now < self.expires_at


class Model:
    """What a store must tell, at the time that :meth:`at` was told last."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.claims: list[Claim] = []
        self.letters: list[Letter] = []
        self.keys: dict[tuple[str, str], tuple[str, float]] = {}
        self.all_items: dict[Place, Kept] = {}
        self.log: list[Change] = []  # of streams, with the numbers that the store gave them
        self._stamps = itertools.count(1)

    def at(self, now: float) -> None:
        """Let it be later."""
        self.now = now
        self._pin()

    # groups

    def _pin(self) -> None:
        """The first of a group is its head from when it is due."""
        for group in {claim.group for claim in self.claims if claim.route.fifo is not None}:
            head = self._head(group)
            if head is not None and head.due_at <= self.now:
                head.pinned = True

    def _head(self, group: tuple[Window, str | None]) -> Claim | None:
        members = [claim for claim in self.claims if claim.group == group]
        pinned = [claim for claim in members if claim.pinned]
        assert len(pinned) <= 1
        return pinned[0] if pinned else min(members, key=lambda claim: claim.rank, default=None)

    def _openable(self, window: Window) -> list[Claim]:
        """The claims of a step and lane that may be leased when they are due."""
        return [
            claim
            for claim in self.claims
            if claim.window == window
            and not claim.leased
            and (claim.route.fifo is None or self._head(claim.group) is claim)
        ]

    def open(self, window: Window) -> list[Claim]:
        """The claims of a step and lane that may be leased now, in the order in which they are."""
        due = [claim for claim in self._openable(window) if claim.due_at <= self.now]
        return sorted(due, key=lambda claim: (-claim.message.priority, claim.rank))

    # messages

    def duplicate(self, message: Message) -> str | None:
        """The id of the message that has this one's key, or None."""
        known, until = self.keys.get((message.topic, message.key or ""), ("", -1.0))
        return known if message.key is not None and self.now < until else None

    def keep(
        self, messages: Iterable[tuple[Message, Sequence[Route]]]
    ) -> tuple[list[Claim], dict[str, str]]:
        """Keep messages; give the claims that were taken, and what were duplicates."""
        taken: list[Claim] = []
        duplicates: dict[str, str] = {}
        for message, routes in messages:
            if not routes:
                continue
            if (known := self.duplicate(message)) is not None:
                duplicates[message.id] = known
                continue
            if message.key is not None:
                self.keys[message.topic, message.key] = (message.id, self.now + KEY_LIFETIME)
            for index, route in enumerate(routes):
                claim = Claim(message, index, route, route.due_at)
                if self._takes(claim):
                    claim.leased = True
                    taken.append(claim)
                self.claims.append(claim)
                self._pin()
        return taken, duplicates

    def _takes(self, claim: Claim) -> bool:
        route = claim.route
        alone = route.fifo is None or all(other.group != claim.group for other in self.claims)
        return route.take and route.due_at <= self.now and not self.open(claim.window) and alone

    def settle(self, claim: Claim, outcome: Outcome) -> None:
        """End a lease."""
        claim.leased = False
        match outcome:
            case Ack():
                self.claims.remove(claim)
            case GiveBack():
                pass
            case Retry(due_at, failure):
                claim.failures += (failure,)
                claim.due_at = due_at
            case Bury(reason, failure):
                self.claims.remove(claim)
                claim.failures += (failure,) if failure else ()
                self.letters.append(Letter(claim, reason, self.now))
        self._pin()

    def cancel(self, message_id: str) -> int:
        """Drop what waits of a message."""
        gone = [each for each in self.claims if each.message.id == message_id and not each.leased]
        self.claims = [claim for claim in self.claims if claim not in gone]
        self._pin()
        return len(gone)

    def redrive(self, ids: Collection[int]) -> list[int]:
        """Let dead letters begin anew."""
        found = self.discard(ids)
        for letter in found:
            message = evolve(letter.claim.message, expires_at=None)
            self.claims.append(
                Claim(message, letter.claim.index, letter.claim.route, self.now, id=letter.claim.id)
            )
            self._pin()
        return [letter.claim.id for letter in found]

    def discard(self, ids: Collection[int]) -> list[Letter]:
        """Forget dead letters, in the order of their ids."""
        found = sorted(
            (letter for letter in self.letters if letter.claim.id in ids),
            key=lambda letter: letter.claim.id,
        )
        self.letters = [letter for letter in self.letters if letter not in found]
        return found

    def reopen(self) -> None:
        """What was leased is given back."""
        for claim in self.claims:
            claim.leased = False

    # what there is

    def counts(self, step: str) -> Counts:
        """How many deliveries there are."""
        mine = [claim for claim in self.claims if claim.route.step == step]
        return Counts(
            waiting=sum(not claim.leased and claim.due_at <= self.now for claim in mine),
            leased=sum(claim.leased for claim in mine),
            delayed=sum(not claim.leased and claim.due_at > self.now for claim in mine),
            dead=sum(letter.claim.route.step == step for letter in self.letters),
        )

    def agenda(self) -> Agenda:
        """What there is to do."""
        windows = {claim.window for claim in self.claims}
        due = frozenset(window for window in windows if self.open(window))
        others = [claim.due_at for window in windows - due for claim in self._openable(window)]
        return Agenda(due, min(others, default=None))

    # items

    def plan(self, writes: Sequence[Write]) -> tuple[dict[Place, Kept], list[Change]]:
        """Give all items as they are after writes, and every change. Keeps nothing."""
        items = dict(self.all_items)
        changes: list[Change] = []

        def settle(place: Place) -> Kept | None:
            """The live item at a place; one that has expired goes, and that is a change."""
            kept = items.get(place)
            if kept is not None and not kept.live(self.now):
                changes.append(Change(place, kept.value, None, expired=True))
                del items[place]
                return None
            return kept

        def write(
            place: Place,
            value: bytes | None,
            expires_at: float | None = None,
            keep: int | None = None,
        ) -> None:
            old = settle(place)
            if value is not None:
                stamp = next(self._stamps)
                items[place] = Kept(value, expires_at, stamp, old.made if old else stamp)
            elif items.pop(place, None) is None:
                return
            changes.append(Change(place, old.value if old else None, value))
            if keep is not None and old is None and items[place].live(self.now) and place.space:
                trim(place, keep)

        def trim(made: Place, keep: int) -> None:
            """Remove the oldest live items beyond ``keep`` of the group in which one was made."""
            live = [
                place
                for place, kept in items.items()
                if place[:2] == made[:2] and kept.live(self.now)
            ]
            live.sort(key=lambda place: items[place].made)
            for place in live[: max(0, len(live) - keep)]:
                write(place, None)

        for each in writes:
            match each:
                case Put(place, value, expires_at, keep):
                    write(place, value, expires_at, keep)
                case Remove(place):
                    write(place, None)
                case Update(place, ops, limit, expires_at=expires_at, keep=keep):
                    old = settle(place)
                    before = codec.decode(old.value) if old else None
                    value = codec.encode(apply_ops(before, ops))
                    if len(value) > limit:
                        raise ValueTooLarge
                    write(place, value, old.expires_at if old else expires_at, keep)
                case Clear(space, group):
                    for place in sorted(items, key=lambda place: place.key):
                        if (place.space, place.group) == (space, group):
                            write(place, None)
        return items, changes

    def missed(self, since: int, space: str, group: str, key: str | None) -> list[Missed]:
        """What became of a group, or of a key of it, after a change."""
        items = self.items(space, group)
        changes: dict[str, list[Change]] = {}
        for change in self.log:
            where = change.place
            if change.seq > since and where[:2] == (space, group) and key in {None, where.key}:
                changes.setdefault(where.key, []).append(change)
        found: list[Missed] = []
        for name, mine in changes.items():
            was, last, kept = mine[0].old is not None, mine[-1].seq, items.get(name)
            gone = [change.seq for change in mine if change.new is None]
            if kept is None and not gone:
                gone = [last]  # it has expired, and was not swept
            if was and gone:
                found.append(Missed(gone[0], name, "delete", None))
            if kept is not None:
                item = Item(kept.value, 0, kept.expires_at)
                kind: Kind = "update" if was and not gone else "create"
                found.append(Missed(last, name, kind, item))
        return sorted(found, key=lambda each: each.seq)

    def items(self, space: str, group: str) -> dict[str, Kept]:
        """The items of a group, by key."""
        return {
            place.key: kept
            for place, kept in sorted(self.all_items.items(), key=lambda item: item[0].key)
            if (place.space, place.group) == (space, group) and kept.live(self.now)
        }

    def groups(self, space: str) -> list[str]:
        """The groups that have an item."""
        return sorted(
            {
                place.group
                for place, kept in self.all_items.items()
                if place.space == space and kept.live(self.now)
            }
        )

    def mark(self, space: str, group: str | None, key: str | None) -> object:
        """What somebody relies on who has read this."""
        if group is None:
            return self.groups(space)
        stamps = {name: kept.stamp for name, kept in self.items(space, group).items()}
        return stamps if key is None else stamps.get(key, 0)

    def reasons(
        self,
        writes: Sequence[Write],
        relied_on: Iterable[tuple[tuple[str, str | None, str | None], object]],
        *,
        done_is_leased: bool,
    ) -> tuple[type[Exception], ...]:
        """The errors of which a commit must raise one; none if it is to be kept."""
        found: list[type[Exception]] = []
        if not done_is_leased:
            found.append(KeyError)
        if any(self.mark(*what) != mark for what, mark in relied_on):
            found.append(Conflict)
        try:
            self.plan(writes)
        except (UpdateInvalid, ValueTooLarge) as error:
            found.append(type(error))
        return tuple(found)
