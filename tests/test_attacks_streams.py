"""Attacks on streamed answers: each is the way in which something was found, or was looked for."""

from __future__ import annotations

import threading
from contextlib import asynccontextmanager
from copy import copy, deepcopy
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from motia_trio import (
    App,
    HandlerFailed,
    MotiaHttpArgs,
    Service,
    TimedOut,
    http,
    open_runtime,
    queue,
    step,
)
from motia_trio.events import AskFailed, HandlerOverdue
from motia_trio.streamed import Streamed
from tests.support import Notebook
from tests.test_attacks_asks import request

TRACE = "0" * 32


async def ask(rt: Service, body: Any = None, step: str = "Get") -> Any:
    """Ask as an edge does."""
    return await rt.request(step, 0, request(body), TRACE)


async def pieces(streamed: Streamed) -> list[Any]:
    """All there is of an answer."""
    assert isinstance(streamed, Streamed)
    return [piece async for piece in streamed]


async def test_two_tasks_that_write_at_once_both_go_on(autojump_clock: Any) -> None:
    """Whoever waits for room is woken when there is some."""

    @step(http("GET", "/"), name="Get")
    async def get(args: MotiaHttpArgs) -> None:
        async def write(name: str) -> None:
            for number in range(50):
                await args.response.writer.write(f"{name}{number} ")

        async with trio.open_nursery() as nursery:
            for name in "abc":
                nursery.start_soon(write, name)

    async with open_runtime(App([get], shutdown_timeout=1), observers=()) as rt:
        with trio.fail_after(5):
            assert len(await pieces(await ask(rt))) == 150


@pytest.mark.parametrize("sync", [False, True])
async def test_a_buffer_that_is_used_again_is_sent_as_it_was(sync: bool) -> None:  # noqa: FBT001
    """Pieces are taken when they are given, not when the client has room."""
    buffer = bytearray(4)
    event: dict[str, Any] = {"data": {}}

    def fill(number: int) -> Any:
        buffer[:] = b"%04d" % number
        event["data"]["n"] = number
        return (buffer, memoryview(buffer), event)[number % 3]

    def rows() -> Any:
        for number in range(12):
            yield fill(number)

    async def arows() -> Any:
        for number in range(12):
            yield fill(number)

    @step(http("GET", "/"), name="Get")
    async def get(req: Any) -> Any:
        return {"status": 200, "body": rows() if sync else arows()}

    async with open_runtime(App([get]), observers=()) as rt:
        streamed = await ask(rt)
        await trio.testing.wait_all_tasks_blocked(0.05)
        got = await pieces(streamed)
    assert got == [
        {"data": {"n": number}} if number % 3 == 2 else b"%04d" % number for number in range(12)
    ]


@pytest.mark.parametrize("made", ["bytes", "text", "dicts"])
async def test_what_is_written_without_an_await_is_bounded(made: str) -> None:
    """20 MB of whatever it is."""
    big = "x" * 1_000_000
    piece: Any = {"bytes": big.encode(), "text": big, "dicts": {"data": {"text": big}}}[made]
    written: list[int] = []

    @step(http("GET", "/"), name="Get")
    async def get(args: MotiaHttpArgs) -> None:
        for number in range(20):
            args.response.writer.write(piece)
            written.append(number)

    notebook = Notebook()
    async with open_runtime(App([get]), observers=[notebook]) as rt:
        streamed = await ask(rt)
        with pytest.raises(HandlerFailed):
            await pieces(streamed)
    assert len(written) < 18
    (told,) = notebook.of(AskFailed)
    assert "await each write" in told.error


async def test_an_answer_that_was_begun_cannot_be_begun_again() -> None:
    """By a middleware that calls its next twice: the client has a cut answer, nobody hangs."""

    async def twice(req: Any, ctx: Any, following: Any) -> Any:
        await following()
        return await following()

    @step(http("GET", "/", middleware=[twice]), name="Get")
    async def get(args: MotiaHttpArgs) -> None:
        for _ in range(20):
            await args.response.writer.write("x")

    notebook = Notebook()
    async with open_runtime(App([get], shutdown_timeout=0.1), observers=[notebook]) as rt:
        with trio.fail_after(5):
            streamed = await ask(rt)
            with pytest.raises(HandlerFailed):
                await pieces(streamed)
    (told,) = notebook.of(AskFailed)
    assert "begun" in told.error


async def test_an_iterator_after_pieces_that_were_written_is_an_error() -> None:
    async def rows() -> Any:
        yield "more"

    @step(http("GET", "/"), name="Get")
    async def get(args: MotiaHttpArgs) -> Any:
        args.response.writer.write("x")
        return {"status": 200, "body": rows()}

    async with open_runtime(App([get]), observers=()) as rt:
        with trio.fail_after(5):
            streamed = await ask(rt)
            with pytest.raises(HandlerFailed):
                await pieces(streamed)


async def test_a_writer_that_outlives_its_handler_gets_an_error_and_moves_no_bound(
    autojump_clock: Any,
) -> None:
    """The hand that had its request has another one by then, whose bound stays what it is."""
    told: list[int] = []

    @asynccontextmanager
    async def lifespan(ctx: Any) -> Any:
        async with trio.open_nursery() as nursery:
            yield nursery
            nursery.cancel_scope.cancel()

    @step(http("GET", "/", config={"timeout": 10}), name="Get", lifespan=lifespan)
    async def get(args: MotiaHttpArgs, ctx: Any) -> Any:
        if args.request.body == "hang":
            await trio.sleep_forever()

        async def write() -> None:
            await trio.sleep(5)
            writes = partial(args.response.writer.write, "x")
            for act in (writes, args.response.close, writes):
                with pytest.raises(ValueError, match="ended with its handler"):
                    act()
                told.append(1)

        ctx.resources.start_soon(write)
        return {"status": 204}

    async with open_runtime(App([get]), observers=()) as rt:
        assert await ask(rt) == {"status": 204}
        began = trio.current_time()
        with pytest.raises(TimedOut):
            await ask(rt, "hang")
        assert trio.current_time() - began == 10
        await rt.quiesce()
    assert len(told) == 3


async def test_a_handler_that_begins_to_answer_after_it_was_given_up_is_not_unbounded(
    autojump_clock: Any,
) -> None:
    """The warden has answered for it; what it writes has no reader, and is dropped."""
    written: list[int] = []

    @step(http("GET", "/", config={"timeout": 1}), name="Get")
    async def get(args: MotiaHttpArgs) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(10)
            with trio.move_on_after(100):
                for number in range(30):
                    await args.response.writer.write("x" * 1000)
                    written.append(number)

    async with open_runtime(App([get]), observers=()) as rt:
        with pytest.raises(TimedOut):
            await ask(rt)
        began = trio.current_time()
        await rt.quiesce()
        assert trio.current_time() - began < 20


async def test_a_client_that_is_gone_before_the_answer_begins_leaves_no_hand_behind(
    autojump_clock: Any,
) -> None:
    """Nobody will ever read it."""

    @step(http("GET", "/", config={"timeout": 50}), name="Get")
    async def get(args: MotiaHttpArgs) -> None:
        await trio.sleep(10)
        while True:
            await args.response.writer.write("x")
            await trio.sleep(1)

    async with open_runtime(App([get], shutdown_timeout=1000), observers=()) as rt:
        with trio.move_on_after(1):
            await ask(rt)
        assert rt.tree()["Get"].in_flight == 1
        await trio.sleep(20)
        assert rt.tree()["Get"].in_flight == 0
        await rt.quiesce()


@pytest.mark.parametrize("kind", ["iterator", "writer"])
async def test_what_a_streamed_answer_asks_has_time_however_long_it_streams(
    kind: str, autojump_clock: Any
) -> None:
    @step(queue("double"), name="Double")
    async def double(input: Any) -> Any:
        return input * 2

    async def rows(ctx: Any) -> Any:
        for number in range(3):
            await trio.sleep(100)
            yield str(await ctx.ask("double", number))

    async def get(req: Any, ctx: Any) -> Any:
        return {"status": 200, "body": rows(ctx)}

    async def get_writing(args: MotiaHttpArgs, ctx: Any) -> None:
        await args.response.writer.write("")
        async for row in rows(ctx):
            await args.response.writer.write(row)

    function = get if kind == "iterator" else get_writing
    made = step(http("GET", "/"), enqueues=["double"], name="Get")(function)
    async with open_runtime(App([made, double]), observers=()) as rt:
        assert "".join(await pieces(await ask(rt))) == "024"


async def test_a_handler_that_closed_its_answer_has_a_bound_again(autojump_clock: Any) -> None:
    """Nobody waits for it any more."""

    @step(http("GET", "/", config={"timeout": 10}), name="Get")
    async def get(args: MotiaHttpArgs) -> None:
        await args.response.writer.write("x")
        await trio.sleep(100)  # as long as the client takes it
        args.response.close()
        await trio.sleep_forever()

    async with open_runtime(App([get], shutdown_timeout=1000), observers=()) as rt:
        assert await pieces(await ask(rt)) == ["x"]
        began = trio.current_time()
        await rt.quiesce()
        assert trio.current_time() - began == 10


async def test_a_middleware_that_catches_what_broke_a_body_does_not_make_it_whole() -> None:
    """What was sent is cut, and not passed off as all there is."""

    async def catch(req: Any, ctx: Any, following: Any) -> Any:
        try:
            return await following()
        except ZeroDivisionError:
            return {"status": 500, "body": "caught"}

    @step(http("GET", "/", middleware=[catch]), name="Get")
    async def get(args: MotiaHttpArgs) -> None:
        await args.response.writer.write("half")
        1 / 0  # noqa: B018

    async with open_runtime(App([get]), observers=()) as rt:
        streamed = await ask(rt)
        with pytest.raises(HandlerFailed):
            await pieces(streamed)


@pytest.mark.parametrize("at", [0, 1, 3])
@pytest.mark.parametrize("sync", [False, True])
async def test_an_iterator_that_raises_at_any_piece_cuts_the_answer(at: int, sync: bool) -> None:  # noqa: FBT001
    closed: list[Any] = []

    def rows() -> Any:
        try:
            for number in range(4):
                if number == at:
                    raise ValueError(number)
                yield str(number)
        finally:
            closed.append(threading.current_thread() is threading.main_thread())

    async def arows() -> Any:
        try:
            for row in rows():
                await trio.lowlevel.checkpoint()
                yield row
        finally:
            await trio.lowlevel.checkpoint()

    @step(http("GET", "/"), name="Get")
    async def get(req: Any) -> Any:
        return {"status": 200, "body": rows() if sync else arows()}

    notebook = Notebook()
    async with open_runtime(App([get]), observers=[notebook]) as rt:
        streamed = await ask(rt)
        got: list[Any] = []
        with pytest.raises(HandlerFailed):
            async for piece in streamed:
                got.append(piece)  # noqa: PERF401 - some come before the error
        await rt.quiesce()
        assert rt.tree()["Get"].crashes == 0
    assert got == [str(number) for number in range(at)]
    assert closed == [not sync]
    (told,) = notebook.of(AskFailed)
    assert told.error == f"ValueError: {at}"


@pytest.mark.parametrize("error", [SystemExit, KeyError, BaseException])
async def test_a_body_that_ends_its_actor_cuts_the_answer_alone(
    error: type[BaseException], autojump_clock: Any
) -> None:
    async def rows() -> Any:
        yield "a"
        raise error

    @step(http("GET", "/"), name="Get")
    async def get(req: Any) -> Any:
        return {"status": 200, "body": rows()}

    async with open_runtime(App([get]), observers=()) as rt:
        for _ in range(2):
            with pytest.raises(HandlerFailed):
                await pieces(await ask(rt))
            await trio.sleep(3)
        assert rt.tree()["Get"].state in {"running", "probing"}


async def test_the_end_of_a_sync_iterator_runs_in_a_thread_as_the_rest_of_it() -> None:
    """Its finally may block, and its calls do their work."""
    ended: list[Any] = []

    @step(http("GET", "/"), name="Get")
    async def get(req: Any, ctx: Any) -> Any:
        def rows() -> Any:
            try:
                while True:
                    yield "x"
            finally:
                main = threading.current_thread() is threading.main_thread()
                ended.append((main, ctx.state.set("g", "k", 1)["new_value"]))

        return {"status": 200, "body": rows()}

    async with open_runtime(App([get]), observers=()) as rt:
        streamed = await ask(rt)
        await streamed.__anext__()
        streamed.abandon()  # the client leaves
        with trio.fail_after(5):
            await rt.quiesce()
        assert await rt.state.get("g", "k") == 1
    assert ended == [(False, 1)]


async def test_an_iterator_that_blocks_when_its_client_has_left_is_told_of() -> None:
    """A thread cannot be stopped, so somebody has to say so."""
    gate = threading.Event()
    blocked = threading.Event()

    @step(http("GET", "/"), name="Get")
    async def get(req: Any) -> Any:
        def rows() -> Any:
            yield "x"
            blocked.set()
            gate.wait(20)

        return {"status": 200, "body": rows()}

    notebook = Notebook()
    async with open_runtime(App([get]), observers=[notebook]) as rt:
        streamed = await ask(rt)
        await streamed.__anext__()
        await trio.to_thread.run_sync(blocked.wait)
        streamed.abandon()
        with trio.move_on_after(5):
            while not notebook.of(HandlerOverdue):
                await trio.sleep(0.05)
        gate.set()
        await rt.quiesce()
    assert len(notebook.of(HandlerOverdue)) == 1


@pytest.mark.parametrize("leave_after", [0, 1, 5])
async def test_a_body_that_never_ends_and_ignores_its_cancellation_is_abandoned(
    leave_after: int, autojump_clock: Any
) -> None:
    async def rows() -> Any:
        while True:
            try:
                yield "x"
                await trio.sleep(1)
            except trio.Cancelled:  # noqa: ASYNC103
                pass

    @step(http("GET", "/"), name="Get")
    async def get(req: Any) -> Any:
        return {"status": 200, "body": rows()}

    async with open_runtime(App([get], shutdown_timeout=1), observers=()) as rt:
        streamed = await ask(rt)
        for _ in range(leave_after):
            await streamed.__anext__()
        streamed.abandon()
        await trio.sleep(10)
        assert rt.tree()["Get"].in_flight == 0


async def test_writes_from_a_thread_of_an_async_handler_wait_for_room() -> None:
    @step(http("GET", "/"), name="Get")
    async def get(args: MotiaHttpArgs) -> None:
        def write() -> None:
            for number in range(40):
                args.response.writer.write(str(number))
            args.response.close()

        await trio.to_thread.run_sync(write)

    async with open_runtime(App([get]), observers=()) as rt:
        assert await pieces(await ask(rt)) == [str(number) for number in range(40)]


async def test_a_write_after_close_is_an_error_in_the_handler() -> None:
    @step(http("GET", "/"), name="Get")
    def get(args: MotiaHttpArgs) -> None:
        args.response.writer.write("a")
        args.response.close()
        with pytest.raises(ValueError, match="closed"):
            args.response.writer.write("b")

    async with open_runtime(App([get]), observers=()) as rt:
        assert await pieces(await ask(rt)) == ["a"]


async def test_http_args_can_be_copied_and_looked_at() -> None:
    """By a logger or a debugger, without a recursion without an end."""
    args = MotiaHttpArgs(request({"n": 1}), None)  # type: ignore[arg-type]
    assert copy(args).body == deepcopy(args).body == {"n": 1}
    assert not hasattr(MotiaHttpArgs.__new__(MotiaHttpArgs), "anything")
