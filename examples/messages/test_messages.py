"""Starts the example as a user does, and speaks to it."""

from __future__ import annotations

from pathlib import Path

from examples.conversation import post_a_message


def test_the_message_is_processed_under_the_trace_of_its_request() -> None:
    """The answer, the log line of ProcessMessage, and an orderly end."""
    answer, log_line, code = post_a_message(Path(__file__).parent, {"text": "hello"})
    assert answer.status_code == 200
    assert answer.json() == {"ok": True}
    assert log_line["fields"] == {"input": {"text": "hello"}}
    assert log_line["trace_id"] == answer.headers["x-trace-id"]
    assert code == 0
