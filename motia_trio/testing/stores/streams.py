"""Items of streams: their order, what is told of them, what a group may have, what was missed."""

# assert is how a test speaks, and its name is its sentence
# ruff: noqa: S101, D102

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from motia_trio import codec
from motia_trio.errors import Conflict
from motia_trio.store import (
    Change,
    Clear,
    Place,
    Put,
    Remove,
    Seen,
    Update,
    UpdateInvalid,
    Write,
    parse_ops,
)
from motia_trio.testing.stores.probe import NOW, Probe, StoreDuties, in_store

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from motia_trio.store import Committed, Snapshot, Store

__all__ = ["StreamDuties"]

INCREMENT = parse_ops({"type": "increment", "path": "n"})


def _told(changes: Iterable[Change]) -> list[tuple[str, str, bool]]:
    return [(change.kind, change.place.key, change.expired) for change in changes]


def _missed(snapshot: Snapshot) -> list[tuple[str, str, Any]]:
    assert snapshot.missed is not None
    assert snapshot.items == {}
    return [
        (each.kind, each.key, None if each.item is None else codec.decode(each.item.value))
        for each in snapshot.missed
    ]


async def _chat(probe: Probe, key: str, value: Any = 0, **fields: Any) -> Committed:
    return await probe.put(key, value, space="chat", **fields)


def _keys(probe: Probe, group: str = "g") -> list[str]:
    return [*probe.items(group, "chat")]


class StreamDuties(StoreDuties):
    """What a store does with items of streams beyond those of the state, one call at a time."""

    # the order

    @in_store
    async def test_changes_of_streams_are_numbered_in_order_and_others_are_not(
        self, probe: Probe
    ) -> None:
        last = probe.store.snapshot("chat", "g", None, probe.now).seq
        assert probe.now * 1_000_000 <= last < 2**53
        commits: list[list[Write]] = [
            [Put(Place("chat", "g", "a"), b"1"), Put(Place("", "g", "a"), b"1")],
            [Put(Place("other", "g", "a"), b"1"), Put(Place("chat", "h", "a"), b"1")],
            [Put(Place("(cron)", "g", "a"), b"1"), Clear("chat", "g")],
        ]
        for writes in commits:
            for change in (await probe.commit(writes=writes)).changes:
                if change.place.space in {"", "(cron)"}:
                    assert change.seq == 0
                else:
                    assert change.seq > last
                    last = change.seq
        assert last < 2**53
        assert probe.store.snapshot("other", "x", None, probe.now).seq == last

    @in_store
    async def test_the_order_goes_on_when_the_clock_stands_still_or_goes_back(
        self, probe: Probe
    ) -> None:
        numbers: list[int] = []
        for step in (0.0, 0.0, -3600.0, 0.0, 3600.5, 0.0001):
            probe.now += step
            for n in range(3):
                numbers += [change.seq for change in (await _chat(probe, f"{n}")).changes]
        assert numbers == sorted({*numbers})
        assert len(numbers) == 18
        assert numbers[-1] >= int(probe.now * 1_000_000)

    # what is told

    @in_store
    async def test_each_commit_of_changes_is_told_once_and_nothing_of_the_state(
        self, probe: Probe
    ) -> None:
        await probe.put("k", 1)
        await probe.keep("m")
        await probe.remove("nothing", space="chat")
        assert probe.heard == []
        writes: list[Write] = [
            Put(Place("chat", "g", "a"), b"1"),
            Put(Place("", "g", "a"), b"1"),
            Put(Place("(own)", "g", "a"), b"1"),
            Put(Place("other", "g", "b"), b"1"),
            Remove(Place("chat", "g", "a")),
        ]
        committed = await probe.commit(writes=writes)
        streams = [each for each in committed.changes if each.place.space in {"chat", "other"}]
        assert [[*each] for each in probe.heard] == [streams]
        assert [each.seq for each in probe.heard[0]] == [each.seq for each in streams]
        await _chat(probe, "c", ttl=1)
        await probe.put("d", 1, ttl=1)
        probe.now += 1
        swept = await probe.store.sweep(10, probe.now)
        (gone,) = [change for change in swept.changes if change.place.space]
        assert [_told(each) for each in probe.heard[1:]] == [
            [("create", "c", False)], [("delete", "c", True)],
        ]  # fmt: skip
        assert gone.seq == probe.heard[2][0].seq > probe.heard[1][0].seq

    @in_store
    async def test_what_is_refused_is_not_told(self, probe: Probe) -> None:
        await _chat(probe, "words", "text", keep=1)
        (before,) = probe.heard
        unfit: list[Write] = [
            Put(Place("chat", "g", "new"), b"1", keep=1),
            Update(Place("chat", "g", "new"), INCREMENT, 100),
        ]
        with pytest.raises(UpdateInvalid):
            await probe.commit(writes=unfit)
        with pytest.raises(Conflict):
            await probe.commit(writes=unfit[:1], seen=[Seen("chat", "g", "words", 0)])
        assert len(probe.heard) == 1
        snapshot = probe.store.snapshot("chat", "g", None, probe.now)
        assert ([*snapshot.items], snapshot.seq) == (["words"], before[-1].seq)
        await _chat(probe, "next", keep=1)
        assert _told(probe.heard[1]) == [("create", "next", False), ("delete", "words", False)]

    def test_who_follows_sees_what_it_is_told_and_is_told_before_the_caller_goes_on(
        self, tmp_path: Path
    ) -> None:
        seen: list[object] = []
        stores: list[Store] = []

        def follow(changes: Sequence[Change]) -> None:
            (store,) = stores
            for change in changes:
                item = store.read(change.place, NOW)
                snapshot = store.snapshot(*change.place, NOW, since=change.seq)
                assert change.seq <= snapshot.seq
                seen.append((item.value if item else None, snapshot.missed))

        async def visit(probe: Probe) -> None:
            stores.append(probe.store)
            await _chat(probe, "k", 1)
            assert seen == [(b"1", [])]
            await probe.remove("k", space="chat")
            assert seen == [(b"1", []), (None, [])]

        self.use(tmp_path, visit, follow=follow)

    # snapshots

    @in_store
    async def test_a_snapshot_has_the_live_items_and_the_number_of_the_last_change(
        self, probe: Probe
    ) -> None:
        empty = probe.store.snapshot("chat", "g", None, probe.now)
        assert (empty.items, empty.missed) == ({}, None)
        await _chat(probe, "b", 2)
        await _chat(probe, "a", 1, ttl=10)
        await _chat(probe, "c", 3, group="other")
        last = (await _chat(probe, "d", 3, group="other")).changes[0].seq
        snapshot = probe.store.snapshot("chat", "g", None, probe.now)
        assert [(key, item.value) for key, item in snapshot.items.items()] == [
            ("a", b"1"), ("b", b"2"),
        ]  # fmt: skip
        assert (snapshot.seq, snapshot.missed) == (last, None)
        one = probe.store.snapshot("chat", "g", "a", probe.now)
        assert ([*one.items], one.seq) == (["a"], last)
        assert one.items["a"] == snapshot.items["a"]
        assert probe.store.snapshot("chat", "g", "c", probe.now).items == {}
        probe.now += 10
        assert [*probe.store.snapshot("chat", "g", None, probe.now).items] == ["b"]
        assert probe.store.snapshot("chat", "g", "a", probe.now).items == {}

    @in_store
    async def test_what_was_missed_is_merged_by_how_each_key_was_and_how_it_is(
        self, probe: Probe
    ) -> None:
        for key in ("updated", "removed", "made again", "left"):
            await _chat(probe, key, "old")
        since = probe.store.snapshot("chat", "g", None, probe.now).seq
        await _chat(probe, "made and gone")
        await _chat(probe, "made")
        await _chat(probe, "updated", 1)
        await probe.remove("removed", space="chat")
        await probe.remove("made again", space="chat")
        await probe.remove("made and gone", space="chat")
        await _chat(probe, "made again", "new")
        await _chat(probe, "elsewhere", group="h")
        await probe.put("elsewhere", 1, space="other")
        await _chat(probe, "made", 2)
        last = (await _chat(probe, "updated", 2)).changes[0].seq
        snapshot = probe.store.snapshot("chat", "g", None, probe.now, since)
        assert _missed(snapshot) == [
            ("delete", "removed", None),
            ("delete", "made again", None),
            ("create", "made again", "new"),
            ("create", "made", 2),
            ("update", "updated", 2),
        ]
        assert snapshot.missed is not None
        numbers = [each.seq for each in snapshot.missed]
        assert numbers == sorted(numbers)
        assert numbers[-1] == snapshot.seq == last
        for key in ("removed", "made again", "made", "updated", "left", "made and gone"):
            one = probe.store.snapshot("chat", "g", key, probe.now, since)
            assert _missed(one) == [each for each in _missed(snapshot) if each[1] == key]
        assert _missed(probe.store.snapshot("chat", "h", None, probe.now, since)) == [
            ("create", "elsewhere", 0)
        ]
        assert _missed(probe.store.snapshot("chat", "none", None, probe.now, since)) == []

    @in_store
    async def test_what_expired_was_missed_as_something_that_is_gone(self, probe: Probe) -> None:
        await _chat(probe, "was", 1, ttl=1)
        since = probe.store.snapshot("chat", "g", None, probe.now).seq
        await _chat(probe, "was", 2, ttl=1)
        await _chat(probe, "was not", 1, ttl=1)
        probe.now += 1
        for _ in range(2):
            snapshot = probe.store.snapshot("chat", "g", None, probe.now, since)
            assert _missed(snapshot) == [("delete", "was", None)]
            await probe.store.sweep(10, probe.now)

    @in_store
    async def test_who_names_a_number_that_is_not_in_the_log_gets_everything(
        self, probe: Probe
    ) -> None:
        first = probe.store.snapshot("chat", "g", None, probe.now).seq
        await _chat(probe, "k")
        last = (await _chat(probe, "l")).changes[0].seq
        for since in (0, 1, -1, first - 1, last + 1, 2**53, 2**70):
            snapshot = probe.store.snapshot("chat", "g", None, probe.now, since)
            assert ([*snapshot.items], snapshot.missed, snapshot.seq) == (["k", "l"], None, last)
        assert _missed(probe.store.snapshot("chat", "g", None, probe.now, first)) == [
            ("create", "k", 0), ("create", "l", 0),
        ]  # fmt: skip
        assert _missed(probe.store.snapshot("chat", "g", None, probe.now, last)) == []

    @in_store
    async def test_a_thousand_keys_were_missed(self, probe: Probe) -> None:
        since = probe.store.snapshot("chat", "g", None, probe.now).seq
        keys = [f"{n} é\0" for n in range(1001)]
        await probe.commit(writes=[Put(Place("chat", "g", key), b"1") for key in keys])
        missed = _missed(probe.store.snapshot("chat", "g", None, probe.now, since))
        assert missed == [("create", key, 1) for key in keys]

    # how many items a group may have

    @in_store
    async def test_what_is_made_beyond_the_bound_removes_what_was_made_first(
        self, probe: Probe
    ) -> None:
        for key in ("c", "a", "b"):
            await _chat(probe, key, keep=3)
        await _chat(probe, "c", "is updated, and no younger", keep=3)
        await _chat(probe, "x", group="h", keep=3)
        await probe.put("x", 1, space="other", keep=3)
        committed = await _chat(probe, "d", keep=3)
        assert _told(committed.changes) == [("create", "d", False), ("delete", "c", False)]
        assert probe.heard[-1] == committed.changes
        assert _keys(probe) == ["a", "b", "d"]
        await probe.remove("a", space="chat")
        assert _told((await _chat(probe, "a", keep=3)).changes) == [("create", "a", False)]
        assert _told((await _chat(probe, "e", keep=3)).changes) == [
            ("create", "e", False), ("delete", "b", False),
        ]  # fmt: skip
        assert (_keys(probe), _keys(probe, "h")) == (["a", "d", "e"], ["x"])

    @in_store
    async def test_a_lower_bound_holds_from_the_next_item_that_is_made(self, probe: Probe) -> None:
        for n in range(9):
            await _chat(probe, f"{n}")
        assert len((await _chat(probe, "0", "updated", keep=2)).changes) == 1
        committed = await _chat(probe, "9", keep=2)
        assert [key for _, key, _ in _told(committed.changes)] == ["9", *"01234567"]
        assert _keys(probe) == ["8", "9"]
        await _chat(probe, "10")  # who sets no bound is under none
        assert _keys(probe) == ["10", "8", "9"]

    @in_store
    async def test_an_update_that_makes_an_item_has_a_bound_and_an_expiry(
        self, probe: Probe
    ) -> None:
        place, expires_at = Place("chat", "g", "n"), probe.now + 5
        update = Update(place, INCREMENT, 100, expires_at=expires_at, keep=2)
        await _chat(probe, "a")
        await _chat(probe, "b")
        committed = await probe.commit(writes=[update])
        assert _told(committed.changes) == [("create", "n", False), ("delete", "a", False)]
        later = Update(place, INCREMENT, 100, expires_at=probe.now + 50, keep=1)
        assert len((await probe.commit(writes=[later])).changes) == 1
        item = probe.store.read(place, probe.now)
        assert item is not None
        assert (item.value, item.expires_at) == (b'{"n":2}', expires_at)

    @in_store
    async def test_what_has_expired_does_not_count(self, probe: Probe) -> None:
        await _chat(probe, "old")
        await _chat(probe, "mortal", ttl=1)
        await _chat(probe, "also", ttl=1)
        await _chat(probe, "dead at once", ttl=0, keep=1)
        assert _keys(probe) == ["also", "mortal", "old"]
        probe.now += 1
        assert len((await _chat(probe, "new", keep=2)).changes) == 1
        assert _keys(probe) == ["new", "old"]
        committed = await _chat(probe, "mortal", keep=2)
        assert _told(committed.changes) == [
            ("delete", "mortal", True), ("create", "mortal", False), ("delete", "old", False),
        ]  # fmt: skip
        await probe.store.sweep(10, probe.now)
        assert _keys(probe) == ["mortal", "new"]
        await _chat(probe, "mortal", "dead", ttl=-1)
        assert len((await _chat(probe, "newer", keep=2)).changes) == 1

    @in_store
    async def test_many_writes_of_one_commit_are_bounded_one_after_the_other(
        self, probe: Probe
    ) -> None:
        def put(key: str) -> Put:
            return Put(Place("chat", "g", key), b"1", keep=3)

        for key in "abc":
            await _chat(probe, key)
        writes: list[Write] = [
            put("d"), Remove(Place("chat", "g", "b")), put("b"), put("c"), put("e"),
            Remove(Place("chat", "g", "d")), put("f"), put("g"),
        ]  # fmt: skip
        committed = await probe.commit(writes=writes)
        assert [(kind[0], key) for kind, key, _ in _told(committed.changes)] == [
            ("c", "d"), ("d", "a"), ("d", "b"), ("c", "b"), ("u", "c"), ("c", "e"), ("d", "c"),
            ("d", "d"), ("c", "f"), ("c", "g"), ("d", "b"),
        ]  # fmt: skip
        assert _keys(probe) == ["e", "f", "g"]
        for key in "hij":
            committed = await _chat(probe, key, keep=3)
            assert _told(committed.changes)[1] == ("delete", chr(ord(key) - 3), False)
        many = [Put(Place("chat", "g", f"{n:04}"), b"1", keep=3) for n in range(2000)]
        assert len((await probe.commit(writes=many)).changes) == 4000
        assert _keys(probe) == ["1997", "1998", "1999"]

    @in_store
    async def test_what_is_removed_and_made_in_one_commit_is_the_youngest(
        self, probe: Probe
    ) -> None:
        for key in "abc":
            await _chat(probe, key)
        place = Place("chat", "g", "a")
        await probe.commit(writes=[Remove(place), Put(place, b"1")])
        for key, gone in zip("def", "bca", strict=True):
            committed = await _chat(probe, key, keep=3)
            assert _told(committed.changes)[1] == ("delete", gone, False)
        place = Place("chat", "g", "d")
        await probe.commit(
            writes=[Put(place, b"2"), Put(Place("chat", "g", "z"), b"1"), Remove(place),
                    Put(place, b"3")]
        )  # fmt: skip
        for key, gone in zip("ghij", "efzd", strict=True):
            committed = await _chat(probe, key, keep=4)
            assert _told(committed.changes)[1] == ("delete", gone, False)

    @in_store
    async def test_the_state_has_no_bound(self, probe: Probe) -> None:
        for n in range(3):
            await probe.put(f"{n}", n, keep=1)
            await probe.put(f"{n}", n, space="(own)", keep=1)
        assert len(probe.items()) == len(probe.items(space="(own)")) == 3

    @in_store
    async def test_clearing_and_sweeping_make_room(self, probe: Probe) -> None:
        for n in range(4):
            await _chat(probe, f"{n}", keep=4, ttl=n)
        probe.now += 1
        await probe.store.sweep(10, probe.now)
        assert len((await _chat(probe, "4", keep=3)).changes) == 1
        await probe.commit(writes=[Clear("chat", "g")])
        for n in range(3):
            assert len((await _chat(probe, f"{n}", keep=3)).changes) == 1
        assert _told((await _chat(probe, "5", keep=3)).changes)[1:] == [("delete", "0", False)]
