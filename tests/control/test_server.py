"""The control socket of a running service, and what rude clients can do to it: nothing."""

from __future__ import annotations

import json
import os
import socket
import stat
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from motia_trio import App, open_runtime, queue, step
from motia_trio.control import server
from motia_trio.control.client import NoAnswer, NobodyListens, ask, listens
from motia_trio.control.place import SOCKET, NoSocket
from motia_trio.control.protocol import Refused, request_limit
from motia_trio.events import AppWarned
from tests.support import Notebook

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from motia_trio import Service


@step(queue("work"), name="Work")
async def work(data: Any) -> None:
    pass


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    app = App([work], root=tmp_path, store="sqlite:///.motia/store.db", message_limit=100_000)
    async with open_runtime(app, control=tmp_path / ".motia", observers=()) as rt:
        yield rt


def folder(service: Service) -> Path:
    return Path(service.app.root, ".motia")


async def put(service: Service, op: str, **params: Any) -> Any:
    """Ask as the command does, from a thread."""
    return await trio.to_thread.run_sync(ask, folder(service), op, params)


@asynccontextmanager
async def raw(service: Service) -> AsyncIterator[trio.SocketStream]:
    """A connection that may be rude."""
    stream = await trio.open_unix_socket(folder(service) / SOCKET)
    async with stream:
        yield stream


async def line(stream: trio.SocketStream) -> Any:
    """The next line of answer; None when there comes none."""
    received = b""
    with trio.fail_after(20):
        while not received.endswith(b"\n"):
            try:
                chunk = await stream.receive_some(1)
            except trio.BrokenResourceError:
                chunk = b""
            if not chunk:
                assert not received
                return None
            received += chunk
    return json.loads(received)


def status(**more: Any) -> bytes:
    return json.dumps({"v": 1, "op": "status", **more}).encode() + b"\n"


async def test_a_service_can_be_asked_for_the_length_of_its_scope(tmp_path: Path) -> None:
    place = tmp_path / ".motia"
    app = App([work], root=tmp_path)
    assert not listens(place)
    async with open_runtime(app, control=place, observers=()) as rt:
        assert stat.S_IMODE((place / SOCKET).stat().st_mode) == 0o600  # noqa: ASYNC240
        told = await put(rt, "status")
        assert (told["state"], told["pid"]) == ("running", os.getpid())
        assert 0 <= told["uptime"] < 60
        assert [each["name"] for each in told["steps"]] == ["Work"]
        assert (place / ".gitignore").read_text() == "*\n"  # noqa: ASYNC240
    assert not (place / SOCKET).exists()  # noqa: ASYNC240
    with pytest.raises(NobodyListens, match="nobody listens there"):
        ask(place, "status", {})


async def test_errors_have_the_words_with_which_the_api_raises_them(service: Service) -> None:
    with pytest.raises(Refused, match="there is no dead letter 0000000000000007") as caught:
        await put(service, "dead_letters.get", id="7")
    assert caught.value.kind == "KeyError"
    with pytest.raises(Refused) as caught:
        await put(service, "state.set", group="", key="k", value=1)
    with pytest.raises(ValueError, match="group is") as raised:
        await service.state.set("", "k", 1)
    assert str(caught.value) == str(raised.value)
    with pytest.raises(Refused, match="100002 bytes are over the limit of 100000") as caught:
        await put(service, "state.set", group="g", key="k", value="x" * 100_000)
    assert caught.value.kind == "ValueTooLarge"


async def test_one_connection_may_ask_many_things(service: Service) -> None:
    """Also before it has heard the answers; they come in order."""
    async with raw(service) as stream:
        requests = [
            {"v": 1, "op": "state.set", "params": {"group": "g", "key": "k", "value": 1}},
            {"v": 1, "op": "state.get", "params": {"group": "g", "key": "k"}},
            {"v": 1, "op": "state.delete", "params": {"group": "g", "key": "k"}},
        ]
        whole = "".join(json.dumps(each) + "\n" for each in requests).encode()
        for part in (whole[:30], whole[30:150], whole[150:]):
            await stream.send_all(part)
        results = [(await line(stream))["result"] for _ in requests]
    assert results == [
        {"new_value": 1, "old_value": None},
        {"found": True, "value": 1},
        {"found": True, "old_value": 1},
    ]


@pytest.mark.parametrize(
    ("sent", "kind", "words"),
    [
        (b"\n", "MalformedJson", "truncated"),
        (b"GET / HTTP/1.1\n", "MalformedJson", "invalid"),
        (b"\xff\xfe\x00\n", "MalformedJson", ""),
        (b"[" * 50_000 + b"\n", "MalformedJson", "recursion"),
        (b"[]\n", "RequestInvalid", "a request is an object"),
        (b'{"v":1,"op":"exit"}\n', "RequestInvalid", "unknown op 'exit'"),
        (b'{"v":1,"op":"state.get","params":{"group":{},"key":""}}\n', "RequestInvalid", "group"),
    ],
)  # fmt: skip
async def test_rubbish_is_answered_and_the_connection_goes_on(
    service: Service, sent: bytes, kind: str, words: str
) -> None:
    async with raw(service) as stream:
        await stream.send_all(sent)
        error = (await line(stream))["error"]
        assert error["type"] == kind
        assert words in error["message"]
        await stream.send_all(status())
        assert (await line(stream))["result"]["state"] == "running"


async def test_a_line_without_end_is_cut_off(service: Service) -> None:
    """At the limit, and the client is told. Nobody else notices."""
    limit = request_limit(100_000)
    async with raw(service) as stream, raw(service) as other:
        with pytest.raises(trio.BrokenResourceError):
            for _ in range(100):
                await stream.send_all(b"x" * 65536)
        error = (await line(stream))["error"]
        assert error == {
            "type": "RequestUnfinished",
            "message": f"a request of more than {limit} bytes; message_limit is 100000",
        }
        assert await line(stream) is None
        await other.send_all(status())
        assert (await line(other))["result"]["state"] == "running"


async def test_the_client_tells_why_it_was_cut_off(service: Service) -> None:
    with pytest.raises(Refused, match="a request of more than"):
        await put(service, "state.set", group="g", key="k", value="x" * 1_000_000)


async def test_half_a_line_is_not_done(service: Service) -> None:
    """What was whole but for the newline neither."""
    change = b'{"v":1,"op":"state.set","params":{"group":"g","key":"k","value":1}}'
    async with raw(service) as stream:
        await stream.send_all(change)
        await stream.send_eof()
        assert (await line(stream))["error"]["message"].startswith("a request ends with a newline")
        assert await line(stream) is None
    assert (await put(service, "state.get", group="g", key="k"))["found"] is False


async def test_who_says_nothing_for_long_is_cut_off(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte by byte is no way around it."""
    monkeypatch.setattr(server, "READ_WITHIN", 0.05)
    async with raw(service) as slow, raw(service) as silent:
        with pytest.raises(trio.BrokenResourceError):
            while True:
                await slow.send_all(b"x")
                await trio.sleep(0.001)
        assert (await line(slow))["error"]["type"] == "RequestUnfinished"
        assert await line(silent) is None
    monkeypatch.undo()
    assert (await put(service, "status"))["state"] == "running"


async def test_who_does_not_take_its_answers_is_cut_off(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "WRITE_WITHIN", 0.05)
    await service.state.set("g", "k", "x" * 90_000)
    ask_again = b'{"v":1,"op":"state.get","params":{"group":"g","key":"k"}}\n'
    async with raw(service) as stream:
        with trio.fail_after(20), pytest.raises(trio.BrokenResourceError):
            while True:
                await stream.send_all(ask_again * 100)
    assert (await put(service, "status"))["state"] == "running"


async def test_who_hangs_up_disturbs_nobody(service: Service) -> None:
    """At once, in the middle of a line, and with the answer under way."""
    for sent in (b"", b'{"v":1', status(), status() * 50):
        for _ in range(10):
            async with raw(service) as stream:
                if sent:
                    await stream.send_all(sent)
    with socket.socket(socket.AF_UNIX) as rude:
        rude.connect(str(folder(service) / SOCKET))
        rude.send(status())
    assert (await put(service, "status"))["state"] == "running"


async def test_more_than_so_many_connections_are_told_so(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MOST", 3)
    async with raw(service) as first, raw(service) as second, raw(service) as third:
        for stream in (first, second, third):
            await stream.send_all(status())
            assert (await line(stream))["result"]["state"] == "running"
        with pytest.raises(Refused, match="3 commands are talking to this service") as caught:
            await put(service, "status")
        assert caught.value.kind == "Overloaded"
        await first.aclose()
        with trio.fail_after(20):
            while True:  # until the service has noticed
                try:
                    told = await put(service, "status")
                except Refused:
                    continue
                break
    assert told["state"] == "running"


async def test_a_request_that_takes_too_long_is_given_up(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    from motia_trio.control import ops

    async def never(*_: Any, **__: Any) -> str:
        await trio.sleep_forever()
        return ""

    monkeypatch.setattr(ops.Enqueue, "within", 0.05)
    monkeypatch.setattr(service, "enqueue", never)
    with pytest.raises(Refused, match=r"not done within 0.05 s; it may be done later"):
        await put(service, "enqueue", topic="work")


async def test_a_mistake_of_ours_is_told_and_the_service_goes_on(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("a mistake")

    with monkeypatch.context() as patch:
        patch.setattr(service, "tree", broken)
        with pytest.raises(Refused, match="a mistake"):
            await put(service, "status")
    assert "control socket: a request failed" in caplog.text
    assert (await put(service, "status"))["state"] == "running"


async def test_at_a_stop_what_was_asked_is_answered_and_the_silent_are_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, go_on = trio.Event(), trio.Event()
    app = App([work], root=tmp_path)
    answers: list[Any] = []
    async with trio.open_nursery() as nursery:
        async with open_runtime(app, control=tmp_path, observers=()) as rt:
            enqueue = rt.enqueue

            async def slow(*args: Any, **options: Any) -> str:
                asked.set()
                await go_on.wait()
                return await enqueue(*args, **options)

            async def put(stream: trio.SocketStream) -> None:
                await stream.send_all(b'{"v":1,"op":"enqueue","params":{"topic":"work"}}\n')
                answers.append(await line(stream))
                answers.append(await line(stream))

            monkeypatch.setattr(rt, "enqueue", slow)
            busy = await trio.open_unix_socket(tmp_path / SOCKET)
            silent = await trio.open_unix_socket(tmp_path / SOCKET)
            nursery.start_soon(put, busy)
            await asked.wait()
            nursery.start_soon(partial(_set_when_gone, tmp_path / SOCKET, go_on))
        assert await line(silent) is None
        await silent.aclose()
    assert answers[0]["result"]["steps"] == ["Work"]
    assert answers[1] is None
    await busy.aclose()


async def _set_when_gone(path: Path, event: trio.Event) -> None:
    while path.exists():  # noqa: ASYNC240
        await trio.sleep(0.001)
    event.set()


async def test_a_stop_does_not_wait_for_ever_for_what_was_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "GRACE", 0.05)
    asked = trio.Event()
    app = App([work], root=tmp_path, shutdown_timeout=0.05)
    refused: list[BaseException] = []
    async with trio.open_nursery() as nursery:
        async with open_runtime(app, control=tmp_path, observers=()) as rt:

            async def never(*_: Any, **__: Any) -> str:
                asked.set()
                await trio.sleep_forever()
                return ""

            def put() -> None:
                with pytest.raises(NoAnswer) as caught:
                    ask(tmp_path, "enqueue", {"topic": "work"})
                refused.append(caught.value)

            monkeypatch.setattr(rt, "enqueue", never)
            nursery.start_soon(trio.to_thread.run_sync, put)
            await asked.wait()
    assert "hung up before it had answered: it was stopping, or has died" in str(refused[0])


async def test_while_a_stop_waits_for_a_handler_it_can_be_seen_which(tmp_path: Path) -> None:
    begun, go_on = trio.Event(), trio.Event()

    @step(queue("slow"), name="Slow")
    async def slow(data: Any) -> None:
        begun.set()
        await go_on.wait()

    place = tmp_path / ".motia"
    told: list[Any] = []

    async def look() -> None:
        with trio.fail_after(10):
            while not told or told[-1]["state"] != "stopping":
                told.append(await trio.to_thread.run_sync(ask, place, "status", {}))
        go_on.set()

    app = App([slow], root=tmp_path, store="sqlite:///.motia/store.db")
    async with trio.open_nursery() as nursery:
        async with open_runtime(app, control=place, observers=()) as rt:
            await rt.enqueue("slow")
            await begun.wait()
            nursery.start_soon(look)  # noqa: ASYNC111 - it looks while the scope is left
    assert [each["in_flight"] for each in told[-1]["steps"]] == [1]
    assert not listens(place)


async def test_an_error_in_the_scope_closes_the_socket_at_once(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_runtime(App([work], root=tmp_path), control=tmp_path, observers=()):
            _ = 1 / 0
    assert not (tmp_path / SOCKET).exists()  # noqa: ASYNC240


async def test_two_services_of_one_project_do_not_share_a_socket(
    service: Service, tmp_path: Path
) -> None:
    """Even if they have different stores."""
    other = App([work], root=tmp_path)
    with pytest.raises(NoSocket, match=f"process {os.getpid()} serves this project already"):
        async with open_runtime(other, control=folder(service), observers=()):
            pytest.fail("entered")
    assert (await put(service, "status"))["store"] == "sqlite:///.motia/store.db"


async def test_where_there_cannot_be_a_socket_the_service_runs_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")  # noqa: ASYNC240
    notebook = Notebook()
    app = App([work], root=tmp_path)
    async with open_runtime(app, control=tmp_path / "file", observers=[notebook]) as rt:
        await rt.enqueue("work")
    (warning,) = notebook.of(AppWarned)
    assert "file/control.sock: cannot be made: " in warning.message
    assert "motia-trio status, emit, dead-letters, state and store will not reach" in (
        warning.message
    )
