"""Items: what is written, what is read, and what expires."""

# assert is how a test speaks, and its name is its sentence
# ruff: noqa: S101, D102

from __future__ import annotations

import pytest

from motia_trio import codec
from motia_trio.errors import ValueTooLarge
from motia_trio.store import (
    Change,
    Clear,
    Op,
    Place,
    Put,
    Remove,
    Update,
    UpdateInvalid,
    Write,
    parse_ops,
)
from motia_trio.testing.stores.probe import Probe, StoreDuties, in_store

__all__ = ["ItemDuties"]

# each differs from all others, however names are joined, cut, folded or compared
NAMES = [
    " ", "%", "'", "A", "_", "a", "a b", "a%", "a\0", "a\0b", "ab", "a_", "a:b", "a:b:c", "b:c",
    "e\u0301", "x" * 511, "x" * 512, "é", "É", "ß", "ss", "\0", "\0\0", "\uffff", "🦊", "🦊" * 128,
]  # fmt: skip

INCREMENT = parse_ops({"type": "increment", "path": "n"})


def _told(change: Change) -> tuple[str, bytes | None, bytes | None, bool]:
    return change.place.key, change.old, change.new, change.expired


class ItemDuties(StoreDuties):
    """What a store does with items, one commit at a time."""

    @in_store
    async def test_where_nothing_was_written_there_is_nothing(self, probe: Probe) -> None:
        assert probe.store.read(Place("", "g", "k"), probe.now) is None
        assert probe.items() == {}
        assert probe.groups() == []
        assert probe.groups("a stream") == []

    @in_store
    async def test_what_is_put_is_read_by_key_by_group_and_by_name(self, probe: Probe) -> None:
        await probe.put("k", {"a": 1})
        assert probe.read("k") == {"a": 1}
        assert probe.items() == {"k": {"a": 1}}
        assert probe.groups() == ["g"]

    @in_store
    async def test_values_are_kept_byte_for_byte(self, probe: Probe) -> None:
        for value in [
            b"null",
            b"0",
            b'""',
            b"[1, 2]",
            '"🦊\0"'.encode(),
            b"[" + b"1," * 99999 + b"1]",
        ]:
            committed = await probe.commit(writes=[Put(Place("", "g", "k"), value)])
            item = probe.store.read(Place("", "g", "k"), probe.now)
            assert item is not None
            assert item.value == value
            assert [change.new for change in committed.changes] == [value]

    @in_store
    async def test_null_is_a_value(self, probe: Probe) -> None:
        committed = await probe.put("k", None)
        assert [_told(each) for each in committed.changes] == [("k", None, b"null", False)]
        assert list(probe.items()) == ["k"]
        assert probe.groups() == ["g"]
        assert probe.version("k") > 0
        committed = await probe.remove("k")
        assert [_told(each) for each in committed.changes] == [("k", b"null", None, False)]

    @in_store
    async def test_every_write_renews_the_version(self, probe: Probe) -> None:
        versions = [probe.version("k")]
        for value in (1, 1, 2):
            await probe.put("k", value)
            versions.append(probe.version("k"))
        await probe.commit(writes=[Update(Place("", "g", "k"), (), 100)])
        versions.append(probe.version("k"))
        await probe.remove("k")
        await probe.put("k", 1)
        versions.append(probe.version("k"))
        assert versions[0] == 0
        assert len(set(versions)) == len(versions)
        await probe.put("other", 1)
        assert probe.version("k") == versions[-1]
        assert probe.store.items("", "g", probe.now)["k"].version == versions[-1]

    @in_store
    async def test_what_is_removed_is_gone(self, probe: Probe) -> None:
        await probe.put("k", 1)
        await probe.put("l", 2)
        committed = await probe.remove("k")
        assert [_told(each) for each in committed.changes] == [("k", b"1", None, False)]
        assert (probe.read("k"), probe.items()) == (None, {"l": 2})
        await probe.remove("l")
        assert (probe.items(), probe.groups()) == ({}, [])

    @in_store
    async def test_to_remove_what_is_not_there_changes_nothing(self, probe: Probe) -> None:
        assert list((await probe.remove("k")).changes) == []
        assert list((await probe.commit(writes=[Clear("", "g")])).changes) == []

    @in_store
    async def test_clearing_removes_one_group_of_one_space(self, probe: Probe) -> None:
        for space, group, key in [("", "g", "b"), ("", "g", "a"), ("", "h", "a"), ("s", "g", "a")]:
            await probe.put(key, key, group=group, space=space)
        clear: list[Write] = [
            Put(Place("", "g", "c"), b"3"),
            Clear("", "g"),
            Put(Place("", "g", "b"), b"4"),
        ]
        committed = await probe.commit(writes=clear)
        assert [_told(each) for each in committed.changes] == [
            ("c", None, b"3", False),
            ("a", b'"a"', None, False),
            ("b", b'"b"', None, False),
            ("c", b"3", None, False),
            ("b", None, b"4", False),
        ]
        assert (probe.items(), probe.items("h"), probe.items(space="s")) == (
            {"b": 4}, {"a": "a"}, {"a": "a"},
        )  # fmt: skip

    @in_store
    async def test_writes_take_effect_in_order_and_each_is_a_change(self, probe: Probe) -> None:
        place, other = Place("", "g", "k"), Place("", "g", "l")
        writes: list[Write] = [
            Put(place, b"1"),
            Put(other, b"[]"),
            Put(place, b'{"n":1}'),
            Update(place, INCREMENT, 100),
            Remove(other),
            Remove(place),
            Update(place, INCREMENT, 100),
        ]
        committed = await probe.commit(writes=writes)
        assert [_told(each) for each in committed.changes] == [
            ("k", None, b"1", False),
            ("l", None, b"[]", False),
            ("k", b"1", b'{"n":1}', False),
            ("k", b'{"n":1}', b'{"n":2}', False),
            ("l", b"[]", None, False),
            ("k", b'{"n":2}', None, False),
            ("k", None, b'{"n":1}', False),
        ]
        assert probe.items() == {"k": {"n": 1}}

    @in_store
    async def test_five_thousand_items_are_written_and_cleared_in_one_commit_each(
        self, probe: Probe
    ) -> None:
        keys = [f"{n:05}" for n in range(5000)]
        await probe.commit(writes=[Put(Place("", "g", key), b"1") for key in keys])
        assert list(probe.items()) == keys
        committed = await probe.commit(writes=[Clear("", "g")])
        assert [change.place.key for change in committed.changes] == keys
        assert probe.groups() == []

    # updates

    @in_store
    async def test_an_update_works_on_what_is_there_or_on_nothing(self, probe: Probe) -> None:
        place = Place("s", "g", "k")
        for n in (1, 2, 3):
            committed = await probe.commit(writes=[Update(place, INCREMENT, 100)])
            assert committed.changes[0].new == codec.encode({"n": n})
        assert probe.read("k", space="s") == {"n": 3}

    @in_store
    async def test_an_update_that_does_not_fit_or_makes_too_much_keeps_nothing(
        self, probe: Probe
    ) -> None:
        await probe.put("k", {"n": "text"})
        place, first = Place("", "g", "k"), Put(Place("", "g", "first"), b"1")
        longer = (Op("set", ("n",), "x" * 50),)
        exact = len(codec.encode({"n": "x" * 50}))
        for update, error in [
            (Update(place, INCREMENT, 1000), UpdateInvalid),
            (Update(place, longer, exact - 1), ValueTooLarge),
        ]:
            with pytest.raises(error):
                await probe.commit((probe.message(), [probe.to()]), writes=[first, update])
            assert probe.items() == {"k": {"n": "text"}}
            assert await probe.lease() == []
        await probe.commit(writes=[Update(place, longer, exact)])
        assert probe.read("k") == {"n": "x" * 50}

    # names

    @in_store
    async def test_every_name_is_another_name(self, probe: Probe) -> None:
        for n, name in enumerate(NAMES):
            await probe.put(name, n)
            await probe.put("k", n, group=name)
            await probe.put("k", n, space=name)
        assert probe.items() == {name: n for n, name in enumerate(NAMES)}
        for n, name in enumerate(NAMES):
            assert probe.read(name) == n
            assert probe.items(name) == {"k": n}
            assert probe.items(space=name) == {"k": n}
            assert probe.groups(name) == ["g"]
        for name in NAMES[::2]:
            await probe.remove(name)
            await probe.commit(writes=[Clear("", name)])
        assert list(probe.items()) == sorted(NAMES[1::2])
        assert probe.groups() == sorted([*NAMES[1::2], "g"])

    @in_store
    async def test_keys_and_groups_come_in_the_order_of_their_code_points(
        self, probe: Probe
    ) -> None:
        for name in reversed(NAMES):
            await probe.put(name, 1)
            await probe.put("k", 1, group=name)
        assert list(probe.items()) == sorted(NAMES)
        assert probe.groups() == sorted([*NAMES, "g"])

    @in_store
    async def test_the_same_letters_in_space_group_and_key_are_different_places(
        self, probe: Probe
    ) -> None:
        places = [
            ("", "a:b", "c"), ("", "a", "b:c"), ("a", "b", "c"), ("a:b", "c", "d"),
            ("a", "b:c", "d"), ("", "k", "g"), ("", "g", "k"), ("g", "k", "g"),
            ("", "a\0", "b"), ("", "a", "\0b"),
        ]  # fmt: skip
        for n, (space, group, key) in enumerate(places):
            await probe.put(key, n, group=group, space=space)
        for n, (space, group, key) in enumerate(places):
            assert probe.read(key, group=group, space=space) == n
            assert probe.items(group, space)[key] == n

    # expiry

    @in_store
    async def test_what_has_expired_is_gone_at_once_for_every_reader(self, probe: Probe) -> None:
        await probe.put("k", 1, ttl=10)
        await probe.put("l", 2, group="h", ttl=20)
        probe.now += 9.9
        assert (probe.read("k"), probe.items(), probe.groups()) == (1, {"k": 1}, ["g", "h"])
        probe.now += 0.1
        assert (probe.read("k"), probe.version("k")) == (None, 0)
        assert (probe.items(), probe.groups()) == ({}, ["h"])

    @in_store
    async def test_what_has_expired_when_it_is_put_is_never_there(self, probe: Probe) -> None:
        place = Place("", "g", "k")
        writes: list[Write] = [Put(place, b"1", probe.now), Update(place, INCREMENT, 100)]
        committed = await probe.commit(writes=writes)
        assert [_told(each) for each in committed.changes] == [
            ("k", None, b"1", False),
            ("k", b"1", None, True),
            ("k", None, b'{"n":1}', False),
        ]
        await probe.put("l", 1, ttl=-5)
        assert probe.items() == {"k": {"n": 1}}

    @in_store
    async def test_an_update_keeps_the_expiry_and_a_put_sets_it_anew(self, probe: Probe) -> None:
        place = Place("", "g", "k")
        await probe.put("k", {}, ttl=10)
        await probe.commit(writes=[Update(place, INCREMENT, 100)])
        item = probe.store.read(place, probe.now)
        assert item is not None
        assert item.expires_at == probe.now + 10
        await probe.put("k", {})
        probe.now += 1000
        assert probe.read("k") == {}

    @in_store
    async def test_a_write_over_an_expired_item_tells_both_changes(self, probe: Probe) -> None:
        place = Place("", "g", "k")
        cases: list[tuple[Write, bytes | None]] = [
            (Put(place, b"2"), b"2"),
            (Update(place, INCREMENT, 100), b'{"n":1}'),
            (Remove(place), None),
            (Clear("", "g"), None),
        ]
        for write, new in cases:
            await probe.put("k", 1, ttl=1)
            probe.now += 1
            committed = await probe.commit(writes=[write])
            told = [_told(each) for each in committed.changes]
            assert told[0] == ("k", b"1", None, True)
            assert told[1:] == ([("k", None, new, False)] if new else [])
            assert list((await probe.store.sweep(10, probe.now)).changes) == []
            await probe.remove("k")

    @in_store
    async def test_sweeping_tells_each_expired_item_once_the_first_to_expire_first(
        self, probe: Probe
    ) -> None:
        start = probe.now
        for n in (3, 1, 2, 5):
            await probe.put(f"k{n}", n, ttl=n)
        await probe.put("forever", 0)
        swept = await probe.store.sweep(10, probe.now)
        assert (list(swept.changes), swept.next_at) == ([], start + 1)
        probe.now += 3
        swept = await probe.store.sweep(2, probe.now)
        assert [_told(each) for each in swept.changes] == [
            ("k1", b"1", None, True), ("k2", b"2", None, True),
        ]  # fmt: skip
        assert swept.next_at == start + 3
        swept = await probe.store.sweep(2, probe.now)
        assert [_told(each) for each in swept.changes] == [("k3", b"3", None, True)]
        assert swept.next_at == start + 5
        swept = await probe.store.sweep(2, probe.now + 2)
        assert (len(swept.changes), swept.next_at) == (1, None)
        assert probe.items() == {"forever": 0}

    @in_store
    async def test_what_was_written_again_is_not_swept_for_its_old_time(self, probe: Probe) -> None:
        await probe.put("put", 1, ttl=1)
        await probe.put("put", 2, ttl=60)
        await probe.put("kept", 1, ttl=1)
        await probe.put("kept", 2)
        await probe.put("removed", 1, ttl=1)
        await probe.remove("removed")
        await probe.put("twice", 1, ttl=1)
        await probe.put("twice", 2, ttl=1)
        probe.now += 1
        swept = await probe.store.sweep(10, probe.now)
        assert [_told(each) for each in swept.changes] == [("twice", b"2", None, True)]
        assert probe.items() == {"kept": 2, "put": 2}
