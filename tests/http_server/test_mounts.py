"""Applications of others below our paths, and ours below theirs."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trio
from hypercorn.config import Config
from hypercorn.trio import serve as hypercorn_serve
from quart_trio import QuartTrio
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, RejectConnection, Request, TextMessage

from motia_trio import App, LoadFailed, MountFailed, http, open_runtime, step
from motia_trio.events import AppWarned, MountRaised, RequestAnswered
from tests.http_server.wire import connect, served
from tests.support import Notebook


@step(http("GET", "/hello"), name="Hello")
async def hello(req: Any) -> Any:
    return {"status": 200, "body": req.path}


def quart_app(log: list[str]) -> Any:
    """A real one."""
    from quart import request, websocket

    app = QuartTrio("mounted")

    @app.before_serving
    async def start() -> None:
        log.append("start")

    @app.after_serving
    async def stop() -> None:
        log.append("stop")

    @app.get("/")
    async def index() -> str:
        return "index"

    @app.post("/items/<name>")
    async def item(name: str) -> dict[str, Any]:
        from quart import url_for

        given = await request.get_json()
        return {"name": name, "given": given, "url": url_for("item", name="x")}

    @app.get("/broken")
    async def broken() -> str:
        raise ValueError("in Quart")

    @app.websocket("/ws")
    async def socket() -> None:
        while True:
            await websocket.send(f"echo {await websocket.receive()!s}")

    return app


async def talk(rt: Any, path: str, *texts: str) -> list[str]:
    """Open a WebSocket, say some texts and give the answers; or why it was refused."""
    got: list[str] = []
    async with await connect(rt) as stream:
        ws = WSConnection(ConnectionType.CLIENT)
        await stream.send_all(ws.send(Request(host="x", target=path)))
        with trio.fail_after(10):
            while True:
                data = await stream.receive_some(65536)
                ws.receive_data(data or None)
                for event in ws.events():
                    if isinstance(event, RejectConnection):
                        return [str(event.status_code)]
                    if isinstance(event, CloseConnection):
                        return [*got, f"closed {event.code}"]
                    if isinstance(event, TextMessage):
                        got.append(event.data)
                    if isinstance(event, (AcceptConnection, TextMessage)):
                        if len(got) == len(texts):
                            await stream.send_all(ws.send(CloseConnection(code=1000)))
                            return got
                        await stream.send_all(ws.send(TextMessage(data=texts[len(got)])))
                if not data:
                    return [*got, "gone"]


async def test_a_quart_app_answers_below_its_path() -> None:
    """Requests, sockets, its own 404 and its lifespan."""
    log: list[str] = []
    notebook = Notebook()
    async with served(hello, notebook=notebook, mount={"/admin": quart_app(log)}) as (rt, client):
        assert log == ["start"]
        assert (await client.get("/hello")).text == "/hello"
        assert (await client.get("/admin/")).text == "index"
        answer = await client.post("/admin/items/a%20b", json=[1], headers={"x-trace-id": "t1"})
        assert answer.json()["name"] == "a b"
        assert answer.json()["given"] == [1]
        assert answer.json()["url"] == "/admin/items/x"
        assert answer.headers["x-trace-id"] == "t1"
        assert (await client.get("/admin/nope")).status_code == 404
        assert (await client.get("/administrator")).json() == {"error": "Not found"}
        assert (await client.get("/admin/broken")).status_code == 500
        assert await talk(rt, "/admin/ws", "one", "two") == ["echo one", "echo two"]
        assert await talk(rt, "/hello") == ["403"]
    assert log == ["start", "stop"]
    told = [(event.path, event.status) for event in notebook.of(RequestAnswered)]
    assert ("/admin/", 200) in told


def raises(error: Any, *, begun: bool = False) -> Any:
    """An ASGI app that raises when it is asked."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError("no lifespan here")
        if begun:
            if scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.accept"})
            else:
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b"half", "more_body": True})
        if error is not None:
            raise error

    return app


@pytest.mark.parametrize(
    "error",
    [ValueError("broken"), ExceptionGroup("g", [KeyError("a")]), SystemExit(3), None],
    ids=["error", "group", "exit", "nothing"],
)
async def test_an_app_that_raises_answers_500_and_hurts_nobody(error: Any) -> None:
    notebook = Notebook()
    async with served(hello, notebook=notebook, mount={"/m": raises(error)}) as (rt, client):
        answer = await client.get("/m/x", headers={"x-trace-id": "t1"})
        assert answer.status_code == 500
        assert answer.json() == {"error": "Internal server error", "traceId": "t1"}
        assert answer.headers["x-trace-id"] == "t1"
        assert (await talk(rt, "/m/ws"))[0] in {"403", "500"}
        assert (await client.get("/hello")).status_code == 200
    assert notebook.of(MountRaised)[0].path == "/m"
    assert notebook.of(MountRaised)[0].trace_id == "t1"
    assert "has no lifespan" in notebook.of(AppWarned)[0].message


async def test_an_app_that_raises_in_the_middle_has_its_answer_cut_off() -> None:
    async with served(hello, mount={"/m": raises(ValueError(), begun=True)}) as (rt, client):
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/m")
        assert await talk(rt, "/m/ws", "hi") == ["closed 1011"]
        assert (await client.get("/hello")).status_code == 200


async def shows(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI app that tells what it sees; with a lifespan that has state."""
    if scope["type"] == "lifespan":
        while True:
            event = await receive()
            scope["state"]["kept"] = "state"
            await send({"type": event["type"] + ".complete"})
            if event["type"] == "lifespan.shutdown":
                return
    seen = f"{scope['root_path']} {scope['path']} {scope['state'].get('kept')}"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": seen.encode()})


async def test_the_path_stays_whole_and_the_inner_mount_answers() -> None:
    mount = {"/a": raises(ValueError()), "/a/b/": shows}
    async with served(mount=mount) as (_, client):
        assert (await client.get("/a/b/c%20d")).text == "/a/b /a/b/c d state"
        assert (await client.get("/a/b")).text == "/a/b /a/b state"
        assert (await client.get("/a/bc")).status_code == 500


async def test_an_app_at_the_root_gets_all() -> None:
    async with served(mount={"/": shows}) as (_, client):
        assert (await client.get("/any/thing")).text == " /any/thing state"


async def test_an_app_that_cannot_start_is_an_error_and_nothing_listens() -> None:
    log: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Any) -> Any:
        raise RuntimeError("no database")
        yield

    mount = {"/first": quart_app(log), "/second": Starlette(lifespan=lifespan)}
    with pytest.raises(MountFailed, match=r"(?s)mounted at /second could not start:.*no database"):
        async with open_runtime(App([hello], mount=mount), http="127.0.0.1:0", observers=()):
            pytest.fail("entered")
    assert log == ["start", "stop"]


async def test_an_app_that_does_not_start_is_given_up(autojump_clock: Any) -> None:
    async def hangs(scope: Any, receive: Any, send: Any) -> None:
        await trio.sleep_forever()

    with pytest.raises(MountFailed, match="mounted at /h did not start in 60 s"):
        async with open_runtime(App(mount={"/h": hangs}), observers=()):
            pytest.fail("entered")


async def test_an_app_that_does_not_stop_is_left_and_told_of(autojump_clock: Any) -> None:
    async def stays(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await trio.sleep_forever()

    notebook = Notebook()
    app = App(mount={"/s": stays}, shutdown_timeout=5)
    async with open_runtime(app, observers=[notebook]):
        began = trio.current_time()
    assert trio.current_time() - began == 5
    assert "did not stop in 5 s" in notebook.of(AppWarned)[0].message


def test_a_route_below_a_mount_is_refused_at_load() -> None:
    with pytest.raises(LoadFailed, match="GET /hello is below /hello, where another"):
        App([hello], mount={"/hello": shows})
    with pytest.raises(LoadFailed, match="below /, where another"):
        App([hello], mount={"/": shows})
    App([hello], mount={"/hell": shows, "/hello2": shows})


@pytest.mark.parametrize(
    ("mount", "words"),
    [
        ({"admin": shows}, "begins with /"),
        ({"/a/:id": shows}, "has no parameters"),
        ({"/a": shows, "/a/": shows}, "something else is mounted there"),
        ({"/a": "app"}, "expected an ASGI application, not 'app'"),
    ],
)
def test_a_mount_that_cannot_be_is_refused_at_load(mount: Any, words: str) -> None:
    with pytest.raises(LoadFailed, match=words):
        App(mount=mount)


@asynccontextmanager
async def elsewhere(app: Any) -> Any:
    """Serve an app by a hypercorn of its own, on Trio; gives its URL."""
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    stop = trio.Event()
    async with trio.open_nursery() as nursery:

        async def edge(task_status: trio.TaskStatus[list[str]]) -> None:
            await hypercorn_serve(
                app, config, shutdown_trigger=stop.wait, task_status=task_status, mode="asgi"
            )

        (url,) = await nursery.start(edge)
        yield url
        stop.set()


@step(http("POST", "/things/:id"), name="Thing")
async def thing(req: Any) -> Any:
    return {"status": 200, "body": {"id": req.path_params.id, "body": req.body, "path": req.path}}


@step(http("GET", "/stream"), name="Stream")
async def stream(req: Any) -> Any:
    async def pieces() -> Any:
        yield "a"
        yield "b"

    return {"status": 200, "body": pieces()}


async def check(url: str) -> None:
    """Ours answers below /api there, theirs beside it."""
    async with httpx.AsyncClient(base_url=url) as client:
        assert (await client.get("/own")).text == "own"
        answer = await client.post("/api/things/a%2Fb", json={"n": 1})
        assert answer.json() == {"id": "a/b", "body": {"n": 1}, "path": "/things/a%2Fb"}
        assert (await client.get("/api/stream")).text == "ab"
        assert (await client.get("/api/nope")).json() == {"error": "Not found"}
        assert (await client.post("/api/things/1", content=bytes(2000))).status_code == 413


async def test_ours_is_mounted_in_a_starlette_app() -> None:
    async with open_runtime(App([thing, stream], body_limit=1000), observers=()) as rt:

        async def own(request: Any) -> Any:
            return PlainTextResponse("own")

        site = Starlette(routes=[Route("/own", own), Mount("/api", app=rt.asgi)])
        async with elsewhere(site) as url:
            await check(url)


async def test_ours_is_mounted_in_a_quart_app() -> None:
    async with open_runtime(App([thing, stream], body_limit=1000), observers=()) as rt:
        site = QuartTrio("site")

        @site.get("/own")
        async def own() -> str:
            return "own"

        theirs = site.asgi_app

        async def both(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http" and scope["path"].startswith("/api/"):
                await rt.asgi({**scope, "root_path": "/api"}, receive, send)
            else:
                await theirs(scope, receive, send)

        site.asgi_app = both  # type: ignore[method-assign]
        async with elsewhere(site) as url:
            await check(url)
