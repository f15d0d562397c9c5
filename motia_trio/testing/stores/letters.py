"""Dead letters, and what is cancelled."""

# assert is how a test speaks, and its name is its sentence
# ruff: noqa: S101, D102

from __future__ import annotations

from motia_trio.messages import Bury, Retry
from motia_trio.store import Counts
from motia_trio.testing.stores.probe import Probe, StoreDuties, failure, in_store, names

__all__ = ["LetterDuties"]


class LetterDuties(StoreDuties):
    """What is buried is kept, found, redriven and discarded; what waits can be cancelled."""

    @in_store
    async def test_what_is_buried_is_a_dead_letter_with_all_that_is_known(
        self, probe: Probe
    ) -> None:
        (delivery,) = await probe.keep(
            "m", take=True, key="k", priority=3, expires_at=probe.now + 60, fifo="g"
        )
        await probe.settle(delivery, Retry(probe.now, failure(1)))
        (delivery,) = await probe.lease()
        probe.now += 7
        await probe.settle(delivery, Bury("gave up", failure(2)))
        (letter,) = probe.store.dead_letters()
        assert letter.message == delivery.message
        assert (letter.id, letter.step, letter.reason) == (delivery.id, "A", "gave up")
        assert letter.died_at == probe.now
        assert list(letter.failures) == [failure(1), failure(2)]
        assert probe.counts() == Counts(dead=1)
        assert await probe.lease() == []

    @in_store
    async def test_dead_letters_are_found_by_every_filter_at_once(self, probe: Probe) -> None:
        a = await probe.bury("a")
        b = await probe.bury("b", step="B")
        probe.now += 1
        c = await probe.bury("c", topic="u")
        d = await probe.bury("d")
        find = probe.store.dead_letters
        for letters, ids in [
            (find(), [a, b, c, d]),
            (find(step="A"), [a, c, d]),
            (find(topic="t"), [a, b, d]),
            (find(step="A", topic="u"), [c]),
            (find(step="C"), []),
            (find(died_before=probe.now), [a, b]),
            (find(died_before=probe.now + 0.1), [a, b, c, d]),
            (find(ids=[d, a, 7]), [a, d]),
            (find(ids=[]), []),
            (find(ids={a, b, c}, step="A", topic="t"), [a]),
        ]:
            assert [letter.id for letter in letters] == ids

    @in_store
    async def test_dead_letters_are_told_page_by_page_in_the_order_of_their_ids(
        self, probe: Probe
    ) -> None:
        ids = sorted([await probe.bury(str(n)) for n in range(7)])
        told: list[list[int]] = []
        after = 0
        while page := probe.store.dead_letters(after=after, limit=3):
            told.append([letter.id for letter in page])
            after = page[-1].id
        assert told == [ids[:3], ids[3:6], ids[6:]]
        assert list(probe.store.dead_letters(limit=0)) == []
        assert [each.id for each in probe.store.dead_letters(after=ids[4], limit=1)] == [ids[5]]

    # redriving

    @in_store
    async def test_what_is_redriven_begins_anew(self, probe: Probe) -> None:
        (delivery,) = await probe.keep(
            "m", take=True, key="k", priority=3, expires_at=probe.now + 60, trigger=1
        )
        trace = delivery.message.trace_id
        await probe.settle(delivery, Retry(probe.now, failure(1)))
        (delivery,) = await probe.lease()
        await probe.settle(delivery, Bury("why", failure(2)))
        probe.now += 3600
        assert list(await probe.store.redrive([delivery.id], probe.now)) == [delivery.id]
        assert probe.counts() == Counts(waiting=1)
        assert list(probe.store.dead_letters()) == []
        (again,) = await probe.lease()
        assert (again.attempt, again.failures, again.crashes) == (1, (), 0)
        assert (again.id, again.step, again.trigger) == (delivery.id, "A", 1)
        assert again.message.trace_id == trace
        assert again.message.expires_at is None
        assert (again.message.priority, again.message.data) == (3, "m")

    @in_store
    async def test_what_is_redriven_can_die_again_with_new_failures_alone(
        self, probe: Probe
    ) -> None:
        delivery = await probe.take()
        for attempt in (1, 2):
            await probe.settle(delivery, Retry(probe.now, failure(attempt, "old")))
            (delivery,) = await probe.lease()
        await probe.settle(delivery, Bury("first", failure(3, "old")))
        await probe.store.redrive([delivery.id], probe.now)
        (delivery,) = await probe.lease()
        await probe.settle(delivery, Retry(probe.now, failure(1, "new")))
        (delivery,) = await probe.lease()
        assert delivery.failures == (failure(1, "new"),)
        await probe.settle(delivery, Bury("second"))
        (letter,) = probe.store.dead_letters()
        assert (letter.reason, list(letter.failures)) == ("second", [failure(1, "new")])

    @in_store
    async def test_redriving_gives_the_ids_of_the_letters_there_were(self, probe: Probe) -> None:
        a, b, c = [await probe.bury(each) for each in "abc"]
        assert list(await probe.store.redrive([], probe.now)) == []
        assert list(await probe.store.redrive({c, 7, a}, probe.now)) == sorted([a, c])
        assert list(await probe.store.redrive([a, a], probe.now)) == []
        assert [letter.id for letter in probe.store.dead_letters()] == [b]
        assert sorted(names(await probe.lease())) == ["a", "c"]

    @in_store
    async def test_what_is_redriven_waits_behind_the_head_of_its_group(self, probe: Probe) -> None:
        await probe.keep("a", "b", fifo="g")
        (head,) = await probe.lease()
        await probe.settle(head, Bury("why"))
        await probe.store.redrive([head.id], probe.now)
        (head,) = await probe.lease()
        assert names([head]) == ["b"]
        await probe.ack(head)
        assert names(await probe.lease()) == ["a"]

    @in_store
    async def test_one_step_s_dead_letter_keeps_the_message_for_it_alone(
        self, probe: Probe
    ) -> None:
        routes = [probe.to("A", take=True), probe.to("B", take=True)]
        for_a, for_b = (await probe.commit((probe.message(), routes))).taken
        await probe.settle(for_a, Bury("why"))
        await probe.ack(for_b)
        await probe.store.redrive([for_a.id], probe.now)
        assert await probe.lease(step="B") == []
        (again,) = await probe.lease(step="A")
        assert again.message == for_a.message

    # discarding

    @in_store
    async def test_what_is_discarded_is_forgotten(self, probe: Probe) -> None:
        a, b = [await probe.bury(each) for each in "ab"]
        assert list(await probe.store.discard([])) == []
        assert list(await probe.store.discard([7, a, a])) == [a]
        assert list(await probe.store.discard([a])) == []
        assert list(await probe.store.redrive([a], probe.now)) == []
        assert [letter.id for letter in probe.store.dead_letters()] == [b]
        assert probe.counts() == Counts(dead=1)

    # cancelling

    @in_store
    async def test_what_is_cancelled_does_not_come(self, probe: Probe) -> None:
        message = probe.message()
        await probe.commit((message, [probe.to("A"), probe.to("B", after=5)]))
        await probe.keep("other")
        assert await probe.store.cancel(message.id, probe.now) == 2
        assert await probe.store.cancel(message.id, probe.now) == 0
        probe.now += 10
        assert names(await probe.lease()) == ["other"]
        assert await probe.lease(step="B") == []

    @in_store
    async def test_cancelling_leaves_what_is_leased_and_what_is_dead(self, probe: Probe) -> None:
        message = probe.message()
        steps = [probe.to(step, take=step != "C") for step in "ABC"]
        leased, dead = (await probe.commit((message, steps))).taken
        await probe.settle(dead, Bury("why"))
        assert await probe.store.cancel(message.id, probe.now) == 1
        assert [letter.id for letter in probe.store.dead_letters()] == [dead.id]
        assert [probe.counts(step) for step in "ABC"] == [
            Counts(leased=1), Counts(dead=1), Counts(),
        ]  # fmt: skip
        await probe.ack(leased)

    @in_store
    async def test_what_waits_for_its_next_attempt_can_be_cancelled(self, probe: Probe) -> None:
        delivery = await probe.take()
        await probe.retry(delivery, after=5)
        assert await probe.store.cancel(delivery.message.id, probe.now) == 1
        assert probe.counts() == Counts()

    @in_store
    async def test_an_id_that_no_message_has_cancels_nothing(self, probe: Probe) -> None:
        message = probe.message()
        await probe.commit((message, [probe.to()]))
        for other in [
            probe.store.new_id(probe.now), "", "no id", "é\0", "-1", "f" * 40, f" {message.id}",
            f"0x{message.id}", f"0{message.id}",
        ]:  # fmt: skip
            assert await probe.store.cancel(other, probe.now) == 0
        assert probe.counts() == Counts(waiting=1)
