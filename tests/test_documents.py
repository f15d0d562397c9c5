"""The Python steps that Motia's two documents show run, unchanged, and do what is said there.

``tests/documents`` holds them verbatim, one file each. They are copied into a project and loaded
from there as a user's own.
"""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

from motia_trio import App, LoadFailed, RetryPolicy, open_runtime
from motia_trio.events import AppWarned, StepLogged, TopicUnheard
from motia_trio.loader import load_steps
from tests.support import Notebook

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from motia_trio import Service

DOCUMENTS = Path(__file__).parent / "documents"
ALL = sorted(path.name for path in DOCUMENTS.glob("*_step.py"))
# the documents show the config of these and leave the handler out
CONFIG_ONLY = {"steps_mdx_create_order_step.py", "steps_mdx_send_email_step.py"}
COMPLETE = [name for name in ALL if name not in CONFIG_ONLY]
ADDED_HANDLER = '\n\nasync def handler(req, ctx):\n    return {"status": 201, "body": req.body}\n'


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Make a project of some of the documents' files."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def make(*names: str, folder: str = "src", added: str = "") -> Path:
        (tmp_path / folder).mkdir()
        for name in names:
            copy = shutil.copy(DOCUMENTS / name, tmp_path / folder)
            with Path(copy).open("a", encoding="utf-8") as file:
                file.write(added)
        return tmp_path

    return make


def logged(notebook: Notebook, step: str) -> list[tuple[str, Any]]:
    """What a step wrote to its log: message and fields."""
    of_step = (event for event in notebook.of(StepLogged) if event.step == step)
    return [(event.message, dict(event.fields)) for event in of_step]


@asynccontextmanager
async def opened(root: Path) -> AsyncIterator[tuple[Service, httpx.AsyncClient, Notebook]]:
    notebook = Notebook()
    with trio.fail_after(30):
        async with open_runtime(App.from_directory(root), observers=[notebook]) as service:
            transport = httpx.ASGITransport(service.asgi)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                yield service, client, notebook


def test_all_the_documents_steps_are_here() -> None:
    assert len(ALL) == 9
    assert set(ALL) >= CONFIG_ONLY


@pytest.mark.parametrize("name", COMPLETE)
@pytest.mark.parametrize("folder", ["src", "steps"])
def test_each_file_loads_as_it_is(project: Callable[..., Path], name: str, folder: str) -> None:
    (step,) = load_steps(project(name, folder=folder))
    assert step.source == f"{folder}/{name}"
    assert step.warnings == ()
    assert step.handler is not None


@pytest.mark.parametrize("name", sorted(CONFIG_ONLY))
def test_a_config_that_is_shown_alone_lacks_its_handler(
    project: Callable[..., Path], name: str
) -> None:
    with pytest.raises(LoadFailed, match="has triggers but no handler"):
        load_steps(project(name))


async def test_the_simplest_example_says_hello(project: Callable[..., Path]) -> None:
    async with opened(project("steps_mdx_hello_step.py")) as (_, client, notebook):
        answer = await client.get("/hello")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"message": "Hello world!"}
    assert logged(notebook, "HelloStep") == [("Hello endpoint called", {})]


async def test_an_api_step_enqueues_and_a_queue_step_processes(
    project: Callable[..., Path],
) -> None:
    root = project("steps_mdx_send_message_step.py", "steps_mdx_process_message_step.py")
    async with opened(root) as (service, client, notebook):
        answer = await client.post("/messages", json={"text": "hi"})
        await service.quiesce()
        tree = service.tree()
    assert (answer.status_code, answer.json()) == (200, {"ok": True})
    assert logged(notebook, "ProcessMessage") == [("Processing message", {"input": {"text": "hi"}})]
    # it enqueues further, and nobody listens there
    assert notebook.of(TopicUnheard) == [], "the app was warned of it when it was loaded"
    assert any("'message.processed'" in event.message for event in notebook.of(AppWarned))
    assert tree.unheard == {"message.processed": 1}
    # one trace from the request down the queue
    traces = {event.trace_id for event in notebook.of(StepLogged)}
    assert traces == {answer.headers["x-trace-id"]}


async def test_the_queue_trigger_example_processes_what_the_api_step_enqueues(
    project: Callable[..., Path],
) -> None:
    root = project("steps_mdx_send_message_step.py", "steps_mdx_process_message_trigger_step.py")
    async with opened(root) as (service, client, notebook):
        for n in range(20):
            await client.post("/messages", json={"text": str(n)})
        await service.quiesce()
    told = logged(notebook, "ProcessMessage")
    assert {message for message, _ in told} == {"Processing message:"}
    assert sorted(fields["input"]["text"] for _, fields in told) == sorted(map(str, range(20)))


@pytest.mark.parametrize(
    ("path", "user"), [("/users/123", "123"), ("/users/J%C3%BCrgen%20M/", "Jürgen M")]
)
async def test_the_api_trigger_example_reads_its_path_parameter(
    project: Callable[..., Path], path: str, user: str
) -> None:
    async with opened(project("steps_mdx_get_user_step.py")) as (_, client, notebook):
        answer = await client.get(path)
    assert (answer.status_code, answer.json()) == (200, {"id": user, "name": "John"})
    assert logged(notebook, "GetUser") == [("Getting user", {"userId": user})]


async def test_the_readmes_two_steps_work_together(project: Callable[..., Path]) -> None:
    root = project("readme_send_message_step.py", "readme_process_message_step.py", folder="steps")
    async with opened(root) as (service, client, notebook):
        answer = await client.post("/messages", json={"text": "hi"})
        await service.quiesce()
    assert (answer.status_code, answer.json()) == (200, {"ok": True})
    assert logged(notebook, "ProcessMessage") == [("Processing message", {"text": "hi"})]
    assert service.app.warnings == ()


async def test_steps_of_both_dialects_work_together(project: Callable[..., Path]) -> None:
    root = project("readme_send_message_step.py", "steps_mdx_process_message_step.py")
    async with opened(root) as (service, client, notebook):
        await client.post("/messages", json={"text": "hi"})
        await service.quiesce()
    assert logged(notebook, "ProcessMessage") == [("Processing message", {"input": {"text": "hi"}})]


def test_the_same_names_and_routes_in_one_project_are_refused(
    project: Callable[..., Path],
) -> None:
    root = project("readme_send_message_step.py", "steps_mdx_send_message_step.py")
    with pytest.raises(LoadFailed) as failed:
        App.from_directory(root)
    name, route = map(str, failed.value.problems)
    for told in (name, route):
        assert "readme_send_message_step.py" in told
        assert "steps_mdx_send_message_step.py" in told
    assert "'SendMessage'" in name
    assert "POST /messages" in route


async def test_the_flow_example_serves_its_route_with_a_handler_added(
    project: Callable[..., Path],
) -> None:
    root = project("steps_mdx_create_order_step.py", added=ADDED_HANDLER)
    async with opened(root) as (service, client, _):
        answer = await client.post("/orders", json={"n": 1})
    assert (answer.status_code, answer.json()) == (201, {"n": 1})
    assert service.app.steps[0].flows == ("order-management",)


async def test_the_infrastructure_example_bounds_and_retries_with_a_handler_added(
    project: Callable[..., Path], autojump_clock: trio.testing.MockClock
) -> None:
    sleepy = "\n\nimport trio\nasync def handler(input, ctx):\n    await trio.sleep_forever()\n"
    root = project("steps_mdx_send_email_step.py", added=sleepy)
    app = App.from_directory(root)
    (trigger,) = app.steps[0].triggers
    assert trigger.limits.timeout == 10  # of the handler; the visibility timeout of 60 is longer
    assert trigger.limits.retry == RetryPolicy(max_retries=5)
    async with open_runtime(app, observers=[]) as service:
        await service.enqueue("email.requested", {"to": "me"})
        await trio.sleep(300)
        (letter,) = service.dead_letters.list()
    assert len(letter.failures) == 6
    assert all(9 < failure.ended_at - failure.started_at < 11 for failure in letter.failures)
    assert "longer than 10 s" in letter.failures[0].error


async def test_the_documents_steps_answer_on_a_real_socket(project: Callable[..., Path]) -> None:
    root = project(
        "steps_mdx_hello_step.py",
        "steps_mdx_get_user_step.py",
        "readme_send_message_step.py",
        "readme_process_message_step.py",
    )
    notebook = Notebook()
    app = App.from_directory(root)
    with trio.fail_after(30):
        async with open_runtime(app, http="127.0.0.1:0", observers=[notebook]) as service:
            assert service.http_url is not None
            host, _, port = service.http_url.removeprefix("http://").rpartition(":")
            stream = await trio.open_tcp_stream(host, int(port))
            async with stream:
                body = b'{"text": "hi"}'
                await stream.send_all(
                    b"GET /hello HTTP/1.1\r\nhost: x\r\n\r\n"
                    b"GET /users/7 HTTP/1.1\r\nhost: x\r\n\r\n"
                    b"POST /messages HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
                    b"content-type: application/json\r\n"
                    b"content-length: %d\r\n\r\n%s" % (len(body), body)
                )
                received = b"".join([chunk async for chunk in stream])
            await service.quiesce()
    answers = [
        json.loads(part.partition(b"\r\n\r\n")[2]) for part in received.split(b"HTTP/1.1 ")[1:]
    ]
    assert answers == [{"message": "Hello world!"}, {"id": "7", "name": "John"}, {"ok": True}]
    assert logged(notebook, "ProcessMessage") == [("Processing message", {"text": "hi"})]
