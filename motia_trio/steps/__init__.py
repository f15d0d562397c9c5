"""What a step is: its one model, the dialects it may be written in, and the builders."""

from motia_trio.steps.answers import ApiResponse
from motia_trio.steps.builders import (
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
from motia_trio.steps.dialects import parse_step
from motia_trio.steps.handlers import (
    Handler,
    inspect_authenticate,
    inspect_handler,
    inspect_middleware,
)
from motia_trio.steps.hooks import Hook, inspect_hook
from motia_trio.steps.model import (
    CronTrigger,
    HttpTrigger,
    Limits,
    Publication,
    QueryDoc,
    QueueTrigger,
    StateTrigger,
    Step,
    StreamTrigger,
    Trigger,
)
from motia_trio.steps.schedules import Schedule, ScheduleInvalid, parse_schedule
from motia_trio.steps.schemas import (
    Schema,
    SchemaInvalid,
    compile_schema,
    schema_to_json_schema,
)
from motia_trio.steps.streams import StreamDeclaration, parse_stream

__all__ = [
    "ApiResponse",
    "CronTrigger",
    "Handler",
    "Hook",
    "HttpTrigger",
    "Limits",
    "MultiTriggerStepBuilder",
    "Publication",
    "QueryDoc",
    "QueueTrigger",
    "Schedule",
    "ScheduleInvalid",
    "Schema",
    "SchemaInvalid",
    "StateTrigger",
    "Step",
    "StepDefinition",
    "StreamDeclaration",
    "StreamTrigger",
    "Trigger",
    "compile_schema",
    "cron",
    "http",
    "inspect_authenticate",
    "inspect_handler",
    "inspect_hook",
    "inspect_middleware",
    "multi_trigger_step",
    "parse_schedule",
    "parse_step",
    "parse_stream",
    "queue",
    "schema_to_json_schema",
    "state",
    "step",
    "stream",
]
