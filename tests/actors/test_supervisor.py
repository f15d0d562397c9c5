"""Keeps its children alive, and leaves down the one that will not stay up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from motia_trio.actors import Supervisor
from motia_trio.errors import StepQuarantined
from motia_trio.policies import RestartPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock

    from motia_trio.actors import Life


class Fake:
    """A child. Its script says for each life what it does: for how many seconds it is up, and
    what it raises then (None: it ends in order). Past the script it lives for ever.
    """

    def __init__(self, name: str, *script: tuple[float, BaseException | None]) -> None:
        self.name = name
        self.script = list(script)
        self.lives: list[tuple[float, bool]] = []
        self.downs: list[float | None] = []
        self.prove: Callable[[Life], bool] = lambda _life: True

    async def run(self, life: Life) -> None:
        self.lives.append((trio.current_time(), life.probing))
        life.started()
        seconds, error = self.script.pop(0) if self.script else (float("inf"), None)
        if seconds and self.prove(life):
            life.proven()
        await trio.sleep(seconds)
        if error is not None:
            raise error

    async def down(self, retry_after: float | None) -> None:
        await trio.lowlevel.checkpoint()
        self.downs.append(retry_after)


class Listener:
    """Writes down what the supervisor tells."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def child_started(self, name: str, restarts: int, *, probing: bool) -> None:
        self.told.append(("started", name, restarts, probing))

    def child_crashed(self, name: str, error: BaseException, restart_in: float) -> None:
        self.told.append(("crashed", name, repr(error), restart_in))

    def child_quarantined(self, name: str, error: BaseException, cool_down: float) -> None:
        self.told.append(("quarantined", name, repr(error), cool_down))

    def child_recovered(self, name: str) -> None:
        self.told.append(("recovered", name))


CRASH = ValueError("x")
NOW = (0.0, CRASH)
POLICY = RestartPolicy(max_restarts=3, window=5, delay=0.25, cool_down=8, cool_down_cap=20)


def supervise(
    nursery: trio.Nursery, *children: Fake, escalate: bool = False
) -> tuple[Supervisor, Listener]:
    listener = Listener()
    supervisor = Supervisor(POLICY, listener, escalate=escalate)
    supervisor.start(children, nursery)
    return supervisor, listener


def begins(child: Fake, since: float) -> list[float]:
    return [at - since for at, _ in child.lives]


async def test_children_start_in_order_and_are_told_as_started(nursery: trio.Nursery) -> None:
    children = [Fake(name) for name in "abc"]
    supervisor, listener = supervise(nursery, *children)
    assert [each.state for each in supervisor.statistics()] == ["starting"] * 3
    await trio.testing.wait_all_tasks_blocked()
    assert sorted(listener.told) == [("started", name, 0, False) for name in "abc"]
    assert [each.name for each in supervisor.statistics()] == ["a", "b", "c"]
    assert supervisor.state("b") == "running"


async def test_a_crashed_child_starts_again_after_waits_that_double(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    child = Fake("a", NOW, NOW, NOW)
    began = trio.current_time()
    supervisor, listener = supervise(nursery, child)
    await trio.sleep(60)
    assert begins(child, began) == [0, 0.25, 0.75, 1.75]
    assert child.downs == [None] * 3
    assert listener.told[:3] == [
        ("started", "a", 0, False),
        ("crashed", "a", "ValueError('x')", 0.25),
        ("started", "a", 1, False),
    ]
    (statistics,) = supervisor.statistics()
    assert (statistics.state, statistics.restarts, statistics.crashes) == ("running", 3, 3)
    assert statistics.up_since == began + 1.75
    assert statistics.last_error == "ValueError: x"


async def test_crashes_outside_the_window_are_forgotten(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    child = Fake("a", *[(6.0, CRASH)] * 20)
    supervisor, listener = supervise(nursery, child)
    await trio.sleep(1000)
    assert supervisor.state("a") == "running"
    assert {each[3] for each in listener.told if each[0] == "crashed"} == {0.25}
    assert len(child.lives) == 21


async def test_past_the_intensity_a_child_is_quarantined_and_then_probed(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    child = Fake("a", NOW, NOW, NOW, NOW)
    began = trio.current_time()
    supervisor, listener = supervise(nursery, child)
    await trio.sleep(5)
    assert supervisor.state("a") == "quarantined"
    assert supervisor.statistics()[0].up_since is None
    assert child.downs == [None, None, None, 8]
    assert listener.told[-1] == ("quarantined", "a", "ValueError('x')", 8)
    await trio.sleep(20)
    assert child.lives[-1] == (began + 1.75 + 8, True)


async def test_a_probe_that_goes_well_ends_the_quarantine_and_clears_the_record(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    child = Fake("a", NOW, NOW, NOW, NOW, (0.5, CRASH))
    supervisor, listener = supervise(nursery, child)
    await trio.sleep(60)
    assert listener.told[-5:] == [
        ("quarantined", "a", "ValueError('x')", 8),
        ("started", "a", 4, True),
        ("recovered", "a"),
        # it crashed after the probe: that is the first crash of a new record
        ("crashed", "a", "ValueError('x')", 0.25),
        ("started", "a", 5, False),
    ]
    assert supervisor.state("a") == "running"


async def test_a_child_is_probing_until_it_is_proven(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    child = Fake("a", *[NOW] * 4)
    child.prove = lambda _life: False
    supervisor, _ = supervise(nursery, child)
    await trio.sleep(60)
    assert supervisor.state("a") == "probing"


async def test_each_failed_probe_doubles_the_cool_down_up_to_its_cap_and_success_resets_it(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    # four crashes, four failed probes, one that goes well, and all of it again
    child = Fake("a", *[NOW] * 8, (1.0, CRASH), *[NOW] * 3)
    _, listener = supervise(nursery, child)
    await trio.sleep(200)
    cool_downs = [each[3] for each in listener.told if each[0] == "quarantined"]
    assert cool_downs == [8, 16, 20, 20, 20, 8]


async def test_one_childs_crash_loop_does_not_touch_another(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    bad, good = Fake("bad", *[NOW] * 50), Fake("good")
    supervisor, listener = supervise(nursery, bad, good)
    await trio.sleep(300)
    assert len(bad.lives) > 10
    assert len(good.lives) == 1
    assert supervisor.state("good") == "running"
    assert [each for each in listener.told if each[1] == "good"] == [("started", "good", 0, False)]


async def test_an_end_while_stopping_is_no_crash(autojump_clock: MockClock) -> None:
    child = Fake("a", (2.0, None))
    async with trio.open_nursery() as nursery:
        supervisor, listener = supervise(nursery, child)
        await trio.sleep(1)
        supervisor.stop()
    (statistics,) = supervisor.statistics()
    assert (statistics.state, statistics.crashes, statistics.up_since) == ("stopped", 0, None)
    assert listener.told == [("started", "a", 0, False)]


async def test_an_end_that_nobody_asked_for_is_a_crash(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    child = Fake("a", (2.0, None))
    supervisor, _ = supervise(nursery, child)
    await trio.sleep(5)
    (statistics,) = supervisor.statistics()
    assert (statistics.state, statistics.crashes) == ("running", 1)
    assert "nobody stopped it" in str(statistics.last_error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        SystemExit(3),
        ExceptionGroup("g", [ValueError("x")]),
        BaseExceptionGroup("g", [ValueError("x"), SystemExit(3)]),
    ],
    ids=repr,
)
async def test_what_a_child_may_crash_with(
    autojump_clock: MockClock, nursery: trio.Nursery, error: BaseException
) -> None:
    child = Fake("a", (0.0, error))
    supervisor, listener = supervise(nursery, child)
    await trio.sleep(5)
    assert supervisor.state("a") == "running"
    assert listener.told[1] == ("crashed", "a", repr(error), 0.25)


async def test_an_interrupt_passes_through_and_is_no_crash() -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            child = Fake("a", (0.0, KeyboardInterrupt()))
            supervisor, listener = supervise(nursery, child, Fake("b"))
    assert caught.value.subgroup(KeyboardInterrupt) is not None
    assert [each.state for each in supervisor.statistics()] == ["stopped"] * 2
    assert {each[0] for each in listener.told} == {"started"}


async def test_an_error_beside_an_interrupt_is_told_and_only_the_interrupt_passes() -> None:
    group = BaseExceptionGroup("g", [ValueError("x"), KeyboardInterrupt()])
    with pytest.raises(BaseExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            _, listener = supervise(nursery, Fake("a", (0.0, group)))
    assert caught.value.subgroup(ValueError) is None
    told = repr(ExceptionGroup("g", [ValueError("x")]))
    assert listener.told[-1] == ("crashed", "a", told, float("inf"))


async def test_a_cancellation_stops_children_and_is_no_crash(autojump_clock: MockClock) -> None:
    child = Fake("a")
    with trio.move_on_after(1):
        async with trio.open_nursery() as nursery:
            supervisor, listener = supervise(nursery, child)
    assert supervisor.state("a") == "stopped"
    assert listener.told == [("started", "a", 0, False)]


# escalation


async def test_a_quarantine_is_raised_to_programs_that_ask_for_it(
    autojump_clock: MockClock,
) -> None:
    child = Fake("a", *[NOW] * 4)
    with pytest.raises(ExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            _, listener = supervise(nursery, child, Fake("b"), escalate=True)
    (error,) = caught.value.exceptions
    assert isinstance(error, StepQuarantined)
    assert str(error) == "step 'a' crashed 4 times; last: ValueError: x"
    assert error.__cause__ is CRASH
    assert listener.told[-1][0] == "quarantined"


# stopping


async def test_a_stop_ends_the_wait_for_a_restart_at_once(autojump_clock: MockClock) -> None:
    child = Fake("a", *[NOW] * 4)
    async with trio.open_nursery() as nursery:
        supervisor, _ = supervise(nursery, child)
        await trio.sleep(2)
        assert supervisor.state("a") == "quarantined"
        began = trio.current_time()
        supervisor.stop()
    assert trio.current_time() == began
    assert len(child.lives) == 4
    assert supervisor.state("a") == "stopped"


async def test_a_stop_leaves_running_children_to_their_owner(autojump_clock: MockClock) -> None:
    child = Fake("a", (10.0, None))
    async with trio.open_nursery() as nursery:
        supervisor, _ = supervise(nursery, child)
        await trio.sleep(1)
        supervisor.stop()
        await trio.sleep(1)
        assert supervisor.state("a") == "running"
    assert supervisor.state("a") == "stopped"


async def test_a_child_that_crashes_while_stopping_is_told_and_not_restarted(
    autojump_clock: MockClock,
) -> None:
    child = Fake("a", (5.0, CRASH))
    async with trio.open_nursery() as nursery:
        supervisor, listener = supervise(nursery, child)
        await trio.sleep(1)
        supervisor.stop()
    assert listener.told[-1] == ("crashed", "a", "ValueError('x')", float("inf"))
    assert len(child.lives) == 1


class SlowToSettle(Fake):
    """Has much to give back when it is down."""

    async def down(self, retry_after: float | None) -> None:
        await super().down(retry_after)
        await trio.sleep(1)


async def test_a_stop_while_a_child_gives_back_ends_the_wait_as_well(
    autojump_clock: MockClock,
) -> None:
    child = SlowToSettle("a", *[NOW] * 4)
    async with trio.open_nursery() as nursery:
        supervisor, _ = supervise(nursery, child)
        while supervisor.state("a") != "quarantined":
            await trio.sleep(0.125)
        began = trio.current_time()
        supervisor.stop()
    assert trio.current_time() - began <= 2  # the child is told once more, and takes its time again


async def test_two_children_of_one_name_are_refused(nursery: trio.Nursery) -> None:
    with pytest.raises(ValueError, match="already a child 'a'"):
        supervise(nursery, Fake("a"), Fake("a"))
