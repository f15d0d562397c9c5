"""Mixed load at half of what is possible, for ten minutes: memory, file and latency stay flat.

    python benchmarks/soak.py [--minutes M] [--share 0.5] [--plot soak.png]

A service as users run it, in a process of its own: HTTP, a queue whose step fails now and then, a
fifo queue, state with and without an expiry, a transactional step, delayed messages, on a file with
``synchronous=FULL``. First its capacity is measured with as many clients as it can serve; then
clients send at a fixed rate of half of it, and once a second this process notes resident memory,
the sizes of file and log, the median and the 99th percentile of the answers, and what waits. At the
end it says how the last third differs from the second, and draws the plot (matplotlib, of the
dependency group ``bench``).
"""

from __future__ import annotations

import sys
from pathlib import Path

# run as a script, this folder must not be searched: its files would hide the library's
sys.path[0] = str(Path(__file__).parents[1])

import argparse
import json
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trio
from benchmarks.table import print_table

CLIENTS = 32
ORDERS = 2000


async def serve(folder: str) -> None:
    """The service, for ever; a line of figures on stdout for each line on stdin."""
    from motia_trio import App, http, open_runtime, queue, step

    fifo = {"queue": {"type": "fifo"}}

    @step(http("POST", "/orders"), name="Post", enqueues=["paid", "booked", "log", "later"])
    async def post(req: Any, ctx: Any) -> Any:
        order = dict(req.body)
        await ctx.state.set("orders", f"order {order['id'] % ORDERS}", order)
        await ctx.enqueue("paid", order)
        await ctx.enqueue("log", order, group=str(order["id"] % 10))
        if order["id"] % 10 == 0:
            await ctx.enqueue("later", order, delay=5)
            await ctx.state.set("seen", f"id {order['id']}", order["id"], ttl=20)
        return {"status": 201, "body": {"id": order["id"]}}

    @step(queue("paid"), name="Pay", enqueues=["booked"])
    async def pay(order: Any, ctx: Any) -> None:
        if random.random() < 0.01:
            raise OSError("the bank does not answer")
        await ctx.enqueue("booked", {"id": order["id"]})

    @step(queue("booked"), name="Book", delivery="transactional")
    async def book(order: Any, ctx: Any) -> None:
        name = f"account {order['id'] % 50}"
        await ctx.state.update("accounts", name, {"type": "increment", "path": "sum"})

    @step(queue("log", infrastructure=fifo), name="Log")
    async def log(order: Any, ctx: Any) -> None:
        """Only take it."""

    @step(queue("later"), name="Later")
    def later(order: Any, ctx: Any) -> None:
        """In a thread."""

    app = App([post, pay, book, log, later], root=folder, store="sqlite:///store.db")
    async with open_runtime(app, http="127.0.0.1:0", observers=()) as rt:
        print(rt.http_url, flush=True)
        while await trio.to_thread.run_sync(sys.stdin.readline):
            tree = rt.tree()
            counts = [actor.deliveries for actor in tree.actors]
            waiting = sum(each.waiting + each.leased for each in counts)
            print(json.dumps([waiting, sum(each.dead for each in counts)]), flush=True)


class Service:
    """The running service as this process sees it."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        import psutil

        assert process.stdout is not None
        self._process = process
        self._folder = folder
        self._memory = psutil.Process(process.pid)
        self.port = int(process.stdout.readline().rpartition(":")[2])

    def look(self) -> tuple[float, float, float, int, int]:
        """Resident memory, file and log in MB; what waits, and dead letters."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        waiting, dead = json.loads(self._process.stdout.readline())
        sizes = [
            (self._folder / name).stat().st_size / 1e6 for name in ("store.db", "store.db-wal")
        ]
        return self._memory.memory_info().rss / 1e6, *sizes, waiting, dead


@contextmanager
def service() -> Iterator[Service]:
    """Start it, and stop it."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        process = subprocess.Popen(
            [sys.executable, __file__, "--serve", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield Service(process, Path(folder))
        finally:
            process.terminate()
            process.wait()


async def post(stream: trio.SocketStream, number: int) -> bool:
    """One order and its answer; False when the server closed the connection instead."""
    body = json.dumps({"id": number, "item": "x" * 900}).encode()
    head = b"POST /orders HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    await stream.send_all(head + b"content-length: %d\r\n\r\n%b" % (len(body), body))
    answer = b""
    while b"}" not in answer:
        part = await stream.receive_some(65536)
        if not part:
            return False
        answer += part
    assert b" 201" in answer[:16], answer
    return True


class Load:
    """Clients that post orders, as fast as they can or at a rate."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._number = 0
        self.times: list[float] = []

    async def run(self, seconds: float, rate: float | None) -> None:
        """Post for so many seconds."""
        end = time.perf_counter() + seconds

        async def client(index: int) -> None:
            due = time.perf_counter() + (index / rate if rate else 0)
            while time.perf_counter() < end:
                async with await trio.open_tcp_stream("127.0.0.1", self._port) as stream:
                    while time.perf_counter() < end:
                        if rate:
                            await trio.sleep(max(0, due - time.perf_counter()))
                            due += CLIENTS / rate
                        self._number += 1
                        began = time.perf_counter()
                        if not await post(stream, self._number):
                            break
                        self.times.append(time.perf_counter() - began)

        async with trio.open_nursery() as nursery:
            for index in range(CLIENTS):
                nursery.start_soon(client, index)

    def taken(self) -> list[float]:
        """The times since the last call, in order."""
        times, self.times = sorted(self.times), []
        return times


async def soak(running: Service, minutes: float, share: float) -> list[dict[str, float]]:
    """Measure the capacity, then load."""
    load = Load(running.port)
    await load.run(3, None)
    load.taken()
    await load.run(8, None)
    capacity = len(load.taken()) / 8
    while running.look()[3]:  # noqa: ASYNC110 - another process tells when asked
        await trio.sleep(0.2)
    rate = capacity * share
    print(f"capacity {capacity:,.0f} orders a second; soaking at {rate:,.0f}", flush=True)
    notes: list[dict[str, float]] = []

    async def watch() -> None:
        began = time.perf_counter()
        while True:
            await trio.sleep(1)
            times = load.taken() or [0.0]
            rss, file, log, waiting, dead = await trio.to_thread.run_sync(running.look)
            notes.append(
                {
                    "at": time.perf_counter() - began,
                    "memory, MB": rss,
                    "file, MB": file,
                    "log, MB": log,
                    "p50, ms": times[len(times) // 2] * 1e3,
                    "p99, ms": times[len(times) * 99 // 100] * 1e3,
                    "waiting": waiting,
                    "dead letters": dead,
                    "orders a second": len(times),
                }
            )
            if len(notes) % 30 == 0:
                print(json.dumps({key: round(v, 1) for key, v in notes[-1].items()}), flush=True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await load.run(minutes * 60, rate)
        nursery.cancel_scope.cancel()
    return notes


def draw(notes: list[dict[str, float]], path: str) -> None:
    """Draw every figure over time."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = [name for name in notes[0] if name != "at"]
    figure, axes = plt.subplots(len(names), 1, figsize=(9, 2 * len(names)), sharex=True)
    for name, ax in zip(names, axes, strict=True):
        ax.plot([note["at"] / 60 for note in notes], [note[name] for note in notes], linewidth=0.8)
        ax.set_ylabel(name)
        ax.set_ylim(0, 1.2 * max(*(note[name] for note in notes), 0.1))
        ax.grid(alpha=0.3)
    axes[-1].set_xlabel("minutes")
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    print(f"drawn: {path}")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--share", type=float, default=0.5, help="of the capacity")
    parser.add_argument("--plot", default="soak.png")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        trio.run(serve, options.serve)
        return
    with service() as running:
        notes = trio.run(soak, running, options.minutes, options.share)
    third = len(notes) // 3
    rows = [("figure", "second third", "last third", "change")]
    for name in notes[0]:
        if name == "at":
            continue
        before = statistics.median(note[name] for note in notes[third : 2 * third])
        after = statistics.median(note[name] for note in notes[2 * third :])
        change = f"{after / before - 1:+.0%}" if before else ""
        rows.append((name, f"{before:,.1f}", f"{after:,.1f}", change))
    print_table(rows)
    draw(notes, options.plot)


if __name__ == "__main__":
    main()
