"""A service with streams is killed while a crowd follows them, and comes back at the same place.

All of the crowd reach what the store has, half of them by ``since``; and nobody ever showed what was
not committed. ``MOTIA_TRIO_CRASHES`` says how often it is killed (5), ``MOTIA_TRIO_CRASH_SEED`` which
random instants, ``MOTIA_TRIO_CROWD`` how many follow (100).
"""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path

import attrs
import trio

from motia_trio import open_runtime
from tests.crash.follower import EVERY, Follower, Writer
from tests.crash.starter import Client, Starter, kill, starter
from tests.crash.streams_program import make_app

KILLS = int(os.environ.get("MOTIA_TRIO_CRASHES", "5"))
SEED = int(os.environ.get("MOTIA_TRIO_CRASH_SEED", "1"))
CROWD = int(os.environ.get("MOTIA_TRIO_CROWD", "100"))
PROGRAM = Path(__file__).with_name("streams_program.py")
KEYS = 4
# seconds from when the first writes can come until it is killed, at the most
LONGEST = 0.8


@attrs.define
class Load:
    """Writes to each item, one change after the other, to whatever address there is."""

    writers: list[Writer]
    address: tuple[str, int] | None = None
    problems: list[str] = attrs.field(factory=list)
    over: bool = False
    running: int = 0

    async def write(self, writer: Writer) -> None:
        """Write one change after the other, until it is over and the last was answered."""
        while not (self.over and writer.acknowledged == writer.sent):
            address = self.address
            if address is None:
                await trio.sleep(0.01)
                continue
            try:
                client = await Client.connect(address)
            except OSError:
                await trio.sleep(0.01)
                continue
            try:
                while not client.closed and not (self.over and writer.acknowledged == writer.sent):
                    change = writer.next()
                    path = "/write" if writer.stream == "plain" else "/together"
                    status = await client.post(path, change)
                    if status == 200:
                        writer.acknowledged = writer.sent
                    elif status != 503:
                        self.problems.append(f"{change} was answered with {status}")
            except trio.BrokenResourceError:
                pass  # killed: nobody knows what became of it
            finally:
                await client.aclose()


async def _items(folder: Path) -> dict[str, dict[str, int]]:
    """What the store has, while no step runs."""
    async with open_runtime(make_app(folder), idle=True, observers=()) as rt:
        pairs = rt.streams.pair
        for key in (f"k{number}" for number in range(KEYS)):
            left, right = await pairs.get(key, "left"), await pairs.get(key, "right")
            assert left == right, f"half of a transaction: {left}, {right}"
        found: dict[str, dict[str, int]] = {}
        for name in ("plain", "together"):
            items = [(key, await rt.streams[name].get("room", key))
                     for key in await rt.streams[name].keys("room")]  # fmt: skip
            found[name] = {key: item["number"] for key, item in items}
        return found


async def _check(folder: Path, writers: list[Writer], crowd: list[Follower]) -> None:
    items = await _items(folder)
    kept = {
        (each.stream, each.key): each.kept(items[each.stream].get(each.key)) for each in writers
    }
    for follower in crowd:
        follower.check(kept)
    for each in writers:  # what was kept, and its answer lost with the process, is not to be again
        each.acknowledged = each.sent = kept[each.stream, each.key]


async def _kill_again_and_again(
    folder: Path, service: Starter, load: Load, crowd: list[Follower], nursery: trio.Nursery
) -> None:
    chance = random.Random(SEED)
    for run in range(1, KILLS + 1):
        pid = await service.start(run, 0 if service.streams is None else service.streams[1])
        if run > 1 and chance.random() < 0.2:
            await trio.sleep(chance.random() * 0.1)  # killed as it starts
        else:
            load.address = await service.ready()
            assert load.address is not None, f"run {run} ended by itself"
            assert service.streams is not None
            if run == 1:
                for follower in crowd:
                    nursery.start_soon(follower.run, service.streams)
            await trio.sleep(0.1 + chance.random() * LONGEST)
        kill(pid)
        assert await service.ended() == -9
        load.address = None
        await trio.sleep(0.05)  # what was on its way is read; and what was asked for has failed
        assert not load.problems, load.problems
        await _check(folder, load.writers, crowd)


async def test_a_crowd_that_follows_reaches_the_state_of_the_store_after_every_kill(
    tmp_path: Path,
) -> None:
    """By what it missed, or anew; and it never showed what was not kept."""
    writers = [Writer(name, f"k{n}") for name in ("plain", "together") for n in range(KEYS)]
    crowd = [Follower(f"follower {n}", resumes=n % 2 == 0) for n in range(CROWD)]
    load = Load(writers)
    try:
        async with starter(tmp_path, PROGRAM) as service, trio.open_nursery() as nursery:
            async with trio.open_nursery() as writing:
                for writer in writers:
                    writing.start_soon(load.write, writer)
                await _kill_again_and_again(tmp_path, service, load, crowd, nursery)
                assert service.streams is not None
                pid = await service.start(KILLS + 1, service.streams[1])
                load.address = await service.ready()
                await trio.sleep(0.3)
                load.over = True
            expected: dict[str, dict[str, int]] = {"plain": {}, "together": {}}
            for writer in writers:
                if writer.sent % EVERY:
                    expected[writer.stream][writer.key] = writer.sent
            with trio.fail_after(60):
                while not all(follower.has(expected) for follower in crowd):
                    await trio.sleep(0.02)
            os.kill(pid, 15)
            assert await service.ended() == 0
            nursery.cancel_scope.cancel()
        assert await _items(tmp_path) == expected
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None  # noqa: ASYNC123 - it is the only one
    assert (tmp_path / "events").read_text() == ""
    total: Counter[str] = Counter()
    for follower in crowd:
        total += follower.counts
    written = sum(each.acknowledged for each in writers)
    print(f"seed {SEED}: {KILLS} kills, {written} writes, {CROWD} followers: {dict(total)}")
    assert total["resume"] > 0
    assert total["broken"] >= CROWD
    assert written > 10 * KILLS
