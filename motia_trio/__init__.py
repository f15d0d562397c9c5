"""Motia steps as supervised actors on Trio.

The names below are imported when they are first used, so that the command starts fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from motia_trio.actors import ChildState, MailboxStatistics
    from motia_trio.app import App
    from motia_trio.context import Context
    from motia_trio.errors import (
        AskInvalid,
        Closed,
        DoesNotFit,
        HandlerFailed,
        HandlerIgnoredCancel,
        LoadFailed,
        MalformedJson,
        MessageTooLarge,
        Misfit,
        MotiaTrioError,
        MountFailed,
        NotEncodable,
        Overloaded,
        Problem,
        SettingInvalid,
        StepCrashed,
        StepQuarantined,
        StoreBroken,
        StoreDamaged,
        StoreLocked,
        StoreTooNew,
        TimedOut,
        UnknownStream,
        ValueTooLarge,
    )
    from motia_trio.events import Observer
    from motia_trio.http_server import UploadedFile, asgi_app
    from motia_trio.messages import DeadLetter, Failure, Message
    from motia_trio.plans import ScheduleNode
    from motia_trio.policies import RestartPolicy, RetryPolicy
    from motia_trio.runtime import Runtime
    from motia_trio.service import Service, open_runtime, serve
    from motia_trio.steps import (
        ApiResponse,
        MultiTriggerStepBuilder,
        StepDefinition,
        cron,
        http,
        multi_trigger_step,
        queue,
        state,
        step,
        stream,
    )
    from motia_trio.store import UpdateInvalid
    from motia_trio.stream_object import Stream
    from motia_trio.streamed import MotiaHttpArgs
    from motia_trio.tree import ActorNode, Tree

__all__ = [
    "ActorNode",
    "ApiResponse",
    "App",
    "AskInvalid",
    "ChildState",
    "Closed",
    "Context",
    "DeadLetter",
    "DoesNotFit",
    "Failure",
    "HandlerFailed",
    "HandlerIgnoredCancel",
    "LoadFailed",
    "MailboxStatistics",
    "MalformedJson",
    "Message",
    "MessageTooLarge",
    "Misfit",
    "MotiaHttpArgs",
    "MotiaTrioError",
    "MountFailed",
    "MultiTriggerStepBuilder",
    "NotEncodable",
    "Observer",
    "Overloaded",
    "Problem",
    "RestartPolicy",
    "RetryPolicy",
    "Runtime",
    "ScheduleNode",
    "Service",
    "SettingInvalid",
    "StepCrashed",
    "StepDefinition",
    "StepQuarantined",
    "StoreBroken",
    "StoreDamaged",
    "StoreLocked",
    "StoreTooNew",
    "Stream",
    "TimedOut",
    "Tree",
    "UnknownStream",
    "UpdateInvalid",
    "UploadedFile",
    "ValueTooLarge",
    "asgi_app",
    "cron",
    "http",
    "multi_trigger_step",
    "open_runtime",
    "queue",
    "serve",
    "state",
    "step",
    "stream",
]

_HOMES = {
    "actors": "ChildState MailboxStatistics",
    "app": "App",
    "context": "Context",
    "errors": (
        "AskInvalid Closed DoesNotFit HandlerFailed HandlerIgnoredCancel LoadFailed "
        "MalformedJson MessageTooLarge Misfit MotiaTrioError MountFailed NotEncodable "
        "Overloaded Problem SettingInvalid StepCrashed StepQuarantined StoreBroken "
        "StoreDamaged StoreLocked StoreTooNew TimedOut UnknownStream ValueTooLarge"
    ),
    "events": "Observer",
    "http_server": "UploadedFile asgi_app",
    "messages": "DeadLetter Failure Message",
    "plans": "ScheduleNode",
    "policies": "RestartPolicy RetryPolicy",
    "runtime": "Runtime",
    "service": "Service open_runtime serve",
    "store": "UpdateInvalid",
    "steps": (
        "ApiResponse MultiTriggerStepBuilder StepDefinition cron http multi_trigger_step queue "
        "state step stream"
    ),
    "stream_object": "Stream",
    "streamed": "MotiaHttpArgs",
    "tree": "ActorNode Tree",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("motia-trio")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'motia_trio' has no attribute {name!r}", name=name)
    value = getattr(import_module(f"motia_trio.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
