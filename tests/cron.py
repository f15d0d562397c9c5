"""What tests of schedules share: a runtime whose wall clock begins when a test says."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import attrs
import trio
import trio.testing

from motia_trio import App, Service, open_runtime
from motia_trio.plans import ScheduleNode
from motia_trio.steps import StepDefinition
from tests.support import Notebook

if TYPE_CHECKING:
    import pytest


def wall(text: str) -> float:
    """A wall time; without an offset it is UTC."""
    at = datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


@attrs.define
class Days:
    """Runs programs on a virtual clock that begins at a wall time, each as a process of its own."""

    monkeypatch: pytest.MonkeyPatch
    where: dict[str, Any] = attrs.field(factory=dict)

    def begin(self, text: str) -> None:
        """Have the next clock begin then."""
        clock = SimpleNamespace(time=lambda: wall(text))
        self.monkeypatch.setattr("motia_trio.actors.clock.time", clock)

    def live(
        self,
        text: str,
        steps: list[StepDefinition],
        program: Callable[[Service, Notebook], Coroutine[Any, Any, None]],
    ) -> Notebook:
        """Run steps and a program beside them, from a wall time on; then stop in order."""
        self.begin(text)
        notebook = Notebook()

        async def main() -> None:
            app = App(steps, **self.where)
            async with open_runtime(app, observers=[notebook]) as rt:
                await program(rt, notebook)

        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
        return notebook


def now(rt: Service) -> float:
    """The wall time by which the schedules of a runtime go."""
    return rt._shared.clock.now()  # noqa: SLF001 - there is no other way to see it


async def until(rt: Service, text: str) -> None:
    """Let time pass to a wall time, and all of it be done."""
    await trio.sleep(wall(text) - now(rt))
    await rt.quiesce()


def schedule(rt: Service, step: str, index: int = 0) -> ScheduleNode:
    """One schedule in the tree."""
    return rt.tree()[step].schedules[index]
