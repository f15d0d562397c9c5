"""``motia-trio run`` of a project that has streams."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import trio
from trio_websocket import open_websocket_url

from tests.support import command, invoke, project, run_command

FILES = {
    "src/chat_stream.py": """
config = {"name": "chat"}
def can_access(subscription, auth):
    return subscription.group_id == auth["room"]
config["canAccess"] = can_access
""",
    "src/guards.py": """
import motia_trio

async def around(req, ctx, next):
    return await next()

def who(request):
    if request.token is None:
        raise PermissionError("no token")
    return {"room": request.token}
""",
    "src/nothing_step.py": """
config = {"name": "Nothing", "triggers": [{"type": "queue", "topic": "nothing"}]}
async def handler(input, ctx): ...
""",
    "motia.toml": """
[streams]
authenticate = "src.guards:who"
""",
}


def join(group: str) -> str:
    data = {"streamName": "chat", "groupId": group, "subscriptionId": "s"}
    return json.dumps({"type": "join", "data": data})


async def answer_to_an_upgrade(url: str) -> bytes:
    host, _, port = url.removeprefix("ws://").partition(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all(
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        return bytes(await stream.receive_some())


async def test_clients_connect_where_the_ready_line_says_and_those_who_may_are_let_in(
    tmp_path: Path,
) -> None:
    with command(project(tmp_path, FILES)) as service:
        assert service.url.startswith("http://")
        async with open_websocket_url(f"{service.streams_url}/?authToken=room") as socket:
            await socket.send_message(join("other"))
            assert json.loads(await socket.get_message())["event"] == {"type": "unauthorized"}
            await socket.send_message(join("room"))
            assert json.loads(await socket.get_message())["event"] == {"type": "sync", "data": []}
        for _ in range(3):
            assert (await answer_to_an_upgrade(service.streams_url)).startswith(b"HTTP/1.1 401 ")
        code, out, err = await trio.to_thread.run_sync(service.stop)
    assert (code, out) == (0, "")
    assert "1 step: 1 queue trigger, 1 stream" in err
    assert err.count("stream client refused, 401: ") == 1
    assert err.count("PermissionError: no token") == 2  # one line, and its traceback in it


def test_without_streams_there_is_no_port_for_them(tmp_path: Path) -> None:
    files = {name: text for name, text in FILES.items() if name == "src/nothing_step.py"}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with command(project(tmp_path, files), "--stream-port", port) as service:
            assert "streams" not in service.ready


def test_a_port_that_is_taken_is_told_with_the_flag_that_chooses_another(tmp_path: Path) -> None:
    root = project(tmp_path, FILES)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, out, err = run_command("run", str(root), "--port", "0", "--stream-port", port)
    assert (code, out) == (1, "")
    assert f"127.0.0.1:{port}" in err
    assert "--stream-port" in err


def test_an_authenticate_that_is_not_there_keeps_the_service_from_starting(tmp_path: Path) -> None:
    root = project(tmp_path, FILES)
    code, out, err = run_command(
        "run", str(root), "--port", "0", "--stream-port", "0", "--authenticate", "src.guards:whom"
    )
    assert (code, out) == (1, "")
    assert err == (
        "motia-trio: authenticate: 'src.guards:whom': module 'src.guards' has no 'whom'\n"
    )


def test_commands_that_only_look_at_the_store_need_no_function_of_the_project(
    tmp_path: Path,
) -> None:
    toml = 'middleware = ["src.guards:around"]\n' + FILES["motia.toml"]
    root = project(tmp_path, FILES | {"motia.toml": toml})
    assert run_command("state", "set", "g", "k", "1", "--dir", str(root))[0] == 0
    assert run_command("state", "get", "g", "k", "--dir", str(root))[:2] == (0, "1\n")


def test_the_help_has_streams_under_a_heading_of_their_own() -> None:
    code, out, _ = invoke("run", "--help")
    before, heading, after = out.partition("\nStreams:\n")
    assert (code, bool(heading)) == (0, True)
    assert "--stream" not in before.partition("\nOptions:\n")[2]
    for flag in ("--stream-port", "--authenticate", "--stream-origins", "--stream-log"):
        assert flag in after
    assert "--help" not in after
