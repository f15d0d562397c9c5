"""The clients: keep-alive connections that each send the next request after the answer.

    python -m benchmarks.web.load EXCHANGE PORT CONNECTIONS SECONDS FIRST

One thread and no framework, so that the clients take little of the machine from what they
measure: it prints, as JSON, how busy they were, too. Every answer is compared with what is right,
byte by byte; a wrong one ends the program. If the work goes on behind the answers, it waits until
all of what was accepted is done, which its handlers tell through the pipe of `peers.channel`.
"""

from __future__ import annotations

import itertools
import json
import selectors
import socket
import sys
import time
from typing import NamedTuple

from benchmarks.peers.channel import ReadEnd
from benchmarks.web.exchanges import EXCHANGES, Exchange, numbered

__all__ = ["Figures"]

PATIENCE = 30.0  # seconds in which something must come back


class Figures(NamedTuple):
    """Of one run."""

    rate: float  # answers a second
    p50_ms: float
    p99_ms: float
    handled: float  # orders a second until the last was done; 0 if there is no such work
    busy: float  # the part of the time that the clients had a core
    next_number: int
    cpu_us: float = 0.0  # of all processes that serve, for each request; the clients do not know it


class Load:
    """All connections of a run."""

    def __init__(self, exchange: Exchange, port: int, seconds: float, first: int) -> None:
        self.exchange = exchange
        self.port = port
        self.numbers = itertools.count(first)
        self.seconds = seconds
        self.first = first
        self.request = exchange.request
        self.status = b"HTTP/1.1 %d " % exchange.status
        self.selector = selectors.DefaultSelector()
        self.times: list[float] = []
        self.open = 0
        self.end = 0.0
        self.sent = 0
        self._done: set[int] = set()
        self._pipe = ReadEnd()

    def run(self, connections: int) -> Figures:
        """Load, and wait for the end of all work."""
        clients = [Client(self) for _ in range(connections)]
        if self.exchange.handled:
            self.selector.register(self._pipe.fd, selectors.EVENT_READ, self.collect)
        cpu, began = time.process_time(), time.perf_counter()
        self.end = began + self.seconds
        for client in clients:
            client.ask()
        while self.open:
            self._wait(f"{self.open} answers")
        busy = (time.process_time() - cpu) / (time.perf_counter() - began)
        while self.exchange.handled and len(self._done) < self.sent:
            self._wait(f"{self.sent - len(self._done)} of {self.sent} orders to be handled")
        took = time.perf_counter() - began
        times = sorted(self.times) or [self.seconds]  # none: the worker was not there yet
        p50, p99 = (times[int((len(times) - 1) * part)] * 1000 for part in (0.5, 0.99))
        return Figures(
            len(self.times) / self.seconds,
            p50,
            p99,
            self.sent / took if self.exchange.handled else 0.0,
            busy,
            self.first + self.sent,
        )

    def _wait(self, what: str) -> None:
        ready = self.selector.select(PATIENCE)
        if not ready:
            raise SystemExit(f"nothing came in {PATIENCE} s; waited for {what}")
        for key, _ in ready:
            key.data()

    def collect(self) -> None:
        """Note what was handled; once, if it was delivered twice."""
        self._done.update(number for number in self._pipe.read() if number >= self.first)


class Client:
    """One connection."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._socket = self._connect()
        self._buffer = b""
        self._number = 0
        self._began = 0.0

    def _connect(self) -> socket.socket:
        connected = socket.create_connection(("127.0.0.1", self._load.port), PATIENCE)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.settimeout(0)
        self._load.selector.register(connected, selectors.EVENT_READ, self.receive)
        return connected

    def _close(self) -> None:
        self._load.selector.unregister(self._socket)
        self._socket.close()

    def ask(self) -> None:
        """Send the next request."""
        load = self._load
        self._number = next(load.numbers)
        load.open += 1
        load.sent += 1
        self._began = time.perf_counter()
        request = numbered(load.request, self._number)
        if self._socket.send(request) != len(request):
            raise SystemExit("a request did not fit into the socket's buffer")

    def receive(self) -> None:
        """Take what came; if it is a whole answer, check it and ask again."""
        data = self._socket.recv(65536)
        if not data:
            raise SystemExit(f"the server closed a connection on request {self._number}")
        if self._buffer:
            data = self._buffer + data
        head, _, body = data.partition(b"\r\n\r\n")
        head = head.lower()
        _, found, rest = head.partition(b"\r\ncontent-length:")
        if not found or len(body) < int(rest.partition(b"\r\n")[0]):
            if len(data) > 65536:
                raise SystemExit(f"an answer without an end: {data[:400]!r}")
            self._buffer = data
            return
        self._buffer = b""
        load, now = self._load, time.perf_counter()
        self._check(head, body)
        load.open -= 1
        if now < load.end:
            load.times.append(now - self._began)
            if b"\r\nconnection: close" in head:  # hypercorn's way after 1,000 requests
                self._close()
                self._socket = self._connect()
            self.ask()
        else:
            self._close()

    def _check(self, head: bytes, body: bytes) -> None:
        load, exchange = self._load, self._load.exchange
        right = numbered(exchange.answer, self._number)
        if body != right or not head.startswith(load.status.lower()) or exchange.header not in head:
            raise SystemExit(
                f"{exchange.method} {exchange.path}: expected {load.status!r} {exchange.header!r} "
                f"{right!r}, got {head[:300]!r} {body[:300]!r}"
            )


def main() -> None:
    """Run and print."""
    name, port, connections, seconds, first = sys.argv[1:]
    load = Load(EXCHANGES[name], int(port), float(seconds), int(first))
    print(json.dumps(load.run(int(connections))))


if __name__ == "__main__":
    main()
