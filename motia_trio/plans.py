"""How each schedule stands: what is recorded of it in the store, and when it is due."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, evolve, frozen

from motia_trio import codec
from motia_trio.steps import CronTrigger
from motia_trio.store import Place

if TYPE_CHECKING:
    from motia_trio.steps import Schedule, Step

__all__ = ["SPACE", "Plan", "Record", "ScheduleNode", "plans_of"]

# where the records are kept; no stream may have such a name
SPACE = "(cron)"
# seconds by which a record may lie ahead of the clock: further ahead, the clock was wrong then
SET_BACK = 86_400.0


@frozen
class ScheduleNode:
    """One schedule in the tree. ``trigger`` is its index among the step's triggers.

    ``next_at`` and ``last_at`` are wall times, None where there is none: ``next_at`` is when it is
    due, ``last_at`` the time for which it ran last, kept over restarts. ``running`` counts its runs
    that wait or are in hand, those by hand included, and ``skipped`` the times for which it was not
    run since the runtime was opened.
    """

    trigger: int
    expression: str
    timezone: str
    next_at: float | None
    last_at: float | None
    running: int
    skipped: int


@frozen
class Record:
    """What is kept of a schedule.

    ``at``: the wall time of the last tick that is accounted for. ``done``: nothing is owed for it.
    ``begun``: how often it was run; 0 if this says only since when the schedule is known.
    """

    at: float
    done: bool = True
    begun: int = 0

    def encode(self) -> bytes:
        """Give it as the store keeps it."""
        return codec.encode({"at": self.at, "done": self.done, "begun": self.begun})

    @classmethod
    def decode(cls, raw: bytes) -> Record:
        """Read what the store kept."""
        kept = codec.decode(raw)
        return cls(kept["at"], kept["done"], kept["begun"])

    def ended(self) -> Record:
        """The same, with nothing owed."""
        return evolve(self, done=True)

    def passed(self, at: float) -> Record:
        """The same, accounting for a later tick too."""
        return evolve(self, at=at)


@define(eq=False)
class Plan:
    """One schedule, and how it stands. ``running`` counts all runs, ``by_hand`` those by hand."""

    step: Step
    index: int
    trigger: CronTrigger
    place: Place
    record: Record | None = None
    next_at: float | None = None
    last_at: float | None = None
    running: int = 0
    by_hand: int = 0
    skipped: int = 0

    @property
    def schedule(self) -> Schedule:
        """When it is due."""
        return self.trigger.schedule

    @property
    def is_full(self) -> bool:
        """Whether as many runs are under way as may be."""
        return self.running >= self.trigger.limits.concurrency

    def recall(self, kept: bytes | None, now: float) -> None:
        """Take up where the record left off, if there is one, and plan from there."""
        record = None if kept is None else Record.decode(kept)
        self.record = None if record is None or record.at > now + SET_BACK else record
        at = now if self.record is None else max(now, self.record.at)
        self.next_at = self.schedule.after(at)
        self.last_at = self.record.at if self.record is not None and self.record.begun else None

    def beginning(self, at: float) -> Record:
        """Give the record of a tick that begins."""
        begun = 1
        if self.record is not None and self.record.at == at and not self.record.done:
            begun += self.record.begun
        # only who makes up for what was missed owes anything
        return Record(at, not self.trigger.catch_up, begun)

    def node(self) -> ScheduleNode:
        """Tell how it stands."""
        return ScheduleNode(
            self.index,
            self.trigger.expression,
            self.trigger.timezone,
            self.next_at,
            self.last_at,
            self.running,
            self.skipped,
        )


def plans_of(step: Step) -> list[Plan]:
    """Give a plan for each schedule of a step; nothing is known of them yet."""
    plans: list[Plan] = []
    keys: dict[str, int] = {}
    for index, trigger in enumerate(step.triggers):
        if isinstance(trigger, CronTrigger):
            key = f"{trigger.expression} {trigger.timezone}"
            number = keys[key] = keys.get(key, 0) + 1
            place = Place(SPACE, step.name, key if number == 1 else f"{key} {number}")
            plans.append(Plan(step, index, trigger, place))
    return plans
