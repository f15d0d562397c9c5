"""What every store must do: the list of stores, a plain model, and the machine that compares."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any

import pytest
import trio
from attrs import define, evolve, field, frozen
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from motia_trio.messages import Ack, Bury, Delivery, Failure, GiveBack, Message, Retry, Route
from motia_trio.store import Agenda, Counts, MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from motia_trio.messages import DeadLetter
    from motia_trio.store import Leased, Store

# every store that there is, as a function of an empty folder that it may use
STORES = [
    pytest.param(lambda _folder: MemoryStore(), id="memory"),
]

STEPS = ("A", "B")
TOPICS = ("t", "u")


def message(id: str = "m1", topic: str = "t", **fields: Any) -> Message:  # noqa: A002
    """A message, with what a test does not care for filled in."""
    made = Message(id=id, topic=topic, payload=b"{}", trace_id="0" * 32, created_at=0.0)
    return evolve(made, **fields)


def failure(attempt: int, error: str = "ValueError: x") -> Failure:
    """A failed attempt."""
    return Failure(attempt, 1.0, 2.0, error, "steps/a_step.py:1 in handler", "Traceback …")


@frozen
class View:
    """What a store tells of itself. ``before`` is told before it was asked with the time."""

    before: dict[str, Counts]
    agenda: Agenda
    counts: dict[str, Counts]
    dead: dict[tuple[str | None, str | None], Sequence[DeadLetter]]

    @classmethod
    def of(cls, store: Store, now: float) -> View:
        return cls(
            before=store.counts(),
            agenda=store.agenda(now),
            counts=store.counts(),
            dead={
                (step, topic): store.dead_letters(step=step, topic=topic)
                for step in (None, *STEPS)
                for topic in (None, *TOPICS)
            },
        )


class OpenStore:
    """A store, open in a Trio run of its own, for tests that are not async."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ready = threading.Event()
        self._closing: trio.Event
        self._token: trio.lowlevel.TrioToken
        self._thread = threading.Thread(target=trio.run, args=(self._main,))
        self._thread.start()
        assert self._ready.wait(30), "the store did not open"

    async def _main(self) -> None:
        self._closing = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        async with self._store.opened():
            self._ready.set()
            await self._closing.wait()

    def close(self) -> None:
        """Leave the store's scope and the run."""
        trio.from_thread.run_sync(self._closing.set, trio_token=self._token)
        self._thread.join(30)
        assert not self._thread.is_alive(), "the store did not close"

    def _wait(self, call: Callable[..., Any], *args: Any) -> Any:
        return trio.from_thread.run(call, *args, trio_token=self._token)

    def append(self, batch: list[tuple[Message, list[Route]]], now: float) -> Sequence[Delivery]:
        return self._wait(self._store.append, batch, now)  # type: ignore[no-any-return]

    def lease(self, step: str, limit: int, now: float) -> Leased:
        return self._wait(self._store.lease, step, limit, now)  # type: ignore[no-any-return]

    def settle(self, delivery: Delivery, outcome: Any, now: float) -> None:
        self._wait(self._store.settle, delivery, outcome, now)

    def look(self, now: float) -> View:
        """See all that can be seen, in one visit to the run."""
        return trio.from_thread.run_sync(View.of, self._store, now, trio_token=self._token)


@define(eq=False)
class Claim:
    """What the model knows of one delivery. ``due`` is when it became due, or will."""

    message: Message
    route: Route
    due: float
    order: int
    given_back: bool = False
    is_head: bool = False
    failures: list[Failure] = field(factory=list)

    @property
    def rank(self) -> tuple[float, int]:
        return self.due, self.order


class Model:
    """The contract in plain lists: nothing is fast, everything is obvious."""

    def __init__(self) -> None:
        self.ready: list[Claim] = []  # may be leased
        self.behind: dict[tuple[str, str], list[Claim]] = {}  # of each group that has a head
        self.delayed: list[Claim] = []
        self.leased: list[Claim] = []
        self.dead: list[tuple[Claim, str, float]] = []
        self._order = itertools.count()

    def pass_time(self, now: float) -> None:
        for claim in sorted(self.delayed, key=lambda each: each.rank):
            if claim.due <= now:
                self.delayed.remove(claim)
                self._enter(claim)

    def _enter(self, claim: Claim) -> None:
        if claim.route.fifo is not None and not claim.is_head:
            group = (claim.route.step, claim.route.fifo)
            if group in self.behind:
                self.behind[group].append(claim)
                return
            self.behind[group] = []
            claim.is_head = True
        self.ready.append(claim)

    def append(self, batch: list[tuple[Message, list[Route]]], now: float, taken: set[Any]) -> None:
        """Add what was appended; ``taken`` are the (message id, step) leased with it."""
        self.pass_time(now)
        for made, routes in batch:
            for route in routes:
                claim = Claim(made, route, max(now, route.due_at), next(self._order))
                others = [each for each in self.ready if each.route.step == route.step]
                has_head = (route.step, route.fifo) in self.behind
                if route.due_at > now:
                    assert (made.id, route.step) not in taken
                    self.delayed.append(claim)
                elif (made.id, route.step) in taken:
                    assert route.take
                    assert not has_head, "a second one of its group was leased"
                    assert route.fifo is not None or all(
                        each.route.fifo is not None for each in others
                    ), "it was leased before others that were due earlier"
                    self._enter(claim)
                    self.ready.remove(claim)
                    self.leased.append(claim)
                else:
                    assert not route.take or others or has_head, "it could have been leased"
                    self._enter(claim)

    def lease(self, step: str, limit: int, now: float, given: Leased) -> None:
        """Check a lease against what may be leased, and lease the same."""
        self.pass_time(now)
        mine = [each for each in self.ready if each.route.step == step]
        claims = [self._found(mine, delivery) for delivery in given.deliveries]
        assert len(claims) == min(limit, len(mine))
        assert given.more == (len(mine) > len(claims))
        plain = [each for each in claims if each.route.fifo is None]
        first = [each for each in mine if each.route.fifo is None and each.given_back]
        then = [each for each in mine if each.route.fifo is None and not each.given_back]
        then.sort(key=lambda each: each.rank)
        cut = min(len(plain), len(first))
        assert set(plain[:cut]) <= set(first), "what was given back comes first"
        assert plain[cut:] == then[: len(plain) - cut], "the others come as they became due"
        for claim in claims:
            self.ready.remove(claim)
            claim.given_back = False
            self.leased.append(claim)

    def _found(self, among: list[Claim], delivery: Delivery) -> Claim:
        """The claim that a delivery is, with the same past."""
        found = [
            each
            for each in among
            if (each.message, each.route.step) == (delivery.message, delivery.step)
        ]
        assert len(found) == 1, f"{delivery} is none of those that may be leased"
        assert delivery.failures == tuple(found[0].failures)
        assert delivery.attempt == len(delivery.failures) + 1
        assert (delivery.trigger, delivery.fifo) == (found[0].route.trigger, found[0].route.fifo)
        return found[0]

    def settle(self, delivery: Delivery, outcome: Any, now: float) -> None:
        claim = self._found(self.leased, delivery)
        self.leased.remove(claim)
        match outcome:
            case GiveBack():
                claim.given_back = True
                self.ready.append(claim)
                return
            case Retry(due_at, failed):
                claim.failures.append(failed)
                claim.due = due_at
                self.delayed.append(claim)
                return
            case Bury(reason, failed):
                claim.failures += [failed] if failed else []
                self.dead.append((claim, reason, now))
        if claim.route.fifo is not None:
            group = (claim.route.step, claim.route.fifo)
            behind = self.behind.pop(group)
            if behind:
                head = behind.pop(0)
                self._enter(head)
                self.behind[group] = behind

    def reopen(self) -> None:
        for claim in self.leased:
            claim.given_back = True
        self.ready += self.leased
        self.leased = []

    def counts(self, step: str) -> Counts:
        def among(claims: list[Claim]) -> int:
            return sum(1 for each in claims if each.route.step == step)

        held_back = sum(len(them) for (of, _), them in self.behind.items() if of == step)
        return Counts(
            waiting=among(self.ready) + held_back,
            leased=among(self.leased),
            delayed=among(self.delayed),
            dead=among([claim for claim, _, _ in self.dead]),
        )

    def agenda(self, now: float) -> Agenda:
        self.pass_time(now)
        due = frozenset(each.route.step for each in self.ready)
        return Agenda(due, min((each.due for each in self.delayed), default=None))


WHICH = st.integers(0, 99)
ROUTES = st.lists(
    st.builds(
        Route,
        step=st.sampled_from(["A", "A", "A", "B"]),
        trigger=st.sampled_from([0, 1]),
        due_at=st.sampled_from([0.0, 0.0, 0.0, 1.0, 3.0]),  # from now; made a time when appended
        fifo=st.sampled_from([None, None, None, "g", "g", "h"]),
        take=st.booleans(),
    ),
    min_size=1,
    max_size=2,
    unique_by=lambda route: route.step,
)


class StoreMachine(RuleBasedStateMachine):
    """Does the same to a store and to the model, and compares all that can be seen."""

    def __init__(self, make: Callable[[Path], Store], folder: Path) -> None:
        super().__init__()
        self.store = make(folder)
        self.open = OpenStore(self.store)
        self.model = Model()
        self.now = 1000.0
        self.deliveries: list[Delivery] = []
        self.settled: list[Delivery] = []
        self.numbers = itertools.count(1)

    def later(self, seconds: float) -> float:
        """A time from now that no other claim has, so that no order is left to chance."""
        return self.now + seconds + next(self.numbers) / 2**20

    @rule(batch=st.lists(st.tuples(st.sampled_from(TOPICS), ROUTES), min_size=1, max_size=3))
    def append(self, batch: list[tuple[str, list[Route]]]) -> None:
        entries = [
            (
                message(f"m{next(self.numbers)}", topic),
                [
                    evolve(route, due_at=self.later(route.due_at) if route.due_at else self.now)
                    for route in routes
                ],
            )
            for topic, routes in batch
        ]
        taken = self.open.append(entries, self.now)
        keys = [(each.message.id, each.step) for each in taken]
        asked = [(made.id, route.step) for made, routes in entries for route in routes]
        assert keys == [key for key in asked if key in keys], "taken in another order"
        self.model.append(entries, self.now, set(keys))
        self.deliveries += taken

    @rule(step=st.sampled_from(["A", "A", "A", "B"]), limit=st.sampled_from([1, 1, 2, 5]))
    def lease(self, step: str, limit: int) -> None:
        given = self.open.lease(step, limit, self.now)
        self.model.lease(step, limit, self.now, given)
        self.deliveries += given.deliveries

    def settle(self, which: int, outcome: Callable[[Delivery], Any]) -> None:
        delivery = self.deliveries.pop(which % len(self.deliveries))
        made = outcome(delivery)
        self.open.settle(delivery, made, self.now)
        self.model.settle(delivery, made, self.now)
        self.settled.append(delivery)

    @precondition(lambda self: self.deliveries)
    @rule(which=WHICH)
    def ack(self, which: int) -> None:
        self.settle(which, lambda _: Ack())

    @precondition(lambda self: self.deliveries)
    @rule(which=WHICH, seconds=st.sampled_from([0.0, 1.0, 4.0]))
    def retry(self, which: int, seconds: float) -> None:
        due_at = self.later(seconds)
        self.settle(which, lambda delivery: Retry(due_at, failure(delivery.attempt)))

    @precondition(lambda self: self.deliveries)
    @rule(which=WHICH)
    def give_back(self, which: int) -> None:
        self.settle(which, lambda _: GiveBack())

    @precondition(lambda self: self.deliveries)
    @rule(which=WHICH, failed=st.booleans())
    def bury(self, which: int, failed: bool) -> None:  # noqa: FBT001
        self.settle(
            which, lambda delivery: Bury("why", failure(delivery.attempt) if failed else None)
        )

    @precondition(lambda self: self.settled)
    @rule(which=WHICH)
    def settle_again(self, which: int) -> None:
        delivery = self.settled[which % len(self.settled)]
        if all(each.id != delivery.id for each in self.deliveries):
            with pytest.raises(KeyError):
                self.open.settle(delivery, Ack(), self.now)

    @rule(seconds=st.sampled_from([1.0, 2.0, 5.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def reopen(self) -> None:
        self.open.close()
        self.open = OpenStore(self.store)
        self.model.reopen()
        self.settled += self.deliveries
        self.deliveries = []

    @invariant()
    def what_it_tells_is_true(self) -> None:
        view = self.open.look(self.now)
        assert view.agenda == self.model.agenda(self.now)
        for step in STEPS:
            counts = self.model.counts(step)
            assert view.counts.get(step, Counts()) == counts
            # what has become due may be counted as delayed until somebody asks with the time
            before = view.before.get(step, Counts())
            assert before.waiting + before.delayed == counts.waiting + counts.delayed
            assert (before.leased, before.dead) == (counts.leased, counts.dead)
        for (of_step, of_topic), letters in view.dead.items():
            assert [
                (each.message, each.step, each.reason, list(each.failures), each.died_at)
                for each in letters
            ] == [
                (claim.message, claim.route.step, reason, claim.failures, at)
                for claim, reason, at in self.model.dead
                if of_step in {None, claim.route.step} and of_topic in {None, claim.message.topic}
            ]

    @invariant()
    def nothing_is_leased_twice(self) -> None:
        ids = [each.id for each in self.deliveries]
        assert len(set(ids)) == len(ids)
        groups = [(each.step, each.fifo) for each in self.deliveries if each.fifo is not None]
        assert len(set(groups)) == len(groups)

    def teardown(self) -> None:
        self.open.close()
