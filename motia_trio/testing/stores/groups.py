"""Order within fifo groups."""

# assert is how a test speaks, and its name is its sentence
# ruff: noqa: S101, D102

from __future__ import annotations

import itertools

from motia_trio.messages import Bury, GiveBack
from motia_trio.store import Agenda, Counts, Window
from motia_trio.testing.stores.probe import Probe, StoreDuties, in_store, names

__all__ = ["GroupDuties"]


class GroupDuties(StoreDuties):
    """One at a time, in order, whatever happens to the head."""

    @in_store
    async def test_a_group_is_leased_one_at_a_time_in_order(self, probe: Probe) -> None:
        await probe.keep(*"abc", fifo="g")
        for name in "abc":
            (head,) = await probe.lease()
            assert names([head]) == [name]
            assert await probe.lease() == []
            await probe.ack(head)

    @in_store
    async def test_groups_and_steps_do_not_hold_each_other_up(self, probe: Probe) -> None:
        for step, group in itertools.product("AB", ["g", "h", ""]):
            await probe.keep(f"{step}{group}1", f"{step}{group}2", step=step, fifo=group)
        assert sorted(names(await probe.lease(step="A"))) == ["A1", "Ag1", "Ah1"]
        assert sorted(names(await probe.lease(step="B"))) == ["B1", "Bg1", "Bh1"]

    @in_store
    async def test_names_that_look_alike_when_joined_are_different_groups(
        self, probe: Probe
    ) -> None:
        for step, fifo in [("a:b", "c"), ("a", "b:c"), ("a\0", "b"), ("a", "\0b"), ("a", "")]:
            assert names(await probe.keep("m", step=step, fifo=fifo, take=True)) == ["m"]
        assert names(await probe.keep("m", step="a", take=True)) == ["m"]

    @in_store
    async def test_a_group_goes_by_when_it_became_due_whatever_the_priority(
        self, probe: Probe
    ) -> None:
        await probe.keep("low", fifo="g", priority=-5)
        await probe.keep("high", fifo="g", priority=5)
        await probe.keep("other")
        leased = await probe.lease()
        assert names(leased) == ["other", "low"]
        await probe.ack(*leased)
        assert names(await probe.lease()) == ["high"]

    @in_store
    async def test_a_head_that_is_retried_or_given_back_stays_the_head(self, probe: Probe) -> None:
        await probe.keep("a", "b", fifo="g")
        (head,) = await probe.lease()
        await probe.retry(head, after=5)
        await probe.keep("c", fifo="g", after=-9)
        assert await probe.lease() == []
        assert probe.counts() == Counts(waiting=2, delayed=1)
        assert probe.store.agenda(probe.now) == Agenda(frozenset(), probe.now + 5)
        probe.now += 5
        (head,) = await probe.lease()
        await probe.settle(head, GiveBack())
        (head,) = await probe.lease()
        assert (names([head]), head.attempt) == (["a"], 2)

    @in_store
    async def test_a_head_that_is_buried_frees_its_group(self, probe: Probe) -> None:
        await probe.keep("a", "b", fifo="g")
        (head,) = await probe.lease()
        await probe.settle(head, Bury("why"))
        assert names(await probe.lease()) == ["b"]

    @in_store
    async def test_a_head_that_is_cancelled_frees_its_group(self, probe: Probe) -> None:
        await probe.keep("a", "b", "c", fifo="g")
        (head,) = await probe.lease()
        await probe.settle(head, GiveBack())
        assert await probe.store.cancel(head.message.id, probe.now) == 1
        (head,) = await probe.lease()
        assert names([head]) == ["b"]
        await probe.ack(head)
        assert names(await probe.lease()) == ["c"]

    @in_store
    async def test_later_ones_of_a_group_wait_for_those_that_became_due_before(
        self, probe: Probe
    ) -> None:
        await probe.keep("late", fifo="g", after=10)
        await probe.keep("now", fifo="g")
        probe.now += 20
        (head,) = await probe.lease()
        assert names([head]) == ["now"]
        await probe.ack(head)
        assert names(await probe.lease()) == ["late"]

    @in_store
    async def test_a_head_that_is_not_due_yet_gives_way_to_what_is_due_before(
        self, probe: Probe
    ) -> None:
        await probe.keep("second", fifo="g", after=5)
        await probe.keep("third", fifo="g", after=9)
        assert probe.store.agenda(probe.now) == Agenda(frozenset(), probe.now + 5)
        await probe.keep("first", fifo="g", after=1)
        assert probe.store.agenda(probe.now) == Agenda(frozenset(), probe.now + 1)
        assert probe.counts() == Counts(delayed=3)
        probe.now += 9
        for name in ("first", "second", "third"):
            (head,) = await probe.lease()
            assert names([head]) == [name]
            await probe.ack(head)

    @in_store
    async def test_what_was_due_first_when_it_came_is_the_head_from_then_on(
        self, probe: Probe
    ) -> None:
        await probe.keep("head", fifo="g", after=5)
        probe.now += 10
        await probe.keep("earlier", fifo="g", after=-8)
        assert names(await probe.lease()) == ["head"]

    @in_store
    async def test_only_what_is_alone_in_its_group_is_taken(self, probe: Probe) -> None:
        assert names(await probe.keep("a", "b", take=True, fifo="g")) == ["a"]
        assert await probe.keep("c", take=True, fifo="g") == []
        assert names(await probe.keep("x", take=True, fifo="h")) == ["x"]
        await probe.keep("later", fifo="i", after=5)
        assert await probe.keep("now", take=True, fifo="i") == []

    @in_store
    async def test_what_its_group_holds_back_is_not_in_the_way_of_taking(
        self, probe: Probe
    ) -> None:
        await probe.keep("a", "b", take=True, fifo="g")
        assert names(await probe.keep("c", take=True)) == ["c"]
        held, free = probe.message("held"), probe.message("free")
        committed = await probe.commit(
            (held, [probe.to(fifo="g")]), (free, [probe.to(fifo="h", take=True)])
        )
        assert names(committed.taken) == ["free"]

    @in_store
    async def test_what_gives_way_in_its_group_is_not_in_the_way_of_taking(
        self, probe: Probe
    ) -> None:
        await probe.keep("later", fifo="g", after=5)
        now, free = probe.message("now"), probe.message("free")
        committed = await probe.commit((now, [probe.to(fifo="g")]), (free, [probe.to(take=True)]))
        assert names(committed.taken) == []
        assert names(await probe.lease()) == ["now", "free"]

    @in_store
    async def test_the_agenda_and_the_counts_tell_what_a_group_holds_back(
        self, probe: Probe
    ) -> None:
        await probe.keep("a", "b", fifo="g")
        await probe.keep("later", fifo="g", after=3)
        assert probe.store.agenda(probe.now).due == {Window("A")}
        (head,) = await probe.lease()
        assert probe.store.agenda(probe.now) == Agenda(frozenset(), None)
        assert probe.counts() == Counts(waiting=1, leased=1, delayed=1)
        await probe.ack(head)
        assert probe.store.agenda(probe.now).due == {Window("A")}

    @in_store
    async def test_a_clock_that_goes_back_lets_nobody_lease_two_of_a_group(
        self, probe: Probe
    ) -> None:
        await probe.keep("head", fifo="g", after=10)
        probe.now += 10
        (head,) = await probe.lease()
        probe.now -= 8
        assert await probe.keep("other", fifo="g", take=True) == []
        assert await probe.lease() == []
        await probe.ack(head)
        assert names(await probe.lease()) == ["other"]
