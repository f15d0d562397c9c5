"""What a commit promises as a whole: all or nothing, keys, what was seen, and what follows."""

# assert is how a test speaks, and its name is its sentence
# ruff: noqa: S101, D102

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from motia_trio.errors import Conflict
from motia_trio.messages import GiveBack, Message, Origin, Route
from motia_trio.store import (
    KEY_LIFETIME,
    Change,
    Clear,
    Counts,
    Place,
    Put,
    Seen,
    Update,
    Work,
    parse_ops,
)
from motia_trio.testing.stores.probe import Probe, StoreDuties, in_store, names

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from motia_trio.store import Store

__all__ = ["CommitDuties"]

UNFIT = Update(Place("", "unfit", "k"), parse_ops({"type": "increment", "path": "n"}), 1000)


class _Watch:
    """What a runtime answers the store with: a message for each change of a group ``watched``."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[Change], Origin | None, float]] = []
        self.store: Store
        self.key: str | None = None
        self.fails = False

    def react(
        self, changes: Sequence[Change], origin: Origin | None, now: float
    ) -> list[tuple[Message, list[Route]]]:
        self.asked.append((list(changes), origin, now))
        if self.fails:
            raise ZeroDivisionError
        return [
            (self._message(change, now), [Route("W", 0, now, take=True)])
            for change in changes
            if change.place.group == "watched"
        ]

    def _message(self, change: Change, now: float) -> Message:
        key = self.key and f"{self.key} {change.place.key}"
        payload = b'"%b"' % change.place.key.encode()
        return Message(self.store.new_id(now), "(state)", payload, "0" * 32, now, key=key)


class CommitDuties(StoreDuties):
    """A commit keeps everything that it was given, or nothing."""

    @in_store
    async def test_everything_is_kept_together(self, probe: Probe) -> None:
        held = await probe.take("held")
        committed = await probe.commit(
            (probe.message("a"), [probe.to(take=True)]),
            writes=[Put(Place("", "g", "k"), b"1")],
            seen=[Seen("", "g", "k", 0)],
            done=held,
        )
        assert names(committed.taken) == ["a"]
        assert probe.counts() == Counts(leased=1)
        assert probe.read("k") == 1
        with pytest.raises(KeyError):
            await probe.ack(held)

    @in_store
    async def test_nothing_is_a_commit_too(self, probe: Probe) -> None:
        committed = await probe.commit()
        assert (list(committed.taken), dict(committed.duplicates)) == ([], {})
        assert list(committed.changes) == []

    @pytest.mark.parametrize(
        ("error", "wrong"),
        [
            (Conflict, {"seen": [Seen("", "g", "old", 12345)]}),
            (ValueError, {"writes": [Put(Place("", "g", "new"), b"2"), UNFIT]}),
            (KeyError, {"done": "settled"}),
        ],
    )
    def test_what_is_refused_keeps_nothing(
        self, tmp_path: Path, error: type[Exception], wrong: dict[str, Any]
    ) -> None:
        async def visit(probe: Probe) -> None:
            await probe.put("old", 1)
            await probe.put("k", 1, group="unfit")
            held, settled = await probe.keep("held", "settled", take=True)
            await probe.ack(settled)
            waits = await probe.bury("dead", step="B")
            version = probe.version("old")
            work = {
                "writes": [Put(Place("", "g", "new"), b"2"), Clear("", "unfit")],
                "seen": [Seen("", "g", "old", version)],
                "done": held,
                **wrong,
            }
            if work["done"] == "settled":
                work["done"] = settled
            message = probe.message("refused", key="key")
            with pytest.raises(error):
                await probe.commit((message, [probe.to(take=True), probe.to("B")]), **work)
            assert probe.store.counts(probe.now).get("A") == Counts(leased=1)
            assert probe.store.counts(probe.now).get("B") == Counts(dead=1)
            assert [letter.id for letter in probe.store.dead_letters()] == [waits]
            assert (probe.items(), probe.items("unfit")) == ({"old": 1}, {"k": 1})
            assert probe.version("old") == version
            await probe.ack(held)
            assert names([await probe.take("again", key="key")]) == ["again"]

        self.use(tmp_path, visit)

    @in_store
    async def test_what_is_done_counts_for_its_group_until_the_messages_are_kept(
        self, probe: Probe
    ) -> None:
        held = await probe.take("held", fifo="g")
        message = probe.message("next")
        committed = await probe.commit((message, [probe.to(fifo="g", take=True)]), done=held)
        assert list(committed.taken) == []
        assert names(await probe.lease()) == ["next"]

    @in_store
    async def test_a_delivery_is_done_once(self, probe: Probe) -> None:
        held = await probe.take()
        await probe.commit(done=held)
        assert probe.counts() == Counts()
        with pytest.raises(KeyError):
            await probe.commit(done=held)
        (again,) = await probe.keep("again", take=True)
        await probe.settle(again, GiveBack())
        with pytest.raises(KeyError):
            await probe.commit(done=again)
        assert probe.counts() == Counts(waiting=1)

    # what was seen

    @in_store
    async def test_what_was_seen_and_is_still_so_lets_it_be_kept(self, probe: Probe) -> None:
        await probe.put("k", 1)
        await probe.put("l", 2, ttl=5)
        versions = {key: probe.version(key) for key in "kl"}
        seen = [
            Seen("", "g", "k", versions["k"]),
            Seen("", "g", "nothing", 0),
            Seen("", "g", None, versions),
            Seen("", "empty", None, {}),
            Seen("", None, None, frozenset({"g"})),
            Seen("s", None, None, frozenset()),
        ]
        await probe.put("k", 1, space="other")
        await probe.commit(seen=seen, writes=[Put(Place("", "g", "k"), b"2")])
        assert probe.read("k") == 2

    @in_store
    async def test_what_was_seen_and_is_not_so_any_more_is_a_conflict(self, probe: Probe) -> None:
        await probe.put("k", 1)
        await probe.put("l", 2, ttl=5)
        k, both = probe.version("k"), {key: probe.version(key) for key in "kl"}
        await probe.put("k", 1)
        stale = [
            Seen("", "g", "k", k),
            Seen("", "g", "k", 0),
            Seen("", "g", None, both),
            Seen("", "g", None, {}),
            Seen("", "g", None, {"k": probe.version("k")}),
            Seen("", None, None, frozenset()),
            Seen("", None, None, frozenset({"g", "h"})),
        ]
        for each in stale:
            with pytest.raises(Conflict, match="changed"):
                await probe.commit((probe.message(), [probe.to()]), seen=[each])
        fresh = {key: probe.version(key) for key in "kl"}
        probe.now += 5
        for expired in (Seen("", "g", "l", fresh["l"]), Seen("", "g", None, fresh)):
            with pytest.raises(Conflict):
                await probe.commit((probe.message(), [probe.to()]), seen=[expired])
        assert probe.counts() == Counts()

    # keys

    @in_store
    async def test_a_topic_keeps_one_message_of_a_key(self, probe: Probe) -> None:
        first, again = probe.message("a", key="k"), probe.message("b", key="k")
        await probe.commit((first, [probe.to()]))
        committed = await probe.commit(
            (again, [probe.to(take=True)]), (probe.message("c"), [probe.to()])
        )
        assert dict(committed.duplicates) == {again.id: first.id}
        assert names(await probe.lease()) == ["a", "c"]

    @in_store
    async def test_a_key_is_known_within_its_own_commit(self, probe: Probe) -> None:
        first, again = probe.message("a", key="k"), probe.message("b", key="k")
        committed = await probe.commit((first, [probe.to()]), (again, [probe.to()]))
        assert dict(committed.duplicates) == {again.id: first.id}
        assert names(await probe.lease()) == ["a"]

    @in_store
    async def test_a_key_is_another_in_another_topic(self, probe: Probe) -> None:
        pairs = [("t", "k"), ("u", "k"), ("t", "K"), ("a:b", "c"), ("a", "b:c"), ("a\0", "b"),
                 ("a", "\0b"), ("t", ""), ("t", "é"), ("t", "e\u0301")]  # fmt: skip
        for topic, key in pairs:
            assert (await probe.take(topic=topic, key=key)).message.key == key
        for topic, key in pairs:
            assert await probe.keep("m", topic=topic, key=key) == []
        assert probe.counts() == Counts(leased=len(pairs))

    @in_store
    async def test_a_key_is_known_for_a_day_whatever_became_of_its_message(
        self, probe: Probe
    ) -> None:
        first = await probe.take("a", key="k")
        await probe.ack(first)
        probe.now += KEY_LIFETIME - 1
        await probe.store.sweep(100, probe.now)
        again = probe.message("b", key="k")
        committed = await probe.commit((again, [probe.to()]))
        assert dict(committed.duplicates) == {again.id: first.message.id}
        probe.now += 1
        second = await probe.take("c", key="k")
        probe.now += KEY_LIFETIME - 1
        again = probe.message("d", key="k")
        committed = await probe.commit((again, [probe.to()]))
        assert dict(committed.duplicates) == {again.id: second.message.id}

    @in_store
    async def test_sweeping_tells_when_the_next_key_is_over_its_time(self, probe: Probe) -> None:
        await probe.keep("a", key="k")
        assert (await probe.store.sweep(1, probe.now)).next_at == probe.now + KEY_LIFETIME
        await probe.put("item", 1, ttl=5)
        assert (await probe.store.sweep(1, probe.now)).next_at == probe.now + 5
        probe.now += KEY_LIFETIME
        assert (await probe.store.sweep(1, probe.now)).next_at is None
        assert names([await probe.take("b", key="k", step="B")]) == ["b"]

    # what follows from changes

    def test_what_follows_from_changes_is_kept_with_them(self, tmp_path: Path) -> None:
        watch = _Watch()
        origin = Origin("f" * 32, 3, "S")

        async def visit(probe: Probe) -> None:
            watch.store = probe.store
            writes = [
                Put(Place("", "watched", "a"), b"1"),
                Put(Place("", "g", "k"), b"1"),
                Put(Place("s", "watched", "b"), b"2"),
            ]
            work = Work([(probe.message("m"), [probe.to(take=True)])], writes, origin=origin)
            committed = await probe.store.commit(work, probe.now)
            assert watch.asked == [(list(committed.changes), origin, probe.now)]
            assert [(each.step, each.message.data) for each in committed.taken] == [
                ("A", "m"), ("W", "a"), ("W", "b"),
            ]  # fmt: skip
            await probe.keep("no change")
            assert len(watch.asked) == 1

        self.use(tmp_path, visit, react=watch.react)

    def test_what_follows_is_not_kept_when_the_changes_are_not(self, tmp_path: Path) -> None:
        watch = _Watch()

        async def visit(probe: Probe) -> None:
            watch.store = probe.store
            await probe.put("k", 1, group="unfit")
            put = Put(Place("", "watched", "a"), b"1")
            held = await probe.take()
            await probe.ack(held)
            for error, wrong in [
                (ValueError, {"writes": [put, UNFIT]}),
                (Conflict, {"writes": [put], "seen": [Seen("", "g", "k", 1)]}),
                (KeyError, {"writes": [put], "done": held}),
            ]:
                with pytest.raises(error):
                    await probe.commit(**wrong)  # type: ignore[arg-type]
            assert await probe.lease(step="W") == []
            assert probe.counts("W") == Counts()

        self.use(tmp_path, visit, react=watch.react)

    def test_nothing_is_kept_when_nobody_can_tell_what_follows(self, tmp_path: Path) -> None:
        watch = _Watch()

        async def visit(probe: Probe) -> None:
            watch.store = probe.store
            await probe.put("old", 1, group="watched", ttl=1)
            probe.now += 1
            watch.fails = True
            with pytest.raises(ZeroDivisionError):
                await probe.commit(
                    (probe.message(key="k"), [probe.to(take=True)]),
                    writes=[Put(Place("", "g", "k"), b"1")],
                )
            with pytest.raises(ZeroDivisionError):
                await probe.store.sweep(10, probe.now)
            watch.fails = False
            assert (probe.items(), probe.counts()) == ({}, Counts())
            swept = await probe.store.sweep(10, probe.now)
            assert [change.place.key for change in swept.changes] == ["old"]
            assert names([await probe.take("again", key="k")]) == ["again"]

        self.use(tmp_path, visit, react=watch.react)

    def test_what_follows_from_an_expiry_is_kept_with_it_and_left_for_leasing(
        self, tmp_path: Path
    ) -> None:
        watch = _Watch()

        async def visit(probe: Probe) -> None:
            watch.store = probe.store
            await probe.ack(*(await probe.put("a", 1, group="watched", ttl=1)).taken)
            probe.now += 1
            swept = await probe.store.sweep(10, probe.now)
            assert watch.asked[1:] == [(list(swept.changes), None, probe.now)]
            assert probe.counts("W") == Counts(waiting=1)
            assert names(await probe.lease(step="W")) == ["a"]

        self.use(tmp_path, visit, react=watch.react)

    def test_what_follows_may_have_a_key(self, tmp_path: Path) -> None:
        watch = _Watch()
        watch.key = "key"

        async def visit(probe: Probe) -> None:
            watch.store = probe.store
            committed = await probe.put("a", 1, group="watched")
            assert names(committed.taken) == ["a"]
            committed = await probe.put("a", 2, group="watched", ttl=1)
            assert (list(committed.taken), len(committed.duplicates)) == ([], 1)
            probe.now += 1
            await probe.store.sweep(10, probe.now)
            assert probe.counts("W") == Counts(leased=1)

        self.use(tmp_path, visit, react=watch.react)
