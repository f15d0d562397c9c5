"""Does the same to a store and to the model, step by step, and compares all that can be seen."""

# assert is how a test speaks
# ruff: noqa: S101

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from attrs import evolve
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from motia_trio.messages import Ack, Bury, GiveBack, Message, Origin, Retry, Route
from motia_trio.store import Place, Put, Seen, Update, Window, Work
from motia_trio.testing.stores.comparing import (
    compare_deliveries,
    compare_letters,
    compare_snapshot,
)
from motia_trio.testing.stores.model import Claim, Model
from motia_trio.testing.stores.probe import NOW, failure
from motia_trio.testing.stores.running import OpenStore
from motia_trio.testing.stores.stories import (
    GROUPS,
    KEYS,
    LANES,
    MESSAGES,
    NO_WRITES,
    ORIGIN,
    READINGS,
    SOON,
    SPACES,
    WHICH,
    WRITES,
    Reading,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from motia_trio.messages import Delivery, Outcome
    from motia_trio.store import Change, Committed, Store, Write

__all__ = ["StoreMachine"]


class StoreMachine(RuleBasedStateMachine):
    """Commits, leases, settles and lets time pass. ``reopens``: the store keeps when it is left."""

    opener: ClassVar[type[OpenStore]] = OpenStore

    def __init__(self, make: Callable[[], Store], *, reopens: bool) -> None:
        super().__init__()
        self.make = make
        self.reopens = reopens
        self.now = NOW
        self.reactions: list[tuple[Sequence[Change], Origin | None]] = []
        self.followed: list[tuple[Message, list[Route]]] = []
        self.store = make()
        self.heard: list[Sequence[Change]] = []
        self.open = self.opener(self.store, self.now, self.react, self.heard.append)
        self.model = Model(self.now)
        self.first_seq = self.last_seq = self._snapshot("s", "g", None).seq
        self.deliveries: list[tuple[Delivery, Claim]] = []
        self.settled: list[Delivery] = []
        self.readings: list[Reading] = []
        self.versions: dict[Place, tuple[int, int]] = {}
        self.used_versions: set[tuple[Place, int]] = set()
        self.last_id = self.last_kept = ""
        self.numbers = itertools.count()

    def react(
        self, changes: Sequence[Change], origin: Origin | None, now: float
    ) -> list[tuple[Message, list[Route]]]:
        """Give a message for each change of a group that is watched, as the runtime would."""
        assert now == self.now
        bundles = [
            (
                Message(self.store.new_id(now), "(state)", b"{}", "0" * 32, now),
                [self._route_of(change)],
            )
            for change in changes
            if change.place.group == "watched"
        ]
        self.reactions.append((changes, origin))
        self.followed += bundles
        return bundles

    def _route_of(self, change: Change) -> Route:
        number = next(self.numbers)
        lane = LANES[number // 2 % len(LANES)]
        return Route("B", 0, self.now, fifo=change.place.key, take=number % 2 == 0, lane=lane)

    def follow(self, changes: list[Change], origin: Origin | None) -> list[Any]:
        """Give the messages that followed; see that the store asked about just these changes."""
        asked = [(change, change.expired) for each, _ in self.reactions for change in each]
        assert asked == [(change, change.expired) for change in changes]
        assert all(given == origin for _, given in self.reactions)
        followed, self.followed = self.followed, []
        self.reactions = []
        return followed

    def _hear(self, changes: Sequence[Change]) -> None:
        """See that the changes of streams are numbered in order, and that they were told."""
        for change in changes:
            if change.place.space:
                assert self.last_seq < change.seq < 2**53
                self.last_seq = change.seq
                self.model.log.append(change)
            else:
                assert change.seq == 0
        told = [[(change.seq, change) for change in each] for each in self.heard]
        streams = [(change.seq, change) for change in changes if change.seq]
        assert told == ([streams] if streams else [])
        self.heard.clear()

    # commits

    def _new_id(self) -> str:
        made: str = self.open.look(lambda store: store.new_id(self.now))
        assert made > self.last_id, "an id is greater than those before"
        self.last_id = made
        return made

    def _placed(self, write: Write) -> Write:
        if isinstance(write, (Put, Update)) and write.expires_at is not None:
            return evolve(write, expires_at=self.now + write.expires_at)
        return write

    @rule(
        messages=MESSAGES,
        writes=st.one_of(NO_WRITES, WRITES),
        rely=st.sampled_from([False, False, False, True]),
        done=st.sampled_from([False, False, False, True]),
        which=WHICH,
        reading=READINGS,
    )
    def commit(
        self,
        messages: list[tuple[Message, list[Route]]],
        writes: list[Write],
        rely: bool,  # noqa: FBT001
        done: bool,  # noqa: FBT001
        which: int,
        reading: tuple[str, str | None, str | None],
    ) -> None:
        """Have anything kept, or refused."""
        self._read(reading)
        bundles = [
            (
                evolve(message, id=self._new_id()),
                [evolve(route, due_at=self.now + route.due_at) for route in routes],
            )
            for message, routes in messages
        ]
        writes = [self._placed(write) for write in writes]
        readings = self.readings[-1 - which % 3 :] if rely else []
        ended = self.settled[-1:] if done and which % 4 == 0 else []
        held = self.deliveries[which % len(self.deliveries)] if done and self.deliveries else None
        delivery = ended[0] if ended else held[0] if held else None
        work = Work(bundles, writes, [each.seen for each in readings], delivery, ORIGIN)
        reasons = self.model.reasons(
            writes,
            [(each.what, each.mark) for each in readings],
            done_is_leased=delivery is None or any(delivery.id == d.id for d, _ in self.deliveries),
        )
        if reasons:
            with pytest.raises(reasons):
                self.open.wait("commit", work, self.now)
            self.reactions, self.followed = [], []
            assert self.heard == []
            return
        committed = self.open.wait("commit", work, self.now)
        self._committed(committed, bundles, writes)
        if delivery is not None:
            self._end(delivery, Ack())

    def _committed(self, committed: Committed, bundles: list[Any], writes: Sequence[Write]) -> None:
        self.model.all_items, changes = self.model.plan(writes)
        assert [(each, each.expired) for each in committed.changes] == [
            (each, each.expired) for each in changes
        ]
        self._hear(committed.changes)
        bundles += self.follow(changes, ORIGIN)
        taken, duplicates = self.model.keep(bundles)
        kept = [
            message.id for message, routes in bundles if routes and message.id not in duplicates
        ]
        self.last_kept = max([self.last_kept, *kept])
        assert dict(committed.duplicates) == duplicates
        self._given(committed.taken, taken)

    def _given(self, deliveries: Sequence[Delivery], claims: list[Claim]) -> None:
        """See that the store has leased what the model has."""
        assert [
            (each.message, each.step, each.lane, each.trigger, each.fifo, each.failures)
            for each in deliveries
        ] == [
            (each.message, *each.window, each.route.trigger, each.route.fifo, each.failures)
            for each in claims
        ]
        assert all(each.crashes == 0 for each in deliveries)
        for delivery, claim in zip(deliveries, claims, strict=True):
            assert claim.id in {0, delivery.id}
            claim.id = delivery.id
            self.deliveries.append((delivery, claim))

    def _read(self, what: tuple[str, str | None, str | None]) -> None:
        """Read what a later commit may rely on."""
        space, group, key = what

        def mark(store: Store) -> Any:
            if group is None:
                return frozenset(store.groups(space, self.now))
            found = store.items(space, group, self.now)
            if key is None:
                return {name: item.version for name, item in found.items()}
            return found[key].version if key in found else 0

        seen = Seen(space, group, key, self.open.look(mark))
        self.readings.append(Reading(what, seen, self.model.mark(*what)))

    # deliveries

    @rule(
        step=st.sampled_from(["A", "A", "A", "B"]),
        lane=st.sampled_from(LANES),
        limit=st.sampled_from([1, 1, 2, 5]),
    )
    def lease(self, step: str, lane: str, limit: int) -> None:
        """Lease what the model says."""
        mine = self.model.open(Window(step, lane))
        given = self.open.wait("lease", step, limit, self.now, lane)
        for claim in mine[:limit]:
            claim.leased = True
        self._given(given.deliveries, mine[:limit])
        assert given.more == (len(mine) > limit)
        for delivery in given.deliveries[::2]:
            self.open.begin(delivery)

    def _end(self, delivery: Delivery, outcome: Outcome) -> None:
        (found,) = [each for each in self.deliveries if each[0].id == delivery.id]
        self.deliveries.remove(found)
        self.model.settle(found[1], outcome)
        self.settled.append(found[0])

    @precondition(lambda self: self.deliveries)
    @rule(which=WHICH, kind=st.sampled_from(["ack", "give back", "retry", "bury", ""]), after=SOON)
    def settle(self, which: int, kind: str, after: float) -> None:
        """End a lease in any way."""
        delivery = self.deliveries[which % len(self.deliveries)][0]
        failed = failure(delivery.attempt)
        outcomes: dict[str, Outcome] = {
            "ack": Ack(),
            "give back": GiveBack(),
            "retry": Retry(self.now + after, failed),
            "bury": Bury(f"why {which}", failed if which % 2 else None),
        }
        outcome = outcomes.get(kind, Ack())
        if kind:
            self.open.wait("settle", delivery, outcome, self.now)
        else:
            self.open.acknowledge(delivery, self.now)
        self._end(delivery, outcome)
        self._settle_again(self.settled[which % len(self.settled)])

    def _settle_again(self, delivery: Delivery) -> None:
        """Try to end a lease that has ended."""
        if all(each.id != delivery.id for each, _ in self.deliveries):
            with pytest.raises(KeyError):
                self.open.wait("settle", delivery, Ack(), self.now)
            with pytest.raises(KeyError):
                self.open.acknowledge(delivery, self.now)

    @precondition(lambda self: self.model.claims)
    @rule(which=WHICH)
    def cancel(self, which: int) -> None:
        """Drop what waits of some message."""
        number = self.model.claims[which % len(self.model.claims)].message.id
        assert self.open.wait("cancel", number, self.now) == self.model.cancel(number)

    def _ids(self, which: int) -> set[int]:
        dead = [letter.claim.id for letter in self.model.letters]
        return {1, *dead[which % 3 :: 2]}

    @precondition(lambda self: self.model.letters)
    @rule(which=WHICH)
    def redrive_or_discard(self, which: int) -> None:
        """Let some dead letters, and one that is none, begin anew or be forgotten."""
        ids = self._ids(which)
        if which % 4:
            assert list(self.open.wait("redrive", ids, self.now)) == self.model.redrive(ids)
        else:
            gone = [letter.claim.id for letter in self.model.discard(ids)]
            assert list(self.open.wait("discard", ids)) == gone

    # those who follow

    def _snapshot(self, space: str, group: str, key: str | None, since: int | None = None) -> Any:
        return self.open.look(
            lambda store: store.snapshot(space, group, key, self.now, since=since)
        )

    @rule(group=st.sampled_from(GROUPS), key=st.sampled_from([None, None, *KEYS]), which=WHICH)
    def snapshot(self, group: str, key: str | None, which: int) -> None:
        """Read a group of a stream, or an item, or what was missed of it."""
        numbers = [self.first_seq, *(change.seq for change in self.model.log)]
        since = numbers[-1 - which % len(numbers)]
        for each in (7, None, since):  # of nobody's, none, and one that is known
            snapshot = self._snapshot("s", group, key, each)
            compare_snapshot(snapshot, self.model, group, key, since if each == since else None)
            assert snapshot.seq == self.last_seq

    # time

    @rule(seconds=st.sampled_from([0.5, 1.0, 1.0, 2.0, 5.0, 86_400.0]))
    def pass_time(self, seconds: float) -> None:
        """Let it be later."""
        self.now += seconds
        self.model.at(self.now)

    @rule(limit=st.sampled_from([1, 2, 100]))
    def sweep(self, limit: int) -> None:
        """Remove what has expired."""
        items = self.model.all_items
        expired = {p: kept for p, kept in items.items() if not kept.live(self.now)}
        swept = self.open.wait("sweep", limit, self.now)
        gone = [change.place for change in swept.changes]
        assert len({*gone}) == len(gone) == min(limit, len(expired))
        assert all(change.expired and change.new is None for change in swept.changes)
        assert [change.old for change in swept.changes] == [expired[p].value for p in gone]
        times = [expired.pop(place).expires_at or 0.0 for place in gone]
        assert times == sorted(times)
        assert not expired or times[-1] <= min(kept.expires_at or 0.0 for kept in expired.values())
        self.model.all_items = {p: kept for p, kept in items.items() if p not in gone}
        self._hear(swept.changes)
        following = self.follow(list(swept.changes), None)
        self.model.keep((m, [evolve(r, take=False) for r in routes]) for m, routes in following)
        ends = [kept.expires_at for kept in self.model.all_items.values()]
        ends += [until for _, until in self.model.keys.values() if until > self.now]
        assert swept.next_at == min((end for end in ends if end is not None), default=None)

    @precondition(lambda self: self.reopens)
    @rule()
    def reopen(self) -> None:
        """Leave the store in order, and come back."""
        self.open.close()
        self.store = self.make()
        self.open = self.opener(self.store, self.now, self.react, self.heard.append)
        self.model.reopen()
        self.settled += [delivery for delivery, _ in self.deliveries]
        self.deliveries = []
        self.readings = []
        self.versions = {}
        self.used_versions = set()
        self.last_id = self.last_kept

    def teardown(self) -> None:
        """Leave the store."""
        self.open.close()

    # what can be seen

    @invariant()
    def what_it_tells_is_true(self) -> None:
        """Compare everything."""
        self.open.look(lambda store: compare_deliveries(store, self.model))
        self.open.look(lambda store: compare_letters(store, self.model))
        self.open.look(self._compare_items)

    def _compare_items(self, store: Store) -> None:
        for space in SPACES:
            assert list(store.groups(space, self.now)) == self.model.groups(space)
            for group in GROUPS:
                given = store.items(space, group, self.now)
                expected = self.model.items(space, group)
                assert [(key, item.value, item.expires_at) for key, item in given.items()] == [
                    (key, kept.value, kept.expires_at) for key, kept in expected.items()
                ]
                for key in KEYS:
                    place = Place(space, group, key)
                    assert store.read(place, self.now) == given.get(key)
                    if key in expected:
                        self._compare_version(place, given[key].version, expected[key].stamp)

    def _compare_version(self, place: Place, version: int, stamp: int) -> None:
        """A version stands for one write, as the model's stamp does, and never comes again."""
        assert version > 0
        known = self.versions.get(place)
        if known is None or known[1] != stamp:
            assert (place, version) not in self.used_versions
            self.used_versions.add((place, version))
            self.versions[place] = (version, stamp)
        else:
            assert known[0] == version
