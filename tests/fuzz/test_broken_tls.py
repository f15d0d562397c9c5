"""Broken TLS: each connection is closed in its time, and the service is well."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio
import trustme

from tests.fuzz.broken import PLAIN, SETTINGS, hello, unhindered
from tests.fuzz.test_broken_http2 import BROKEN
from tests.http_server.wire import connect, read_to_end, served

if TYPE_CHECKING:
    import pytest

AUTHORITY = trustme.CA()
GREETING = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"

BEFORE = {
    "nothing": b"",
    "plain HTTP": PLAIN,
    "plain HTTP/2": BROKEN["nothing more"],
    "half a greeting": GREETING,
    "a greeting of rubbish": GREETING + bytes(510),
    "rubbish": b"\xff" * 100_000,
    "a warning": b"\x15\x03\x01\x00\x02\x01\x00" * 1000,
    "a record of no length": b"\x16\x03\x01\x00\x00" * 1000,
}


async def test_broken_greetings_and_broken_requests_behind_good_ones(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = AUTHORITY.issue_cert("127.0.0.1")
    made.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    trusting = ssl.create_default_context()
    AUTHORITY.configure_trust(trusting)
    trusting.set_alpn_protocols(["h2"])
    settings: dict[str, Any] = {**SETTINGS, "root": tmp_path, "certfile": "both.pem"}
    late: list[str] = []
    async with served(hello, **settings) as (rt, _):

        async def greet(raw: bytes) -> None:
            async with await connect(rt) as stream:
                try:
                    await stream.send_all(raw)
                except trio.BrokenResourceError:
                    pass
                await read_to_end(stream, 5)

        async def speak(name: str, raw: bytes) -> None:
            inner = await connect(rt)
            stream = trio.SSLStream(inner, trusting, server_hostname="127.0.0.1")
            try:
                with trio.move_on_after(8) as waited:
                    await stream.send_all(raw)
                    while await stream.receive_some(65536):
                        pass
                if waited.cancelled_caught:
                    late.append(name)
            except trio.BrokenResourceError:
                pass
            finally:
                await trio.aclose_forcefully(stream)

        async with unhindered(0.5), trio.open_nursery() as nursery:
            for raw in BEFORE.values():
                nursery.start_soon(greet, raw)
            for name, raw in BROKEN.items():
                if "endless" not in name:
                    nursery.start_soon(speak, name, raw)
    assert late == []
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
