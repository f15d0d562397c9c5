"""What is told over the control socket, in the JSON that the command's ``--json`` prints."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import attrs

from motia_trio.store import Counts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from motia_trio.messages import DeadLetter
    from motia_trio.plans import ScheduleNode
    from motia_trio.runtime import Runtime
    from motia_trio.store.sqlite.upkeep import StoreInfo
    from motia_trio.tree import ActorNode, Tree

__all__ = [
    "tell_letter",
    "tell_schedule",
    "tell_status",
    "tell_store",
    "tell_summary",
    "tell_time",
]


def tell_time(at: float | None) -> str | None:
    """Tell a wall time as people and machines read it: UTC, with milliseconds."""
    if at is None:
        return None
    try:
        told = datetime.fromtimestamp(at, UTC)
    except (OverflowError, ValueError, OSError):  # more years than there are
        return "9999-12-31T23:59:59.999Z"
    return told.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def tell_summary(letter: DeadLetter) -> dict[str, Any]:
    """Tell a dead letter in a few words."""
    return {
        "id": f"{letter.id:016x}",
        "step": letter.step,
        "topic": letter.message.topic,
        "reason": letter.reason,
        "attempts": len(letter.failures),
        "died_at": tell_time(letter.died_at),
        "created_at": tell_time(letter.message.created_at),
        "trace_id": letter.message.trace_id,
        "message_id": letter.message.id,
    }


def tell_letter(letter: DeadLetter) -> dict[str, Any]:
    """Tell everything that is known about a dead letter."""
    message = letter.message
    return {
        **tell_summary(letter),
        "sender": message.sender,
        "group": message.group,
        "hops": message.hops,
        "priority": message.priority,
        "key": message.key,
        "expires_at": tell_time(message.expires_at),
        "data": message.data,
        "failures": [
            {
                "attempt": failure.attempt,
                "started_at": tell_time(failure.started_at),
                "ended_at": tell_time(failure.ended_at),
                "error": failure.error,
                "where": failure.where,
                "traceback": failure.traceback,
            }
            for failure in letter.failures
        ],
    }


def tell_schedule(step: str, node: ScheduleNode) -> dict[str, Any]:
    """Tell how a schedule stands; when it is next due in its own timezone, too."""
    local = None
    if node.next_at is not None:
        local = datetime.fromtimestamp(node.next_at, ZoneInfo(node.timezone)).isoformat()
    return {
        "step": step,
        "trigger": node.trigger,
        "expression": node.expression,
        "timezone": node.timezone,
        "next_at": tell_time(node.next_at),
        "next_local": local,
        "last_at": tell_time(node.last_at),
        "running": node.running,
        "skipped": node.skipped,
    }


def tell_status(
    project: str, store: str, counts: Mapping[str, Counts], service: Runtime | None = None
) -> dict[str, Any]:
    """Tell how a service is, and each of its steps, those included that only the store knows.

    Without a service, what there is to tell without one: everything else is None or nothing.
    """
    tree = service.tree() if service is not None else None
    return {
        "state": tree.state if tree else None,
        "pid": os.getpid() if tree else None,
        "started_at": None,
        "uptime": None,
        "http": getattr(service, "http_url", None),
        "streams": getattr(service, "streams_url", None),
        "followers": _tell_followers(tree) if tree else None,
        "project": project,
        "store": store,
        "in_flight": sum(actor.in_flight for actor in tree.actors) if tree else 0,
        "steps": _tell_steps(counts, tree),
        "unheard": dict(tree.unheard) if tree else {},
    }


def _tell_followers(tree: Tree) -> dict[str, int]:
    """Tell who follows live streams."""
    return attrs.asdict(tree.streams)


def _tell_steps(counts: Mapping[str, Counts], tree: Tree | None) -> list[dict[str, Any]]:
    actors = {actor.name: actor for actor in tree.actors} if tree is not None else {}
    names = [*actors, *sorted(counts.keys() - actors.keys())]
    return [_tell_step(name, counts.get(name, Counts()), actors.get(name)) for name in names]


def _tell_step(name: str, counts: Counts, actor: ActorNode | None) -> dict[str, Any]:
    return {
        "name": name,
        "source": actor.source if actor else None,
        "state": actor.state if actor else None,
        "in_flight": actor.in_flight if actor else 0,
        "overdue": actor.overdue if actor else 0,
        "waiting": counts.waiting,
        "leased": counts.leased,
        "delayed": counts.delayed,
        "dead": counts.dead,
        "restarts": actor.restarts if actor else 0,
        "crashes": actor.crashes if actor else 0,
        "last_error": actor.last_error if actor else None,
    }


def tell_store(info: StoreInfo) -> dict[str, Any]:
    """Tell how a store's file is."""
    told = attrs.asdict(info, recurse=False)
    told["dead_letters"] = info.dead_letters
    told["steps"] = [{"name": step, **attrs.asdict(counts)} for step, counts in info.steps.items()]
    told["items"] = dict(info.items)
    return told
