"""The requests, and the answers that are right: the same bytes to all sides, and from them.

A number stands in most of them, another one each time. It has eight digits, so that lengths stay
what they are. An order is a body of 1 kB.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from benchmarks.peers.channel import TEXT

__all__ = ["EXCHANGES", "FIRST", "Exchange"]

FIRST = 10_000_000  # the first number; each run has others

MESSAGE = b'{"message":"Hello world!"}'
STAMP = b"x-stamp: checked"
ORDER = (
    json.dumps(
        {
            "number": "NUMBER",
            "customer": "ada@example.com",
            "items": [
                {"sku": "AB-1001", "quantity": 2, "price": 9.5},
                {"sku": "CD-2002", "quantity": 1, "price": 20.25},
            ],
            "note": TEXT[:800],
        },
        separators=(",", ":"),
    )
    .encode()
    .replace(b'"NUMBER"', b"%d")
)
TOTAL = b'{"number":%d,"total":39.25}'
ACCEPTED = b'{"accepted":%d}'


class Exchange(NamedTuple):
    """A request and its right answer; %d in both is the number."""

    method: str
    path: str
    body: bytes
    status: int
    answer: bytes
    header: bytes = b""  # a line that the answer must have
    handled: bool = False  # work is left behind that says when it is done

    @property
    def request(self) -> bytes:
        """The whole request as it goes over the socket."""
        lines = [f"{self.method} {self.path} HTTP/1.1", "host: localhost"]
        if self.body:
            lines.append("content-type: application/json")
            lines.append(f"content-length: {len(numbered(self.body, FIRST))}")
        return "\r\n".join([*lines, "", ""]).encode() + self.body


def numbered(template: bytes, number: int) -> bytes:
    """The template with the number, if it has a place for one."""
    return template % number if b"%d" in template else template


EXCHANGES = {
    "hello": Exchange("GET", "/hello", b"", 200, MESSAGE),
    "path": Exchange(
        "GET", "/customers/ada/orders/%d", b"", 200, b'{"customer":"ada","number":%d}'
    ),
    "body": Exchange("POST", "/orders", ORDER, 200, TOTAL),
    "schema": Exchange("POST", "/orders/by-schema", ORDER, 200, TOTAL),
    "middleware": Exchange("GET", "/stamped", b"", 200, MESSAGE, STAMP),
    "dependency": Exchange("GET", "/depending", b"", 200, MESSAGE, STAMP),
    "enqueue": Exchange("POST", "/enqueued", ORDER, 202, ACCEPTED, handled=True),
    "ask": Exchange("POST", "/asked", ORDER, 200, TOTAL),
}
