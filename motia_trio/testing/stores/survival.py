"""What outlives the scope, and the process: for durable stores alone."""

# assert is how a test speaks, and its name is its sentence
# ruff: noqa: S101, D102

from __future__ import annotations

import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from motia_trio.store import MAX_CRASHES, Agenda, Counts, Place, Put, Remove, Window
from motia_trio.testing.stores.probe import NOW, StoreDuties, failure, names
from motia_trio.testing.stores.victim import arguments, fill, seen

if TYPE_CHECKING:
    from pathlib import Path

    from motia_trio.testing.stores.probe import Probe

__all__ = ["SurvivalDuties"]

# seconds that a process may take to start and do its deed
PROCESS_LIMIT = 60.0
# so many deliveries in hand at once: more than a page of notes
MANY = 600


class SurvivalDuties(StoreDuties):
    """What a call has kept is there when the store is opened the next time."""

    @pytest.fixture(autouse=True)
    def _skip_what_does_not_survive(self, request: pytest.FixtureRequest) -> None:
        survival = vars(SurvivalDuties).get(request.function.__name__) is not None
        if survival and not self.durable:
            pytest.skip("this store does not outlive its scope")

    def _kill_after(self, deed: str, folder: Path, now: float = NOW) -> None:
        """Let a process do a deed at the end of which it is killed."""
        done = subprocess.run(  # noqa: S603 - the process is our own
            arguments(self, deed, folder, now),
            capture_output=True,
            text=True,
            timeout=PROCESS_LIMIT,
            check=False,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr

    def _kill_amid(self, deed: str, folder: Path) -> list[str]:
        """Let a process do a deed that does not end, kill it, and give the lines it has written."""
        with subprocess.Popen(  # noqa: S603 - the process is our own
            arguments(self, deed, folder, NOW),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(50)]
            process.kill()
            rest, err = process.communicate(timeout=PROCESS_LIMIT)
        assert process.returncode == -signal.SIGKILL, err
        return [*lines, *rest.splitlines(keepends=True)]

    # leaving in order

    def test_opening_again_finds_all_there_was_and_gives_back_what_was_leased(
        self, tmp_path: Path
    ) -> None:
        async def fill_and_count(probe: Probe) -> Counts:
            await fill(probe)
            return probe.counts("H")

        assert self.use(tmp_path, fill_and_count) == Counts(leased=4)
        _check(self.use(tmp_path, seen), crashes=0)

    def test_leaving_in_order_counts_no_crash(self, tmp_path: Path) -> None:
        async def begin(probe: Probe) -> None:
            assert (probe.opened.suspects, list(probe.opened.buried)) == (0, [])
            for delivery in await probe.lease() or await probe.keep("m", take=True):
                assert delivery.crashes == 0
                probe.store.begin(delivery)

        for _ in range(MAX_CRASHES + 1):
            self.use(tmp_path, begin)

    def test_ids_grow_on_though_the_messages_are_gone_and_the_clock_goes_back(
        self, tmp_path: Path
    ) -> None:
        async def use_one(probe: Probe) -> str:
            latest.append(probe.opened.latest)
            delivery = await probe.take()
            await probe.ack(delivery)
            return delivery.message.id

        latest: list[float] = []
        ids = [self.use(tmp_path, use_one, now=NOW - 3600 * n) for n in range(3)]
        assert ids == sorted(set(ids))
        assert [round(each) for each in latest] == [0, NOW, NOW]

    def test_a_group_goes_on_where_it_was(self, tmp_path: Path) -> None:
        async def begin(probe: Probe) -> None:
            await probe.keep("a", "b", fifo="g")
            (head,) = await probe.lease()
            await probe.retry(head, after=5)

        async def go_on(probe: Probe) -> None:
            await probe.keep("c", fifo="g", after=-9)
            assert await probe.lease() == []
            assert probe.store.agenda(probe.now) == Agenda(frozenset(), probe.now + 5)
            probe.now += 5
            order: list[str] = []
            while leased := await probe.lease():
                order += names(leased)
                await probe.ack(*leased)
            assert order[0] == "a"
            assert sorted(order) == ["a", "b", "c"]

        self.use(tmp_path, begin)
        self.use(tmp_path, go_on)

    def test_what_expired_meanwhile_is_swept(self, tmp_path: Path) -> None:
        async def put(probe: Probe) -> None:
            await probe.put("k", 1, ttl=10)

        async def sweep(probe: Probe) -> None:
            assert probe.read("k") is None
            swept = await probe.store.sweep(10, probe.now)
            assert [change.old for change in swept.changes] == [b"1"]

        self.use(tmp_path, put)
        self.use(tmp_path, sweep, now=NOW + 10)

    def test_the_order_of_changes_goes_on_though_the_clock_goes_back(self, tmp_path: Path) -> None:
        async def use_one(probe: Probe) -> None:
            seen = probe.store.snapshot("chat", "g", None, probe.now).seq
            assert seen == (numbers[-1] if numbers else seen)
            if numbers:
                assert probe.opened.latest >= seen / 1_000_000
            for n in range(3):
                (change,) = (await probe.put(f"{n}", n, space="chat")).changes
                numbers.append(change.seq)

        numbers: list[int] = []
        for hours in (0, 0, 1, 2, -1):
            self.use(tmp_path, use_one, now=NOW - 3600 * hours)
        assert numbers == sorted({*numbers})

    def test_who_follows_goes_on_after_a_restart(self, tmp_path: Path) -> None:
        async def begin(probe: Probe) -> tuple[int, int]:
            first = probe.store.snapshot("chat", "g", None, probe.now).seq
            for n in range(3):
                await probe.put(f"{n}", n, space="chat")
            return first, probe.heard[-1][-1].seq

        async def go_on(probe: Probe) -> None:
            await probe.remove("0", space="chat")
            await probe.put("3", 3, space="chat", keep=2)
            for since, expected in (
                (first, [("create", "2"), ("create", "3")]),
                (last, [("delete", "0"), ("create", "3"), ("delete", "1")]),
            ):
                snapshot = probe.store.snapshot("chat", "g", None, probe.now, since)
                assert snapshot.missed is not None
                assert [(each.kind, each.key) for each in snapshot.missed] == expected

        first, last = self.use(tmp_path, begin)
        self.use(tmp_path, go_on)

    def test_what_was_made_first_is_known_after_a_restart(self, tmp_path: Path) -> None:
        async def make(probe: Probe) -> None:
            for key in "ycab":
                await probe.put(key, 1, space="chat")
            again = Place("chat", "g", "y")
            await probe.commit(writes=[Remove(again), Put(again, b"1")])

        async def make_more(probe: Probe) -> None:
            await probe.put("c", 2, space="chat")
            for key in "de":
                await probe.put(key, 1, space="chat", keep=4)
            assert [*probe.items(space="chat")] == ["b", "d", "e", "y"]

        self.use(tmp_path, make)
        self.use(tmp_path, make_more, now=NOW - 3600)

    # being killed

    def test_what_was_kept_survives_the_process(self, tmp_path: Path) -> None:
        self._kill_after("fill", tmp_path)
        _check(self.use(tmp_path, seen), crashes=1)

    def test_what_returned_is_kept_and_what_did_not_is_kept_whole_or_not_at_all(
        self, tmp_path: Path
    ) -> None:
        returned = int(self._kill_amid("write on", tmp_path)[-1])

        async def check(probe: Probe) -> None:
            items, leased = probe.items(), await probe.lease()
            assert len(items) in {returned, returned + 1}
            assert list(items) == [f"{n + 1:06}" for n in range(len(items))]
            assert names(leased) == [str(n + 1) for n in range(len(items))]

        self.use(tmp_path, check)

    def test_what_was_told_of_streams_is_kept_and_the_log_agrees_with_the_items(
        self, tmp_path: Path
    ) -> None:
        async def begin(probe: Probe) -> int:
            return probe.store.snapshot("chat", "0", None, probe.now).seq

        async def check(probe: Probe) -> None:
            for group in "01":
                now = probe.store.snapshot("chat", group, None, probe.now)
                assert now.seq >= told
                assert len(now.items) <= 7
                missed = probe.store.snapshot("chat", group, None, probe.now, since).missed
                assert missed is not None
                assert {each.kind for each in missed} == {"create"}
                assert {each.key: each.item for each in missed} == dict(now.items)

        since = self.use(tmp_path, begin)
        told = int(self._kill_amid("stream on", tmp_path)[-1])
        self.use(tmp_path, check)

    def test_each_death_with_a_delivery_in_hand_is_counted_until_it_is_buried(
        self, tmp_path: Path
    ) -> None:
        begun = [f"begun {n}" for n in range(MANY)]

        async def keep(probe: Probe) -> None:
            await probe.keep(*begun, "leased")
            await probe.keep("begun", "behind", fifo="g", step="G")
            await probe.keep("begun", lane="state")

        async def look(probe: Probe) -> dict[str, set[int]]:
            found: dict[str, set[int]] = {}
            for delivery in [
                *await probe.lease(), *await probe.lease(step="G"),
                *await probe.lease(lane="state"),
            ]:  # fmt: skip
                assert delivery.failures == ()
                found.setdefault(delivery.message.data[:5], set()).add(delivery.crashes)
            return found

        async def look_at_the_living(probe: Probe) -> dict[str, set[int]]:
            assert (probe.opened.suspects, list(probe.opened.buried)) == (MANY + 2, [])
            return await look(probe)

        self.use(tmp_path, keep)
        for crashes in range(1, MAX_CRASHES):
            self._kill_after("begin", tmp_path)
            assert self.use(tmp_path, look_at_the_living) == {"begun": {crashes}, "lease": {0}}
        self._kill_after("begin", tmp_path, NOW + 7)

        async def look_at_the_dead(probe: Probe) -> None:
            letters = probe.store.dead_letters()
            assert (probe.opened.suspects, list(probe.opened.buried)) == (0, list(letters))
            assert [letter.message.data for letter in letters] == [*begun, "begun", "begun"]
            assert {letter.died_at for letter in letters} == {NOW + 8}
            for letter in letters:
                assert "died" in letter.reason
                assert str(MAX_CRASHES) in letter.reason
            assert probe.counts() == Counts(waiting=1, dead=MANY + 1)
            assert probe.counts("G") == Counts(waiting=1, dead=1)
            assert await look(probe) == {"lease": {0}, "behin": {0}}
            await probe.store.redrive([letters[0].id], probe.now)
            (again,) = await probe.lease()
            assert again.crashes == 0

        self.use(tmp_path, look_at_the_dead, now=NOW + 8)

    def test_what_was_settled_before_the_process_died_counts_no_crash(self, tmp_path: Path) -> None:
        async def keep(probe: Probe) -> None:
            await probe.keep("acknowledged", "given back", "retried", "buried", "acknowledged")

        async def check(probe: Probe) -> None:
            told = [
                (each.message.data, each.crashes, each.failures) for each in await probe.lease()
            ]
            assert told == [("given back", 0, ()), ("retried", 0, (failure(1),))]
            (letter,) = probe.store.dead_letters()
            assert (letter.message.data, letter.reason) == ("buried", "why")

        self.use(tmp_path, keep)
        self._kill_after("settle", tmp_path)
        self.use(tmp_path, check)


def _check(told: dict[str, Any], *, crashes: int) -> None:
    """See that everything is there that :func:`fill` has left."""
    assert told == {
        "keys": 2,
        "agenda": Agenda(
            frozenset([*map(Window, "ABGHR"), *(Window(step, "state") for step in "AGHR")]), NOW + 1
        ),
        "counts": {
            "A": Counts(waiting=3),
            "B": Counts(waiting=1),
            "D": Counts(dead=2),
            "F": Counts(delayed=2),
            "G": Counts(waiting=5),
            "H": Counts(waiting=4),
            "L": Counts(delayed=1),
            "R": Counts(waiting=2),
        },
        "dead": [
            ("buried", "D", "why", [failure(1)], NOW),
            ("buried", "D", "why", [], NOW),
        ],
        "items": {
            ("", "g", "k"): (b"null", None),
            ("", "g", "mortal"): (b"1", NOW + 10),
            ("", "h", "k"): (b"[1]", None),
            ("s", "é\0", "🦊"): (b'{"n":1}', None),
        },
        "leased after 0 s": [
            ("waits", 3, (), 0),
            ("given back", 0, (), 0),
            ("head", 0, (), 0),
            ("behind", 0, (), 0),
            ("high, behind", 7, (), 0),
            ("leased", 0, (), 0),
            ("in hand", 0, (), crashes),
            ("redriven", 0, (), 0),
        ],
        "leased of lane state after 0 s": [
            ("waits", 0, (), 0),
            ("low", -1, (), 0),
            ("head", 0, (), 0),
            ("behind", 0, (), 0),
            ("leased", 0, (), 0),
            ("in hand", 0, (), crashes),
            ("redriven", 0, (), 0),
        ],
        "leased of lane state after 10 s": [
            ("failed", 0, (failure(1),), 0),
        ],
        "leased after 10 s": [
            ("failed", 0, (failure(1, "é\0"),), 0),
            ("later", 0, (), 0),
        ],
    }
