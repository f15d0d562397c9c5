"""Many callers at once."""

# assert is how a test speaks, and its name is its sentence
# ruff: noqa: S101, D102

from __future__ import annotations

import itertools
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING

import trio
from trio.testing import assert_checkpoints

from motia_trio import codec
from motia_trio.errors import Conflict
from motia_trio.messages import Ack, Bury, GiveBack, Retry
from motia_trio.store import Counts, Place, Put, Remove, Seen, Update, parse_ops
from motia_trio.testing.stores.probe import Probe, StoreDuties, failure, in_store, names

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from motia_trio.messages import Delivery
    from motia_trio.store import Committed, Swept

__all__ = ["TaskDuties"]

INCREMENT = parse_ops({"type": "increment", "path": "n"})


class TaskDuties(StoreDuties):
    """A store has many callers, and all of them see the same."""

    @in_store
    async def test_committing_and_leasing_are_checkpoints(self, probe: Probe) -> None:
        with assert_checkpoints():
            await probe.keep("a")
        with assert_checkpoints():
            await probe.commit()
        with assert_checkpoints():
            await probe.lease()
        with assert_checkpoints():
            await probe.store.sweep(1, probe.now)
        for call in (probe.store.redrive, probe.store.cancel):
            with assert_checkpoints():
                await call("", probe.now)  # type: ignore[arg-type]
        with assert_checkpoints():
            await probe.store.discard([])

    @in_store
    async def test_many_tasks_get_each_delivery_once(self, probe: Probe) -> None:
        sent = [str(n) for n in range(100)]
        got: list[str] = []

        async def consume() -> None:
            while deliveries := await probe.lease(3):
                got.extend(names(deliveries))
                await probe.ack(*deliveries)

        await probe.keep(*sent)
        async with trio.open_nursery() as nursery:
            for _ in range(7):
                nursery.start_soon(consume)
        assert sorted(got) == sorted(sent)
        assert probe.counts() == Counts()

    @in_store
    async def test_what_many_tasks_write_at_once_is_all_kept(self, probe: Probe) -> None:
        taken: list[Delivery] = []

        async def write(task: int) -> None:
            for n in range(10):
                name = f"{task} {n}"
                committed = await probe.commit(
                    (probe.message(name), [probe.to(take=True), probe.to("B")]),
                    writes=[
                        Update(Place("", "g", "count"), INCREMENT, 100),
                        Put(Place("", "own", name), b"1"),
                    ],
                )
                taken.extend(committed.taken)

        async with trio.open_nursery() as nursery:
            for task in range(20):
                nursery.start_soon(write, task)
        sent = sorted(f"{task} {n}" for task in range(20) for n in range(10))
        assert probe.items() == {"count": {"n": 200}}
        assert list(probe.items("own")) == sent
        assert sorted(names([*taken, *await probe.lease()])) == sent
        assert sorted(names(await probe.lease(step="B"))) == sent

    @in_store
    async def test_transactions_of_many_tasks_lose_no_update(self, probe: Probe) -> None:
        conflicts = 0

        async def add(key: str) -> None:
            nonlocal conflicts
            place = Place("", "g", key)
            for _ in range(10):
                while True:
                    value, version = probe.read(key) or 0, probe.version(key)
                    await trio.lowlevel.checkpoint()
                    try:
                        await probe.commit(
                            (probe.message(), [probe.to()]),
                            writes=[Put(place, codec.encode(value + 1))],
                            seen=[Seen("", "g", key, version)],
                        )
                        break
                    except Conflict:
                        conflicts += 1

        async with trio.open_nursery() as nursery:
            for key in ("k", "k", "k", "k", "l"):
                nursery.start_soon(add, key)
        assert probe.items() == {"k": 40, "l": 10}
        assert probe.counts() == Counts(waiting=50)
        assert conflicts

    @in_store
    async def test_of_many_messages_with_one_key_one_is_kept(self, probe: Probe) -> None:
        answers: dict[str, Committed] = {}

        async def send(name: str) -> None:
            message = probe.message(name, key="k")
            answers[message.id] = await probe.commit((message, [probe.to()]))

        async with trio.open_nursery() as nursery:
            for n in range(20):
                nursery.start_soon(send, str(n))
        (delivery,) = await probe.lease()
        kept = delivery.message.id
        assert {id: dict(each.duplicates) for id, each in answers.items()} == {  # noqa: A001
            id: {} if id == kept else {id: kept}
            for id in answers  # noqa: A001
        }

    @in_store
    async def test_a_lease_is_ended_by_one(self, probe: Probe) -> None:
        ended: list[object] = []

        async def end(call: Callable[[], Awaitable[object]]) -> None:
            try:
                await call()
            except KeyError:
                return
            ended.append(call)

        for _ in range(10):
            delivery = await probe.take()
            async with trio.open_nursery() as nursery:
                for outcome in (Ack(), Retry(probe.now, failure(1)), GiveBack(), Bury("why")):
                    nursery.start_soon(end, partial(probe.settle, delivery, outcome))
                nursery.start_soon(end, partial(probe.commit, done=delivery))
            await probe.ack(*await probe.lease())
        assert len(ended) == 10
        counts = probe.counts()
        assert (counts.waiting, counts.leased, counts.delayed) == (0, 0, 0)

    @in_store
    async def test_what_is_dropped_or_moved_is_dropped_or_moved_by_one(self, probe: Probe) -> None:
        store, ids = probe.store, [await probe.bury(str(n), step="D") for n in range(10)]
        message = probe.message()
        await probe.commit((message, [probe.to(), probe.to()]))
        cancelled: list[int] = []
        moved: list[int] = []

        async def cancel() -> None:
            cancelled.append(await store.cancel(message.id, probe.now))

        async def move(call: Callable[[], Awaitable[Sequence[int]]]) -> None:
            moved.extend(await call())

        async with trio.open_nursery() as nursery:
            for n in range(5):
                nursery.start_soon(cancel)
                nursery.start_soon(move, partial(store.redrive, ids[n:], probe.now))
                nursery.start_soon(move, partial(store.discard, ids[: 10 - n]))
        assert sum(cancelled) == 2
        assert sorted(moved) == ids
        assert probe.counts() == Counts()
        counts = probe.counts("D")
        assert counts == Counts(waiting=len(await probe.lease(step="D")))

    @in_store
    async def test_what_expires_is_told_once_and_what_is_written_anew_stays(
        self, probe: Probe
    ) -> None:
        keys = [str(n) for n in range(20)]
        expired: list[str] = []

        async def note(call: Callable[[], Awaitable[Swept | Committed]]) -> None:
            changes = (await call()).changes
            expired.extend(change.place.key for change in changes if change.expired)

        for key in keys:
            await probe.put(key, 1, ttl=1)
        probe.now += 1
        async with trio.open_nursery() as nursery:
            for n, key in enumerate(keys):
                nursery.start_soon(note, partial(probe.store.sweep, 3, probe.now))
                if n % 2:
                    nursery.start_soon(note, partial(probe.put, key, 2))
        await note(partial(probe.store.sweep, 100, probe.now))
        assert sorted(expired) == sorted(keys)
        assert probe.items() == dict.fromkeys(sorted(keys[1::2]), 2)

    @in_store
    async def test_groups_keep_their_order_among_many_tasks_and_failures(
        self, probe: Probe
    ) -> None:
        ends = itertools.cycle(["ack", "retry", "give back", "ack", "bury", "ack", "retry"])
        in_hand: set[str | None] = set()
        done: dict[str | None, list[int]] = defaultdict(list)
        count = 40

        async def handle(delivery: Delivery) -> None:
            assert delivery.fifo not in in_hand
            in_hand.add(delivery.fifo)
            await trio.lowlevel.checkpoint()
            in_hand.remove(delivery.fifo)
            end = next(ends)
            if end in {"ack", "bury"}:
                done[delivery.fifo].append(int(delivery.message.data))
            if end == "retry":
                await probe.retry(delivery)
            elif end == "ack" and delivery.attempt == 2:
                await probe.commit(done=delivery)
            else:
                outcomes = {"ack": Ack(), "give back": GiveBack(), "bury": Bury("why")}
                await probe.settle(delivery, outcomes[end])  # type: ignore[arg-type]

        async def produce(fifo: str) -> None:
            for n in range(count):
                priority = (n % 3 - 1) * 5
                for delivery in await probe.keep(str(n), fifo=fifo, priority=priority, take=True):
                    await handle(delivery)

        async def consume() -> None:
            while sum(map(len, done.values())) < 3 * count:
                for delivery in await probe.lease(2):
                    await handle(delivery)

        async with trio.open_nursery() as nursery:
            for fifo in "ghi":
                nursery.start_soon(produce, fifo)
            for _ in range(4):
                nursery.start_soon(consume)
        assert done == {fifo: list(range(count)) for fifo in "ghi"}

    # readers

    @in_store
    async def test_readers_agree_on_the_order_of_what_is_written(self, probe: Probe) -> None:
        told = [0]

        def look() -> None:
            told.append(probe.read("a"))
            told.extend(probe.items().values())
            told.append(probe.read("b"))
            told.extend(probe.items().values())
            told.append(probe.read("a"))

        async def write() -> None:
            for n in range(1, 100):
                value = codec.encode(n)
                await probe.commit(writes=[Put(Place("", "g", key), value) for key in ("a", "b")])
                assert probe.read("a") == n

        async def watch(writing: trio.CancelScope) -> None:
            while not writing.cancel_called:
                for _ in range(5):
                    look()
                await trio.lowlevel.checkpoint()

        await probe.commit(writes=[Put(Place("", "g", key), b"0") for key in ("a", "b")])
        async with trio.open_nursery() as nursery:
            writing = trio.CancelScope()
            nursery.start_soon(watch, writing)
            await write()
            writing.cancel()
        assert told == sorted(told)

    @in_store
    async def test_a_dead_letter_is_told_whole(self, probe: Probe) -> None:
        told: set[int] = set()

        async def watch(writing: trio.CancelScope) -> None:
            while not writing.cancel_called:
                for _ in range(5):
                    told.update(len(each.failures) for each in probe.store.dead_letters())
                await trio.lowlevel.checkpoint()

        await probe.keep(*(str(n) for n in range(20)))
        async with trio.open_nursery() as nursery:
            writing = trio.CancelScope()
            nursery.start_soon(watch, writing)
            for _ in range(20):
                leased = await probe.lease()
                async with trio.open_nursery() as burying:
                    for delivery in leased:
                        burying.start_soon(probe.settle, delivery, Bury("why", failure(1)))
                await probe.store.redrive([each.id for each in leased], probe.now)
            writing.cancel()
        assert told == {1}

    @in_store
    async def test_what_moves_is_seen_in_one_place(self, probe: Probe) -> None:
        seen: set[tuple[str, ...]] = set()
        first, last = Place("", "a", "k"), Place("", "z", "k")

        async def watch(writing: trio.CancelScope) -> None:
            while not writing.cancel_called:
                for _ in range(5):
                    seen.add(tuple(probe.groups()))
                await trio.lowlevel.checkpoint()

        await probe.commit(writes=[Put(last, b"1")])
        async with trio.open_nursery() as nursery:
            writing = trio.CancelScope()
            nursery.start_soon(watch, writing)
            for _ in range(100):
                await probe.commit(writes=[Remove(last), Put(first, b"1")])
                await probe.commit(writes=[Remove(first), Put(last, b"1")])
            writing.cancel()
        assert seen == {("a",), ("z",)}
