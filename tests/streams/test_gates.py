"""Who may listen: authenticate, canAccess, onJoin, onLeave."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from motia_trio import App, Stream, open_runtime, queue, step
from motia_trio.data import Data
from motia_trio.errors import LoadFailed
from motia_trio.events import StepLogged, StreamHookFailed, TopicUnlisted
from motia_trio.service import Service
from motia_trio.steps import StreamDeclaration
from motia_trio.streams.gates import THREADS, Admission, Gates
from tests.support import Notebook

LIMIT = 5.0
ROOM = Data(stream_name="chat", group_id="room", id=None, subscription_id="s1")
HELLO = Data(headers={}, path="/", query={}, token="t")


class Door:
    """A runtime with one stream, its gates, and what an observer was told."""

    def __init__(self, rt: Service, app: App, notes: Notebook) -> None:
        self.rt = rt
        self.notes = notes
        self.chat: StreamDeclaration = app.streams["chat"]
        authenticate = App.authenticate_of(app.settings)
        self.gates = Gates(rt.shared, authenticate, limit=LIMIT)

    async def join(self, auth: Any = None) -> bool:
        return await self.gates.join(self.chat, ROOM, auth)

    async def leave(self, auth: Any = None) -> None:
        await self.gates.leave(self.chat, ROOM, auth)

    @property
    def failures(self) -> list[StreamHookFailed]:
        return self.notes.of(StreamHookFailed)


@asynccontextmanager
async def door(
    *, authenticate: Any = None, steps: Any = (), **hooks: Callable[..., Any]
) -> AsyncIterator[Door]:
    app = App(steps, streams=[{"name": "chat", **hooks}], authenticate=authenticate)
    notes = Notebook()
    async with open_runtime(app, observers=[notes]) as rt:
        yield Door(rt, app, notes)


# authenticate


async def test_without_authenticate_everybody_may_connect_and_is_nobody() -> None:
    async with door() as it:
        assert await it.gates.admit(HELLO) == Admission(allowed=True, context=None)


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_what_authenticate_gives_is_the_context_of_the_client(kind: str) -> None:
    def in_thread(request: Data) -> Any:
        assert not trio.lowlevel.in_trio_run()
        return {"user": request.token}

    async def on_loop(request: Data) -> Any:
        await trio.lowlevel.checkpoint()
        return {"user": request.token}

    async with door(authenticate=on_loop if kind == "async" else in_thread) as it:
        assert await it.gates.admit(HELLO) == Admission(allowed=True, context={"user": "t"})
        assert it.failures == []


@pytest.mark.parametrize("context", [None, 0, "", {}, True])
async def test_only_false_is_a_refusal_and_any_other_value_a_context(context: object) -> None:
    async with door(authenticate=lambda request: context) as it:
        assert await it.gates.admit(HELLO) == Admission(allowed=True, context=context)


@pytest.mark.parametrize("said", [False, {"unauthorized": True}])
async def test_authenticate_refuses_without_a_word_in_the_log(said: object) -> None:
    async with door(authenticate=lambda request: said) as it:
        assert await it.gates.admit(HELLO) == Admission(allowed=False)
        assert it.failures == []


async def test_authenticate_that_raises_refuses_and_is_told_of() -> None:
    async def authenticate(request: Data) -> None:
        raise PermissionError("token is over")

    async with door(authenticate=authenticate) as it:
        assert await it.gates.admit(HELLO) == Admission(allowed=False)
        (failed,) = it.failures
        assert (failed.stream, failed.hook) == (None, "authenticate")
        assert failed.error == "PermissionError: token is over"
        assert "test_gates.py" in failed.where
        assert "raise PermissionError" in failed.traceback
        assert len(failed.trace_id) == 32


async def test_authenticate_may_ask_for_ctx_too() -> None:
    async def authenticate(request: Data, ctx: Any) -> Any:
        await ctx.state.set("seen", "last", request.token)
        ctx.logger.info("who is there", {"token": request.token})
        return await ctx.state.get("seen", "last")

    async with door(authenticate=authenticate) as it:
        assert (await it.gates.admit(HELLO)).context == "t"
        (logged,) = it.notes.of(StepLogged)
        assert (logged.step, logged.fields) == ("authenticate", {"token": "t"})


def a_function(request: Data) -> Any:
    return "by name"


async def test_authenticate_may_be_named_as_module_and_function() -> None:
    async with door(authenticate=f"{__name__}:a_function") as it:
        assert (await it.gates.admit(HELLO)).context == "by name"


def yields(request: Data) -> Any:
    yield


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda: None, "cannot be called as authenticate(request) or authenticate(request, ctx)"),
        (lambda a, b, c: None, "cannot be called as authenticate(request)"),
        (yields, "has a yield"),
        ("nowhere_at_all:f", "No module named 'nowhere_at_all'"),
        ("json:nothing", "module 'json' has no 'nothing'"),
        ("json", 'expected "module:function"'),
    ],
    ids=["none", "three", "yield", "module", "function", "form"],
)
def test_an_authenticate_that_cannot_be_called_is_told_when_the_app_is_made(
    given: Any, words: str
) -> None:
    with pytest.raises(LoadFailed) as failed:
        App(authenticate=given)
    assert str(failed.value).startswith("authenticate: ")
    assert words in str(failed.value)


# canAccess and onJoin


async def test_a_stream_that_has_nothing_to_say_is_joined_by_all_at_once() -> None:
    async with door() as it:
        with trio.CancelScope() as scope:
            scope.cancel()  # no checkpoint: nothing is asked
            assert await it.join()
        await it.leave()


@pytest.mark.parametrize(
    ("said", "joins"),
    [(True, True), (1, True), ({"unauthorized": False}, True)]
    + [(each, False) for each in (False, 0, {}, {"unauthorized": True})],
    ids=str,
)
async def test_can_access_decides_by_what_is_true(said: object, joins: object) -> None:
    seen: list[Any] = []

    def can_access(subscription: Data, auth: Any) -> Any:
        seen.append((subscription, auth))
        return said

    async with door(canAccess=can_access) as it:
        assert await it.join({"user": 1}) is joins
        assert seen == [(ROOM, {"user": 1})]
        assert it.failures == []


async def test_can_access_that_returns_nothing_refuses_and_says_what_is_missing() -> None:
    async with door(canAccess=lambda subscription, auth: None) as it:
        assert not await it.join()
        assert it.failures[0].error == (
            "TypeError: canAccess returned nothing: return True or False"
        )


@pytest.mark.parametrize(
    ("said", "joins"),
    [(None, True), ({}, True), (0, True), (False, False), ({"unauthorized": True}, False)],
    ids=str,
)
async def test_on_join_lets_in_unless_it_says_no(said: object, joins: object) -> None:
    async with door(onJoin=lambda subscription, ctx, auth: said) as it:
        assert await it.join() is joins
        assert it.failures == []


async def test_an_object_can_say_unauthorized_too() -> None:
    class Refusal:
        unauthorized = True

    async with door(onJoin=lambda subscription: Refusal()) as it:
        assert not await it.join()


async def test_on_join_is_only_asked_about_those_who_have_access() -> None:
    joined: list[str] = []
    async with door(
        canAccess=lambda subscription, auth: auth == "friend",
        onJoin=lambda subscription, ctx, auth: joined.append(auth),
    ) as it:
        assert not await it.join("stranger")
        assert await it.join("friend")
        assert joined == ["friend"]


@pytest.mark.parametrize("hook", ["canAccess", "onJoin"])
@pytest.mark.parametrize("error", [ValueError("broken"), SystemExit(3)], ids=["error", "exit"])
async def test_a_hook_that_raises_refuses_and_is_told_of_and_the_next_is_asked_again(
    hook: str, error: BaseException
) -> None:
    async def fails(subscription: Data) -> None:
        raise error

    async with door(**{hook: fails}) as it:
        for count in (1, 2):
            assert not await it.join()
            assert len(it.failures) == count
        assert (it.failures[0].stream, it.failures[0].hook) == ("chat", hook)
        assert type(error).__name__ in it.failures[0].error


async def test_hooks_have_a_ctx_as_handlers_do() -> None:
    heard: list[Any] = []
    logs = Stream("audit")

    @step(queue("joined"))
    async def on_joined(input: Any, ctx: Any) -> None:
        heard.append((input, ctx.trace_id))

    async def on_join(subscription: Data, ctx: Any, auth: Any) -> None:
        await ctx.enqueue("joined", {"user": auth["user"]})
        await ctx.streams.chat.set(subscription.groupId, "greeting", {"text": "hello"})
        await logs.set("g", "i", {"trace": ctx.trace_id})  # the object finds the ctx by itself
        ctx.logger.info("joined")
        ctx.state.set("users", auth["user"], 1)  # is done though nobody awaits it

    app = App(
        [on_joined], streams=[{"name": "chat", "onJoin": on_join}, logs]
    )  # fmt: skip
    notes = Notebook()
    async with open_runtime(app, observers=[notes]) as rt:
        it = Door(rt, app, notes)
        assert await it.join({"user": "ann"})
        assert await rt.state.get("users", "ann") == 1
        assert (await rt.streams.chat.get("room", "greeting"))["text"] == "hello"
        await rt.quiesce()
        audit = await rt.streams.audit.get("g", "i")
        (logged,) = notes.of(StepLogged)
        assert (logged.step, logged.trace_id) == ("stream 'chat'", audit["trace"])
        assert heard == [({"user": "ann"}, audit["trace"])]
        assert notes.of(TopicUnlisted) == []  # a stream lists no topics
        assert it.failures == []


async def test_a_hook_in_a_thread_uses_ctx_without_awaiting() -> None:
    def on_join(subscription: Data, ctx: Any) -> None:
        ctx.state.set("g", "k", threading.current_thread() is not threading.main_thread())

    async with door(onJoin=on_join) as it:
        assert await it.join()
        assert await it.rt.state.get("g", "k") is True


async def test_subscriptions_answer_to_both_spellings() -> None:
    seen: list[Any] = []
    async with door(
        onJoin=lambda s: seen.extend([s.group_id, s.groupId, s["stream_name"], s.streamName])
    ) as it:
        assert await it.join()
        assert seen == ["room", "room", "chat", "chat"]


# onLeave


async def test_on_leave_is_called_with_who_left() -> None:
    left: list[Any] = []

    async def on_leave(subscription: Data, ctx: Any, auth: Any) -> None:
        await trio.lowlevel.checkpoint()
        left.append((subscription.id, auth))

    async with door(onLeave=on_leave) as it:
        await it.leave("ann")
        assert left == [(None, "ann")]


async def test_on_leave_that_raises_is_told_of() -> None:
    async with door(onLeave=lambda subscription: 1 / 0) as it:
        await it.leave()
        (failed,) = it.failures
        assert (failed.hook, failed.error) == ("onLeave", "ZeroDivisionError: division by zero")


async def test_on_leave_runs_to_its_end_though_the_connection_is_cancelled() -> None:
    left = trio.Event()

    async def on_leave(subscription: Data) -> None:
        await trio.sleep(0.01)
        left.set()

    async with door(onLeave=on_leave) as it:
        with trio.CancelScope() as scope:
            scope.cancel()
            await it.leave()
        assert scope.cancelled_caught
        await it.rt.quiesce()  # it counts as in flight
        assert left.is_set()


# clients that are gone


@pytest.mark.parametrize("agrees", [True, False])
async def test_a_client_that_goes_while_on_join_runs_has_left_if_it_had_joined(
    agrees: object,
) -> None:
    events: list[str] = []
    begun, go_on = trio.Event(), trio.Event()

    async def on_join(subscription: Data) -> object:
        begun.set()
        await go_on.wait()
        events.append("joined")
        return agrees

    async with door(onJoin=on_join, onLeave=lambda subscription: events.append("left")) as it:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(it.join)
            await begun.wait()
            nursery.cancel_scope.cancel()
        assert events == []
        go_on.set()
        await it.gates.finished()
        assert events == (["joined", "left"] if agrees else ["joined"])


async def test_a_client_that_goes_in_the_moment_on_join_ends_has_left_once() -> None:
    events: list[str] = []
    scope = trio.CancelScope()

    async def on_join(subscription: Data) -> None:
        events.append("joined")
        scope.cancel()

    async with door(onJoin=on_join, onLeave=lambda subscription: events.append("left")) as it:
        with scope:
            if await it.join():
                await it.leave()
        await it.gates.finished()
        assert events == ["joined", "left"]


# time


async def test_a_hook_that_takes_too_long_refuses_and_is_told_of(autojump_clock: Any) -> None:
    async def on_join(subscription: Data) -> None:
        await trio.sleep(60)

    async with door(onJoin=on_join, onLeave=lambda subscription: 1 / 0) as it:
        began = trio.current_time()
        assert not await it.join()
        assert trio.current_time() - began == LIMIT
        await it.gates.finished()
        (failed,) = it.failures
        assert failed.error == "TimedOut: ran longer than 5 s, which is request_timeout"
        assert failed.where.startswith("App(streams[0])")


async def test_a_hook_that_resists_its_cancellation_holds_no_client_up(
    autojump_clock: Any,
) -> None:
    async def on_join(subscription: Data) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(60)

    async with door(onJoin=on_join) as it:
        began = trio.current_time()
        assert not await it.join()
        assert trio.current_time() - began == LIMIT
        await it.gates.finished()
        assert trio.current_time() - began == 60
        assert len(it.failures) == 1


async def test_a_thread_that_hangs_holds_no_client_up_and_its_late_join_is_left() -> None:
    go_on = threading.Event()
    events: list[str] = []

    def on_join(subscription: Data) -> None:
        go_on.wait()
        events.append("joined")

    async with door(onJoin=on_join, onLeave=lambda subscription: events.append("left")) as it:
        it.gates = Gates(it.rt.shared, limit=0.02)
        assert not await it.join()
        (failed,) = it.failures
        assert failed.error == (
            "TimedOut: ran longer than 0.02 s, which is request_timeout; it is not async, so 16 "
            "of it run at once, and waiting counts"
        )
        go_on.set()
        await it.gates.finished()
        assert events == ["joined", "left"]
        assert len(it.failures) == 1


async def test_threads_that_hang_take_no_places_of_other_hooks() -> None:
    go_on = threading.Event()
    hanging: list[None] = []

    def on_join(subscription: Data) -> None:
        hanging.append(None)
        go_on.wait()

    async with door(authenticate=lambda request: "ann", onJoin=on_join) as it:
        async with trio.open_nursery() as nursery:
            for _ in range(THREADS + 4):
                nursery.start_soon(it.join)
            while len(hanging) < THREADS:
                await trio.sleep(0.001)
            assert (await it.gates.admit(HELLO)).context == "ann"
            assert len(hanging) == THREADS
            go_on.set()


async def test_a_hook_that_never_ends_is_cancelled_with_the_runtime(autojump_clock: Any) -> None:
    ended: list[str] = []

    async def on_leave(subscription: Data) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append("cancelled")

    async with door(onLeave=on_leave) as it:
        with trio.move_on_after(0.1):
            await it.leave()
    assert ended == ["cancelled"]
    assert it.failures == []


async def test_after_the_runtime_nobody_is_let_in() -> None:
    async with door(onJoin=lambda subscription: None) as it:
        pass
    assert not await it.join()
    assert it.failures[0].error == "Closed: the service has stopped"
