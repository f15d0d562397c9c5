"""Many writers of streams at once, and those who follow: no gap, no repeat, one order."""

# assert is how a test speaks, and its name is its sentence
# ruff: noqa: S101, D102

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import trio

from motia_trio.store import Clear, Place, Put, Remove, Update, parse_ops
from motia_trio.testing.stores.probe import Probe, StoreDuties, in_store

if TYPE_CHECKING:
    from collections.abc import Iterable

    from motia_trio.store import Change, Snapshot, Write

__all__ = ["FollowDuties"]

INCREMENT = parse_ops({"type": "increment", "path": "n"})
GROUPS = ("room", "hall")
KEYS = "abcde"


class FollowDuties(StoreDuties):
    """What is told in order, and read at any moment, goes together."""

    @in_store
    async def test_fifty_tasks_commit_and_all_of_it_is_told_in_one_order(
        self, probe: Probe
    ) -> None:
        async def write(task: int) -> None:
            for n in range(8):
                places = [Place("chat", f"{task % 3}", f"{task}"), Place("", "g", f"{task}")]
                committed = await probe.commit(writes=[Put(each, b"%d" % n) for each in places])
                told = {change.seq for changes in probe.heard for change in changes}
                assert committed.changes[0].seq in told, "told before the caller goes on"

        async with trio.open_nursery() as nursery:
            for task in range(50):
                nursery.start_soon(write, task)
        changes = _flat(probe.heard)
        assert len(changes) == 400
        numbers = [change.seq for change in changes]
        assert numbers == sorted({*numbers})
        last = {change.place: change.new for change in changes}
        for group in "012":
            for key, item in probe.store.items("chat", group, probe.now).items():
                assert last.pop(Place("chat", group, key)) == item.value
        assert last == {}

    @in_store
    async def test_a_snapshot_and_what_is_told_after_it_are_the_items(self, probe: Probe) -> None:
        chance = random.Random(1)  # noqa: S311 - a test's
        snapshots: list[tuple[str, str | None, Snapshot]] = []
        writers = 12

        async def write() -> None:
            nonlocal writers
            for _ in range(25):
                await probe.commit(writes=[_write(chance) for _ in range(chance.choice((1, 1, 3)))])
            writers -= 1

        async def look() -> None:
            while writers:
                group, key = chance.choice(GROUPS), chance.choice((None, None, *KEYS))
                snapshots.append((group, key, probe.store.snapshot("chat", group, key, probe.now)))
                for _ in range(chance.randrange(3)):
                    await trio.lowlevel.checkpoint()
                await probe.commit(writes=[_write(chance)])

        async with trio.open_nursery() as nursery:
            for _ in range(writers):
                nursery.start_soon(write)
            for _ in range(3):
                nursery.start_soon(look)
        assert len(snapshots) > 30
        changes = _flat(probe.heard)
        assert [change.seq for change in changes] == sorted({change.seq for change in changes})
        for group, key, snapshot in snapshots:
            items = _values(snapshot)
            for change in changes:
                if change.seq > snapshot.seq and _concerns(change, group, key):
                    assert items.get(change.place.key) == change.old
                    _apply(items, change.place.key, change.new)
            assert items == _values(probe.store.snapshot("chat", group, key, probe.now))

    @in_store
    async def test_what_was_missed_is_what_leads_from_one_snapshot_to_the_next(
        self, probe: Probe
    ) -> None:
        chance = random.Random(2)  # noqa: S311 - a test's
        writers = 8

        async def write() -> None:
            nonlocal writers
            for _ in range(30):
                await probe.commit(writes=[_write(chance) for _ in range(chance.choice((1, 2)))])
            writers -= 1

        async def follow(group: str, key: str | None) -> None:
            first = probe.store.snapshot("chat", group, key, probe.now)
            items, seq = _values(first), first.seq
            while writers:
                await trio.lowlevel.checkpoint()
                seq = _resume(probe, items, group, key, seq)
            _resume(probe, items, group, key, seq)
            assert items == _values(probe.store.snapshot("chat", group, key, probe.now))

        async with trio.open_nursery() as nursery:
            for _ in range(writers):
                nursery.start_soon(write)
            for group, key in itertools.product(GROUPS, (None, "a", "b")):
                nursery.start_soon(follow, group, key)

    @in_store
    async def test_who_is_cut_off_amid_what_it_missed_goes_on_from_there(
        self, probe: Probe
    ) -> None:
        chance = random.Random(4)  # noqa: S311 - a test's
        for _ in range(20):
            first = probe.store.snapshot("chat", "room", None, probe.now)
            items, seq = _values(first), first.seq
            for _ in range(4):
                for _ in range(3):
                    await probe.commit(writes=[_write(chance) for _ in range(3)])
                missed = probe.store.snapshot("chat", "room", None, probe.now, seq).missed
                assert missed is not None
                for each in missed[: chance.randrange(4)]:
                    seq = each.seq
                    items.pop(each.key, None)
                    if each.item is not None:
                        items[each.key] = each.item.value
            last = probe.store.snapshot("chat", "room", None, probe.now, seq)
            for each in last.missed or ():
                items.pop(each.key, None)
                if each.item is not None:
                    items[each.key] = each.item.value
            assert items == _values(probe.store.snapshot("chat", "room", None, probe.now))

    @in_store
    async def test_a_bound_holds_whoever_makes_items_at_once(self, probe: Probe) -> None:
        async def write(task: int) -> None:
            for n in range(10):
                place = Place("chat", "room", f"{task} {n}")
                writes: list[Write] = [Put(place, b"1", keep=7)]
                if n % 4 == 3:
                    writes = [Remove(Place("chat", "room", f"{task} {n - 1}")), *writes]
                await probe.commit(writes=writes)

        async with trio.open_nursery() as nursery:
            for task in range(20):
                nursery.start_soon(write, task)
        there: dict[str, None] = {}
        for change in _flat(probe.heard):
            if change.kind == "create":
                there[change.place.key] = None
            elif len(there) > 7:
                assert change.place.key == next(iter(there)), "the first that was made"
            if change.kind == "delete":
                del there[change.place.key]
            assert len(there) <= 8
        assert {*probe.items("room", "chat")} == there.keys()
        assert len(there) == 7


def _write(chance: random.Random) -> Write:
    place = Place("chat", chance.choice(GROUPS), chance.choice(KEYS))
    return chance.choice(
        [
            Put(place, b'{"n":%d}' % chance.randrange(100)),
            Put(place, b'{"n":%d}' % chance.randrange(100), keep=3),
            Update(place, INCREMENT, 100, keep=3),
            Remove(place),
            Remove(place),
            Clear("chat", place.group) if chance.random() < 0.1 else Put(place, b"{}"),
        ]
    )


def _flat(heard: Iterable[Iterable[Change]]) -> list[Change]:
    return [change for changes in heard for change in changes]


def _values(snapshot: Snapshot) -> dict[str, bytes]:
    return {key: item.value for key, item in snapshot.items.items()}


def _concerns(change: Change, group: str, key: str | None) -> bool:
    return change.place.group == group and key in {None, change.place.key}


def _apply(items: dict[str, bytes], key: str, value: bytes | None) -> None:
    if value is None:
        del items[key]
    else:
        items[key] = value


def _resume(probe: Probe, items: dict[str, bytes], group: str, key: str | None, since: int) -> int:
    """Bring ``items`` from ``since`` up to now, by what was missed."""
    snapshot = probe.store.snapshot("chat", group, key, probe.now, since)
    assert snapshot.missed is not None
    for each in snapshot.missed:
        assert since < each.seq <= snapshot.seq
        if each.item is None:
            assert each.kind == "delete"
            del items[each.key]
        else:
            assert each.kind == ("update" if each.key in items else "create")
            items[each.key] = each.item.value
    return snapshot.seq
