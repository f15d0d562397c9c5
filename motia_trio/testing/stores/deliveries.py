"""Keeping, leasing and settling."""

# assert is how a test speaks, and its name is its sentence
# ruff: noqa: S101, D102

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from motia_trio.messages import Ack, Bury, GiveBack, Retry
from motia_trio.store import Agenda, Counts, Window
from motia_trio.testing.stores.probe import NOW, Probe, StoreDuties, failure, in_store, names

if TYPE_CHECKING:
    from pathlib import Path

    from motia_trio.messages import Outcome

__all__ = ["DeliveryDuties"]

OUTCOMES = (Ack(), Retry(NOW, failure(1)), GiveBack(), Bury("why"))


def _never(_: object) -> None:
    raise AssertionError("told of what was refused")


class DeliveryDuties(StoreDuties):
    """What a store does with deliveries, one at a time."""

    @in_store
    async def test_an_empty_store_has_nothing(self, probe: Probe) -> None:
        leased = await probe.store.lease("A", 5, probe.now)
        assert (list(leased.deliveries), leased.more) == ([], False)
        assert probe.store.agenda(probe.now) == Agenda(frozenset(), None)
        assert all(each == Counts() for each in probe.store.counts(probe.now).values())
        assert list(probe.store.dead_letters()) == []

    @in_store
    async def test_ids_grow_even_when_the_clock_goes_back(self, probe: Probe) -> None:
        times = [probe.now, probe.now, probe.now + 1, probe.now - 3600, probe.now] * 100
        ids = [probe.store.new_id(time) for time in times]
        assert ids == sorted(set(ids))

    # leasing

    @in_store
    async def test_what_is_kept_is_leased_with_all_that_it_is(self, probe: Probe) -> None:
        whole = probe.message(
            sender="S",
            group="g",
            hops=3,
            created_at=5.5,
            priority=-7,
            expires_at=probe.now + 9.25,
            key="k",
            trace_id="a" * 32,
        )
        await probe.commit((whole, [probe.to(trigger=2, fifo="f")]))
        (delivery,) = await probe.lease()
        assert delivery.message == whole
        assert (delivery.step, delivery.trigger, delivery.fifo) == ("A", 2, "f")
        assert (delivery.attempt, delivery.failures, delivery.crashes) == (1, (), 0)

    @in_store
    async def test_a_payload_is_given_back_byte_for_byte(self, probe: Probe) -> None:
        payloads = [b"null", b'""', '"é🦊\\u0000"'.encode(), b"[" + b"1," * 100_000 + b"1]"]
        for payload in payloads:
            await probe.commit((probe.message(payload=payload), [probe.to()]))
        assert [each.message.payload for each in await probe.lease()] == payloads

    @in_store
    async def test_deliveries_come_in_order_and_never_twice(self, probe: Probe) -> None:
        await probe.keep(*"abcdef")
        assert names(await probe.lease(2)) == ["a", "b"]
        assert names(await probe.lease()) == ["c", "d", "e", "f"]
        assert names(await probe.lease()) == []

    @in_store
    async def test_a_lease_tells_whether_there_is_more(self, probe: Probe) -> None:
        await probe.keep(*"abc")
        assert (await probe.store.lease("A", 0, probe.now)).more is True
        assert (await probe.store.lease("A", 2, probe.now)).more is True
        await probe.keep("later", after=5)
        await probe.keep("other", step="B")
        assert (await probe.store.lease("A", 1, probe.now)).more is False

    @in_store
    async def test_each_step_has_its_own_delivery_of_a_message(self, probe: Probe) -> None:
        await probe.commit((probe.message(), [probe.to("A"), probe.to("B")]))
        (first,) = await probe.lease(step="A")
        (second,) = await probe.lease(step="B")
        assert first.id != second.id
        await probe.ack(first)
        await probe.retry(second)
        assert await probe.lease(step="A") == []
        assert [each.attempt for each in await probe.lease(step="B")] == [2]

    @in_store
    async def test_two_triggers_of_a_step_have_a_delivery_each(self, probe: Probe) -> None:
        await probe.commit((probe.message(), [probe.to(trigger=0), probe.to(trigger=1)]))
        deliveries = await probe.lease()
        assert [each.trigger for each in deliveries] == [0, 1]
        assert len({each.id for each in deliveries}) == 2

    @in_store
    async def test_a_message_that_goes_nowhere_is_not_kept(self, probe: Probe) -> None:
        committed = await probe.commit((probe.message(key="k"), []))
        assert (list(committed.taken), dict(committed.duplicates)) == ([], {})
        assert probe.store.counts(probe.now).get("A", Counts()) == Counts()
        assert names([await probe.take("a", key="k")]) == ["a"]

    @in_store
    async def test_the_higher_priority_comes_first(self, probe: Probe) -> None:
        for priority in (0, -10, 10, 5, -1):
            await probe.keep(f"{priority} a", f"{priority} b", priority=priority)
        assert names(await probe.lease(3)) == ["10 a", "10 b", "5 a"]
        await probe.keep("10 c", priority=10)
        assert names(await probe.lease()) == [
            "10 c", "5 b", "0 a", "0 b", "-1 a", "-1 b", "-10 a", "-10 b",
        ]  # fmt: skip

    @in_store
    async def test_of_one_priority_comes_first_what_became_due_first(self, probe: Probe) -> None:
        await probe.keep("late", after=5)
        probe.now += 6
        await probe.keep("new")
        await probe.keep("past", after=-2)
        assert names(await probe.lease()) == ["past", "late", "new"]

    @in_store
    async def test_what_became_due_together_comes_in_the_order_of_ids(self, probe: Probe) -> None:
        first, second = probe.message("first"), probe.message("second")
        await probe.commit((second, [probe.to()]))
        await probe.commit((first, [probe.to()]))
        assert names(await probe.lease()) == ["first", "second"]

    @in_store
    async def test_five_thousand_messages_are_kept_in_one_commit(self, probe: Probe) -> None:
        sent = [str(n) for n in range(5000)]
        await probe.keep(*sent)
        assert probe.counts() == Counts(waiting=5000)
        assert names(await probe.lease()) == sent

    # taking

    @in_store
    async def test_what_can_be_leased_at_once_is_taken_with_the_commit(self, probe: Probe) -> None:
        taken = await probe.keep("a", "b", take=True)
        assert names(taken) == ["a", "b"]
        assert await probe.lease() == []
        assert probe.counts() == Counts(leased=2)
        await probe.ack(*taken)
        assert probe.counts() == Counts()

    @in_store
    async def test_what_is_taken_comes_in_the_order_of_the_routes(self, probe: Probe) -> None:
        a, b = probe.message("a"), probe.message("b", priority=5)
        committed = await probe.commit(
            (a, [probe.to("B", take=True), probe.to("A", take=True)]),
            (b, [probe.to("C", take=True), probe.to("A", take=True)]),
        )
        taken = [(each.message.data, each.step) for each in committed.taken]
        assert taken == [("a", "B"), ("a", "A"), ("b", "C"), ("b", "A")]

    @in_store
    async def test_what_is_not_asked_for_is_not_taken(self, probe: Probe) -> None:
        bundles = [(probe.message(each), [probe.to(take=each == "b")]) for each in "ab"]
        assert list((await probe.commit(*bundles)).taken) == []
        assert names(await probe.lease()) == ["a", "b"]

    @in_store
    async def test_nothing_is_taken_past_what_could_be_leased(self, probe: Probe) -> None:
        await probe.keep("a", priority=-5)
        assert await probe.keep("b", take=True, priority=5) == []
        assert names(await probe.keep("c", step="B", take=True)) == ["c"]
        assert names(await probe.lease()) == ["b", "a"]

    @in_store
    async def test_nothing_is_taken_past_what_was_given_back(self, probe: Probe) -> None:
        delivery = await probe.take("a")
        await probe.settle(delivery, GiveBack())
        assert await probe.keep("b", take=True) == []

    @in_store
    async def test_nothing_is_taken_past_what_has_become_due(self, probe: Probe) -> None:
        await probe.keep("a", after=5)
        probe.now += 5
        assert await probe.keep("b", take=True) == []

    @in_store
    async def test_what_is_due_later_is_not_taken_nor_in_the_way(self, probe: Probe) -> None:
        assert await probe.keep("a", take=True, after=1) == []
        later, now = probe.message("later"), probe.message("now")
        committed = await probe.commit((later, [probe.to(after=1)]), (now, [probe.to(take=True)]))
        assert names(committed.taken) == ["now"]

    # settling

    @in_store
    async def test_what_is_acknowledged_is_gone(self, probe: Probe) -> None:
        await probe.ack(await probe.take())
        probe.now += 1e6
        assert await probe.lease() == []
        assert probe.counts() == Counts()
        assert probe.store.agenda(probe.now) == Agenda(frozenset(), None)

    @in_store
    async def test_what_is_acknowledged_without_waiting_is_gone_when_that_is_told(
        self, probe: Probe
    ) -> None:
        deliveries = await probe.keep(*map(str, range(50)), take=True)
        await probe.keep("next", fifo="g", step="G")
        await probe.keep("next", fifo="g", step="G")
        await probe.acknowledge(*deliveries, *await probe.lease(step="G"))
        assert (probe.counts(), probe.counts("G")) == (Counts(), Counts(waiting=1))
        for delivery in deliveries:
            with pytest.raises(KeyError):
                await probe.ack(delivery)
        (head,) = await probe.lease(step="G")
        if probe.store.acknowledge(head, lambda _: None):
            with pytest.raises(KeyError):  # it is nobody's from then on
                await probe.ack(head)
        else:
            await probe.ack(head)

    @in_store
    async def test_words_that_no_file_can_hold_keep_no_failure_from_being_kept(
        self, probe: Probe
    ) -> None:
        words = "no such file: 'caf\udce9'"
        delivery = await probe.take()
        await probe.settle(delivery, Retry(probe.now, failure(1, words)))
        (delivery,) = await probe.lease()
        assert delivery.failures[0].error.startswith("no such file: 'caf")
        await probe.settle(delivery, Bury(words, failure(2, words)))
        (letter,) = probe.store.dead_letters()
        assert letter.reason.startswith("no such file: 'caf")
        assert len(letter.failures) == 2

    @in_store
    async def test_a_retry_comes_when_it_is_due_with_what_went_wrong(self, probe: Probe) -> None:
        delivery = await probe.take()
        await probe.settle(delivery, Retry(probe.now + 3, failure(1, "first")))
        probe.now += 2.9
        assert await probe.lease() == []
        assert probe.counts() == Counts(delayed=1)
        probe.now += 0.1
        (delivery,) = await probe.lease()
        await probe.settle(delivery, Retry(probe.now + 1, failure(2, "second\0 é")))
        probe.now += 1
        (delivery,) = await probe.lease()
        assert delivery.attempt == 3
        assert delivery.failures == (failure(1, "first"), failure(2, "second\0 é"))

    @in_store
    async def test_what_is_given_back_has_kept_its_place_and_counts_nothing(
        self, probe: Probe
    ) -> None:
        await probe.keep(*"abc")
        deliveries = await probe.lease(2)
        await probe.settle(deliveries[1], GiveBack())
        await probe.settle(deliveries[0], GiveBack())
        deliveries = await probe.lease()
        assert names(deliveries) == ["a", "b", "c"]
        assert deliveries[0].attempt == 1

    @pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: type(outcome).__name__)
    def test_a_lease_that_has_ended_cannot_be_settled_again(
        self, tmp_path: Path, outcome: Outcome
    ) -> None:
        async def visit(probe: Probe) -> None:
            delivery = await probe.take()
            await probe.settle(delivery, outcome)
            counts = probe.counts()
            for again in OUTCOMES:
                with pytest.raises(KeyError):
                    await probe.settle(delivery, again)
            with pytest.raises(KeyError):
                probe.store.acknowledge(delivery, _never)
            assert probe.counts() == counts

        self.use(tmp_path, visit)

    @in_store
    async def test_beginning_changes_nothing_that_is_told(self, probe: Probe) -> None:
        delivery = await probe.take()
        probe.store.begin(delivery)
        probe.store.begin(delivery)
        assert probe.counts() == Counts(leased=1)
        await probe.settle(delivery, GiveBack())
        (again,) = await probe.lease()
        assert again == delivery

    # time

    @in_store
    async def test_what_is_due_later_waits_for_its_time(self, probe: Probe) -> None:
        await probe.keep("late", after=10)
        await probe.keep("later", after=20)
        assert probe.store.agenda(probe.now) == Agenda(frozenset(), probe.now + 10)
        assert probe.counts() == Counts(delayed=2)
        probe.now += 9.9
        assert await probe.lease() == []
        probe.now += 0.1
        assert probe.store.agenda(probe.now).due == {Window("A")}
        assert probe.counts() == Counts(waiting=1, delayed=1)
        probe.now += 10
        assert names(await probe.lease()) == ["late", "later"]

    @in_store
    async def test_the_agenda_names_the_next_time_of_the_steps_with_nothing_due(
        self, probe: Probe
    ) -> None:
        await probe.keep("a", step="A")
        await probe.keep("soon", step="A", after=1)
        await probe.keep("later", step="B", after=7)
        await probe.keep("last", step="C", after=9)
        assert probe.store.agenda(probe.now) == Agenda(frozenset({Window("A")}), probe.now + 7)
        (delivery,) = await probe.lease()
        assert probe.store.agenda(probe.now) == Agenda(frozenset(), probe.now + 1)
        await probe.retry(delivery, after=0.5)
        assert probe.store.agenda(probe.now) == Agenda(frozenset(), probe.now + 0.5)
