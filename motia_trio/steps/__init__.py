"""What a step is: its one model, the dialects it may be written in, and the builders."""

from motia_trio.steps.builders import StepDefinition, cron, http, queue, state, step, stream
from motia_trio.steps.dialects import parse_step
from motia_trio.steps.handlers import Handler, inspect_handler
from motia_trio.steps.model import (
    CronTrigger,
    HttpTrigger,
    Limits,
    Publication,
    QueueTrigger,
    StateTrigger,
    Step,
    StreamTrigger,
    Trigger,
)

__all__ = [
    "CronTrigger",
    "Handler",
    "HttpTrigger",
    "Limits",
    "Publication",
    "QueueTrigger",
    "StateTrigger",
    "Step",
    "StepDefinition",
    "StreamTrigger",
    "Trigger",
    "cron",
    "http",
    "inspect_handler",
    "parse_step",
    "queue",
    "state",
    "step",
    "stream",
]
