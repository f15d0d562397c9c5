"""The crowd: all clients, in one process, and as little between them and their sockets as can be.

    python -m benchmarks.crowd.load PORT

It does what its standard input says, and answers each line with a line of JSON:

* ``connect N``: open so many more connections, join, and wait for each answer.
* ``expect FIRST COUNT``: answered with ``null`` at once; then each connection must get so many
  changes, from this number on, each once and in order. Anything else ends the program. When all
  have all, the answer is the latencies, and how busy the crowd was.
* ``ask``: what a connection that was pinged last or is pinged meanwhile; answered at once.

No framework: one selector, one buffer, and of a frame only its length and its item's mark are read.
A latency begins where the publisher began (see `messages`) and ends when the system call that
received the message has returned.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from array import array
from typing import Any

from benchmarks.crowd.control import allow_files
from benchmarks.crowd.messages import DIGITS, JOIN, MARK, TIME

PATIENCE = 60.0  # seconds in which something must come
BUFFER = 1 << 18  # bytes that are taken at once
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # for that key: RFC 6455, 1.3
TEXT, CLOSE, PING, PONG = 0x81, 0x88, 0x89, 0x8A
MASK = b"\0\0\0\0"  # what is masked with zeros is as it was


def masked(head: int, data: bytes) -> bytes:
    """A frame as a client sends it."""
    if len(data) < 126:
        return bytes([head, 0x80 | len(data)]) + MASK + data
    return bytes([head, 0xFE]) + len(data).to_bytes(2, "big") + MASK + data


class Client:
    """One connection: what it needs to know between two messages."""

    __slots__ = ("rest", "seen", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.rest = b""  # of a frame that is not complete
        self.seen = 0  # changes of this round
        self._join(port)
        self.socket.setblocking(False)  # noqa: FBT003

    def _join(self, port: int) -> None:
        """Shake hands, ask for the group, and wait for the answer."""
        self.socket.sendall(REQUEST % port)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._some()
        head, _, data = data.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 ") or ACCEPT not in head or data:
            raise SystemExit(f"expected 101, and nothing more, got {head!r} {data!r}")
        self.socket.sendall(masked(TEXT, JOIN.encode()))
        while not data.endswith(b"}"):
            data += self._some()
        if data[0] != TEXT or b'"sync","data":[]' not in data.replace(b" ", b""):
            raise SystemExit(f"expected an empty sync, got {data!r}")

    def _some(self) -> bytes:
        data = self.socket.recv(65536)
        if not data:
            raise SystemExit("the server closed a connection that joins")
        return data


class Crowd:
    """All connections, and the round that runs."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._poll = select.epoll()
        self._poll.register(sys.stdin.fileno(), select.EPOLLIN)
        self._clients: dict[int, Client] = {}
        self._buffer = bytearray(BUFFER)
        self._numbers: list[bytes] = []  # as the marks have them
        self._begun: list[int] = []  # nanoseconds, of each change
        self._arrived: list[array[int]] = []  # nanoseconds, of each change at each client
        self._waiting = 0  # clients that have not all of this round
        self._cpu = self._wall = 0.0

    def run(self) -> None:
        """Receive and obey, until the standard input ends."""
        stdin = sys.stdin.fileno()
        lines = b""
        while True:
            ready = self._poll.poll(PATIENCE if self._waiting else None)
            if not ready:
                raise SystemExit(self._missing())
            for descriptor, _ in ready:
                if descriptor != stdin:
                    self._receive(self._clients[descriptor])
                    continue
                if not (data := os.read(stdin, 65536)):
                    return
                *whole, lines = (lines + data).split(b"\n")
                for line in whole:
                    self._obey(line.decode().split())

    def _obey(self, words: list[str]) -> None:
        if words[0] == "connect":
            for _ in range(int(words[1])):
                client = Client(self._port)
                self._clients[client.socket.fileno()] = client
                self._poll.register(client.socket.fileno(), select.EPOLLIN)
        else:
            first, count = map(int, words[1:])
            self._numbers = [b"%0*d" % (DIGITS, first + index) for index in range(count)]
            self._begun = []
            self._arrived = [array("q") for _ in range(count)]
            self._waiting = len(self._clients)
            for client in self._clients.values():
                client.seen = 0
            self._cpu, self._wall = time.process_time(), time.perf_counter()
        _say(None)

    def _receive(self, client: Client) -> None:
        """Take what came, and note the changes that are complete."""
        buffer, start = self._buffer, len(client.rest)
        try:
            if start:
                buffer[:start] = client.rest
                client.rest = b""
                end = start + client.socket.recv_into(memoryview(buffer)[start:])
            else:
                end = client.socket.recv_into(buffer)
        except ConnectionError as error:
            raise SystemExit(f"a connection broke: {error}; {self._missing()}") from None
        now = time.monotonic_ns()
        if end == start:
            raise SystemExit(f"the server closed a connection; {self._missing()}")
        at = 0
        while end - at >= 4:
            length = buffer[at + 1]
            if length == 126:
                data = at + 4
                length = buffer[at + 2] << 8 | buffer[at + 3]
            else:
                data = at + 2
            after = data + length
            if after > end:
                break
            if buffer[at] != TEXT:
                self._control(client, buffer[at], bytes(buffer[data:after]))
            else:
                self._note(client, data, after, now)
            at = after
        if at < end:
            client.rest = bytes(buffer[at:end])

    def _note(self, client: Client, data: int, after: int, now: int) -> None:
        """Note a change, if it is the one that was due."""
        seen, buffer = client.seen, self._buffer
        mark = buffer.find(MARK, data, after) + len(MARK)
        space = mark + DIGITS
        due = self._numbers[seen] if seen < len(self._numbers) else b"none"
        if buffer[mark:space] != due:
            got = bytes(buffer[data:after])
            raise SystemExit(f"change {due.decode()} was due, got {got!r}")
        if seen == len(self._begun):
            self._begun.append(int(buffer[space + 1 : space + 1 + TIME]))
        self._arrived[seen].append(now)
        client.seen = seen = seen + 1
        if seen == len(self._numbers):
            self._waiting -= 1
            if not self._waiting:
                _say(self._figures())

    def _control(self, client: Client, head: int, data: bytes) -> None:
        if head == PING:
            client.socket.send(masked(PONG, data))
        elif head != PONG:
            raise SystemExit(f"frame {head:#x}: {data!r}; {self._missing()}")

    def _figures(self) -> dict[str, Any]:
        """Of the round that ends now."""
        wall = time.perf_counter() - self._wall
        busy = (time.process_time() - self._cpu) / wall
        arrived = zip(self._begun, self._arrived, strict=True)
        times = sorted(each - begun for begun, all_of in arrived for each in all_of)
        p50, p99 = (times[int((len(times) - 1) * part)] / 1e6 for part in (0.5, 0.99))
        last = max(each[-1] for each in self._arrived)
        return {
            "deliveries": len(times),
            "seconds": (last - self._begun[0]) / 1e9,
            "p50_ms": p50,
            "p99_ms": p99,
            "busy": busy,
        }

    def _missing(self) -> str:
        seen = sum(client.seen for client in self._clients.values())
        due = len(self._numbers) * len(self._clients)
        return f"{seen:,} of {due:,} deliveries came, {self._waiting} clients wait"


def _say(answer: object) -> None:
    print(json.dumps(answer), flush=True)


def main() -> None:
    """Be the crowd."""
    allow_files()
    Crowd(int(sys.argv[1])).run()


if __name__ == "__main__":
    main()
