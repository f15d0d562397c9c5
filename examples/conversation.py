"""How the examples' tests speak to a running example."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx

from tests.support import command


def post_a_message(example: Path, body: dict[str, Any]) -> tuple[httpx.Response, Any, int]:
    """Serve an example, post to its ``/messages``, and stop it.

    Gives the answer, the log record of ProcessMessage, and the exit code.
    """
    with command(example, "--log-format", "json") as running:
        answer = httpx.post(f"{running.url}/messages", json=body)
        assert running.process.stderr is not None
        record: Any = {}
        while record.get("message") != "Processing message":
            record = json.loads(running.process.stderr.readline())
        code, _, _ = running.stop()
    assert record["step"] == "ProcessMessage"
    return answer, record, code
