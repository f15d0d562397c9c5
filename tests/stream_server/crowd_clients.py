"""A crowd of clients in a process of its own, on bare sockets: good ones, or three kinds of bad ones.

    python crowd_clients.py PORT good=1000
    python crowd_clients.py PORT deaf=200 rubbish=200 resets=200

It says `ready` when all of them were there once. Each line on stdin is answered with a line of JSON:
what was heard since the last; the end of stdin ends it, with resets.
"""

from __future__ import annotations

import heapq
import json
import os
import random
import selectors
import socket
import struct
import sys
import time
from typing import Any

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nhost: test\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
)


def frame(opcode: int, raw: bytes, mask: int = 0x80, fin: int = 0x80) -> bytes:
    if len(raw) < 126:
        head = bytes([fin | opcode, mask | len(raw)])
    else:
        head = bytes([fin | opcode, mask | 126]) + struct.pack("!H", len(raw))
    return head + (bytes(4) if mask else b"") + raw


JOIN = frame(
    1,
    b'{"type":"join","data":{"streamName":"chat","groupId":"room","subscriptionId":"1"}}',
)
LOUD = JOIN.replace(b'"room"', b'"loud"').replace(b'"1"', b'"2"')
# what there is to be sent that no client should send
RUBBISH = [
    frame(1, b"rubbish"),
    frame(1, b'{"type":["join"],"data":1}'),
    frame(1, b'{"type":"join","data":{"streamName":"nope","groupId":"g","subscriptionId":"1"}}'),
    frame(1, b"[" * 10_000),
    frame(9, bytes(125)) * 20,
    frame(1, b'{"type":"join"', fin=0),
    frame(1, b"\xff\xfe\xfd"),
    frame(2, bytes(100)),
    frame(1, b"{}", mask=0),
    frame(3, b"what"),
    frame(1, b"x" * 60_000, fin=0) + frame(0, b"x" * 60_000),
    bytes(range(256)) * 8,
]
GARBAGE = [
    b"\x16\x03\x01\x02\x00" + bytes(200),
    b"HELO there\r\n\r\n",
    bytes(range(256)),
    b"GET / HTTP/1.1\r\n\r\n",
]


class Crowd:
    """All clients of this process, and when each is to do something."""

    def __init__(self, port: int) -> None:
        self.where = ("127.0.0.1", port)
        self.selector = selectors.DefaultSelector()
        self.due: list[tuple[float, int, Any]] = []
        self.number = 0
        self.chance = random.Random(1)
        self.took: list[float] = []
        self.problems: list[str] = []
        self.counts = {"heard": 0, "connected": 0, "gone": 0}

    def at(self, seconds: float, act: Any) -> None:
        """Have something done in so many seconds."""
        self.number += 1
        heapq.heappush(self.due, (time.monotonic() + seconds, self.number, act))

    def step(self, most: float = 0.5) -> None:
        """Do what there is to be done."""
        now = time.monotonic()
        while self.due and self.due[0][0] <= now:
            heapq.heappop(self.due)[2]()
        wait = min(most, self.due[0][0] - now) if self.due else most
        for key, _ in self.selector.select(max(0, wait)):
            key.data()

    def run(self) -> None:
        """Until stdin ends."""
        self.selector.register(0, selectors.EVENT_READ, self._told)
        while True:
            self.step()

    def _told(self) -> None:
        if not os.read(0, 100):
            os._exit(0)
        self.took.sort()
        took = self.took
        found = {
            "number": len(took),
            "p50": took[len(took) // 2] if took else 0,
            "p99": took[int(len(took) * 0.99)] if took else 0,
            "worst": took[-1] if took else 0,
            "problems": self.problems,
            "clients": self.counts,
        }
        self.took = []
        say(json.dumps(found))


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Client:
    """One client: connects, and comes again a while after it was gone."""

    pause = 1.0
    buffer = 0

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.sock: socket.socket | None = None
        self.heard = b""
        self.life = 0

    def connect(self) -> None:
        self.life += 1
        self.heard = b""
        self.sock = sock = socket.socket()
        if self.buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.buffer)
        sock.settimeout(None)
        try:
            sock.connect(self.crowd.where)
        except OSError as error:
            self.lose(f"cannot connect: {error}")
            return
        sock.settimeout(0)
        self.crowd.counts["connected"] += 1
        self.crowd.selector.register(sock, selectors.EVENT_READ, self.read)
        self.begin()

    def begin(self) -> None:
        """Do what there is to be done first."""
        self.send(HANDSHAKE)

    def send(self, raw: bytes) -> None:
        try:
            if self.sock is not None:
                self.sock.send(raw)
        except BlockingIOError:
            pass
        except OSError:
            self.lose()

    def read(self) -> None:
        assert self.sock is not None
        try:
            more = self.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            more = b""
        if more:
            self.heard += more
            self.take()
        else:
            self.lose()

    def take(self) -> None:
        """Take what was heard."""
        self.heard = b""

    def lose(self, why: str | None = None) -> None:
        """It is gone: come again."""
        if self.sock is None:
            return
        self.close()
        self.crowd.counts["gone"] += 1
        if why is not None:
            self.crowd.problems.append(why)
        self.crowd.at(self.pause * (0.5 + self.crowd.chance.random()), self.connect)

    def close(self) -> None:
        if self.sock is not None:
            try:
                self.crowd.selector.unregister(self.sock)
            except (KeyError, ValueError):
                pass
            self.sock.close()
            self.sock = None

    def reset(self) -> None:
        if self.sock is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.lose()


class Good(Client):
    """Follows, and holds that each change comes, once, and in order."""

    joined = False
    last = 0

    def take(self) -> None:
        if not self.joined:
            head, gap, rest = self.heard.partition(b"\r\n\r\n")
            if not gap:
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self.crowd.problems.append(repr(head[:100]))
            self.heard = rest
            self.joined = True
            self.send(JOIN)
        heard, at = self.heard, 0
        while len(heard) - at >= 2:
            size, start = heard[at + 1], at + 2
            if size == 126:
                size, start = int.from_bytes(heard[at + 2 : at + 4]), at + 4
            elif size == 127:
                size, start = int.from_bytes(heard[at + 2 : at + 10]), at + 10
            if len(heard) < start + size:
                break
            self.message(heard[at] & 15, heard[start : start + size])
            at = start + size
        self.heard = heard[at:]

    def message(self, opcode: int, raw: bytes) -> None:
        now = time.monotonic()
        if opcode == 9:
            self.send(frame(10, raw))
        elif opcode == 8:
            self.crowd.problems.append(f"closed: {raw!r}")
        elif b'"type":"sync"' in raw[:200]:
            self.last = max((item["n"] for item in json.loads(raw)["event"]["data"]), default=0)
        elif (place := raw.find(b'"n":')) > 0:
            end = raw.index(b",", place)
            number = int(raw[place + 4 : end])
            if number != self.last + 1:
                self.crowd.problems.append(f"{number} after {self.last}")
            self.last = number
            self.crowd.counts["heard"] += 1
            self.crowd.took.append(now - float(raw[end + 8 : raw.index(b",", end + 1)]))

    def lose(self, why: str | None = None) -> None:
        self.crowd.problems.append(why or "a good one was dropped")
        self.close()


class Deaf(Client):
    """Follows, and reads nothing but the answer to its handshake."""

    buffer = 4096

    def take(self) -> None:
        assert self.sock is not None
        self.crowd.selector.unregister(self.sock)  # from here on it is deaf
        self.send(JOIN + LOUD)
        self.look(self.life)

    def look(self, life: int) -> None:
        """See from time to time whether it was dropped, without reading."""
        if self.sock is None or self.life != life:
            return
        try:
            # an empty write does not tell: a pong that nobody asked for does
            self.sock.send(frame(10, b""))
        except BlockingIOError:
            pass
        except OSError:
            self.lose()
            return
        self.crowd.at(1.0, lambda: self.look(life))


class Rubbish(Client):
    """Says what is no frame, or no message; at times not even a handshake."""

    pause = 0.5

    def begin(self) -> None:
        if self.crowd.chance.random() < 0.2:
            self.send(self.crowd.chance.choice(GARBAGE))
            self.crowd.at(1.0, self.reset)
        else:
            self.send(HANDSHAKE)
            self.crowd.at(0.5, lambda life=self.life: self.talk(life))

    def talk(self, life: int) -> None:
        if self.sock is not None and self.life == life:
            self.send(self.crowd.chance.choice(RUBBISH))
            self.crowd.at(0.5, lambda: self.talk(life))


class Resets(Client):
    """Resets its connection in the handshake: before, within or right behind it."""

    def begin(self) -> None:
        size = self.crowd.chance.choice([0, 1, 40, len(HANDSHAKE) - 1, len(HANDSHAKE)])
        if size:
            self.send(HANDSHAKE[:size])
        if self.crowd.chance.random() < 0.5:
            self.reset()
        else:
            self.crowd.at(self.crowd.chance.random() * 0.05, self.reset)


def main(port: int, kinds: dict[str, int]) -> None:
    known = {"good": Good, "deaf": Deaf, "rubbish": Rubbish, "resets": Resets}
    crowd = Crowd(port)
    for kind, number in kinds.items():
        for place in range(number):
            crowd.at(place / 500, known[kind](crowd).connect)
    total = sum(kinds.values())
    while crowd.counts["connected"] < total or (crowd.due and set(kinds) == {"good"}):
        crowd.step(0.05)
    say("ready")
    crowd.run()


if __name__ == "__main__":
    main(
        int(sys.argv[1]), {kind: int(n) for kind, _, n in (a.partition("=") for a in sys.argv[2:])}
    )
