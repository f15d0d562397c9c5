"""Callers who are cancelled."""

# assert is how a test speaks, and its name is its sentence
# ruff: noqa: S101, D102

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

import pytest
import trio

from motia_trio.messages import Ack, Bury, GiveBack, Retry
from motia_trio.store import Counts, Place, Put
from motia_trio.testing.stores.probe import Probe, StoreDuties, failure, in_store, names

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from motia_trio.messages import Outcome

__all__ = ["CancellingDuties"]

T = TypeVar("T")

# checkpoints after which a call is cancelled: before, while, and when it may have ended
SOON = (0, 1, 2, 3, 10, 100, 1000)


async def _cancelled(after: int, call: Callable[[], Awaitable[T]]) -> list[T]:
    """Cancel a call after some checkpoints. Gives what it gave, if it returned before."""
    returned: list[T] = []

    async def make() -> None:
        returned.append(await call())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(make)
        for _ in range(after):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    return returned


class CancellingDuties(StoreDuties):
    """A call that is cancelled happened or did not, and leaves nothing with who is gone."""

    @in_store
    async def test_a_commit_that_is_cancelled_happened_or_did_not(self, probe: Probe) -> None:
        for after in SOON:
            step = f"S{after}"
            committed = await _cancelled(
                after,
                partial(
                    probe.commit,
                    (probe.message("a", key=step), [probe.to(step, take=True)]),
                    (probe.message("b"), [probe.to(step)]),
                    writes=[Put(Place("", "g", step), b"1")],
                ),
            )
            await probe.keep("whatever was under way before is settled", step="other")
            if committed:
                assert probe.counts(step) == Counts(leased=1, waiting=1)
                assert probe.read(step) == 1
            elif probe.read(step):
                assert probe.counts(step) == Counts(waiting=2)
                assert names(await probe.lease(step=step)) == ["a", "b"]
            else:
                assert probe.counts(step) == Counts()
                assert names(await probe.keep("again", step=step, key=step, take=True)) == ["again"]

    @in_store
    async def test_a_settle_that_is_cancelled_goes_to_its_end(self, probe: Probe) -> None:
        for after in SOON[1:]:
            outcomes: list[Outcome] = [
                Ack(), Retry(probe.now + 1, failure(1)), GiveBack(), Bury("why"),
            ]  # fmt: skip
            step = f"S{after}"
            for outcome in outcomes:
                delivery = await probe.take(step=step)
                await _cancelled(after, partial(probe.settle, delivery, outcome))
                with pytest.raises(KeyError):
                    await probe.settle(delivery, Ack())
                await probe.ack(*await probe.lease(step=step))
            assert probe.counts(step) == Counts(delayed=1, dead=1)

    @in_store
    async def test_a_commit_that_is_cancelled_has_done_its_delivery_or_not(
        self, probe: Probe
    ) -> None:
        for after in SOON:
            step = f"S{after}"
            delivery = await probe.take(step=step)
            done = await _cancelled(after, partial(probe.commit, done=delivery))
            await probe.keep("whatever was under way before is settled", step="other")
            leased = probe.counts(step).leased
            assert leased == 0 or not done
            if leased:
                await probe.ack(delivery)
            assert probe.counts(step) == Counts()

    @in_store
    async def test_a_lease_that_is_cancelled_leases_nothing_to_who_is_gone(
        self, probe: Probe
    ) -> None:
        for after in SOON:
            step = f"S{after}"
            await probe.keep("a", "b", step=step)
            leased = await _cancelled(after, partial(probe.lease, step=step))
            await probe.keep("whatever was under way before is settled", step="other")
            assert probe.counts(step) == (Counts(leased=2) if leased else Counts(waiting=2))

    @in_store
    async def test_every_other_call_that_is_cancelled_happened_or_did_not(
        self, probe: Probe
    ) -> None:
        store = probe.store
        for after in SOON:
            step = f"S{after}"
            message = probe.message()
            await probe.commit((message, [probe.to(step), probe.to(step)]))
            await _cancelled(after, partial(store.cancel, message.id, probe.now))
            await probe.keep("whatever was under way before is settled", step="other")
            assert probe.counts(step) in {Counts(), Counts(waiting=2)}
            await store.cancel(message.id, probe.now)
            ids = [await probe.bury(step=step), await probe.bury(step=step)]
            await _cancelled(after, partial(store.redrive, ids, probe.now))
            await probe.keep("whatever was under way before is settled", step="other")
            assert probe.counts(step) in {Counts(dead=2), Counts(waiting=2)}
            await store.redrive(ids, probe.now)
            for delivery in await probe.lease(step=step):
                await probe.settle(delivery, Bury("why"))
            await _cancelled(after, partial(store.discard, ids))
            await probe.keep("whatever was under way before is settled", step="other")
            assert probe.counts(step) in {Counts(dead=2), Counts()}
            await probe.put("swept", 1, ttl=0)
            await _cancelled(after, partial(store.sweep, 10, probe.now))
            await probe.put("kept", 1)
            assert probe.items() == {"kept": 1}

    @in_store
    async def test_a_call_of_who_is_cancelled_already_does_nothing(self, probe: Probe) -> None:
        held = await probe.take(step="H")
        waits = probe.message()
        await probe.commit((waits, [probe.to()]))
        ids = [await probe.bury(step="D")]
        await probe.put("expired", 1, ttl=0)
        store, counts = probe.store, dict(probe.store.counts(probe.now))
        calls: list[Callable[[], Awaitable[object]]] = [
            partial(probe.keep, "a", take=True),
            partial(probe.put, "k", 1),
            partial(probe.commit, done=held),
            probe.lease,
            partial(store.cancel, waits.id, probe.now),
            partial(store.redrive, ids, probe.now),
            partial(store.discard, ids),
            partial(store.sweep, 10, probe.now),
        ]
        for call in calls:
            with trio.CancelScope() as scope:
                scope.cancel()
                await call()
            assert scope.cancelled_caught
        assert dict(store.counts(probe.now)) == counts
        assert probe.read("k") is None
        assert len((await store.sweep(10, probe.now)).changes) == 1

    @in_store
    async def test_who_is_cancelled_can_settle_all_the_same(self, probe: Probe) -> None:
        outcomes: list[Outcome] = [
            Ack(), Retry(probe.now + 1, failure(1)), GiveBack(), Bury("why"),
        ]  # fmt: skip
        deliveries = await probe.keep(*"abcd", take=True)
        with trio.CancelScope() as scope:
            scope.cancel()
            for delivery, outcome in zip(deliveries, outcomes, strict=True):
                await probe.settle(delivery, outcome)
        assert probe.counts() == Counts(waiting=1, delayed=1, dead=1)
