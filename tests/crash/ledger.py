"""What the parent knows: what it posted, what was answered, what was handled; and what must hold."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import attrs

from motia_trio import DeadLetter, open_runtime
from tests.crash.program import COUNTERS, KEYS, make_app

__all__ = ["Figures", "Ledger", "Look", "Wrong", "look"]

# a delivery: the step that has it, and the number of what was posted
Claim = tuple[str, int]

# which steps get a message that a path of the service enqueues
STEPS = {
    "plain": ("Plain", "Threaded"),
    "once": ("Once",),
    "fifo": ("Fifo",),
    "state": ("WatchState",),
    "stream": ("WatchStream",),
    "pay": ("Pay",),
    "order": ("Ordered",),
}
# what follows from a transaction
FOLLOWS = {"Paid": "Pay"}
# steps that may run to their end more than once, for a transaction that could not be kept
TRANSACTIONAL = {"Pay", "Paid"}
# steps whose handlings are in order within a key
IN_ORDER = {"Fifo", "WatchState", "WatchStream"}
DIED = "the process died 3 times while a handler had it in hand"


class Wrong(AssertionError):
    """A promise was broken."""


@attrs.frozen
class Look:
    """What was in the store between a kill and the next start."""

    #: each delivery, and at how many kills it was in hand
    waiting: dict[Claim, int]
    dead: dict[Claim, str]
    last: dict[str, int | None]
    counts: dict[str, int | None]
    room: dict[str, int | None]
    items: dict[str, frozenset[int]]
    counted: dict[str, int]


async def look(folder: Path) -> Look:
    """Open the store while no step runs, as a program would, and the file below it."""
    async with open_runtime(make_app(folder), idle=True, observers=()) as rt:
        letters: list[DeadLetter] = list(rt.dead_letters.list())
        waiting = _rows(folder / "store.db")
        state, streams = rt.state, rt.streams
        items = {
            name: frozenset(map(int, await streams[name].keys("all")))
            for name in ("pay", "paid", "order")
        }
        items["order in state"] = frozenset(map(int, await state.keys("order")))
        counted = {
            name: sum([await state.get(name, str(n)) or 0 for n in range(COUNTERS)])
            for name in ("pay", "paid")
        }
        room = {key: await streams.chat.get("room", key) for key in KEYS}
        return Look(
            waiting=waiting,
            dead={(each.step, _number(each.message.data)): each.reason for each in letters},
            last={key: await state.get("last", key) for key in KEYS},
            counts={key: await state.get("counts", key) for key in KEYS},
            room={key: item and item["number"] for key, item in room.items()},
            items=items,
            counted=counted,
        )


def _rows(path: Path) -> dict[Claim, int]:
    """Every delivery in the file, and at how many kills it was in hand."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        rows = connection.execute(
            "SELECT s.name, m.payload, d.crashes FROM delivery AS d "
            "JOIN step AS s ON s.id = d.step JOIN message AS m ON m.id = d.id >> 12"
        ).fetchall()
        ((deliveries,),) = connection.execute("SELECT count(*) FROM delivery").fetchall()
        ((messages,),) = connection.execute(
            "SELECT count(*) FROM message WHERE id NOT IN (SELECT id >> 12 FROM delivery) "
            "AND id NOT IN (SELECT id >> 12 FROM dead)"
        ).fetchall()
        heads = connection.execute(
            "SELECT step, fifo, sum(head) FROM delivery WHERE fifo IS NOT NULL "
            "GROUP BY step, fifo HAVING sum(head) != 1"
        ).fetchall()
        ((fit,),) = connection.execute("PRAGMA quick_check").fetchall()
    finally:
        connection.close()
    claims = [(name, _number(json.loads(payload))) for name, payload, _ in rows]
    _hold(fit == "ok", f"the file is damaged: {fit}")
    _hold(len(rows) == deliveries, f"{deliveries - len(rows)} deliveries without their message")
    _hold(messages == 0, f"{messages} messages that nobody will get are still in the file")
    _hold(not heads, f"groups (step, fifo) with another number of heads than one: {heads}")
    twice = [claim for claim, count in Counter(claims).items() if count > 1]
    _hold(not twice, f"deliveries that are there twice: {twice}")
    return {claim: row[2] for claim, row in zip(claims, rows, strict=True)}


def _number(data: Any) -> int:
    """The number of what was posted, of a message or of a change."""
    if "number" in data:
        return int(data["number"])
    if data["type"] == "state":
        return int(data["new_value"])
    return int(data["event"]["data"]["number"])


def _hold(fact: object, words: str) -> None:
    if not fact:
        raise Wrong(words)


@attrs.define
class Figures:
    """What a run through all kills came to."""

    kills: int = 0
    before_ready: int = 0
    posted: int = 0
    acknowledged: int = 0
    refused: int = 0
    handled: int = 0
    twice: int = 0
    waiting: int = 0
    suspects: int = 0
    dead: int = 0

    def __str__(self) -> str:
        return (
            f"{self.kills} kills ({self.before_ready} before it served), {self.posted} requests, "
            f"{self.acknowledged} acknowledged, {self.refused} refused, {self.handled} messages "
            f"handled, {self.twice} of them more than once, {self.waiting} found waiting, "
            f"{self.suspects} times in hand at a kill, 0 lost, {self.dead} dead letters"
        )


@attrs.define
class Ledger:
    """Holds everything that was promised against what is there."""

    folder: Path
    run: int = 0
    figures: Figures = attrs.field(factory=Figures)
    _next: int = 0
    #: what was sent: its path, its key, the run
    _sent: dict[int, tuple[str, str, int]] = attrs.field(factory=dict)
    _acknowledged: set[int] = attrs.field(factory=set)
    #: acknowledged, and not seen to be done yet
    _open: set[Claim] = attrs.field(factory=set)
    _begun: dict[Claim, list[int]] = attrs.field(factory=lambda: defaultdict(list))
    _ended: Counter[Claim] = attrs.field(factory=Counter)
    _ended_in: dict[Claim, int] = attrs.field(factory=dict)
    _order: dict[tuple[str, str], int] = attrs.field(factory=dict)
    _unended: dict[tuple[str, str], int] = attrs.field(factory=dict)
    _last_acknowledged: dict[tuple[str, str], int] = attrs.field(factory=dict)
    _last_sent: dict[tuple[str, str], int] = attrs.field(factory=dict)
    _counts: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    _tried: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    _read: int = 0
    _look: Look | None = None
    _looked_in: int = 0
    _kills_before: int = 0

    # what the posters tell

    def send(self, path: str, key: str) -> int:
        """Note that something is about to be posted; give its number."""
        self._next += 1
        self._sent[self._next] = (path, key, self.run)
        self._last_sent[path, key] = self._next
        self._tried[path, key] += 1
        self.figures.posted += 1
        return self._next

    def send_again(self, number: int) -> None:
        """Note that what was not answered is posted again, with a key: it may be there or not."""
        path, key, _ = self._sent[number]
        claims = {(step, number) for step in STEPS[path]}
        seen = self._look is not None and claims & {*self._look.waiting, *self._look.dead}
        if not seen and not claims & self._begun.keys():
            self._sent[number] = path, key, self.run
        self.figures.posted += 1

    def acknowledge(self, number: int) -> None:
        """Note that it was answered: from here on it must not be lost."""
        path, key, _ = self._sent[number]
        self._acknowledged.add(number)
        self._open.update((step, number) for step in STEPS[path])
        self._last_acknowledged[path, key] = number
        self._counts[path, key] += 1
        self.figures.acknowledged += 1

    # what is checked

    def check(self, now: Look) -> None:
        """Hold what is in the store, and what was handled, against what was acknowledged."""
        self._read_lines(now)
        self._check_nothing_lost(now)
        self._check_in_hand(now)
        self._check_values(now)
        self._check_transactions(now)
        self._check_dead(now)
        self._look, self._looked_in = now, self.run
        self._kills_before = self.figures.kills
        self.figures.waiting += len(now.waiting)
        self.figures.suspects += sum(1 for crashes in now.waiting.values() if crashes)
        self.figures.dead = len(now.dead)
        self.figures.handled = len(self._ended)
        self.figures.twice = sum(1 for count in self._ended.values() if count > 1)

    def _read_lines(self, now: Look) -> None:
        """Read what was handled since the last time, in the order in which it was."""
        with (self.folder / "lines").open("rb") as file:
            file.seek(self._read)
            raw = file.read()
        whole = raw[: raw.rfind(b"\n") + 1]  # a line is one write: none is torn
        self._read += len(whole)
        for line in whole.decode().splitlines():
            run, what, step, key, number = line.split()
            claim = (step, int(number))
            if what == "begin":
                self._begin(int(run), claim, key, now)
            else:
                self._ended[claim] += 1
                self._ended_in[claim] = int(run)
                self._unended.pop((step, key), None)

    def _begin(self, run: int, claim: Claim, key: str, now: Look) -> None:
        """Hold one beginning against what may begin."""
        step, number = claim
        _hold(number in self._sent, f"{claim} was handled, and never posted")
        self._check_not_done(run, claim)
        _hold(
            self._ended_in.get(claim) != run or step in TRANSACTIONAL,
            f"{claim} was handled again in run {run}, where it was handled to its end before",
        )
        self._begun[claim].append(run)
        if step in IN_ORDER:
            before = self._order.get((step, key), 0)
            _hold(
                number >= before,
                f"{claim} of {key} was begun in run {run} after {before}, which came later",
            )
            unended = self._unended.get((step, key), number)
            _hold(
                unended == number or (step, unended) in now.dead,
                f"{claim} of {key} was begun in run {run} before {unended} was acknowledged",
            )
            self._order[step, key] = self._unended[step, key] = number

    def _check_not_done(self, run: int, claim: Claim) -> None:
        """What was not in the store when it was looked at may not be handled after that."""
        if self._look is None or claim in self._look.waiting:
            return
        step, number = claim
        if self._sent[number][2] > self._looked_in:
            return
        cause = (FOLLOWS.get(step, ""), number)
        if cause in self._look.waiting:
            return
        raise Wrong(f"{claim} was handled in run {run}, and was not in the store before")

    def _check_nothing_lost(self, now: Look) -> None:
        """What was acknowledged waits, is a dead letter, or was handled to its end."""
        gone = self._open - set(now.waiting)
        lost = {claim for claim in gone - set(now.dead) if claim not in self._ended}
        _hold(not lost, f"acknowledged, and lost: {sorted(lost)}")
        self._open -= gone

    def _check_in_hand(self, now: Look) -> None:
        """What was handled to its end and is there again was in hand when the process died."""
        again = [claim for claim in now.waiting if claim in self._ended]
        idle = [claim for claim in again if not now.waiting[claim]]
        _hold(not idle, f"handled, not in hand at a kill, and not acknowledged: {sorted(idle)}")

    def _check_values(self, now: Look) -> None:
        """The last value that was acknowledged is there, or a later one that was posted."""
        for path, found in (("state", now.last), ("stream", now.room)):
            for key in KEYS:
                value = found[key] or 0
                least = self._last_acknowledged.get((path, key), 0)
                most = self._last_sent.get((path, key), 0)
                _hold(
                    least <= value <= most,
                    f"{path} {key} is {value}; acknowledged was {least}, posted {most}",
                )
        for key in KEYS:
            value = now.counts[key] or 0
            least, most = self._counts["state", key], self._tried["state", key]
            _hold(
                least <= value <= most,
                f"the count of {key} is {value}; acknowledged were {least}, posted {most}",
            )

    def _check_transactions(self, now: Look) -> None:
        """What a transaction did is all there or not at all, and once."""
        for name in ("pay", "paid"):
            _hold(
                now.counted[name] == len(now.items[name]),
                f"{name}: counted {now.counted[name]}, and there are {len(now.items[name])} items",
            )
        pay, paid = now.items["pay"], now.items["paid"]
        known = frozenset(self._sent)
        _hold(pay <= known, f"paid, and never posted: {sorted(pay - known)}")
        _hold(paid <= pay, f"followed from nothing: {sorted(paid - pay)}")
        for step, items in (("Pay", pay), ("Paid", paid)):
            waiting = {number for name, number in now.waiting if name == step}
            buried = {number for name, number in now.dead if name == step}
            half = items & (waiting | buried)
            _hold(not half, f"{step}: kept, and not acknowledged: {sorted(half)}")
            sources = pay if step == "Paid" else {
                number for number in self._acknowledged if self._sent[number][0] == "pay"
            }  # fmt: skip
            missing = sources - items - waiting - buried
            _hold(not missing, f"{step}: acknowledged, and nothing kept: {sorted(missing)}")
            early = waiting - pay if step == "Paid" else frozenset()
            _hold(not early, f"{step}: there before what it follows from: {sorted(early)}")
        orders = now.items["order"]
        _hold(
            orders == now.items["order in state"],
            f"orders half there: {sorted(orders ^ now.items['order in state'])}",
        )
        taken = {number for number in self._acknowledged if self._sent[number][0] == "order"}
        _hold(taken <= orders, f"orders acknowledged and lost: {sorted(taken - orders)}")
        followed = {number for step, number in now.waiting if step == "Ordered"}
        followed |= {number for step, number in self._begun if step == "Ordered"}
        buried = {number for step, number in now.dead if step == "Ordered"}
        _hold(
            orders == followed | buried,
            f"orders without a message, or the other way: {sorted(orders ^ (followed | buried))}",
        )

    def _check_dead(self, now: Look) -> None:
        """Only what was in hand at three kills was given up, and says so."""
        for claim, reason in now.dead.items():
            _hold(reason == DIED, f"{claim} is a dead letter: {reason}")
            if self._look is None or claim not in self._look.dead:
                self._check_count(claim, 3)
        for claim, crashes in now.waiting.items():
            self._check_count(claim, crashes)
        gone = set(self._look.dead if self._look else ()) - set(now.dead)
        _hold(not gone, f"dead letters that are lost: {sorted(gone)}")

    def _check_count(self, claim: Claim, crashes: int) -> None:
        """Each kill counts once at the most."""
        before = self._look.waiting.get(claim, 0) if self._look is not None else 0
        kills = self.figures.kills - self._kills_before
        _hold(
            before <= crashes <= before + kills,
            f"{claim} was in hand at {before} kills, then {kills} came, and now it is {crashes}",
        )

    def check_end(self, now: Look) -> None:
        """Everything that was acknowledged has been handled, once the service had its time."""
        _hold(not now.waiting, f"still waiting: {sorted(now.waiting)}")
        unhandled = [
            (step, number)
            for number in self._acknowledged
            for step in STEPS[self._sent[number][0]]
            if not self._ended[step, number] and (step, number) not in now.dead
        ]
        _hold(not unhandled, f"acknowledged and never handled: {sorted(unhandled)}")
        follow = set(now.items["pay"])
        follow -= {number for step, number in now.dead if step == "Paid"}
        _hold(follow == now.items["paid"], "what follows from transactions has not come")

    def history(self, words: str) -> str:
        """The lines that are about the numbers in an error, and the last of all."""
        numbers = {part.strip("(),[]{}:;'\"") for part in words.split()}
        lines = (self.folder / "lines").read_text().splitlines()
        about = [line for line in lines if line.split()[-1] in numbers][-60:]
        sent = [
            f"{n}: {self._sent[int(n)]}" for n in numbers if n.isdigit() and int(n) in self._sent
        ]
        events = self.folder / "events"
        told = events.read_text().splitlines()[-30:] if events.exists() else []
        return "\n".join(["posted:", *sent, "handled:", *about, "events:", *told])
