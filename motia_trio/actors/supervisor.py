"""A supervisor: keeps its children alive, and leaves down the one that will not stay up.

Source of the ideas: Erlang/OTP's child specs and restart intensity. Ours differs in what happens
past the intensity: the supervisor does not give up; the one child is quarantined and probed.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import trio
from attrs import frozen

from motia_trio.errors import StepCrashed, StepQuarantined
from motia_trio.failures import tell_error
from motia_trio.policies import Quarantine, RestartPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Child", "ChildState", "ChildStatistics", "Life", "Supervisor"]

ChildState: TypeAlias = Literal[
    "starting", "running", "restarting", "quarantined", "probing", "stopped"
]


class Life:
    """One life of a child, as its ``run`` sees it."""

    __slots__ = ("_keeper", "probing")

    def __init__(self, keeper: _Keeper, *, probing: bool) -> None:
        self._keeper = keeper
        self.probing = probing

    def started(self) -> None:
        """Say that the child is ready to do its work."""
        self._keeper.on_started(self)

    def proven(self) -> None:
        """Say that the child did one piece of work. Ends the probe; else without effect."""
        if self.probing:
            self.probing = False
            self._keeper.on_proven()


class Child(Protocol):
    """What a supervisor keeps alive."""

    @property
    def name(self) -> str:
        """The name, unique among the children of one supervisor."""
        ...

    async def run(self, life: Life) -> None:
        """Live until cancelled, or until told to stop by other means, once the supervisor stops.

        What it raises is a crash, ``Cancelled`` and ``KeyboardInterrupt`` aside; so is to return
        while the supervisor is not stopping.
        """
        ...

    async def down(self, retry_after: float | None) -> None:
        """Be told of a crash: it is quarantined for so many seconds; None: it starts again."""
        ...


class SupervisorListener(Protocol):
    """Is told what happens to the children. Must return at once."""

    def child_started(self, name: str, restarts: int, *, probing: bool) -> None:
        """A child is ready."""
        ...

    def child_crashed(self, name: str, error: BaseException, restart_in: float) -> None:
        """A child crashed and will be started again in some seconds."""
        ...

    def child_quarantined(self, name: str, error: BaseException, cool_down: float) -> None:
        """A child crashed too often and is left down for some seconds."""
        ...

    def child_recovered(self, name: str) -> None:
        """A probe went well."""
        ...


@frozen
class ChildStatistics:
    """Figures of one child. ``up_since`` is a Trio time, None when it is down."""

    name: str
    state: ChildState
    restarts: int
    crashes: int
    up_since: float | None
    last_error: str | None


class _Keeper:
    """Keeps one child: its history and its state."""

    __slots__ = (
        "_supervisor", "_times", "child", "crashes", "failed_probes", "last_error", "nap",
        "restarts", "state", "up_since",
    )  # fmt: skip

    def __init__(self, child: Child, supervisor: Supervisor) -> None:
        self.child = child
        self.state: ChildState = "starting"
        self.restarts = 0
        self.crashes = 0
        self.failed_probes = 0
        self.up_since: float | None = None
        self.last_error: str | None = None
        self.nap: trio.CancelScope | None = None
        self._supervisor = supervisor
        self._times: list[float] = []

    def on_started(self, life: Life) -> None:
        self.state = "probing" if life.probing else "running"
        self.up_since = trio.current_time()
        self._supervisor.listener.child_started(
            self.child.name, self.restarts, probing=life.probing
        )

    def on_proven(self) -> None:
        self.state = "running"
        self.failed_probes = 0
        self._times.clear()
        self._supervisor.listener.child_recovered(self.child.name)

    async def keep(self) -> None:
        """Run the child, life after life, until it ends in order or the scope is cancelled."""
        probing = False
        try:
            while True:
                life = Life(self, probing=probing)
                error = await self._live(life)
                self.up_since = None
                if error is None:
                    if self._supervisor.is_stopping():
                        return
                    error = StepCrashed(
                        "the actor ended though nobody stopped it: its lifespan, or a cancel scope "
                        "that it opened, kept the reason to itself"
                    )
                if self._supervisor.is_stopping():
                    self._supervisor.listener.child_crashed(self.child.name, error, inf)
                    await self.child.down(1.0)
                    return
                probing = await self._after_crash(error, was_probe=life.probing)
                if self._supervisor.is_stopping():
                    await self.child.down(1.0)
                    return
                self.restarts += 1
                self.state = "starting"
        finally:
            self.state = "stopped"
            self.up_since = None

    async def _live(self, life: Life) -> BaseException | None:
        """Run one life. Gives what it crashed with, or None if it ended in order.

        ``Cancelled`` and ``KeyboardInterrupt`` pass, also as leaves of a group; what else is in
        such a group is told, and goes no further.
        """
        try:
            await self.child.run(life)
        except (trio.Cancelled, KeyboardInterrupt):
            raise
        except BaseExceptionGroup as group:
            passing, ours = group.split((trio.Cancelled, KeyboardInterrupt))
            if passing is None:
                return group
            if ours is not None:
                self._supervisor.listener.child_crashed(self.child.name, ours, inf)
            raise passing from None
        except BaseException as error:  # noqa: BLE001 - given to the policy
            return error
        return None

    async def _after_crash(self, error: BaseException, *, was_probe: bool) -> bool:
        """Wait as the policy says. Gives whether the next life is a probe."""
        self.crashes += 1
        supervisor = self._supervisor
        self.last_error = tell_error(error).error
        kept = supervisor.policy.max_restarts + 1
        self._times = [*self._times, trio.current_time()][-kept:]
        if was_probe:
            self.failed_probes += 1
        verdict = supervisor.policy.after_crash(
            self._times, self.failed_probes, was_probe=was_probe
        )
        if not isinstance(verdict, Quarantine):
            self.state = "restarting"
            await self.child.down(None)
            supervisor.listener.child_crashed(self.child.name, error, verdict.wait)
            await self._nap(verdict.wait)
            return False
        self.state = "quarantined"
        await self.child.down(verdict.cool_down)
        supervisor.listener.child_quarantined(self.child.name, error, verdict.cool_down)
        if supervisor.escalate and not supervisor.is_stopping():
            raise StepQuarantined(
                f"step {self.child.name!r} crashed {self.crashes} times; last: {self.last_error}"
            ) from error
        await self._nap(verdict.cool_down)
        return True

    async def _nap(self, seconds: float) -> None:
        if self._supervisor.is_stopping():
            return
        with trio.move_on_after(seconds) as self.nap:
            await trio.sleep_forever()

    def statistics(self) -> ChildStatistics:
        return ChildStatistics(
            self.child.name,
            self.state,
            self.restarts,
            self.crashes,
            self.up_since,
            self.last_error,
        )


class Supervisor:
    """Runs children in one nursery. One that fails never touches another."""

    def __init__(
        self, policy: RestartPolicy, listener: SupervisorListener, *, escalate: bool = False
    ) -> None:
        self.policy = policy
        self.listener = listener
        self.escalate = escalate
        self._stopping = False
        self._keepers: dict[str, _Keeper] = {}

    def start(self, children: Iterable[Child], nursery: trio.Nursery) -> None:
        """Start the children in order, each kept alive by a task in ``nursery``."""
        for child in children:
            if child.name in self._keepers:
                raise ValueError(f"there is already a child {child.name!r}")
            keeper = _Keeper(child, self)
            self._keepers[child.name] = keeper
            nursery.start_soon(keeper.keep, name=f"keep {child.name}")

    def is_stopping(self) -> bool:
        """Whether nothing is started any more."""
        return self._stopping

    def stop(self) -> None:
        """Start nothing any more. Children that run are the caller's to stop."""
        self._stopping = True
        for keeper in self._keepers.values():
            if keeper.nap is not None:
                keeper.nap.cancel()

    def statistics(self) -> list[ChildStatistics]:
        """The figures of every child, in the order in which they were started."""
        return [keeper.statistics() for keeper in self._keepers.values()]

    def state(self, name: str) -> ChildState:
        """The state of one child."""
        return self._keepers[name].state
