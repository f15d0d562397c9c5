"""How the examples' tests speak to a running example."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx

from tests.support import Command, command


def post_a_message(example: Path, body: dict[str, Any]) -> tuple[httpx.Response, Any, int]:
    """Serve an example, post to its ``/messages``, and stop it.

    Gives the answer, the log record of ProcessMessage, and the exit code.
    """
    with command(example, "--log-format", "json") as running:
        answer = httpx.post(f"{running.url}/messages", json=body)
        record = await_record(running, "Processing message")
        code, _, _ = running.stop()
    assert record["step"] == "ProcessMessage"
    return answer, record, code


def await_record(running: Command, words: str) -> Any:
    """Read the log, which is in JSON, up to the record whose message has these words."""
    assert running.process.stderr is not None
    for line in running.process.stderr:
        record = json.loads(line)
        if words in record["message"]:
            return record
    raise AssertionError(f"the log has ended, and nothing in it said {words!r}")
