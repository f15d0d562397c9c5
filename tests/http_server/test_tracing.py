"""Every answer says to which trace it belongs, and a trace that was begun goes on."""

from __future__ import annotations

from typing import Any

import pytest

from motia_trio import http, queue, step
from motia_trio.data import Data
from motia_trio.http_server.tracing import trace_id_of
from tests.http_server.wire import served, status_of, tell

GIVEN = "0af7651916cd43dd8448eb211c80319c"


@step(http("GET", "/a"), enqueues=["next"], name="A")
async def a(req: Any, ctx: Any) -> Any:
    await ctx.enqueue("next")
    return {"status": 200, "body": ctx.trace_id, "headers": {"x-trace-id": "of-the-handler"}}


@pytest.mark.parametrize(
    ("traceparent", "trace"),
    [
        (f"00-{GIVEN}-b7ad6b7169203331-01", GIVEN),
        (f" 00-{GIVEN}-b7ad6b7169203331-00 ", GIVEN),
        (f"01-{GIVEN}-b7ad6b7169203331-01", GIVEN),
        (f"cc-{GIVEN}-b7ad6b7169203331-01-what-the-future-will-be-like", GIVEN),
        (f"cc-{GIVEN}-b7ad6b7169203331-01.what", None),
        (f"00-{GIVEN}-b7ad6b7169203331-01-more", None),
        (f"ff-{GIVEN}-b7ad6b7169203331-01", None),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", None),
        (f"00-{GIVEN}-{'0' * 16}-01", None),
        (f"00-{GIVEN.upper()}-b7ad6b7169203331-01", None),
        (f"00-{GIVEN}-b7ad6b7169203331", None),
        ("", None),
    ],
)
def test_a_traceparent_is_read_as_the_standard_says(traceparent: str, trace: str | None) -> None:
    """W3C Trace Context, 3.2."""
    found = trace_id_of(Data({"traceparent": traceparent}))
    assert found == trace if trace else (found != GIVEN and len(found) == 32)


@pytest.mark.parametrize("name", ["a", "A-b_9", "x" * 64])
def test_an_x_trace_id_goes_on(name: str) -> None:
    assert trace_id_of(Data({"x-trace-id": name})) == name


@pytest.mark.parametrize("name", ["", "x" * 65, "a b", "a\tb", "é", "a/b", "a\n"])
def test_an_x_trace_id_that_is_none_is_ignored(name: str) -> None:
    found = trace_id_of(Data({"x-trace-id": name}))
    assert found != name
    assert len(found) == 32


def test_a_traceparent_wins_over_an_x_trace_id() -> None:
    parent = f"00-{GIVEN}-b7ad6b7169203331-01"
    assert trace_id_of(Data({"x-trace-id": "mine", "traceparent": parent})) == GIVEN
    assert trace_id_of(Data({"x-trace-id": "mine", "traceparent": "odd"})) == "mine"


async def test_a_trace_goes_down_the_whole_chain_and_comes_back_with_the_answer() -> None:
    seen: list[str] = []

    @step(queue("next"), name="Next")
    async def after(input: Any, ctx: Any) -> None:
        seen.append(ctx.trace_id)

    async with served(a, after) as (rt, client):
        answer = await client.get("/a", headers={"x-trace-id": "order-17"})
        assert answer.headers.get_list("x-trace-id") == ["order-17"]
        assert answer.text == "order-17"
        await rt.quiesce()
    assert seen == ["order-17"]


async def test_errors_carry_one_too() -> None:
    async with served(a) as (rt, client):
        for method, path in (("GET", "/nope"), ("POST", "/a"), ("OPTIONS", "/a")):
            answer = await client.request(method, path, headers={"x-trace-id": "t"})
            assert answer.headers["x-trace-id"] == "t"
        broken = await tell(rt, b"GARBAGE\r\n\r\n")
        assert status_of(broken) == 400
        assert b"x-trace-id: " in broken
