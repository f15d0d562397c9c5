"""``open_runtime`` and ``serve``: what an embedding program sees at the edges of the scope."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import trio

from motia_trio import App, SettingInvalid, http, open_runtime, queue, serve, step


@step(http("POST", "/messages"), enqueues=["message.sent"], name="SendMessage")
async def send(req: Any, ctx: Any) -> Any:
    await ctx.enqueue("message.sent", {"text": req.body["text"]})
    return {"status": 200, "body": {"ok": True}}


@step(queue("message.sent"), name="ProcessMessage")
async def process(input: Any, ctx: Any) -> None:
    ctx.logger.info("Processing message", {"input": input})


async def test_the_scope_gives_a_runtime_that_serves_and_can_be_asked() -> None:
    """The lines of the issue and of the README."""
    app = App(steps=[send, process], store="memory:")
    async with open_runtime(app, http="127.0.0.1:0", observers=()) as rt:
        assert rt.http_url is not None
        async with httpx.AsyncClient() as client:
            answer = await client.post(f"{rt.http_url}/messages", json={"text": "hi"})
        assert (answer.status_code, answer.json()) == (200, {"ok": True})
        await rt.enqueue("message.sent", {"text": "hi"})
        await rt.quiesce()
        tree = rt.tree()
        assert tree["ProcessMessage"].mailbox.received == 2
        assert [actor.state for actor in tree.actors] == ["running", "running"]


async def test_serve_is_the_same_as_a_task_that_says_when_it_is_ready() -> None:
    """``await nursery.start(serve, app)``; cancelling the task ends it."""
    app = App([send, process], port=0)
    async with trio.open_nursery() as nursery:
        rt = await nursery.start(serve, app)
        async with httpx.AsyncClient(base_url=rt.http_url) as client:
            assert (await client.post("/messages", json={"text": "x"})).status_code == 200
        nursery.cancel_scope.cancel()


async def test_an_error_in_the_scope_comes_out_as_it_is() -> None:
    """Not wrapped in the groups of our nurseries; a program's own group stays one."""
    with pytest.raises(ZeroDivisionError):
        async with open_runtime(App([process]), http="127.0.0.1:0", observers=()):
            _ = 1 / 0
    with pytest.raises(ExceptionGroup) as caught:
        async with open_runtime(App([process]), observers=()):
            raise ExceptionGroup("mine", [ValueError(), KeyError()])
    assert caught.value.subgroup(ValueError)


async def test_an_address_in_use_is_an_os_error_that_names_it() -> None:
    """And the scope is not entered."""
    async with open_runtime(App([process]), http="127.0.0.1:0", observers=()) as rt:
        bind = str(rt.http_url).removeprefix("http://")
        with pytest.raises(OSError, match=f"cannot listen on {bind}"):
            async with open_runtime(App([process]), http=bind, observers=()):
                pytest.fail("entered")


async def test_settings_are_keywords_of_the_app_or_of_the_scope() -> None:
    """The scope's win; an unknown one names the nearest."""
    app = App([process], mailbox=7)
    async with open_runtime(app, observers=()) as rt:
        assert rt.tree()["ProcessMessage"].mailbox.capacity == 7
    async with open_runtime(app, observers=(), mailbox=3) as rt:
        assert rt.tree()["ProcessMessage"].mailbox.capacity == 3
    with pytest.raises(SettingInvalid, match="did you mean 'mailbox'"):
        App([process], mailbx=7)
    with pytest.raises(SettingInvalid, match="http = 'localhost': expected host:port"):
        async with open_runtime(app, http="localhost", observers=()):
            pytest.fail("entered")
