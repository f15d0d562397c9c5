"""Promise 9: a step that keeps crashing is quarantined, alone, and probed again; and a message that
kills the process three times is a dead letter.
"""

from __future__ import annotations

import json
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from motia_trio import App, RestartPolicy, StepQuarantined, http, open_runtime, queue, step
from motia_trio.events import ActorCrashed, ActorQuarantined, ActorRecovered
from tests.support import Notebook, both_stores, child


@both_stores
async def test_a_crash_loop_quarantines_one_step_and_no_other(
    autojump_clock: Any, tmp_path: Path, store: str
) -> None:
    """Its messages wait, its routes answer 503; the others do not notice."""
    handled: list[Any] = []
    broken = True

    @step(http("GET", "/bad"), queue("bad"), name="Bad")
    async def bad(data: Any, ctx: Any) -> Any:
        if broken:
            sys.exit("broken")
        handled.append(data if ctx.is_queue() else "request")
        return {"status": 200, "body": "ok"}

    @step(http("GET", "/fine"), queue("fine"), name="Fine")
    async def fine(data: Any, ctx: Any) -> Any:
        return {"status": 200, "body": "ok"}

    notebook = Notebook()
    async with open_runtime(
        App([bad, fine], root=tmp_path, store=store), observers=[notebook]
    ) as rt:
        transport = httpx.ASGITransport(rt.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            statuses = []
            for _ in range(4):
                statuses.append((await client.get("/bad", timeout=None)).status_code)
                await trio.sleep(0.9)
            assert statuses == [500] * 4
            assert rt.tree()["Bad"].state == "quarantined"
            refused = await client.get("/bad")
            assert refused.status_code == 503
            assert 1 <= int(refused.headers["retry-after"]) <= 5
            assert (await client.get("/fine")).status_code == 200
            await rt.enqueue("bad", "waits")
            assert rt.tree()["Bad"].deliveries.waiting == 1
            assert rt.tree()["Fine"].state == "running"
            assert rt.tree()["Fine"].crashes == 0

            broken = False
            await trio.sleep(6)  # the cool-down, and the probe takes the message that waited
            assert handled == ["waits"]
            assert rt.tree()["Bad"].state == "running"
            assert (await client.get("/bad")).status_code == 200
    assert len(notebook.of(ActorCrashed)) == 3
    assert len(notebook.of(ActorQuarantined)) == 1
    assert [event.step for event in notebook.of(ActorRecovered)] == ["Bad"]


async def test_the_cool_down_doubles_while_the_probe_fails(autojump_clock: Any) -> None:
    """One probe at a time, less and less often."""

    @asynccontextmanager
    async def lifespan(ctx: Any) -> Any:
        raise OSError("no database")
        yield

    @step(queue("bad"), name="Bad", lifespan=lifespan)
    async def bad(data: Any) -> None:
        """Never run."""

    notebook = Notebook()
    policy = RestartPolicy(cool_down=10, cool_down_cap=40)
    async with open_runtime(App([bad]), observers=[notebook], restarts=policy) as rt:
        await rt.enqueue("bad")
        await trio.sleep(200)
        assert rt.tree()["Bad"].deliveries.waiting == 1
        assert "no database" in (rt.tree()["Bad"].last_error or "")
    assert [event.cool_down for event in notebook.of(ActorQuarantined)][:5] == [10, 20, 40, 40, 40]


async def test_a_lifespan_that_recovers_after_crashes_is_entered_anew(autojump_clock: Any) -> None:
    """Resources belong to one life of the actor."""
    lives = 0

    @asynccontextmanager
    async def lifespan(ctx: Any) -> Any:
        nonlocal lives
        lives += 1
        yield lives

    seen: list[int] = []

    @step(queue("work"), name="Work", lifespan=lifespan)
    async def work(data: Any, ctx: Any) -> None:
        seen.append(ctx.resources)
        if data == "exit":
            sys.exit()

    async with open_runtime(App([work]), observers=()) as rt:
        await rt.enqueue("work", "a")
        await rt.quiesce()
        await rt.enqueue("work", "exit")
        await trio.sleep(0.5)
        await rt.enqueue("work", "b")
        await rt.quiesce()
        assert rt.tree()["Work"].restarts == 1
    assert seen[0] == 1
    assert seen[-1] == 2


@both_stores
async def test_a_message_that_raises_spends_attempts_and_no_restarts(
    autojump_clock: Any, tmp_path: Path, store: str
) -> None:
    """The two budgets are two."""

    @step(queue("work"), name="Work")
    async def work(data: Any) -> None:
        raise ValueError(data)

    async with open_runtime(App([work], root=tmp_path, store=store), observers=()) as rt:
        for number in range(20):
            await rt.enqueue("work", number)
        await trio.sleep(100)
        actor = rt.tree()["Work"]
        assert (actor.state, actor.crashes, actor.deliveries.dead) == ("running", 0, 20)


@both_stores
async def test_work_beside_a_crash_is_given_back_unattempted(
    autojump_clock: Any, tmp_path: Path, store: str
) -> None:
    """Siblings of the message that ended the actor did nothing wrong."""
    attempts: list[tuple[str, int]] = []

    @step(queue("work", config={"maxRetries": 0}), name="Work")
    async def work(data: str) -> None:
        attempts.append((data, 1))
        await trio.sleep(1)
        if data == "exit":
            sys.exit()
        await trio.sleep(1)

    async with open_runtime(App([work], root=tmp_path, store=store), observers=()) as rt:
        await rt.enqueue("work", "innocent")
        await rt.enqueue("work", "exit")
        await trio.sleep(60)
        assert [letter.message.data for letter in rt.dead_letters.list()] == ["exit"]
    assert [name for name, _ in attempts] == ["innocent", "exit", "innocent"]


async def test_an_embedding_program_may_have_a_quarantine_raised_to_it(autojump_clock: Any) -> None:
    """With ``raise_quarantine=True`` the scope ends with StepQuarantined."""

    @step(queue("bad", config={"maxRetries": 9}), name="Bad")
    async def bad(data: Any) -> None:
        sys.exit("broken")

    with pytest.raises(StepQuarantined, match=r"step 'Bad' crashed 4 times; last: .*broken"):
        async with open_runtime(App([bad]), observers=(), raise_quarantine=True) as rt:
            for _ in range(4):
                await rt.enqueue("bad")
            await trio.sleep_forever()


# Handles what it is given, until it dies; when nothing is left it handles one more, tells the dead
# letters, and ends. What is handled is written down outside of the store.
POISONED = """
import ctypes, json, os, signal, sys, trio
from motia_trio import App, open_runtime, queue, step

root, how, messages = sys.argv[1:]
messages = json.loads(messages)
log = os.open(os.path.join(root, "log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
sent = os.path.join(root, "sent")

def say(what, data):
    os.write(log, f"{what} {data}\\n".encode())

def die():
    if how == "exit":
        os._exit(11)
    if how == "fault":
        ctypes.string_at(0)
    os.kill(os.getpid(), signal.SIGKILL)

async def handle(data):
    say("begin", data)
    in_hand.add(data)
    if expected <= in_hand:
        together.set()
    if data.startswith("poison"):
        if first or how != "kill at once":
            await together.wait()
        die()
    if not gone and data in expected:
        await trio.sleep_forever()  # in hand when it comes
    say("end", data)

@step(queue("work"), name="Work")
async def work(data):
    await handle(data)

@step(queue("group", infrastructure={"queue": {"type": "fifo"}}), name="Group")
async def group(data):
    await handle(data)

@step(queue("threaded"), name="Threaded")
def threaded(data):
    say("begin", data)
    trio.from_thread.run(together.wait)
    if data.startswith("poison"):
        die()
    say("end", data)

@step(queue("beside"), name="Beside")
async def beside(data):
    await handle(data)

async def main():
    global first, gone, in_hand, expected, together
    in_hand, together = set(), trio.Event()
    app = App([work, group, threaded, beside], root=root, store="sqlite:///store.db")
    async with open_runtime(app, idle=True, observers=()) as rt:
        first = not os.path.exists(sent)
        if first:
            for topic, data in messages:
                await rt.enqueue(topic, data, group="g")
            open(sent, "w").close()
        poisons = sum(data.startswith("poison") for _, data in messages)
        gone = len(rt.dead_letters.list()) >= poisons
        # what is in hand at a death: all innocent ones at the first, and a fresh one at each
        fresh = f"fresh {os.getpid()}"
        expected = {fresh}
        if first:
            expected |= {data for _, data in messages if data.startswith("innocent")}
    async with open_runtime(app, observers=()) as rt:
        await rt.enqueue("beside", fresh)
        await rt.quiesce()
        letters = [[each.message.data, each.reason] for each in rt.dead_letters.list()]
    print(json.dumps(letters))

trio.run(main)
"""
INNOCENT = [("work", f"innocent {number}") for number in range(4)]
BESIDE = [("beside", f"innocent {number}") for number in range(4, 8)]
REASON = "the process died 3 times while a handler had it in hand"


def _run_until_it_stays_up(
    folder: Path, how: str, messages: list[tuple[str, str]]
) -> tuple[list[int], list[list[str]], list[str]]:
    """Start it again and again: how it died each time, the dead letters, and what was handled."""
    program = folder / "poisoned.py"
    program.write_text(POISONED)
    deaths: list[int] = []
    while True:
        with child(program, folder, how, json.dumps(messages)) as process:
            out, err = process.communicate(timeout=60)
        if process.returncode == 0:
            return deaths, json.loads(out), (folder / "log").read_text().splitlines()
        assert process.returncode != 1, err
        deaths.append(process.returncode)
        assert len(deaths) < 10, "it never stays up"


@pytest.mark.parametrize(
    ("how", "code", "messages"),
    [
        ("exit", 11, [*INNOCENT, ("work", "poison"), *BESIDE]),
        ("fault", -signal.SIGSEGV, [("work", "poison"), *INNOCENT, *BESIDE]),
        ("kill", -signal.SIGKILL, [*INNOCENT, *BESIDE, ("work", "poison")]),
        ("kill at once", -signal.SIGKILL, [*INNOCENT, *BESIDE, ("work", "poison")]),
        ("exit", 11, [*INNOCENT, ("threaded", "poison"), *BESIDE]),
        ("fault", -signal.SIGSEGV, [("threaded", "poison"), *INNOCENT]),
        ("exit", 11, [("group", "before"), ("group", "poison"), ("group", "after")]),
    ],
)
def test_a_message_that_kills_the_process_three_times_is_a_dead_letter(
    tmp_path: Path, how: str, code: int, messages: list[tuple[str, str]]
) -> None:
    """What was in hand at the same time, once or each time anew, is handled; then it stays up."""
    deaths, letters, log = _run_until_it_stays_up(tmp_path, how, messages)
    assert deaths == [code] * 3
    assert letters == [["poison", REASON]]
    assert log.count("begin poison") == 3
    for _, data in messages:
        if data != "poison":
            assert log.count(f"end {data}") == 1
            assert log.count(f"begin {data}") <= 2
    fresh = {line for line in log if line.startswith("begin fresh")}
    assert len(fresh) == 4 or how == "kill at once"
    assert all(log.count(line.replace("begin", "end")) == 1 for line in fresh)
    if ("group", "poison") in messages:
        order = [line for line in dict.fromkeys(log) if "fresh" not in line]
        assert order == ["begin before", "end before", "begin poison", "begin after", "end after"]


def test_two_that_kill_are_told_apart_and_from_the_innocent_ones(tmp_path: Path) -> None:
    """After a death, what was in hand is handled one at a time, so that it is clear which it was."""
    poisons = [("work", "poison a"), ("beside", "poison b")]
    messages = [*INNOCENT, *poisons, *BESIDE]
    deaths, letters, log = _run_until_it_stays_up(tmp_path, "kill", messages)
    assert sorted(letters) == [["poison a", REASON], ["poison b", REASON]]
    assert len(deaths) == 5  # together once, and twice each
    for _, data in [*INNOCENT, *BESIDE]:
        assert log.count(f"end {data}") == 1
