"""Does what is asked, on a runtime: for the socket, and for a command where no service runs."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import trio

from motia_trio import codec
from motia_trio.control import ops
from motia_trio.control.protocol import VERSION
from motia_trio.control.views import (
    tell_letter,
    tell_schedule,
    tell_status,
    tell_store,
    tell_summary,
    tell_time,
)
from motia_trio.errors import MotiaTrioError, TimedOut, nearest
from motia_trio.steps import QueueTrigger
from motia_trio.store import Place, check_name
from motia_trio.store.sqlite import SqliteStore
from motia_trio.store.sqlite.upkeep import backup, info, vacuum
from motia_trio.store.sqlite.visiting import groups_after, items_after

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from motia_trio.control.ops import ChosenLetters, LettersFilter, Op
    from motia_trio.messages import DeadLetter
    from motia_trio.runtime import Runtime

__all__ = ["dispatch", "refusal"]

# bytes of values after which an answer ends its list
VALUES_AT_ONCE = 4 * 1024 * 1024


async def dispatch(
    runtime: Runtime, request: Any, started_at: float | None = None
) -> dict[str, Any]:
    """Give the answer to a request, whatever happens. A checkpoint.

    ``started_at`` is the wall time since when the service runs.
    """
    await trio.lowlevel.checkpoint()
    try:
        op = ops.parse_request(request)
        result = await _do(runtime, op, started_at)
    except (MotiaTrioError, OSError, ValueError, TypeError, KeyError) as error:
        return refusal(error)
    except Exception as error:
        logging.getLogger("motia_trio").exception("control socket: a request failed")
        return refusal(error)
    return {"v": VERSION, "result": result}


async def _do(runtime: Runtime, op: Op, started_at: float | None) -> Any:
    """Do one operation within its time, and give its result."""
    with trio.move_on_after(op.within):
        if isinstance(op, ops.Status):
            return _status(runtime, started_at)
        return await _DO[type(op)](runtime, op)
    raise TimedOut(f"not done within {op.within:g} s; it may be done later")


def refusal(error: Exception) -> dict[str, Any]:
    """Give the answer that is an error, in the words with which the API raises it."""
    message = error.args[0] if isinstance(error, KeyError) and error.args else error
    return {"v": VERSION, "error": {"type": type(error).__name__, "message": str(message)}}


def _status(runtime: Runtime, started_at: float | None) -> Any:
    now = time.time()
    told = tell_status(runtime.app.root, runtime.settings.store, runtime.store.counts(now), runtime)
    if started_at is not None:
        told |= {"started_at": tell_time(started_at), "uptime": round(now - started_at, 3)}
    return told


async def _enqueue(runtime: Runtime, op: ops.Enqueue) -> Any:
    message_id = await runtime.enqueue(
        op.topic,
        op.data,
        group=op.group,
        delay=op.delay,
        at=op.at,
        key=op.key,
        priority=op.priority,
        expires=op.expires,
        trace_id=op.trace_id,
    )
    heard = [
        (trigger.topic, step.name)
        for step in runtime.app.steps
        for trigger in step.triggers
        if isinstance(trigger, QueueTrigger)
    ]
    steps = [name for topic, name in heard if topic == op.topic]
    close = None if steps else nearest(op.topic, {topic for topic, _ in heard})
    return {"id": message_id, "steps": steps, "nearest_topic": close}


# dead letters


def _chosen(runtime: Runtime, op: LettersFilter) -> Sequence[DeadLetter]:
    return runtime.dead_letters.list(
        step=op.step,
        topic=op.topic,
        older_than=op.older_than,
        after=int(op.after, 16),
        limit=op.limit,
    )


async def _letters(runtime: Runtime, op: ops.DeadLettersList) -> Any:
    found = _chosen(runtime, op)
    return {
        "dead_letters": [tell_summary(letter) for letter in found],
        "more": len(found) == op.limit,
    }


async def _letter(runtime: Runtime, op: ops.DeadLettersGet) -> Any:
    return {"dead_letter": tell_letter(runtime.dead_letters.get(int(op.id, 16)))}


async def _redrive(runtime: Runtime, op: ops.DeadLettersRedrive) -> Any:
    return await _each(runtime, op, runtime.dead_letters.redrive)


async def _discard(runtime: Runtime, op: ops.DeadLettersDiscard) -> Any:
    return await _each(runtime, op, runtime.dead_letters.discard)


async def _each(
    runtime: Runtime, op: ChosenLetters, do: Callable[[list[int]], Awaitable[Sequence[int]]]
) -> Any:
    """Do something to chosen dead letters; give which there were, and where to go on."""
    if op.ids is None:
        found = [letter.id for letter in _chosen(runtime, op)]
    else:
        given = runtime.store.dead_letters(
            ids=[int(text, 16) for text in op.ids],
            step=op.step,
            topic=op.topic,
            died_before=None if op.older_than is None else time.time() - op.older_than,
        )
        found = [letter.id for letter in given]
    done = {f"{number:016x}" for number in (await do(found) if found else ())}
    missing = [text.zfill(16) for text in op.ids or () if text.zfill(16) not in done]
    more = op.ids is None and len(found) == op.limit
    return {
        "ids": sorted(done),
        "missing": missing,
        "next": f"{found[-1]:016x}" if more else None,
    }


# schedules


async def _schedules(runtime: Runtime, _: ops.CronList) -> Any:
    actors = runtime.tree().actors
    return {
        "schedules": [
            tell_schedule(actor.name, node) for actor in actors for node in actor.schedules
        ]
    }


async def _run_cron(runtime: Runtime, op: ops.CronRun) -> Any:
    return {"trace_id": await runtime.run_cron(op.step, op.trigger)}


# the state


def _place(op: ops.StateGet | ops.StateDelete) -> Place:
    return Place("", op.group, op.key)


async def _get(runtime: Runtime, op: ops.StateGet) -> Any:
    value = await runtime.state.get(op.group, op.key)
    return {"found": runtime.store.read(_place(op), time.time()) is not None, "value": value}


async def _set(runtime: Runtime, op: ops.StateSet) -> Any:
    return await runtime.state.set(op.group, op.key, op.value, ttl=op.ttl)


async def _delete(runtime: Runtime, op: ops.StateDelete) -> Any:
    found = runtime.store.read(_place(op), time.time()) is not None
    return {"found": found, "old_value": await runtime.state.delete(op.group, op.key)}


async def _list(runtime: Runtime, op: ops.StateList) -> Any:
    if op.group is None:
        names = await _groups(runtime, op)
        return {"groups": names, "more": len(names) == op.limit}
    items = await _items(runtime, check_name("group", op.group), op)
    size, shown = 0, []
    for key, value in items:
        if size >= VALUES_AT_ONCE:
            break
        size += len(value)
        shown.append({"key": key, "value": codec.decode(value)})
    more = len(shown) < len(items) or len(items) == op.limit or size >= VALUES_AT_ONCE
    return {"items": shown, "more": more}


async def _groups(runtime: Runtime, op: ops.StateList) -> list[str]:
    if isinstance(runtime.store, SqliteStore):
        return await trio.to_thread.run_sync(
            groups_after, runtime.store.path, "", op.after, op.limit, time.time()
        )
    names = runtime.store.groups("", time.time())
    return [name for name in names if name > op.after][: op.limit]


async def _items(runtime: Runtime, group: str, op: ops.StateList) -> list[tuple[str, bytes]]:
    now = time.time()
    if isinstance(runtime.store, SqliteStore):
        return await trio.to_thread.run_sync(
            items_after, runtime.store.path, "", group, op.after, op.limit, VALUES_AT_ONCE, now
        )
    items = runtime.store.items("", group, now)
    return [(key, item.value) for key, item in items.items() if key > op.after][: op.limit]


# the store's file


def _sqlite(runtime: Runtime) -> SqliteStore:
    if not isinstance(runtime.store, SqliteStore):
        raise ValueError(f"the store is {runtime.settings.store}, which has no file")
    return runtime.store


async def _info(runtime: Runtime, _: ops.StoreInfo) -> Any:
    return tell_store(await info(_sqlite(runtime), time.time()))


async def _vacuum(runtime: Runtime, _: ops.StoreVacuum) -> Any:
    store = _sqlite(runtime)
    done = await vacuum(store)
    return {
        "path": str(store.path),
        "bytes_before": done.before,
        "bytes_after": done.after,
    }


async def _backup(runtime: Runtime, op: ops.StoreBackup) -> Any:
    store = _sqlite(runtime)
    return {
        "path": str(store.path),
        "target": op.target,
        "bytes": await backup(store, op.target),
    }


_DO: dict[type[Op], Callable[[Runtime, Any], Awaitable[Any]]] = {
    ops.Enqueue: _enqueue,
    ops.DeadLettersList: _letters,
    ops.DeadLettersGet: _letter,
    ops.DeadLettersRedrive: _redrive,
    ops.DeadLettersDiscard: _discard,
    ops.CronList: _schedules,
    ops.CronRun: _run_cron,
    ops.StateGet: _get,
    ops.StateSet: _set,
    ops.StateDelete: _delete,
    ops.StateList: _list,
    ops.StoreInfo: _info,
    ops.StoreVacuum: _vacuum,
    ops.StoreBackup: _backup,
}
