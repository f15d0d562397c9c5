"""Contract §5: what a handler can do through ``ctx``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import trio

from motia_trio import App, Stream, cron, http, open_runtime, queue, state, step, stream
from motia_trio.events import AppWarned, StepLogged, TopicUnlisted
from tests.contract.conftest import Project, Serving
from tests.contract.dialects import Dialect
from tests.support import Notebook

both_ways = pytest.mark.parametrize("way", ["async def", "def"])


# beside the handlers of these tests, it declares the stream that they follow and write to
CHAT = Stream("chat")


def every_kind(handler: Any) -> Any:
    """A step with a trigger of each type, in this order; ``go`` starts it with each."""
    return step(
        http("POST", "/go/:id"),
        queue("go"),
        cron("* * * * *"),
        state(group_id="watched"),
        stream("chat"),
        name="Every",
    )(handler)


async def start_with(kind: str, rt: Any, client: Any) -> Any:
    """Start the step of ``every_kind`` by one of its triggers, and wait for its end."""
    answer = None
    if kind == "http":
        answer = await client.post("/go/5", json={"a": 1})
    elif kind == "queue":
        await rt.enqueue("go", {"a": 1})
    elif kind == "cron":
        await trio.sleep(60)
    elif kind == "state":
        await rt.state.set("watched", "k", 1)
    else:
        await rt.streams.chat.set("room", "m1", {"text": "hi"})
    await rt.quiesce()
    return answer


KINDS = ["http", "queue", "cron", "state", "stream"]
each_kind = pytest.mark.parametrize("kind", KINDS)


# logger


@both_ways
@pytest.mark.parametrize(
    ("method", "level"),
    [
        ("info", "info"),
        ("warn", "warning"),
        ("warning", "warning"),
        ("error", "error"),
        ("debug", "debug"),
        ("exception", "error"),
    ],
)
async def test_logger_methods(
    method: str, level: str, way: str, dialect: Dialect, files: Project, notebook: Notebook
) -> None:
    """`logger` | `info warn warning error debug exception`, `(message, data=None, **fields)`"""
    code = f"""
{way} handler(input, ctx):
    ctx.logger.{method}("alone")
    ctx.logger.{method}("with data", {{"a": 1, "b": [2]}})
    ctx.logger.{method}("with fields", {{"a": 1}}, c=3)
    ctx.logger.{method}("a value", 7)
"""
    app = files.app(dialect.queue("t", code))
    async with open_runtime(app, observers=[notebook]) as rt:
        await rt.enqueue("t", trace_id="7" * 32)
        await rt.quiesce()
    told = notebook.of(StepLogged)
    assert [event.message for event in told] == ["alone", "with data", "with fields", "a value"]
    fields = [
        {key: each.fields[key] for key in each.fields if key not in {"error", "traceback"}}
        for each in told
    ]
    assert fields == [{}, {"a": 1, "b": [2]}, {"a": 1, "c": 3}, {"data": 7}]
    assert {event.level for event in told} == {level}
    assert {event.trace_id for event in told} == {"7" * 32}
    assert {event.step for event in told} == {"Step"}


@both_ways
@pytest.mark.parametrize(
    "words",
    ['error("no", exc_info=True)', 'error("no", exc_info=error)', 'exception("no")'],
)
async def test_logger_exc_info(way: str, words: str, files: Project, notebook: Notebook) -> None:
    """`exc_info=`"""
    code = f"""
config = {{"name": "Step", "triggers": [{{"type": "queue", "topic": "t"}}]}}
{way} handler(input, ctx):
    try:
        1 / 0
    except ZeroDivisionError as error:
        ctx.logger.{words}
"""
    async with open_runtime(files.app(code), observers=[notebook]) as rt:
        await rt.enqueue("t")
        await rt.quiesce()
    (event,) = notebook.of(StepLogged)
    assert "ZeroDivisionError: division by zero" in event.fields["error"]
    assert "1 / 0" in event.fields["traceback"]


# enqueue


@both_ways
@pytest.mark.parametrize("method", ["enqueue", "emit"])
@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        ('{"topic": "t", "data": 1}', 1),
        ('"t", 1', 1),
        ('topic="t", data=1', 1),
        ('[{"topic": "t", "data": 1}, {"topic": "t", "data": 1}]', 2),
        ('{"topic": "t", "data": 1, "messageGroupId": "g", "delaySeconds": 0, "key": "k"}', 1),
        ('"t", 1, group="g", delay=0, key="k"', 1),
    ],
)
async def test_enqueue_emit(
    method: str, arguments: str, count: int, way: str, dialect: Dialect, files: Project
) -> None:
    """`enqueue`, `emit` | `({"topic", "data", "messageGroupId"?, "delaySeconds"?, "key"?})` or
    `(topic, data, group=, delay=, at=, key=)`; a list of them"""
    wait = "await " if way == "async def" else ""
    sends = f"{way} handler(input, ctx):\n    {wait}ctx.{method}({arguments})"
    gets = "async def handler(input, ctx):\n    saw(input)"
    app = files.app(
        dialect.queue("go", sends, name="Sends", publishes=["t"]),
        dialect.queue("t", gets, name="Gets"),
    )
    async with open_runtime(app, observers=()) as rt:
        await rt.enqueue("go")
        await rt.quiesce()
        assert rt.dead_letters.list() == []
    assert files.seen == [1] * count


@pytest.mark.parametrize(
    "make",
    [
        lambda ctx: ctx.enqueue({"topic": "t", "data": 1, "delaySeconds": 100}),
        lambda ctx: ctx.enqueue("t", 1, delay=100),
        lambda ctx: ctx.enqueue("t", 1, at=datetime.fromisoformat("2026-01-01T00:01:40Z")),
    ],
    ids=["delaySeconds", "delay", "at"],
)
async def test_enqueue_delay_and_at(make: Any, it_is: Any, autojump_clock: Any) -> None:
    """`"delaySeconds"?`; `delay=, at=`"""
    it_is("2026-01-01T00:00Z")
    came: list[float] = []

    @step(queue("go"), enqueues=["t"], name="Sends")
    async def sends(input: Any, ctx: Any) -> None:
        await make(ctx)

    @step(queue("t"), name="Gets")
    async def gets(input: Any, ctx: Any) -> None:
        came.append(trio.current_time())

    async with open_runtime(App([sends, gets]), observers=()) as rt:
        began = trio.current_time()
        await rt.enqueue("go")
        await trio.sleep(200)
        await rt.quiesce()
    assert came == [pytest.approx(began + 100, abs=0.1)]


@pytest.mark.parametrize(
    "make",
    [
        lambda ctx, group: ctx.enqueue({"topic": "t", "data": group, "messageGroupId": group}),
        lambda ctx, group: ctx.enqueue("t", group, group=group),
    ],
    ids=["messageGroupId", "group"],
)
async def test_enqueue_group(make: Any, autojump_clock: Any) -> None:
    """`"messageGroupId"?`; `group=`"""
    running: list[str] = []
    together: set[tuple[str, ...]] = set()

    @step(queue("go"), enqueues=["t"], name="Sends")
    async def sends(input: Any, ctx: Any) -> None:
        for group in "aabb":
            await make(ctx, group)

    @step(queue("t", config={"type": "fifo"}), name="Gets")
    async def gets(group: Any, ctx: Any) -> None:
        running.append(group)
        together.add(tuple(sorted(running)))
        await trio.sleep(1)
        running.remove(group)

    async with open_runtime(App([sends, gets]), observers=()) as rt:
        await rt.enqueue("go")
        await trio.sleep(10)
        await rt.quiesce()
    assert ("a", "b") in together
    assert together <= {("a",), ("b",), ("a", "b")}


@pytest.mark.parametrize(
    "make",
    [
        lambda ctx: ctx.enqueue({"topic": "t", "data": 1, "key": "order-1"}),
        lambda ctx: ctx.enqueue("t", 1, key="order-1"),
    ],
    ids=["in the dict", "as keyword"],
)
async def test_enqueue_key(make: Any) -> None:
    """`"key"?`; `key=`"""
    came: list[Any] = []

    @step(queue("go"), enqueues=["t"], name="Sends")
    async def sends(input: Any, ctx: Any) -> None:
        assert await make(ctx) == await make(ctx)

    @step(queue("t"), name="Gets")
    async def gets(input: Any) -> None:
        came.append(input)

    async with open_runtime(App([sends, gets]), observers=()) as rt:
        await rt.enqueue("go")
        await rt.quiesce()
        assert rt.dead_letters.list() == []
    assert came == [1]


# state, streams


@both_ways
async def test_state_and_streams(way: str, dialect: Dialect, files: Project) -> None:
    """`state` | §6; `streams` | `ctx.streams.chat`, `ctx.streams["chat"]`, §7"""
    wait = "await " if way == "async def" else ""
    code = f"""
{way} handler(input, ctx):
    {wait}ctx.state.set("g", "k", {{"a": 1}})
    {wait}ctx.streams.chat.set("room", "m1", {{"text": "hi"}})
    saw({wait}ctx.state.get("g", "k"))
    saw({wait}ctx.streams["chat"].get("room", "m1"))
"""
    async with open_runtime(
        files.app(dialect.queue("t", code), streams=["chat"]), observers=()
    ) as rt:
        await rt.enqueue("t")
        await rt.quiesce()
    assert files.seen == [{"a": 1}, {"text": "hi"}]


# trace id


async def test_trace_id_is_the_same_down_the_whole_chain(
    dialect: Dialect, files: Project, served: Serving
) -> None:
    """`trace_id`, `traceId` | the same id down the whole chain, across queues, state and stream
    triggers"""
    begins = """
async def handler(req, ctx):
    saw(["http", ctx.trace_id, ctx.traceId, req.trace_id])
    await ctx.enqueue({"topic": "t", "data": 1})
    return {"status": 200}
"""
    goes_on = """
async def handler(input, ctx):
    saw(["queue", ctx.trace_id, ctx.traceId])
    await ctx.state.set("g", "k", 1)
"""
    watches = """
config = {"name": "Watches", "triggers": [{"type": "state", "groupId": "g"}]}
async def handler(change, ctx):
    saw(["state", ctx.trace_id, ctx.traceId])
    await ctx.streams.chat.set("room", "m1", {"text": "hi"})
"""
    follows = """
config = {"name": "Follows", "triggers": [{"type": "stream", "streamName": "chat"}]}
async def handler(change, ctx):
    saw(["stream", ctx.trace_id, ctx.traceId])
    await ctx.enqueue("end", None)
"""
    ends = "async def handler(input, ctx):\n    saw(['end', ctx.trace_id, ctx.traceId])"
    app = files.app(
        dialect.http("POST", "/x", begins, name="Begins", publishes=["t"]),
        dialect.queue("t", goes_on, name="GoesOn"),
        watches,
        follows,
        dialect.queue("end", ends, name="Ends"),
        streams=["chat"],
    )
    async with served(app) as (rt, client):
        answer = await client.post("/x")
        await rt.quiesce()
    assert [kind for kind, *_ in files.seen] == ["http", "queue", "state", "stream", "end"]
    assert {each for _, *ids in files.seen for each in ids} == {answer.headers["x-trace-id"]}


# trigger


@pytest.mark.parametrize(
    ("kind", "seen"),
    [
        ("http", ["http", 0, "/go/:id", "POST", None, None]),
        ("queue", ["queue", 1, None, None, "go", None]),
        ("cron", ["cron", 2, None, None, None, "* * * * *"]),
        ("state", ["state", 3, None, None, None, None]),
        ("stream", ["stream", 4, None, None, None, None]),
    ],
)
async def test_trigger(kind: str, seen: Any, in_process: Serving, autojump_clock: Any) -> None:
    """`trigger` | `.type` (`http queue cron state stream`), `.index`, `.path`, `.method`, `.topic`,
    `.expression`"""
    got: list[Any] = []

    @every_kind
    async def handler(input: Any, ctx: Any) -> Any:
        t = ctx.trigger
        got.append([t.type, t.index, t.path, t.method, t.topic, t.expression])
        return {"status": 200}

    async with in_process([handler]) as (rt, client):
        await start_with(kind, rt, client)
    assert seen in got


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"type": "api", "path": "/x", "method": "POST"}, "http"),
        ({"triggers": [{"type": "api", "path": "/x", "method": "POST"}]}, "http"),
        ({"type": "event", "subscribes": ["x"]}, "queue"),
        ({"triggers": [{"type": "event", "topic": "x"}]}, "queue"),
    ],
)
async def test_trigger_type_has_one_spelling(config: Any, kind: str, served: Serving) -> None:
    """`.type` (`http queue cron state stream`); §1: `api` or `http`, `queue` or `event`: two
    spellings of one thing"""
    got: list[Any] = []

    async def handler(input: Any, ctx: Any) -> Any:
        got.append(ctx.trigger.type)
        return {"status": 200}

    async with served([step({"name": "S", **config}, handler)]) as (rt, client):
        if kind == "http":
            await client.post("/x")
        else:
            await rt.enqueue("x")
        await rt.quiesce()
    assert got == [kind]


# guards


@each_kind
async def test_guards(kind: str, in_process: Serving, autojump_clock: Any) -> None:
    """`is_queue() is_api() is_http() is_cron() is_state() is_stream()`, and `ctx.is_.queue(input)` |
    guards"""
    names = ["queue", "api", "http", "cron", "state", "stream"]
    got: list[list[str]] = []

    @every_kind
    async def handler(input: Any, ctx: Any) -> Any:
        if ctx.trigger.type == kind:
            got.append([name for name in names if getattr(ctx, f"is_{name}")() is True])
            got.append([name for name in names if getattr(ctx.is_, name)(input) is True])
            camel = [f"is{name.capitalize()}" for name in names]
            got.append([name for name, c in zip(names, camel, strict=True) if getattr(ctx, c)()])
        return {"status": 200}

    async with in_process([handler]) as (rt, client):
        await start_with(kind, rt, client)
    expected = ["api", "http"] if kind == "http" else [kind]
    assert got[:3] == [expected] * 3


# get_data


@pytest.mark.parametrize("spelling", ["get_data", "getData"])
@each_kind
async def test_get_data(kind: str, spelling: str, in_process: Serving, autojump_clock: Any) -> None:
    """`get_data()`, `getData()` | body of a request, data of a message, change or stream event,
    None for cron"""
    got: dict[str, Any] = {}

    @every_kind
    async def handler(input: Any, ctx: Any) -> Any:
        got[ctx.trigger.type] = getattr(ctx, spelling)(), input
        return {"status": 200}

    async with in_process([handler]) as (rt, client):
        await start_with(kind, rt, client)
    data, input = got[kind]
    if kind in {"http", "queue"}:
        assert data == {"a": 1}
    elif kind == "cron":
        assert data is None
    else:
        assert data is input
        assert data.type == kind


# match


@each_kind
async def test_match_by_trigger_type(kind: str, in_process: Serving, autojump_clock: Any) -> None:
    """`match({...})` | by trigger type; …; awaited in async handlers"""
    got: dict[str, Any] = {}

    def of(name: str) -> Any:
        async def handle(input: Any) -> Any:
            got.setdefault(name, input)
            return {"status": 200, "body": name}

        return handle

    async def of_cron() -> None:
        got["cron"] = None

    @every_kind
    async def handler(input: Any, ctx: Any) -> Any:
        handlers = {each: of(each) for each in ["http", "queue", "state", "stream", "default"]}
        return await ctx.match({**handlers, "cron": of_cron})

    async with in_process([handler]) as (rt, client):
        answer = await start_with(kind, rt, client)
    assert kind in got
    assert "default" not in got
    if kind == "http":
        assert answer.text == "http"
        assert got["http"].body == {"a": 1}
    elif kind == "queue":
        assert got["queue"] == {"a": 1}
    elif kind == "state":
        assert got["state"].new_value == 1
    elif kind == "stream":
        assert got["stream"].event.data == {"text": "hi"}


@pytest.mark.parametrize(("kind", "key"), [("http", "api"), ("queue", "event")])
async def test_match_by_the_other_spelling(
    kind: str, key: str, in_process: Serving, autojump_clock: Any
) -> None:
    """`match({...})` | by trigger type; §1: `api` or `http`, `queue` or `event`: two spellings of
    one thing"""
    got: list[Any] = []

    @every_kind
    async def handler(input: Any, ctx: Any) -> Any:
        return await ctx.match({key: lambda input: got.append(key), "default": lambda: None})

    async with in_process([handler]) as (rt, client):
        await start_with(kind, rt, client)
    assert got == [key]


@each_kind
async def test_match_default(kind: str, in_process: Serving, autojump_clock: Any) -> None:
    """`default`"""
    got: list[Any] = []

    async def default(input: Any, ctx: Any) -> Any:
        got.append((ctx.trigger.type, input))
        return {"status": 200}

    @every_kind
    async def handler(input: Any, ctx: Any) -> Any:
        return await ctx.match({"default": default})

    async with in_process([handler]) as (rt, client):
        await start_with(kind, rt, client)
    assert kind in [each for each, _ in got]


@pytest.mark.parametrize("of", ["sync", "async"])
@both_ways
async def test_match_sync_and_async_functions(
    way: str, of: str, dialect: Dialect, files: Project, served: Serving
) -> None:
    """sync and async functions; awaited in async handlers, direct in sync ones"""
    wait = "await " if way == "async def" else ""
    code = f"""
{"async " if of == "async" else ""}def on_http(req, ctx):
    return {{"status": 200, "body": [req.body, ctx.is_http()]}}

{way} handler(req, ctx):
    answer = {wait}ctx.match({{"http": on_http}})
    assert answer["status"] == 200
    return answer
"""
    async with served(files.app(dialect.http("POST", "/x", code))) as (_, client):
        assert (await client.post("/x", json={"a": 1})).json() == [{"a": 1}, True]


@pytest.mark.parametrize(
    ("parameters", "seen"),
    [
        ("input, ctx", "[input.body, ctx.trace_id]"),
        ("input", "[input.body]"),
        ("ctx", "[ctx.get_data()]"),
        ("", "[]"),
    ],
)
async def test_match_calls_each_by_its_signature(
    parameters: str, seen: str, files: Project, served: Serving
) -> None:
    """`match({...})` | … functions; §3: `handler(input, ctx)`, `handler(input)`, `handler(ctx)` …,
    `handler()`"""
    code = f"""
config = {{"name": "S", "triggers": [{{"type": "http", "path": "/x", "method": "POST"}}]}}
def on_http({parameters}):
    saw({seen})
    return {{"status": 200}}
async def handler(input, ctx):
    return await ctx.match({{"http": on_http}})
"""
    async with served(files.app(code)) as (_, client):
        answer = await client.post("/x", json={"a": 1})
    expected = [{"a": 1}, answer.headers["x-trace-id"]]
    assert files.seen == [expected[: seen.count(",") + 1] if parameters else []]


async def test_match_without_a_fitting_key_is_an_error_that_names_it(
    served: Serving, notebook: Notebook
) -> None:
    """`match({...})` | by trigger type"""

    @step(http("GET", "/"), name="S")
    async def handler(req: Any, ctx: Any) -> Any:
        return await ctx.match({"queue": lambda input: None})

    async with served([handler]) as (_, client):
        assert (await client.get("/")).status_code == 500
    assert "http" in str(notebook.events)


# flows, and what is set on it


async def test_flows(dialect: Dialect, files: Project) -> None:
    """`flows` | the step's flows"""
    code = "async def handler(input, ctx):\n    saw([*ctx.flows])"
    text = dialect.queue("t", code) + "config['flows'] = ['orders', 'billing']\n"
    async with open_runtime(files.app(text), observers=()) as rt:
        await rt.enqueue("t")
        await rt.quiesce()
    assert files.seen == [["orders", "billing"]]


@pytest.mark.parametrize("middleware", ["async", "sync"])
async def test_anything_set_on_it(
    middleware: str, dialect: Dialect, files: Project, served: Serving
) -> None:
    """anything set on it | middleware may attach attributes; they live for this one invocation"""
    a, wait = ("async ", "await ") if middleware == "async" else ("", "")
    code = f"""
{a}def first(req, ctx, next):
    assert not hasattr(ctx, "user")
    ctx.user = req.headers["x-user"]
    return {wait}next()

{a}def second(req, ctx, next):
    ctx.greeting = "hello " + ctx.user
    return {wait}next()

async def handler(req, ctx):
    return {{"status": 200, "body": [ctx.user, ctx.greeting]}}
"""
    app = files.app(dialect.http("GET", "/x", code, middleware="[first, second]"))
    async with served(app) as (_, client):
        for name in ("ada", "bob"):
            answer = await client.get("/x", headers={"x-user": name})
            assert answer.json() == [name, f"hello {name}"]


@both_ways
async def test_what_a_handler_sets_on_it_lives_for_this_one_invocation(
    way: str, dialect: Dialect, files: Project
) -> None:
    """anything set on it | …; they live for this one invocation"""
    code = f"""
{way} handler(input, ctx):
    saw(hasattr(ctx, "mine"))
    ctx.mine = input
    saw(ctx.mine)
"""
    async with open_runtime(files.app(dialect.queue("t", code)), observers=()) as rt:
        for number in (1, 2):
            await rt.enqueue("t", number)
            await rt.quiesce()
    assert files.seen == [False, 1, False, 2]


@pytest.mark.parametrize(
    "words",
    [
        "ctx.traceId == ctx.trace_id",
        "ctx.getData() == ctx.get_data()",
        "ctx.isQueue() and ctx.is_queue()",
        "ctx.isApi() == ctx.is_api()",
        "ctx.isHttp() == ctx.is_http()",
        "ctx.isCron() == ctx.is_cron()",
        "ctx.isState() == ctx.is_state()",
        "ctx.isStream() == ctx.is_stream()",
        "ctx.state.getGroup.__name__ == ctx.state.get_group.__name__",
        "ctx.state.listGroups.__name__ == ctx.state.list_groups.__name__",
        "ctx.streams.chat.getGroup.__name__ == ctx.streams.chat.get_group.__name__",
    ],
)
async def test_camel_case_aliases_for_all_of_them(
    words: str, dialect: Dialect, files: Project
) -> None:
    """camelCase aliases for all of them."""
    code = f"async def handler(input, ctx):\n    saw({words})"
    async with open_runtime(
        files.app(dialect.queue("t", code), streams=["chat"]), observers=()
    ) as rt:
        await rt.enqueue("t", 1)
        await rt.quiesce()
    assert files.seen == [True]


# awaited or not


@pytest.mark.parametrize(
    "call",
    [
        'ctx.state.set("g", "k", 1)',
        'ctx.state.get("g", "k")',
        'ctx.state.delete("g", "k")',
        'ctx.state.list("g")',
        "ctx.state.list_groups()",
        'ctx.state.update("g", "k", [{"type": "increment", "path": "", "by": 1}])',
        'ctx.state.clear("g")',
        'ctx.streams.chat.set("g", "k", {})',
        'ctx.streams.chat.get("g", "k")',
        'ctx.enqueue("t", 1)',
    ],
)
async def test_awaitables_in_async_handlers_values_in_sync_ones(
    call: str, dialect: Dialect, files: Project
) -> None:
    """Called from a Trio or asyncio handler these return awaitables; called from a sync handler (a
    worker thread) they do the work and return the value."""
    on_loop = f"""
import inspect
async def handler(input, ctx):
    given = {call}
    saw(inspect.isawaitable(given))
    value = await given
    saw(value if not isinstance(value, str) else "an id")
"""
    in_thread = f"""
import inspect
def handler(input, ctx):
    value = {call}
    saw(not inspect.isawaitable(value))
    saw(value if not isinstance(value, str) else "an id")
"""
    app = files.app(
        dialect.queue("loop", on_loop, name="Loop", publishes=["t"]),
        dialect.queue("thread", in_thread, name="Thread", publishes=["t"]),
        streams=["chat"],
    )
    async with open_runtime(app, observers=()) as rt:
        for topic in ("loop", "thread"):
            await rt.state.set("g", "k", 5)
            await rt.streams.chat.delete("g", "k")
            await rt.enqueue(topic)
            await rt.quiesce()
        assert rt.dead_letters.list() == []
    seen = files.seen
    assert seen[0] is seen[2] is True
    assert seen[1] == seen[3]


@pytest.mark.parametrize(
    ("call", "kept"),
    [
        ('ctx.state.set("g", "k", 7)', lambda rt: rt.state.get("g", "k")),
        ('ctx.streams.chat.set("g", "k", 7)', lambda rt: rt.streams.chat.get("g", "k")),
        ('ctx.enqueue("t", 7)', None),
        ('ctx.emit({"topic": "t", "data": 7})', None),
    ],
)
async def test_what_nobody_awaited_still_happens(
    call: str, kept: Any, dialect: Dialect, files: Project, where: dict[str, Any]
) -> None:
    """A call on state, a stream or enqueue that nobody awaited still happens before the invocation
    ends (seen: 0.17 users do this)."""
    app = files.app(
        dialect.queue("go", f"async def handler(input, ctx):\n    {call}", publishes=["t"]),
        dialect.queue("t", "async def handler(input):\n    saw(input)", name="Gets"),
        streams=["chat"],
        store=where["store"],
    )
    async with open_runtime(app, observers=()) as rt:
        await rt.enqueue("go")
        await rt.quiesce()
        if kept is not None:
            assert await kept(rt) == 7
    if kept is None:
        assert files.seen == [7]


async def test_what_nobody_awaited_has_happened_when_the_answer_comes(
    dialect: Dialect, files: Project, served: Serving
) -> None:
    """A call on state, a stream or enqueue that nobody awaited still happens before the invocation
    ends"""
    code = """
async def handler(req, ctx):
    ctx.state.set("g", "k", req.body.n)
    return {"status": 200}
"""
    async with served(files.app(dialect.http("POST", "/x", code))) as (rt, client):
        for number in range(5):
            assert (await client.post("/x", json={"n": number})).status_code == 200
            assert await rt.state.get("g", "k") == number


# the first dialect's reads


@both_ways
async def test_first_dialect_state_get_answers_data_with_itself(
    way: str, dialect: Dialect, files: Project
) -> None:
    """First dialect only: `state.get` hands a dict that also answers `["data"]` with itself when it
    has no such key"""
    wait = "await " if way == "async def" else ""
    code = f"""
{way} handler(input, ctx):
    value = {wait}ctx.state.get("g", "k")
    saw([value, "data" in value, isinstance(value, dict)])
    try:
        saw([value["data"] == value, value.get("data") == value])
    except KeyError:
        saw("KeyError")
    saw(({wait}ctx.state.get("g", "own"))["data"])
"""
    async with open_runtime(files.app(dialect.queue("t", code)), observers=()) as rt:
        await rt.state.set("g", "k", {"a": 1})
        await rt.state.set("g", "own", {"data": 2})
        await rt.enqueue("t")
        await rt.quiesce()
    assert files.seen[0] == [{"a": 1}, False, True]
    assert files.seen[1] == ([True, True] if dialect.number == 1 else "KeyError")
    assert files.seen[2] == 2


@both_ways
async def test_first_dialect_state_get_of_nothing(
    way: str, dialect: Dialect, files: Project
) -> None:
    """and something falsy that answers `["data"]` with None when nothing is there."""
    wait = "await " if way == "async def" else ""
    code = f"""
{way} handler(input, ctx):
    value = {wait}ctx.state.get("g", "nothing")
    saw([bool(value), value is None])
    if value is not None:
        saw([value["data"], value.get("data")])
"""
    async with open_runtime(files.app(dialect.queue("t", code)), observers=()) as rt:
        await rt.enqueue("t")
        await rt.quiesce()
    expected: list[Any] = [[False, False], [None, None]] if dialect.number == 1 else [[False, True]]
    assert files.seen == expected


# topics that are not listed, or not heard


async def test_publishing_to_a_topic_that_is_not_listed(
    dialect: Dialect, files: Project, notebook: Notebook
) -> None:
    """Publishing to a topic that `enqueues` does not list works and warns once per step and topic"""
    code = """
async def handler(input, ctx):
    for topic in ("listed", "a", "b", "a"):
        await ctx.enqueue({"topic": topic, "data": topic})
"""
    gets = "async def handler(input, ctx):\n    saw(input)"
    app = files.app(
        dialect.queue("one", code, name="One", publishes=["listed"]),
        dialect.queue("two", code, name="Two", publishes=["listed"]),
        *(dialect.queue(topic, gets, name=topic) for topic in ("listed", "a", "b")),
    )
    async with open_runtime(app, observers=[notebook]) as rt:
        for topic in ("one", "two", "one"):
            await rt.enqueue(topic)
            await rt.quiesce()
    assert sorted(files.seen) == sorted(["listed", "a", "b", "a"] * 3)
    warned = [(event.step, event.topic) for event in notebook.of(TopicUnlisted)]
    assert sorted(warned) == [("One", "a"), ("One", "b"), ("Two", "a"), ("Two", "b")]


async def test_to_a_topic_nobody_listens_to(
    dialect: Dialect, files: Project, notebook: Notebook, where: dict[str, Any]
) -> None:
    """To a topic nobody listens to: a warning at load, counted at run time, nothing stored."""
    code = "async def handler(input, ctx):\n    await ctx.enqueue('void', 1)"
    app = files.app(dialect.queue("t", code, publishes=["void"]), store=where["store"])
    async with open_runtime(app, observers=[notebook]) as rt:
        for _ in range(3):
            await rt.enqueue("t")
        await rt.quiesce()
        assert rt.tree().unheard == {"void": 3}
        assert rt.dead_letters.list() == []
        assert not rt.store.agenda(datetime.now(UTC).timestamp() + 10).due
    (warned,) = [each.message for each in notebook.of(AppWarned) if "void" in each.message]
    assert "steps/00_step.py" in warned
