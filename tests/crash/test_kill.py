"""Promises 1, 2, 7 and 9 where they are hardest: the process is killed while it works, many times.

``MOTIA_TRIO_CRASHES`` says how often (25), ``MOTIA_TRIO_CRASH_SEED`` which random instants.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import attrs
import trio

from tests.crash.ledger import Ledger, Wrong, look
from tests.crash.program import GROUPS, KEYS
from tests.crash.starter import Client, Starter, kill, starter

KILLS = int(os.environ.get("MOTIA_TRIO_CRASHES", "25"))
SEED = int(os.environ.get("MOTIA_TRIO_CRASH_SEED", "1"))
# so many post each of these at once; for the others there is one for each key
POSTERS = {"plain": 4, "once": 2, "pay": 3, "order": 2}
# seconds from when it serves until it is killed, at the most
LONGEST = 0.6
# seconds for what waits to be handled in the end
DRAIN = 120


@attrs.define
class Load:
    """Posts, as fast as it is answered, to whatever address there is."""

    ledger: Ledger
    address: tuple[str, int] | None = None
    problems: list[str] = attrs.field(factory=list)
    _up: trio.Event = attrs.field(factory=trio.Event)
    _over: bool = False

    def start(self, nursery: trio.Nursery) -> None:
        """Begin to post."""
        for path, number in POSTERS.items():
            for _ in range(number):
                nursery.start_soon(self._post, path, "-")
        for path, keys in (("fifo", GROUPS), ("state", KEYS), ("stream", KEYS)):
            for key in keys:
                nursery.start_soon(self._post, path, key)

    def turn_to(self, address: tuple[str, int] | None) -> None:
        """Post there from here on, or nowhere."""
        self.address = address
        self._up.set()
        if address is None:
            self._up = trio.Event()

    def stop(self) -> None:
        """Post no more."""
        self._over = True
        self.turn_to(self.address)

    async def _post(self, path: str, key: str) -> None:
        unanswered = 0  # what is posted with a key is posted until it is answered
        while not self._over:
            await self._up.wait()
            if self.address is None:  # killed before this had its turn
                continue
            try:
                client = await Client.connect(self.address)
            except OSError:
                continue
            try:
                while not client.closed:  # one that serves is closed at times
                    if self._over:
                        break
                    number = unanswered or self.ledger.send(path, key)
                    if unanswered:
                        self.ledger.send_again(number)
                    unanswered = number if path == "once" else 0
                    status = await client.post(f"/{path}", {"number": number, "key": key})
                    if status < 300:
                        self.ledger.acknowledge(number)
                        unanswered = 0
                    elif status == 503:
                        self.ledger.figures.refused += 1
                    else:
                        self.problems.append(f"/{path} {number} was answered with {status}")
            except trio.BrokenResourceError:
                pass  # killed: nobody knows what became of the request
            finally:
                await client.aclose()


async def _drain(address: tuple[str, int]) -> None:
    """Wait until nothing waits any more."""
    client = await Client.connect(address)
    with trio.fail_after(DRAIN):
        while (await client.request("GET", "/left"))[1] != b'{"left":0}':
            await trio.sleep(0.02)
    await client.aclose()


async def _kill_again_and_again(
    folder: Path, ledger: Ledger, service: Starter, chance: random.Random, load: Load
) -> None:
    for run in range(1, KILLS + 1):
        ledger.run = run
        pid = await service.start(run)
        early = chance.random() < 0.15
        wait = chance.random() * (0.05 if early else LONGEST)
        with trio.move_on_after(wait if early else 60):
            address = await service.ready()
            assert address is not None, f"run {run} ended by itself"
            load.turn_to(address)
            await trio.sleep(wait)
        kill(pid)
        ledger.figures.kills += 1
        ledger.figures.before_ready += load.address is None
        load.turn_to(None)
        assert await service.ended() == -9
        assert not load.problems, load.problems
        if chance.random() < 0.8:  # else what was in hand is counted by the next run itself
            ledger.check(await look(folder))


async def test_what_was_acknowledged_survives_and_what_was_done_stays_done(
    tmp_path: Path,
) -> None:
    """Messages, state, streams, order, transactions: all that was promised, after each kill."""
    ledger = Ledger(tmp_path)
    chance = random.Random(SEED)
    load = Load(ledger)
    try:
        async with starter(tmp_path) as service, trio.open_nursery() as nursery:
            load.start(nursery)
            await _kill_again_and_again(tmp_path, ledger, service, chance, load)
            ledger.run += 1
            pid = await service.start(ledger.run)
            address = await service.ready()
            assert address is not None
            load.turn_to(address)
            load.stop()
            await _drain(address)
            os.kill(pid, 15)
            assert await service.ended() == 0
            now = await look(tmp_path)
            ledger.check(now)
            ledger.check_end(now)
    except BaseExceptionGroup as group:
        error = group.exceptions[0]
        error.add_note(f"seed {SEED}, run {ledger.run} of {KILLS}; {ledger.figures}")
        if isinstance(error, Wrong):
            error.add_note(ledger.history(str(error)))
        raise
    print(f"seed {SEED}: {ledger.figures}")
    assert ledger.figures.acknowledged > 5 * KILLS
    assert not load.problems, load.problems
