"""Promise 10: every failure says which step, which file, which trace, and what to do."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from motia_trio import App, LoadFailed, open_runtime, queue, step
from motia_trio.events import TopicUnheard, TopicUnlisted
from tests.support import Notebook, command, project, run_command

FAILING = """
config = {
    "name": "Ship Order", "triggers": [
        {"type": "queue", "topic": "order", "infrastructure": {"queue": {"maxRetries": 0}}}],
}

async def handler(order, ctx):
    return 1 / order["items"]
"""
ENTRY = """
config = {"name": "Take", "triggers": [{"type": "api", "path": "/take", "method": "POST"}],
          "enqueues": ["order"]}

async def handler(req, ctx):
    await ctx.enqueue({"topic": "order", "data": req.body})
    return {"status": 202, "body": {}}
"""
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_failed_message_names_step_file_line_trace_and_error_in_the_log(tmp_path: Path) -> None:
    """In JSON for machines; one line per record, whatever is in it."""
    project(tmp_path, {"src/a/b/ship_step.py": FAILING, "steps/take_step.py": ENTRY})
    with command(tmp_path, "--log-format", "json") as running:
        headers = {"traceparent": TRACEPARENT}
        answer = httpx.post(f"{running.url}/take", json={"items": 0}, headers=headers)
        assert answer.headers["x-trace-id"] == "0af7651916cd43dd8448eb211c80319c"
        assert running.process.stderr is not None
        records: list[dict[str, Any]] = []
        while not records or "dead letter" not in records[-1]["message"]:
            records.append(json.loads(running.process.stderr.readline()))
        code, _, rest = running.stop()
    assert code == 0
    for line in rest.splitlines():
        json.loads(line)
    failed = next(record for record in records if "attempt 1 of 1" in record["message"])
    assert failed["step"] == "Ship Order"
    assert failed["level"] == "warning"
    assert failed["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert failed["fields"]["error"] == "ZeroDivisionError: division by zero"
    assert failed["fields"]["where"] == "src/a/b/ship_step.py:8 in handler"
    assert 'return 1 / order["items"]' in failed["fields"]["traceback"]
    dead = records[-1]
    assert dead["fields"]["file"] == "src/a/b/ship_step.py"
    assert dead["trace_id"] == failed["trace_id"]


def test_the_same_record_is_one_line_of_text_for_people(tmp_path: Path) -> None:
    """With the same fields."""
    project(tmp_path, {"steps/ship_step.py": FAILING, "steps/take_step.py": ENTRY})
    with command(tmp_path) as running:
        httpx.post(f"{running.url}/take", json={"items": 0})
        assert running.process.stderr is not None
        line = ""
        while "attempt 1 of 1" not in line:
            line = running.process.stderr.readline()
        running.stop()
    assert ' WARNING "Ship Order" ' in line
    assert 'error="ZeroDivisionError: division by zero"' in line
    assert 'where="steps/ship_step.py:8 in handler"' in line
    assert "traceback=" in line


def test_every_file_that_does_not_load_is_told_with_its_reason(tmp_path: Path) -> None:
    """All at once, and the exit code is 1."""
    project(
        tmp_path,
        {
            "steps/a_step.py": "import nothing_of_that_name\n",
            "steps/b_step.py": "config = {'name': 'B', 'trigers': []}\n",
            "steps/c_step.py": "def handler(:\n",
            "steps/d_step.py": "config = {'name': 'D', 'triggers': [{'type': 'quue'}]}\n",
            "steps/e_step.py": "x = 1\n",
            "steps/f_step.py": "import sys\n\nsys.exit(3)\n",
            "steps/g_step.py": "config = {'name': 'G', 'triggers': []}\nhandler = 3\n",
        },
    )
    code, out, err = run_command("run", str(tmp_path))
    assert (code, out) == (1, "")
    lines = err.splitlines()
    assert lines[0] == (
        "motia-trio: steps/a_step.py: could not be imported: ModuleNotFoundError: No module named "
        "'nothing_of_that_name' (steps/a_step.py:1 in <module>)"
    )
    assert any("steps/b_step.py" in line for line in lines)
    assert any("steps/c_step.py:1: SyntaxError" in line for line in lines)
    assert any("steps/d_step.py: triggers[0]: 'quue': type should be one of" in x for x in lines)
    assert any("steps/e_step.py: has no config" in line for line in lines)
    assert any("steps/f_step.py: could not be imported: SystemExit: 3" in line for line in lines)
    assert any("steps/g_step.py" in line for line in lines)
    assert not any("Traceback" in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "nowhere"], 1, "nowhere: no such folder"),
        (["run", "{empty}"], 1, "no steps found: looked below src/ and steps/"),
        (["run", "{project}", "--port", "{taken}"], 1, "cannot listen on 127.0.0.1:{taken}: "),
        (["run", "{project}", "--host", "203.0.113.7"], 1, "cannot listen on 203.0.113.7:3111: "),
        (
            ["run", "{project}", "--store", "redis://x"],
            1,
            "store = 'redis://x': expected 'memory:'",
        ),
        (["run", "{project}", "--prot", "1"], 2, "--prot"),
        (["run", "{project}", "--port", "99999"], 2, "99999"),
        (["rnu"], 2, "rnu"),
    ],
)
def test_a_start_that_cannot_be_says_why_in_one_line(
    tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    """Exit 1; 2 for wrong usage; nothing on stdout."""
    project(tmp_path, {"project/steps/take_step.py": ENTRY, "empty/x.py": ""})
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        names = {
            "empty": str(tmp_path / "empty"),
            "project": str(tmp_path / "project"),
            "taken": str(taken.getsockname()[1]),
        }
        got, out, err = run_command(*(argument.format(**names) for argument in arguments))
    assert got == code
    assert out == ""
    assert words.format(**names) in err
    assert "Traceback" not in err
    if code == 1:
        said = [line for line in err.splitlines() if line.startswith("motia-trio: ")]
        assert len(said) == 1


@pytest.mark.parametrize(
    ("toml", "env", "words"),
    [
        ("mailbx = 3", {}, "unknown setting 'mailbx'; did you mean 'mailbox'?"),
        ("mailbox = 0", {}, "mailbox = 0: "),
        ("mailbox = ", {}, "motia.toml: "),
        (
            "",
            {"MOTIA_TRIO_BODYLIMIT": "3"},
            "unknown setting 'bodylimit'; did you mean 'body_limit'?",
        ),
        ("", {"MOTIA_TRIO_PORT": "high"}, "port = 'high': "),
    ],
)
def test_an_unknown_or_wrong_setting_names_where_it_stands_and_the_nearest(
    tmp_path: Path, toml: str, env: dict[str, str], words: str
) -> None:
    """In the file or in the environment."""
    project(tmp_path, {"steps/take_step.py": ENTRY, "motia.toml": toml})
    code, out, err = run_command("run", str(tmp_path), env=env)
    assert (code, out) == (1, "")
    assert words in err
    assert ("motia.toml" in err) or ("environment (MOTIA_TRIO_" in err)


def test_two_steps_of_one_name_or_route_name_both_files(tmp_path: Path) -> None:
    """Names and routes are unique."""
    other = ENTRY.replace('"Take"', '"Other"').replace("/take", "/take/")
    project(
        tmp_path,
        {"steps/a_step.py": ENTRY, "steps/b_step.py": other, "src/c_step.py": FAILING,
         "src/d_step.py": FAILING},
    )  # fmt: skip
    with pytest.raises(LoadFailed) as failed:
        App.from_directory(tmp_path)
    assert [str(problem) for problem in failed.value.problems] == [
        "src/d_step.py: step name 'Ship Order' is taken by src/c_step.py; names are unique",
        "steps/b_step.py: POST /take/ is also a route of step 'Take' (steps/a_step.py)",
    ]


async def test_a_topic_that_is_not_listed_or_not_heard_is_told_once() -> None:
    """Listed or not, it is published; heard by nobody, it is counted and not stored."""
    got: list[Any] = []

    @step(queue("in"), enqueues=["listed"], name="Sender")
    async def sender(data: Any, ctx: Any) -> None:
        await ctx.enqueue("unlisted", data)
        await ctx.enqueue("unheard", data)

    @step(queue("unlisted"), name="Receiver")
    async def receiver(data: Any) -> None:
        got.append(data)

    notebook = Notebook()
    app = App([sender, receiver])
    assert any("publishes to 'listed', which no step listens to" in w for w in app.warnings)
    async with open_runtime(app, observers=[notebook]) as rt:
        for number in range(3):
            await rt.enqueue("in", number)
        await rt.quiesce()
        assert rt.tree().unheard == {"unheard": 3}
    assert sorted(got) == [0, 1, 2]
    assert [(e.step, e.topic) for e in notebook.of(TopicUnlisted)] == [
        ("Sender", "unlisted"),
        ("Sender", "unheard"),
    ]
    assert [event.topic for event in notebook.of(TopicUnheard)] == ["unheard"]


async def test_a_chain_that_never_ends_is_stopped_with_a_dead_letter() -> None:
    """A step that triggers itself does not eat the machine."""

    @step(queue("again"), enqueues=["again"], name="Again")
    async def again(data: int, ctx: Any) -> None:
        await ctx.enqueue("again", data + 1)

    async with open_runtime(App([again]), observers=()) as rt:
        await rt.enqueue("again", 0)
        with trio.fail_after(10):
            await rt.quiesce()
        (letter,) = rt.dead_letters.list()
    assert letter.message.data == 51
    assert letter.reason == "stopped after a chain of 50 hops: a loop?"


async def test_an_observer_that_raises_is_reported_and_hurts_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Once, not for every event."""

    class Broken:
        def observe(self, event: object, /) -> None:
            raise RuntimeError("no disk")

    notebook = Notebook()

    @step(queue("work"), name="Work")
    async def work(data: Any, ctx: Any) -> None:
        ctx.logger.info("hello")

    async with open_runtime(App([work]), observers=[Broken(), notebook]) as rt:
        for _ in range(5):
            await rt.enqueue("work")
        await rt.quiesce()
    assert len([r for r in caplog.records if "observer" in r.getMessage()]) == 1
    assert len(notebook.events) > 5
