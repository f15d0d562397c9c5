"""Lanes of one step, which do not wait for each other."""

# assert is how a test speaks, and its name is its sentence
# ruff: noqa: S101, D102

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest
import trio

from motia_trio.messages import Bury, GiveBack, Message, Retry, Route
from motia_trio.store import Agenda, Counts, Window
from motia_trio.testing.stores.probe import Probe, StoreDuties, failure, in_store, names

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from motia_trio.messages import Delivery, Origin
    from motia_trio.store import Change

__all__ = ["LaneDuties"]

LANES = ("queue", "state", "stream")


class LaneDuties(StoreDuties):
    """Each lane of a step is a queue of its own."""

    @in_store
    async def test_what_is_leased_is_of_one_lane_and_says_which(self, probe: Probe) -> None:
        for lane in LANES:
            await probe.keep(f"{lane} 1", f"{lane} 2", lane=lane)
        for lane in ("stream", "queue", "state"):
            leased = await probe.lease(lane=lane)
            assert names(leased) == [f"{lane} 1", f"{lane} 2"]
            assert {(each.step, each.lane) for each in leased} == {("A", lane)}
        assert await probe.lease(lane="another") == []

    @in_store
    async def test_who_names_no_lane_means_that_of_messages(self, probe: Probe) -> None:
        await probe.commit((probe.message("m"), [Route("A", 0, probe.now)]))
        await probe.keep("change", lane="state")
        leased = (await probe.store.lease("A", 5, probe.now)).deliveries
        assert [(each.message.data, each.lane) for each in leased] == [("m", "queue")]

    @in_store
    async def test_ten_thousand_messages_in_one_lane_are_not_before_one_in_another(
        self, probe: Probe
    ) -> None:
        await probe.keep(*map(str, range(10_000)), priority=10)
        await probe.keep("change", lane="state", priority=-10)
        assert names(await probe.lease(1, lane="state")) == ["change"]
        assert names(await probe.lease(1)) == ["0"]

    @in_store
    async def test_each_lane_goes_by_priority_and_time(self, probe: Probe) -> None:
        for lane in LANES[:2]:
            await probe.keep(f"{lane} late", lane=lane, after=1)
            await probe.keep(f"{lane} a", f"{lane} b", lane=lane)
            await probe.keep(f"{lane} high", lane=lane, priority=5)
        probe.now += 2
        for lane in LANES[:2]:
            assert names(await probe.lease(lane=lane)) == [
                f"{lane} {each}" for each in ("high", "a", "b", "late")
            ]

    @in_store
    async def test_a_lease_tells_whether_there_is_more_in_its_lane(self, probe: Probe) -> None:
        await probe.keep("a", "b")
        await probe.keep("change", lane="state")
        assert (await probe.store.lease("A", 1, probe.now)).more is True
        assert (await probe.store.lease("A", 1, probe.now)).more is False
        assert (await probe.store.lease("A", 0, probe.now, "state")).more is True
        assert (await probe.store.lease("A", 1, probe.now, "state")).more is False

    @in_store
    async def test_names_that_look_alike_when_joined_are_different_lanes(
        self, probe: Probe
    ) -> None:
        pairs = [("a", "b:c"), ("a:b", "c"), ("a", "\0b"), ("a\0", "b"), ("a", ""), ("", "a"),
                 ("a", "é"), ("a", "e\u0301"), ("queue", "a"), ("a", "queue")]  # fmt: skip
        for number, (step, lane) in enumerate(pairs):
            await probe.keep(str(number), step=step, lane=lane)
        assert probe.store.agenda(probe.now).due == {Window(*pair) for pair in pairs}
        for number, (step, lane) in enumerate(pairs):
            assert names(await probe.lease(step=step, lane=lane)) == [str(number)]

    # taking

    @in_store
    async def test_what_waits_in_one_lane_keeps_nothing_of_another_from_being_taken(
        self, probe: Probe
    ) -> None:
        await probe.keep("waits", priority=10)
        assert names(await probe.keep("change", lane="state", take=True)) == ["change"]
        assert await probe.keep("message", take=True) == []
        await probe.keep("change, waits", lane="state")
        assert await probe.keep("change", lane="state", take=True) == []
        assert names(await probe.keep("item", lane="stream", take=True)) == ["item"]

    @in_store
    async def test_of_one_commit_each_lane_is_taken_as_far_as_it_goes(self, probe: Probe) -> None:
        committed = await probe.commit(
            (probe.message("a"), [probe.to(), probe.to(lane="state", take=True)]),
            (probe.message("b"), [probe.to(take=True), probe.to(lane="state", take=True)]),
        )
        taken = [(each.message.data, each.lane) for each in committed.taken]
        assert taken == [("a", "state"), ("b", "state")]
        assert names(await probe.lease()) == ["a", "b"]

    @in_store
    async def test_many_tasks_that_fill_one_lane_keep_nothing_of_another_from_being_taken(
        self, probe: Probe
    ) -> None:
        taken: list[Delivery] = []

        async def write(task: int) -> None:
            for n in range(10):
                await probe.keep(f"{task} {n}")
                taken.extend(await probe.keep(f"{task} {n}", lane="state", take=True))

        async with trio.open_nursery() as nursery:
            for task in range(20):
                nursery.start_soon(write, task)
        sent = sorted(f"{task} {n}" for task in range(20) for n in range(10))
        assert sorted(names(taken)) == sent
        assert sorted(names(await probe.lease())) == sent

    def test_what_follows_from_a_change_is_in_the_lane_of_its_route(self, tmp_path: Path) -> None:
        probes: list[Probe] = []

        def react(
            changes: Sequence[Change], _: Origin | None, now: float
        ) -> list[tuple[Message, list[Route]]]:
            message = probes[0].message(changes[0].place.key)
            return [(message, [Route("W", 0, now, take=True, lane=lane) for lane in LANES])]

        async def visit(probe: Probe) -> None:
            probes.append(probe)
            await probe.keep("waits", step="W", lane="state")
            committed = await probe.put("k", 1)
            told = [(each.message.data, each.lane) for each in committed.taken]
            assert told == [("k", "queue"), ("k", "stream")]
            assert names(await probe.lease(step="W", lane="state")) == ["waits", "k"]

        self.use(tmp_path, visit, react=react)

    # groups

    @in_store
    async def test_groups_of_one_name_in_two_lanes_are_two_groups(self, probe: Probe) -> None:
        for lane in LANES:
            await probe.keep(f"{lane} 1", f"{lane} 2", fifo="g", lane=lane)
        heads = {lane: (await probe.lease(lane=lane))[0] for lane in LANES}
        assert names(heads.values()) == ["queue 1", "state 1", "stream 1"]
        assert probe.store.agenda(probe.now) == Agenda(frozenset(), None)
        await probe.settle(heads["queue"], GiveBack())
        await probe.retry(heads["state"], after=5)
        await probe.ack(heads["stream"])
        assert probe.store.agenda(probe.now) == Agenda(
            frozenset({Window("A", "queue"), Window("A", "stream")}), probe.now + 5
        )
        assert names(await probe.lease(lane="stream")) == ["stream 2"]
        assert names(await probe.lease()) == ["queue 1"]
        assert await probe.lease(lane="state") == []
        probe.now += 5
        assert names(await probe.lease(lane="state")) == ["state 1"]

    @in_store
    async def test_only_what_is_alone_in_its_group_and_lane_is_taken(self, probe: Probe) -> None:
        for lane in LANES:
            taken = await probe.keep("a", "b", fifo="g", lane=lane, take=True)
            assert names(taken) == ["a"]

    @in_store
    async def test_groups_of_all_lanes_keep_their_order_among_many_tasks(
        self, probe: Probe
    ) -> None:
        done: dict[tuple[str, str | None], list[int]] = defaultdict(list)
        in_hand: set[tuple[str, str | None]] = set()
        ends = itertools.cycle(["ack", "ack", "retry", "ack", "give back"])
        count = 20

        async def handle(delivery: Delivery) -> None:
            group = (delivery.lane, delivery.fifo)
            assert group not in in_hand
            in_hand.add(group)
            await trio.lowlevel.checkpoint()
            in_hand.remove(group)
            end = next(ends)
            if end == "ack":
                done[group].append(int(delivery.message.data))
                await probe.acknowledge(delivery)
            elif end == "retry":
                await probe.retry(delivery)
            else:
                await probe.settle(delivery, GiveBack())

        async def produce(lane: str, fifo: str) -> None:
            for n in range(count):
                for delivery in await probe.keep(str(n), fifo=fifo, lane=lane, take=True):
                    await handle(delivery)

        async def consume(lane: str) -> None:
            while sum(map(len, done.values())) < 6 * count:
                for delivery in await probe.lease(2, lane=lane):
                    await handle(delivery)

        groups = [*itertools.product(LANES, "gh")]
        async with trio.open_nursery() as nursery:
            for lane, fifo in groups:
                nursery.start_soon(produce, lane, fifo)
                nursery.start_soon(consume, lane)
        assert done == {group: list(range(count)) for group in groups}

    # ending

    @in_store
    async def test_a_delivery_ends_in_its_own_lane_in_every_way(self, probe: Probe) -> None:
        ended = await probe.keep(*"abcde", lane="state", take=True)
        await probe.keep("message")
        await probe.ack(ended[0])
        await probe.acknowledge(ended[1])
        await probe.commit(done=ended[2])
        await probe.settle(ended[3], Retry(probe.now, failure(1)))
        await probe.settle(ended[4], Bury("why"))
        assert probe.counts() == Counts(waiting=2, dead=1)
        for delivery in ended:
            with pytest.raises(KeyError):
                await probe.ack(delivery)
            with pytest.raises(KeyError):
                await probe.commit(done=delivery)
        (again,) = await probe.lease(lane="state")
        assert (names([again]), again.lane, again.failures) == (["d"], "state", (failure(1),))
        assert names(await probe.lease()) == ["message"]

    @in_store
    async def test_a_message_is_kept_as_long_as_one_lane_has_it(self, probe: Probe) -> None:
        message = probe.message("m")
        await probe.commit((message, [probe.to(lane=lane) for lane in LANES]))
        deliveries = [(await probe.lease(lane=lane))[0] for lane in LANES]
        assert len({each.id for each in deliveries}) == 3
        await probe.ack(deliveries[0])
        await probe.settle(deliveries[2], Bury("why"))
        await probe.ack(deliveries[1])
        await probe.store.redrive([deliveries[2].id], probe.now)
        (again,) = await probe.lease(lane="stream")
        assert again.message == message

    @in_store
    async def test_what_is_cancelled_is_cancelled_in_every_lane(self, probe: Probe) -> None:
        message = probe.message()
        await probe.commit((message, [probe.to(lane=lane, fifo="g") for lane in LANES]))
        await probe.keep("next", lane="state", fifo="g")
        (held,) = await probe.lease(lane="stream")
        assert await probe.store.cancel(message.id, probe.now) == 2
        assert probe.counts() == Counts(waiting=1, leased=1)
        assert names(await probe.lease(lane="state")) == ["next"]
        await probe.ack(held)

    # what is told

    @in_store
    async def test_dead_letters_are_a_step_s_and_come_back_to_their_lanes(
        self, probe: Probe
    ) -> None:
        ids = [await probe.bury(lane, lane=lane) for lane in LANES]
        other = await probe.bury("other", step="B", lane="state")
        assert [each.id for each in probe.store.dead_letters(step="A")] == ids
        assert probe.counts() == Counts(dead=3)
        assert list(await probe.store.discard(ids[:1])) == ids[:1]
        assert list(await probe.store.redrive([*ids, other], probe.now)) == [*ids[1:], other]
        assert probe.counts() == Counts(waiting=2)
        assert await probe.lease() == []
        for step, lane, name in [
            ("A", "state", "state"), ("A", "stream", "stream"), ("B", "state", "other"),
        ]:  # fmt: skip
            assert names(await probe.lease(step=step, lane=lane)) == [name]

    @in_store
    async def test_counts_are_of_all_lanes_of_a_step(self, probe: Probe) -> None:
        for number, lane in enumerate(LANES, 1):
            await probe.keep(*map(str, range(number)), lane=lane, take=True)
            await probe.bury(lane=lane, step="D")
            await probe.keep("later", after=5, lane=lane)
            await probe.keep(*map(str, range(number)), lane=lane)
        assert probe.counts() == Counts(waiting=6, leased=6, delayed=3)
        assert probe.counts("D") == Counts(dead=3)
        probe.now += 5
        assert probe.counts() == Counts(waiting=9, leased=6)

    @in_store
    async def test_the_agenda_names_each_lane_by_itself(self, probe: Probe) -> None:
        await probe.keep("a")
        await probe.keep("soon", after=1)
        await probe.keep("later", lane="state", after=7)
        await probe.keep("last", step="B", lane="state", after=9)
        assert probe.store.agenda(probe.now) == Agenda(
            frozenset({Window("A", "queue")}), probe.now + 7
        )
        (delivery,) = await probe.lease()
        assert probe.store.agenda(probe.now) == Agenda(frozenset(), probe.now + 1)
        probe.now += 7
        await probe.settle(delivery, GiveBack())
        assert probe.store.agenda(probe.now) == Agenda(
            frozenset({Window("A", "queue"), Window("A", "state")}), probe.now + 2
        )
        for lane in LANES:
            await probe.lease(lane=lane)
        assert probe.store.agenda(probe.now) == Agenda(frozenset(), probe.now + 2)
