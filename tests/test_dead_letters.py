"""Dead letters, as a program finds them: what they tell, redriving, discarding."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from motia_trio import App, DeadLetter, Service, open_runtime, queue, state, step
from motia_trio.events import AttemptFailed, DeadLettered
from tests.support import Notebook

Where = dict[str, Any]


class Failing:
    """Steps that fail as long as they are ``broken``, after so many seconds."""

    def __init__(self, *names: str, takes: float = 0, **limits: Any) -> None:
        self.got: list[tuple[str, Any, str]] = []
        self.broken = True
        self.takes = takes
        self.limits = {"maxRetries": 0, **limits}
        self.steps = [self._step(name) for name in names or ["Ship"]]

    def _step(self, name: str) -> Any:
        @step(
            queue(f"{name.lower()}.a", config=self.limits),
            queue(f"{name.lower()}.b", config=self.limits),
            name=name,
        )
        async def handler(data: Any, ctx: Any) -> None:
            self.got.append((name, data, ctx.trace_id))
            await trio.sleep(self.takes)
            if self.broken:
                raise LookupError(f"no {data} here")

        return handler


async def quiet(rt: Service) -> None:
    with trio.fail_after(20):
        await rt.quiesce()


async def kill(rt: Service, *topics: str) -> list[DeadLetter]:
    """Have a message of each topic die."""
    for number, topic in enumerate(topics):
        await rt.enqueue(topic, number)
        await quiet(rt)
    return [*rt.dead_letters.list()]


def data(letters: Any) -> list[Any]:
    return [letter.message.data for letter in letters]


async def test_a_dead_letter_tells_everything_there_is_to_know(
    where: Where, autojump_clock: Any
) -> None:
    """The message, the step, the reason, and each attempt with its times and its traceback."""
    failing = Failing(takes=2, maxRetries=1, backoffType="fixed", backoffDelayMs=10_000)
    notebook = Notebook()
    async with open_runtime(App(failing.steps, **where), observers=[notebook]) as rt:
        now = rt._shared.clock.now  # noqa: SLF001 - the virtual wall time
        began = now()
        message = await rt.enqueue(
            "ship.a", {"order": 7}, group="g", key="k", priority=3, trace_id="a" * 32
        )
        await trio.sleep(100)
        (letter,) = rt.dead_letters.list()
        assert rt.dead_letters.get(letter.id) == letter
    assert (letter.step, letter.message.topic, letter.message.data) == (
        "Ship", "ship.a", {"order": 7},
    )  # fmt: skip
    assert (letter.message.id, letter.message.trace_id) == (message, "a" * 32)
    assert (letter.message.group, letter.message.key, letter.message.priority) == ("g", "k", 3)
    assert letter.message.created_at == pytest.approx(began, abs=0.1)
    assert letter.reason == "failed 2 times; last: LookupError: no {'order': 7} here"
    assert letter.died_at == pytest.approx(began + 14, abs=0.1)
    assert [failure.attempt for failure in letter.failures] == [1, 2]
    for failure, start in zip(letter.failures, (0, 12), strict=True):
        assert failure.started_at == pytest.approx(began + start, abs=0.1)
        assert failure.ended_at == pytest.approx(began + start + 2, abs=0.1)
        assert failure.error == "LookupError: no {'order': 7} here"
        assert "test_dead_letters.py" in failure.where
        assert failure.where.endswith(" in handler")
        assert failure.traceback.startswith("Traceback (most recent call last):\n")
        assert 'raise LookupError(f"no {data} here")' in failure.traceback
    assert [event.traceback for event in notebook.of(AttemptFailed)] == [
        failure.traceback for failure in letter.failures
    ]
    (died,) = notebook.of(DeadLettered)
    assert (died.step, died.message_id, died.reason) == ("Ship", message, letter.reason)


async def test_they_are_listed_in_the_order_in_which_their_messages_came(where: Where) -> None:
    failing = Failing()
    async with open_runtime(App(failing.steps, **where), observers=()) as rt:
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(rt.enqueue, "ship.a", number)
        await quiet(rt)
        letters = rt.dead_letters.list()
    assert len(letters) == 20
    assert [letter.id for letter in letters] == sorted(letter.id for letter in letters)
    assert [letter.message.id for letter in letters] == sorted(
        letter.message.id for letter in letters
    )


async def test_they_are_listed_by_step_topic_and_age(where: Where, autojump_clock: Any) -> None:
    """Those that fit every filter."""
    failing = Failing("Ship", "Bill")
    async with open_runtime(App(failing.steps, **where), observers=()) as rt:
        await kill(rt, "ship.a", "bill.a", "ship.b")
        await trio.sleep(100)
        await rt.enqueue("ship.a", 3)
        await quiet(rt)
        listed = rt.dead_letters.list
        assert data(listed()) == [0, 1, 2, 3]
        assert data(listed(step="Ship")) == [0, 2, 3]
        assert data(listed(topic="ship.a")) == [0, 3]
        assert data(listed(step="Bill", topic="ship.a")) == []
        assert data(listed(older_than=50)) == [0, 1, 2]
        assert data(listed(step="Ship", topic="ship.a", older_than=50)) == [0]
        assert data(listed(older_than=0)) == [0, 1, 2]  # those that died before now
        assert data(listed(older_than=1000)) == []
        assert data(listed(step="Nobody")) == data(listed(topic="nothing")) == []


async def test_they_are_listed_page_by_page(where: Where) -> None:
    failing = Failing("Ship", "Bill")
    async with open_runtime(App(failing.steps, **where), observers=()) as rt:
        await kill(rt, *["ship.a", "bill.a"] * 5)
        pages: list[list[Any]] = []
        after = 0
        while page := rt.dead_letters.list(step="Ship", after=after, limit=2):
            pages.append(data(page))
            after = page[-1].id
        assert pages == [[0, 2], [4, 6], [8]]
        assert data(rt.dead_letters.list(limit=3)) == [0, 1, 2]
        assert rt.dead_letters.list(limit=0) == []


async def test_one_that_is_not_there_is_told_so(where: Where) -> None:
    failing = Failing()
    async with open_runtime(App(failing.steps, **where), observers=()) as rt:
        (letter,) = await kill(rt, "ship.a")
        for number in (0, 1, letter.id + 1, -1, 2**80):
            with pytest.raises(KeyError, match="there is no dead letter"):
                rt.dead_letters.get(number)
            assert await rt.dead_letters.redrive([number]) == []
            assert await rt.dead_letters.discard([number]) == []
        assert await rt.dead_letters.redrive([]) == []
        assert rt.dead_letters.list() == [letter]


@pytest.mark.parametrize("ids", [None, 7, "12", ["12"], [None], [1.0]])
async def test_what_is_no_list_of_ids_is_refused_and_nothing_is_touched(
    where: Where, ids: Any
) -> None:
    """None would be all of them."""
    failing = Failing()
    async with open_runtime(App(failing.steps, **where), observers=()) as rt:
        letters = await kill(rt, "ship.a", "ship.a")
        words = r"ids of dead letters are ints in a list, such as \[letter.id\], not"
        with pytest.raises(TypeError, match=words):
            await rt.dead_letters.redrive(ids)
        with pytest.raises(TypeError, match=words):
            await rt.dead_letters.discard(ids)
        if ids != 7:
            with pytest.raises(TypeError, match=words):
                rt.dead_letters.get(ids)
        assert rt.dead_letters.list() == letters


async def test_what_is_redriven_is_handled_again_with_its_trace_and_all_its_attempts(
    where: Where, autojump_clock: Any
) -> None:
    """As if it came for the first time: the message and the step are the same."""
    failing = Failing(maxRetries=1, backoffType="fixed", backoffDelayMs=1000)
    async with open_runtime(App(failing.steps, **where), observers=()) as rt:
        await rt.enqueue("ship.a", "x", trace_id="a" * 32)
        await trio.sleep(10)
        (letter,) = rt.dead_letters.list()
        assert await rt.dead_letters.redrive([letter.id]) == [letter.id]
        assert rt.dead_letters.list() == []
        await trio.sleep(10)
        (again,) = rt.dead_letters.list()
        assert again.id == letter.id
        assert again.message == letter.message
        assert [failure.attempt for failure in again.failures] == [1, 2]
        assert again.failures[0].started_at > letter.failures[1].ended_at
        assert await rt.dead_letters.redrive([letter.id]) == [letter.id]
        failing.broken = False
        await trio.sleep(10)
        assert rt.dead_letters.list() == []
        assert rt.tree()["Ship"].deliveries.dead == 0
    assert failing.got == [("Ship", "x", "a" * 32)] * 5


async def test_what_is_redriven_goes_to_the_step_that_failed_alone(where: Where) -> None:
    failing = Failing()
    others: list[Any] = []

    @step(queue("ship.a"), name="Other")
    async def other(data: Any) -> None:
        others.append(data)

    async with open_runtime(App([*failing.steps, other], **where), observers=()) as rt:
        (letter,) = await kill(rt, "ship.a")
        failing.broken = False
        await rt.dead_letters.redrive([letter.id])
        await quiet(rt)
    assert len(failing.got) == 2
    assert others == [0]


async def test_many_are_redriven_and_those_there_are_are_told_in_order(where: Where) -> None:
    failing = Failing("Ship", "Bill")
    async with open_runtime(App(failing.steps, mailbox=2, **where), observers=()) as rt:
        letters = await kill(rt, *["ship.a", "bill.a"] * 10)
        failing.broken = False
        failing.got.clear()
        ids = [letter.id for letter in letters]
        found = await rt.dead_letters.redrive([7, *reversed(ids), *ids])
        assert found == ids
        await quiet(rt)
        assert rt.dead_letters.list() == []
    assert sorted(number for _, number, _ in failing.got) == list(range(20))


async def test_what_two_redrive_at_once_is_redriven_once(where: Where) -> None:
    failing = Failing()
    async with open_runtime(App(failing.steps, **where), observers=()) as rt:
        (letter,) = await kill(rt, "ship.a")
        failing.broken = False
        failing.got.clear()
        found: list[Any] = []

        async def redrive() -> None:
            found.append(await rt.dead_letters.redrive([letter.id]))

        async def discard() -> None:
            found.append(await rt.dead_letters.discard([letter.id]))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(redrive)
        assert sorted(found) == [[], [], [], [], [letter.id]]
        await quiet(rt)
        assert len(failing.got) == 1
        failing.broken = True
        await kill(rt, "ship.a")
        (letter,) = rt.dead_letters.list()
        found.clear()
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(discard)
                nursery.start_soon(redrive)
        assert sorted(found) == [*([[]] * 9), [letter.id]]


async def test_what_is_discarded_is_gone(where: Where) -> None:
    failing = Failing()
    async with open_runtime(App(failing.steps, **where), observers=()) as rt:
        letters = await kill(rt, *["ship.a"] * 4)
        failing.got.clear()
        ids = [letter.id for letter in letters]
        assert await rt.dead_letters.discard([ids[2], ids[0], 99]) == [ids[0], ids[2]]
        assert data(rt.dead_letters.list()) == [1, 3]
        assert rt.tree()["Ship"].deliveries.dead == 2
        assert await rt.dead_letters.redrive(ids) == [ids[1], ids[3]]
        await quiet(rt)
    assert [number for _, number, _ in failing.got] == [1, 3]


async def test_a_dead_letter_is_cancelled_by_nobody(where: Where) -> None:
    """Its message is not waiting any more: ``discard`` is for that. Redriven, it is."""
    gate = trio.Event()

    @step(queue("work", config={"concurrency": 1, "maxRetries": 0}), name="Work")
    async def work(data: Any) -> None:
        if data == "dies":
            raise OSError("no luck")
        await gate.wait()

    async with open_runtime(App([work], **where), observers=()) as rt:
        message = await rt.enqueue("work", "dies")
        await quiet(rt)
        (letter,) = rt.dead_letters.list()
        assert await rt.cancel(message) == 0
        assert rt.dead_letters.list() == [letter]
        await rt.enqueue("work", "holds it up")
        await rt.dead_letters.redrive([letter.id])
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert await rt.cancel(message) == 1
        gate.set()
        await quiet(rt)
        assert rt.dead_letters.list() == []


async def test_the_key_of_a_dead_letter_is_known_as_any_other(where: Where) -> None:
    """It was sent: another one of that key does not come beside it."""
    failing = Failing()
    async with open_runtime(App(failing.steps, **where), observers=()) as rt:
        first = await rt.enqueue("ship.a", "x", key="k")
        await quiet(rt)
        assert await rt.enqueue("ship.a", "y", key="k") == first
        await quiet(rt)
        assert data(rt.dead_letters.list()) == ["x"]


async def test_the_head_of_a_group_that_died_stands_behind_it_when_it_is_redriven(
    where: Where,
) -> None:
    """What stood behind it went on when it died. Now it waits for its turn, alone in its group."""
    got: list[str] = []
    running = 0
    gate, broken = trio.Event(), True

    @step(queue("work", config={"type": "fifo", "maxRetries": 0}), name="Work")
    async def work(data: str) -> None:
        nonlocal running
        running += 1
        assert running == 1
        got.append(data)
        if data == "second":
            await gate.wait()
        running -= 1
        if data == "head" and broken:
            raise OSError("no luck")

    async with open_runtime(App([work], **where), observers=()) as rt:
        for name in ("head", "second", "third"):
            await rt.enqueue("work", name, group="g")
        while got != ["head", "second"]:
            await trio.lowlevel.checkpoint()
        (letter,) = rt.dead_letters.list()
        broken = False
        await rt.dead_letters.redrive([letter.id])
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert got == ["head", "second"]
        gate.set()
        await quiet(rt)
        assert rt.dead_letters.list() == []
    assert got == ["head", "second", "third", "head"]


async def test_a_change_that_could_not_be_handled_can_be_redriven(where: Where) -> None:
    broken = True
    told: list[Any] = []

    @step(state(), name="Watch", infrastructure={"queue": {"maxRetries": 0}})
    async def watch(change: Any) -> None:
        if broken:
            raise OSError("no luck")
        told.append(change)

    async with open_runtime(App([watch], **where), observers=()) as rt:
        await rt.state.set("g", "k", 1)
        await quiet(rt)
        (letter,) = rt.dead_letters.list(topic="(state)")
        await rt.state.set("g", "k", 2)
        await quiet(rt)
        broken = False
        await rt.dead_letters.redrive([letter.id])
        await quiet(rt)
    assert told == [
        {"type": "state", "group_id": "g", "item_id": "k", "old_value": None, "new_value": 1}
    ]


async def test_they_are_there_when_the_store_is_opened_again(on_disk: Where) -> None:
    """With all that they tell; what was redriven or discarded is not."""
    failing = Failing()
    app = App(failing.steps, **on_disk)
    async with open_runtime(app, observers=()) as rt:
        letters = await kill(rt, *["ship.a"] * 4)
    async with open_runtime(app, observers=()) as rt:
        assert rt.dead_letters.list() == letters
        assert rt.tree()["Ship"].deliveries.dead == 4
        assert await rt.dead_letters.discard([letters[0].id]) == [letters[0].id]
    failing.got.clear()
    failing.broken = False
    async with open_runtime(app, idle=True, observers=()) as rt:
        assert await rt.dead_letters.redrive([letters[1].id]) == [letters[1].id]
    async with open_runtime(app, observers=()) as rt:
        await quiet(rt)
        assert rt.dead_letters.list() == letters[2:]
    assert [number for _, number, _ in failing.got] == [1]


async def test_those_of_a_step_that_is_not_loaded_can_be_redriven_and_wait_for_it(
    on_disk: Where,
) -> None:
    failing = Failing()
    async with open_runtime(App(failing.steps, **on_disk), observers=()) as rt:
        (letter,) = await kill(rt, "ship.a")
    async with open_runtime(App([], **on_disk), observers=()) as rt:
        assert await rt.dead_letters.redrive([letter.id]) == [letter.id]
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert rt.dead_letters.list() == []
    failing.broken = False
    failing.got.clear()
    async with open_runtime(App(failing.steps, **on_disk), observers=()) as rt:
        await quiet(rt)
    assert len(failing.got) == 1
