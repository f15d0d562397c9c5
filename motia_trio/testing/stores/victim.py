"""What a process of its own does with a store before it is killed; see :mod:`.survival`."""

# assert is how a test speaks
# ruff: noqa: S101

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import trio

from motia_trio.messages import Ack, Bury, GiveBack, Retry
from motia_trio.store import Counts, Place, Put, Remove, Update, parse_ops
from motia_trio.testing.stores.probe import Probe, StoreDuties, failure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from motia_trio.messages import Outcome

__all__ = ["DEEDS", "arguments", "fill", "main", "seen"]


def arguments(duties: StoreDuties, deed: str, folder: Path, now: float) -> list[str]:
    """The command line of a process that does ``deed`` with the store of these duties."""
    kind = type(duties)
    module = sys.modules[kind.__module__]
    if "<locals>" in kind.__qualname__ or module.__file__ is None:
        raise TypeError(f"{kind.__qualname__}: a durable store's class is at the top of its file")
    told = [sys.path, module.__name__, module.__file__, kind.__qualname__, deed, str(folder), now]
    program = f"from {__name__} import main; main()"
    return [sys.executable, "-c", program, json.dumps(told)]


def main() -> None:
    """Do the deed that the command line names."""
    sys.path[:], name, file, qualname, deed, folder, now = json.loads(sys.argv[1])
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    found: Any = module
    for part in qualname.split("."):
        found = getattr(found, part)
    duties: StoreDuties = found()
    duties.use(Path(folder), DEEDS[deed], now=now)


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("killed, and still here")


# what is kept


async def fill(probe: Probe) -> None:
    """Bring the store into a state that has something of everything."""
    await probe.keep("waits", key="known", priority=3, expires_at=probe.now + 99)
    await probe.keep("head", "behind", fifo="g", step="G")
    await probe.keep("high, behind", fifo="g", step="G", priority=7)
    await probe.keep("later", after=10, step="L")
    await probe.settle(
        await probe.take("failed", step="F"), Retry(probe.now + 1, failure(1, "é\0"))
    )
    await probe.settle(await probe.take("given back", step="B"), GiveBack())
    leased = await probe.keep("leased", "in hand", step="H", take=True)
    probe.store.begin(leased[1])
    buried = await probe.take("buried", step="D", expires_at=probe.now + 99)
    await probe.settle(buried, Bury("why", failure(1)))
    await probe.store.discard([await probe.bury("discarded", step="D")])
    await probe.store.redrive([await probe.bury("redriven", step="R")], probe.now)
    await probe.ack(await probe.take("acknowledged", key="known too", step="C"))
    cancelled = probe.message("cancelled")
    await probe.commit((cancelled, [probe.to(), probe.to(lane="state")]))
    await probe.store.cancel(cancelled.id, probe.now)
    await _fill_lane(probe, "state")
    await probe.put("k", None)
    await probe.put("mortal", 1, ttl=10)
    await probe.put("removed", 1)
    await probe.remove("removed")
    increment = parse_ops({"type": "increment", "path": "n"})
    await probe.commit(
        writes=[Update(Place("s", "é\0", "🦊"), increment, 99), Put(Place("", "h", "k"), b"[1]")]
    )


async def _fill_lane(probe: Probe, lane: str) -> None:
    """Bring another lane of the same steps into such a state."""
    await probe.keep("low", lane=lane, priority=-1)
    await probe.keep("waits", lane=lane)
    await probe.keep("head", "behind", fifo="g", step="G", lane=lane)
    await probe.settle(
        await probe.take("failed", step="F", lane=lane), Retry(probe.now + 5, failure(1))
    )
    leased = await probe.keep("leased", "in hand", step="H", lane=lane, take=True)
    probe.store.begin(leased[1])
    await probe.bury("buried", step="D", lane=lane)
    await probe.store.discard([await probe.bury("discarded", step="D", lane=lane)])
    await probe.store.redrive([await probe.bury("redriven", step="R", lane=lane)], probe.now)
    await probe.ack(await probe.take("acknowledged", step="C", lane=lane))


async def seen(probe: Probe) -> dict[str, Any]:
    """What :func:`fill` has left, in words that can be compared; what can be leased is leased."""
    store, steps = probe.store, sorted(probe.store.counts(probe.now))
    known = [(probe.message(key=key), [probe.to("K")]) for key in ("known", "known too")]
    told: dict[str, Any] = {
        "keys": len((await probe.commit(*known)).duplicates),
        "agenda": store.agenda(probe.now),
        "counts": {step: each for step in steps if (each := probe.counts(step)) != Counts()},
        "dead": [
            (each.message.data, each.step, each.reason, list(each.failures), each.died_at)
            for each in store.dead_letters()
        ],
        "items": {
            (space, group, key): (item.value, item.expires_at)
            for space in ("", "s")
            for group in probe.groups(space)
            for key, item in store.items(space, group, probe.now).items()
        },
    }
    for later in (0, 10):
        probe.now += later
        for lane, of in (("queue", ""), ("state", " of lane state")):
            leased: list[tuple[Any, ...]] = []
            for step in steps:
                while found := await probe.lease(step=step, lane=lane):
                    leased += [
                        (each.message.data, each.message.priority, each.failures, each.crashes)
                        for each in found
                    ]
                    assert {each.lane for each in found} == {lane}
                    await probe.ack(*found)
            told[f"leased{of} after {later} s"] = leased
    return told


async def _fill(probe: Probe) -> None:
    await fill(probe)
    _die()


async def _write_on(probe: Probe) -> None:
    """Keep messages and items in pairs, and say so, until somebody kills us."""
    n = 0
    while True:
        n += 1
        await probe.commit(
            (probe.message(str(n)), [probe.to()]),
            writes=[Put(Place("", "g", f"{n:06}"), b"1")],
        )
        print(n, flush=True)  # noqa: T201 - what the test reads


async def _stream_on(probe: Probe) -> None:
    """Make items of a stream, at most seven, update and remove them, until somebody kills us."""
    n = 0
    async with trio.open_nursery() as nursery:

        async def write(task: int) -> None:
            nonlocal n
            while True:
                n += 1
                place = Place("chat", f"{task % 2}", f"{n % 11}")
                if n % 5 == 0:
                    await probe.commit(writes=[Remove(place)])
                else:
                    await probe.commit(writes=[Put(place, b"%d" % n, keep=7)])
                print(probe.heard[-1][-1].seq, flush=True)  # noqa: T201 - what the test reads

        for task in range(4):
            nursery.start_soon(write, task)


async def _begin(probe: Probe) -> None:
    """Take everything, let a handler begin with what is called so, and die with it in hand."""
    for delivery in [
        *await probe.lease(), *await probe.lease(step="G"), *await probe.lease(lane="state"),
    ]:  # fmt: skip
        if delivery.message.data.startswith("begun"):
            probe.store.begin(delivery)
    _die()


async def _settle(probe: Probe) -> None:
    """Begin with everything, end it in every way, and die with nothing in hand."""
    ends: list[Outcome] = [Ack(), GiveBack(), Retry(probe.now, failure(1)), Bury("why")]
    *deliveries, last = await probe.lease()
    for delivery in (*deliveries, last):
        probe.store.begin(delivery)
    for delivery, end in zip(deliveries, ends, strict=True):
        await probe.settle(delivery, end)
    await probe.acknowledge(last)
    _die()


DEEDS: dict[str, Callable[[Probe], Awaitable[None]]] = {
    "begin": _begin,
    "fill": _fill,
    "settle": _settle,
    "stream on": _stream_on,
    "write on": _write_on,
}
