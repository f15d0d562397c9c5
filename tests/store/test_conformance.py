"""The suite that every store passes: the duties of :class:`motia_trio.store.Store`, one by one."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from trio.testing import assert_checkpoints

from motia_trio.errors import SettingInvalid
from motia_trio.messages import Ack, Bury, GiveBack, Retry, Route
from motia_trio.store import Agenda, Counts, MemoryStore, store_at
from tests.store.conformance import STORES, StoreMachine, failure, message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from motia_trio.messages import Delivery
    from motia_trio.store import Store

NOW = 1000.0


@pytest.fixture(params=STORES)
def make(request: pytest.FixtureRequest) -> Callable[[Path], Store]:
    made: Callable[[Path], Store] = request.param
    return made


@pytest.fixture
async def store(make: Callable[[Path], Store], tmp_path: Path) -> AsyncIterator[Store]:
    made = make(tmp_path)
    async with made.opened():
        yield made


def route(step: str = "A", trigger: int = 0, due_at: float = NOW, **fields: Any) -> Route:
    return Route(step, trigger, due_at, **fields)


async def put(store: Store, *ids: str, now: float = NOW, **fields: Any) -> list[Delivery]:
    """Append one message for each id; give what was taken."""
    fields.setdefault("due_at", now)
    return list(await store.append([(message(each), [route(**fields)]) for each in ids], now))


async def lease(
    store: Store, limit: int = 100, step: str = "A", now: float = NOW
) -> list[Delivery]:
    return list((await store.lease(step, limit, now)).deliveries)


def names(deliveries: list[Delivery]) -> list[str]:
    return [delivery.message.id for delivery in deliveries]


async def test_an_empty_store_has_nothing(store: Store) -> None:
    leased = await store.lease("A", 5, NOW)
    assert (list(leased.deliveries), leased.more) == ([], False)
    assert store.agenda(NOW) == Agenda(frozenset(), None)
    assert all(counts == Counts() for counts in store.counts().values())
    assert list(store.dead_letters()) == []


async def test_what_is_appended_is_leased_with_all_that_it_is(store: Store) -> None:
    whole = message(payload=b'{"a": 1}', sender="S", group="g", hops=3, created_at=5.5)
    await store.append([(whole, [route(trigger=2, fifo="g")])], NOW)
    (delivery,) = await lease(store)
    assert delivery.message == whole
    assert (delivery.step, delivery.trigger, delivery.fifo) == ("A", 2, "g")
    assert (delivery.attempt, delivery.failures) == (1, ())


async def test_deliveries_come_in_order_and_never_twice(store: Store) -> None:
    await put(store, *"abcdef")
    assert names(await lease(store, 2)) == ["a", "b"]
    assert names(await lease(store, 100)) == ["c", "d", "e", "f"]
    assert names(await lease(store, 100)) == []


async def test_a_lease_tells_whether_there_is_more(store: Store) -> None:
    await put(store, *"abc")
    assert (await store.lease("A", 2, NOW)).more is True
    assert (await store.lease("A", 1, NOW)).more is False


async def test_each_step_has_its_own_delivery_of_a_message(store: Store) -> None:
    await store.append([(message("a"), [route("A"), route("B")])], NOW)
    (first,) = await lease(store, step="A")
    (second,) = await lease(store, step="B")
    assert first.id != second.id
    await store.settle(first, Ack(), NOW)
    await store.settle(second, Retry(NOW, failure(1)), NOW)
    assert await lease(store, step="A") == []
    assert [each.attempt for each in await lease(store, step="B")] == [2]


# taking with the append


async def test_what_can_be_leased_at_once_is_leased_with_the_append(store: Store) -> None:
    taken = await put(store, "a", "b", take=True)
    assert names(taken) == ["a", "b"]
    assert await lease(store) == []
    assert store.counts()["A"] == Counts(leased=2)
    await store.settle(taken[0], Ack(), NOW)


async def test_what_is_not_asked_for_is_not_taken(store: Store) -> None:
    batch = [(message(each), [route(take=each == "b")]) for each in "ab"]
    assert names(list(await store.append(batch, NOW))) == []
    assert names(await lease(store)) == ["a", "b"]


async def test_nothing_is_taken_past_what_waits_already(store: Store) -> None:
    await put(store, "a")
    assert await put(store, "b", take=True) == []
    assert names(await lease(store)) == ["a", "b"]


async def test_only_the_head_of_a_group_is_taken(store: Store) -> None:
    (head,) = await put(store, "a", "b", take=True, fifo="g")
    assert names([head]) == ["a"]
    assert await put(store, "c", take=True, fifo="g") == []
    assert names(await put(store, "x", take=True, fifo="h")) == ["x"]


async def test_what_is_due_later_is_not_taken(store: Store) -> None:
    assert await put(store, "a", take=True, due_at=NOW + 1) == []


# groups


async def test_a_group_is_leased_one_at_a_time_in_order(store: Store) -> None:
    await put(store, *"abc", fifo="g")
    for name in "abc":
        (head,) = await lease(store)
        assert names([head]) == [name]
        assert await lease(store) == []
        await store.settle(head, Ack(), NOW)


async def test_groups_and_steps_do_not_hold_each_other_up(store: Store) -> None:
    for step, group in itertools.product("AB", ["g", "h", ""]):
        await put(store, f"{step}{group}1", f"{step}{group}2", step=step, fifo=group)
    assert sorted(names(await lease(store, step="A"))) == ["A1", "Ag1", "Ah1"]
    assert sorted(names(await lease(store, step="B"))) == ["B1", "Bg1", "Bh1"]


async def test_a_head_that_is_retried_or_given_back_stays_the_head(store: Store) -> None:
    await put(store, "a", "b", fifo="g")
    (head,) = await lease(store)
    await store.settle(head, Retry(NOW + 5, failure(1)), NOW)
    assert await lease(store) == []
    (head,) = await lease(store, now=NOW + 5)
    await store.settle(head, GiveBack(), NOW + 5)
    (head,) = await lease(store, now=NOW + 5)
    assert (names([head]), head.attempt) == (["a"], 2)


async def test_a_head_that_is_buried_frees_its_group(store: Store) -> None:
    await put(store, "a", "b", fifo="g")
    (head,) = await lease(store)
    await store.settle(head, Bury("why"), NOW)
    assert names(await lease(store)) == ["b"]


async def test_later_ones_of_a_group_wait_for_those_that_became_due_before(store: Store) -> None:
    await put(store, "late", fifo="g", due_at=NOW + 10)
    await put(store, "now", fifo="g")
    (head,) = await lease(store, now=NOW + 20)
    assert names([head]) == ["now"]
    await store.settle(head, Ack(), NOW + 20)
    assert names(await lease(store, now=NOW + 20)) == ["late"]


# settling


async def test_what_is_acknowledged_is_gone(store: Store) -> None:
    (delivery,) = await put(store, "a", take=True)
    await store.settle(delivery, Ack(), NOW)
    assert await lease(store, now=NOW + 1e6) == []
    assert store.counts().get("A", Counts()) == Counts()


async def test_a_retry_comes_when_it_is_due_with_what_went_wrong(store: Store) -> None:
    (delivery,) = await put(store, "a", take=True)
    await store.settle(delivery, Retry(NOW + 3, failure(1, "first")), NOW)
    assert await lease(store, now=NOW + 2.9) == []
    (delivery,) = await lease(store, now=NOW + 3)
    await store.settle(delivery, Retry(NOW + 4, failure(2, "second")), NOW + 3)
    (delivery,) = await lease(store, now=NOW + 4)
    assert delivery.attempt == 3
    assert delivery.failures == (failure(1, "first"), failure(2, "second"))


async def test_what_is_given_back_comes_first_and_counts_nothing(store: Store) -> None:
    await put(store, *"abc")
    (first,) = await lease(store, 1)
    await store.settle(first, GiveBack(), NOW)
    deliveries = await lease(store)
    assert names(deliveries) == ["a", "b", "c"]
    assert deliveries[0].attempt == 1


async def test_what_is_buried_is_a_dead_letter_with_all_that_is_known(store: Store) -> None:
    (delivery,) = await put(store, "a", take=True)
    await store.settle(delivery, Retry(NOW, failure(1)), NOW)
    (delivery,) = await lease(store)
    await store.settle(delivery, Bury("gave up", failure(2)), NOW + 7)
    (letter,) = store.dead_letters()
    assert letter.message == delivery.message
    assert (letter.step, letter.reason, letter.died_at) == ("A", "gave up", NOW + 7)
    assert list(letter.failures) == [failure(1), failure(2)]
    assert store.counts()["A"] == Counts(dead=1)


async def test_dead_letters_are_told_oldest_first_by_step_and_topic(store: Store) -> None:
    for name, step, topic in [("a", "A", "t"), ("b", "B", "t"), ("c", "A", "u")]:
        await store.append([(message(name, topic), [route(step)])], NOW)
        (delivery,) = await lease(store, step=step)
        await store.settle(delivery, Bury("why"), NOW)

    def told(**of: str) -> list[str]:
        return [letter.message.id for letter in store.dead_letters(**of)]

    assert told() == ["a", "b", "c"]
    assert told(step="A") == ["a", "c"]
    assert told(topic="t") == ["a", "b"]
    assert told(step="A", topic="u") == ["c"]
    assert told(step="C") == []


async def test_a_lease_that_has_ended_cannot_be_settled_again(store: Store) -> None:
    await put(store, "a")
    (delivery,) = await lease(store)
    await store.settle(delivery, GiveBack(), NOW)
    with pytest.raises(KeyError):
        await store.settle(delivery, Ack(), NOW)
    assert names(await lease(store)) == ["a"]


# time


async def test_what_is_due_later_waits_for_its_time(store: Store) -> None:
    await put(store, "late", due_at=NOW + 10)
    await put(store, "later", due_at=NOW + 20)
    assert store.agenda(NOW) == Agenda(frozenset(), NOW + 10)
    assert store.counts()["A"] == Counts(delayed=2)
    assert await lease(store, now=NOW + 9.9) == []
    assert store.agenda(NOW + 10) == Agenda(frozenset({"A"}), NOW + 20)
    assert names(await lease(store, now=NOW + 25)) == ["late", "later"]


async def test_the_agenda_names_the_steps_that_could_lease_something(store: Store) -> None:
    await put(store, "a", step="A")
    await put(store, "b", step="B", fifo="g")
    assert store.agenda(NOW).due == {"A", "B"}
    (delivery,) = await lease(store, step="B")
    await put(store, "c", step="B", fifo="g")
    assert store.agenda(NOW).due == {"A"}
    await store.settle(delivery, Ack(), NOW)
    assert store.agenda(NOW).due == {"A", "B"}


async def test_what_became_due_before_comes_before_what_is_appended_after(store: Store) -> None:
    await put(store, "late", due_at=NOW + 5)
    await put(store, "new", now=NOW + 6)
    assert names(await lease(store, now=NOW + 6)) == ["late", "new"]


# scopes, tasks, cancellation


async def test_opening_again_gives_back_every_lease(
    make: Callable[[Path], Store], tmp_path: Path
) -> None:
    store = make(tmp_path)
    async with store.opened():
        await put(store, "a", "b", take=True)
        await put(store, "c", "d", take=True, fifo="g")
        (retried,) = await put(store, "r", take=True)
        await store.settle(retried, Retry(NOW, failure(1)), NOW)
        assert names(await lease(store)) == ["r"]
    async with store.opened():
        assert store.agenda(NOW).due == {"A"}
        assert store.counts()["A"] == Counts(waiting=5)
        deliveries = await lease(store)
        assert sorted(names(deliveries)) == ["a", "b", "c", "r"]
        assert {each.message.id: each.attempt for each in deliveries}["r"] == 2


async def test_many_tasks_get_each_delivery_once(store: Store) -> None:
    got: list[str] = []

    async def consume() -> None:
        while deliveries := await lease(store, 3):
            for delivery in deliveries:
                got.append(delivery.message.id)
                await store.settle(delivery, Ack(), NOW)

    ids = [str(n) for n in range(100)]
    await put(store, *ids)
    async with trio.open_nursery() as nursery:
        for _ in range(7):
            nursery.start_soon(consume)
    assert sorted(got) == sorted(ids)
    assert store.counts().get("A", Counts()) == Counts()


async def test_appending_and_leasing_are_checkpoints(store: Store) -> None:
    with assert_checkpoints():
        await put(store, "a")
    with assert_checkpoints():
        await lease(store)


async def test_a_cancelled_call_happened_or_did_not(store: Store) -> None:
    (held,) = await put(store, "held", take=True)
    before = store.counts()["A"]
    with trio.CancelScope() as scope:
        scope.cancel()
        await put(store, "a", "b")
    assert store.counts()["A"] in {before, Counts(leased=1, waiting=2)}
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.settle(held, Ack(), NOW)
    if store.counts()["A"].leased:
        await store.settle(held, Ack(), NOW)
    assert store.counts().get("A", Counts()).leased == 0


def test_the_store_agrees_with_the_model(
    make: Callable[[Path], Store], tmp_path_factory: pytest.TempPathFactory
) -> None:
    class Machine(StoreMachine):
        def __init__(self) -> None:
            super().__init__(make, tmp_path_factory.mktemp("store"))

    run_state_machine_as_test(
        Machine,
        settings=settings(
            deadline=None,
            max_examples=60,
            stateful_step_count=40,
            suppress_health_check=list(HealthCheck),
        ),
    )


# which store a URL means


@pytest.mark.parametrize("url", ["memory:", "memory://"])
def test_memory_is_a_store(url: str) -> None:
    assert isinstance(store_at(url), MemoryStore)


def test_an_unknown_store_is_told_with_what_there_is() -> None:
    with pytest.raises(
        SettingInvalid, match="store = 'redis://x': this version has one store, 'memory:'"
    ):
        store_at("redis://x")
