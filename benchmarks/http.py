"""Requests a second of a trivial JSON step, beside a hand-written ASGI function.

    python benchmarks/http.py [--seconds S] [--rounds N]

Both are served by the same hypercorn with the same settings, each by a process of its own; the
load comes from this process over keep-alive connections, in turns. The step is the documents'
own hello; the ASGI function answers with the same bytes and routes nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

# run as a script, this folder must not be searched: its http.py would hide the library's
sys.path[0] = str(Path(__file__).parents[1])

import argparse
import math
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trio
from benchmarks.table import print_table, ratios, spread

REQUEST = b"GET /hello HTTP/1.1\r\nhost: localhost\r\n\r\n"
BODY = b'{"message":"Hello world!"}'


async def bare_app(scope: Any, receive: Any, send: Any) -> None:
    """The reference: what one would write by hand."""
    if scope["type"] == "lifespan":
        while True:
            event = await receive()
            await send({"type": event["type"] + ".complete"})
            if event["type"] == "lifespan.shutdown":
                return
    while (await receive()).get("more_body"):
        pass
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(BODY)),
        (b"x-trace-id", b"0" * 32),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY, "more_body": False})


async def serve_bare() -> None:
    """Serve the reference for ever."""
    from motia_trio.http_server import listen

    async with trio.open_nursery() as nursery:

        async def edge(task_status: trio.TaskStatus[str]) -> None:
            stop = trio.Event()
            await listen(bare_app, "127.0.0.1:0", stop=stop, drain=1, task_status=task_status)

        print(await nursery.start(edge), flush=True)


async def serve_step() -> None:
    """Serve the step for ever."""
    from motia_trio import App, http, open_runtime, step

    @step(http("GET", "/hello"))
    async def hello(req: Any, ctx: Any) -> Any:
        return {"status": 200, "body": {"message": "Hello world!"}}

    async with open_runtime(App([hello]), http="127.0.0.1:0", observers=()) as runtime:
        print(runtime.http_url, flush=True)
        await trio.sleep_forever()


@contextmanager
def server(kind: str) -> Iterator[int]:
    """A process that serves; gives its port."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--serve", kind], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline().rpartition(":")[2])
    finally:
        process.terminate()
        process.wait()


async def ask(stream: trio.SocketStream) -> bool:
    """One request and its answer; False when the server closed the connection instead."""
    await stream.send_all(REQUEST)
    answer = bytearray()
    while not answer.endswith(BODY):
        part = await stream.receive_some(65536)
        if not part:
            return False
        answer += part
    return True


async def load(port: int, connections: int, seconds: float) -> tuple[float, float]:
    """Requests a second over so many connections, and the 99th percentile in milliseconds."""
    times: list[float] = []
    end = time.perf_counter() + seconds

    async def client() -> None:
        while time.perf_counter() < end:  # hypercorn closes a connection after 1,000 requests
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                while (began := time.perf_counter()) < end and await ask(stream):
                    times.append(time.perf_counter() - began)

    async with trio.open_nursery() as nursery:
        for _ in range(connections):
            nursery.start_soon(client)
    times.sort()
    return len(times) / seconds, times[math.ceil(len(times) * 0.99) - 1] * 1000


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="for each measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", choices=["bare", "step"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        trio.run(serve_bare if options.serve == "bare" else serve_step)
        return
    rows = [("connections", "ASGI function", "step", "ratio", "p99 ms", "p99 ms of step")]
    with server("bare") as bare, server("step") as ours:
        for port in (bare, ours):
            trio.run(load, port, 16, 0.5)
        for connections in (1, 16, 64):
            pairs = [
                (
                    trio.run(load, bare, connections, options.seconds),
                    trio.run(load, ours, connections, options.seconds),
                )
                for _ in range(options.rounds)
            ]
            reference, mine = [a[0] for a, _ in pairs], [b[0] for _, b in pairs]
            rows.append(
                (
                    str(connections),
                    spread(reference),
                    spread(mine),
                    spread(ratios(mine, reference), 2),
                    spread([a[1] for a, _ in pairs], 1),
                    spread([b[1] for _, b in pairs], 1),
                )
            )
    print("requests a second, median (range)\n")
    print_table(rows)


if __name__ == "__main__":
    main()
