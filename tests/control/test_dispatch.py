"""What each operation does, on every store; the socket and a command without a service share it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import trio

from motia_trio import App, open_runtime, queue, step
from motia_trio.control import dispatch as dispatching
from motia_trio.control.dispatch import dispatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from motia_trio import Service

NO_RETRY = {"queue": {"maxRetries": 0}}
STORES = ["memory:", "sqlite:///store.db"]


@step(queue("bad", infrastructure=NO_RETRY), queue("worse", infrastructure=NO_RETRY), name="Bad")
async def bad(data: Any) -> None:
    raise RuntimeError(f"cannot: {data}")


@step(queue("good"), queue("bad"), name="Good")
async def good(data: Any) -> None:
    pass


@pytest.fixture(params=STORES)
async def rt(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Service]:
    app = App([bad, good], root=tmp_path, streams=[{"name": "chat"}], store=request.param)
    async with open_runtime(app, observers=()) as service:
        yield service


async def do(service: Service, op: str, **params: Any) -> Any:
    answer = await dispatch(service, {"v": 1, "op": op, "params": params})
    assert "error" not in answer, answer
    return answer["result"]


async def refused(service: Service, op: str, **params: Any) -> tuple[str, str]:
    answer = await dispatch(service, {"v": 1, "op": op, "params": params})
    return answer["error"]["type"], answer["error"]["message"]


async def bury(service: Service, *data: Any, topic: str = "bad") -> list[dict[str, Any]]:
    for each in data:
        await service.enqueue(topic, each, trace_id="ab" * 16)
    await service.quiesce()
    found: list[dict[str, Any]] = (await do(service, "dead_letters.list"))["dead_letters"]
    return found


async def test_status_tells_how_each_step_is(rt: Service) -> None:
    await bury(rt, 1, 2)
    await rt.enqueue("nobody")
    told = await do(rt, "status")
    assert told["state"] == "running"
    assert (told["started_at"], told["uptime"]) == (None, None)
    assert told["project"] == rt.app.root
    assert told["store"] == rt.settings.store
    assert told["unheard"] == {"nobody": 1}
    assert [(each["name"], each["state"], each["dead"]) for each in told["steps"]] == [
        ("Bad", "running", 2),
        ("Good", "running", 0),
    ]


async def test_status_tells_of_steps_that_are_gone_while_something_is_kept_for_them(
    tmp_path: Path,
) -> None:
    store = STORES[1]
    async with open_runtime(App([bad, good], root=tmp_path, store=store), observers=()) as before:
        await before.enqueue("good", delay=1000)
    async with open_runtime(App([bad], root=tmp_path, store=store), observers=()) as after:
        steps = (await do(after, "status"))["steps"]
    gone = steps[1]
    assert (gone["name"], gone["state"], gone["source"], gone["delayed"]) == ("Good", None, None, 1)


async def test_a_message_says_who_gets_it(rt: Service) -> None:
    told = await do(rt, "enqueue", topic="bad", data={"a": 1})
    assert re.fullmatch(r"[0-9a-f]{14}", told["id"])
    assert told["steps"] == ["Bad", "Good"]
    assert told["nearest_topic"] is None
    told = await do(rt, "enqueue", topic="goood")
    assert (told["steps"], told["nearest_topic"]) == ([], "good")


async def test_a_message_has_every_option(rt: Service) -> None:
    first = await do(rt, "enqueue", topic="good", key="k", at="2999-01-01T00:00:00Z", priority=3)
    again = await do(rt, "enqueue", topic="good", key="k", delay=5)
    assert again["id"] == first["id"]
    assert (await do(rt, "status"))["steps"][1]["delayed"] == 1
    kind, words = await refused(rt, "enqueue", topic="good", delay=1, at="2999-01-01T00:00:00Z")
    assert (kind, words) == ("ValueError", "delaySeconds and at say the same thing; give one")
    assert (await refused(rt, "enqueue", topic="good", expires=-1))[0] == "ValueError"


async def test_dead_letters_are_listed_in_short_and_shown_in_full(rt: Service) -> None:
    (letter,) = await bury(rt, {"n": 1})
    assert {name: letter[name] for name in ("step", "topic", "reason", "attempts", "trace_id")} == {
        "step": "Bad",
        "topic": "bad",
        "reason": "failed once; last: RuntimeError: cannot: {'n': 1}",
        "attempts": 1,
        "trace_id": "ab" * 16,
    }
    assert re.fullmatch(r"[0-9a-f]{16}", letter["id"])
    assert letter["died_at"].endswith("Z")
    full = (await do(rt, "dead_letters.get", id=letter["id"]))["dead_letter"]
    assert full.items() > letter.items()
    assert full["data"] == {"n": 1}
    (failure,) = full["failures"]
    assert failure["error"] == "RuntimeError: cannot: {'n': 1}"
    assert "test_dispatch.py" in failure["where"]
    assert failure["traceback"].startswith("Traceback (most recent call last):")
    assert await refused(rt, "dead_letters.get", id="1") == (
        "KeyError",
        "there is no dead letter 0000000000000001",
    )


async def test_dead_letters_are_filtered_and_paged(rt: Service) -> None:
    await bury(rt, *range(5))
    letters = await bury(rt, 5, topic="worse")
    ids = [letter["id"] for letter in letters]
    page = await do(rt, "dead_letters.list", limit=4)
    assert ([letter["id"] for letter in page["dead_letters"]], page["more"]) == (ids[:4], True)
    page = await do(rt, "dead_letters.list", limit=4, after=ids[3])
    assert ([letter["id"] for letter in page["dead_letters"]], page["more"]) == (ids[4:], False)
    for filters, found in (
        ({"topic": "worse"}, 1),
        ({"step": "Bad"}, 6),
        ({"step": "Good"}, 0),
        ({"older_than": 0}, 6),
        ({"older_than": 1000}, 0),
    ):
        assert len((await do(rt, "dead_letters.list", **filters))["dead_letters"]) == found


async def test_redriven_ones_are_handled_again(rt: Service) -> None:
    letters = await bury(rt, 1, 2)
    ids = [letter["id"] for letter in letters]
    told = await do(rt, "dead_letters.redrive", ids=[ids[0], "00000000000000ff"])
    assert told == {"ids": [ids[0]], "missing": ["00000000000000ff"], "next": None}
    await rt.quiesce()
    again = (await do(rt, "dead_letters.list"))["dead_letters"]
    assert [letter["id"] for letter in again] == ids
    assert rt.tree()["Bad"].mailbox.received == 3
    assert again[0]["trace_id"] == "ab" * 16


@pytest.mark.parametrize("verb", ["redrive", "discard"])
async def test_many_are_done_a_page_at_a_time_each_once(rt: Service, verb: str) -> None:
    """A redriven one may die again meanwhile, and is not taken up again."""
    await bury(rt, *range(5))
    after, done = "0", []
    while after is not None:
        told = await do(rt, f"dead_letters.{verb}", after=after, limit=2)
        done += told["ids"]
        after = told["next"]
        await rt.quiesce()
    assert len(done) == len(set(done)) == 5
    left = (await do(rt, "dead_letters.list"))["dead_letters"]
    assert len(left) == (5 if verb == "redrive" else 0)


async def test_of_ids_those_are_done_that_fit_the_filters(rt: Service) -> None:
    first, second = await bury(rt, 1), await bury(rt, 2, topic="worse")
    ids = [first[0]["id"], second[-1]["id"]]
    told = await do(rt, "dead_letters.discard", ids=ids, topic="worse", older_than=0)
    assert told == {"ids": ids[1:], "missing": ids[:1], "next": None}
    told = await do(rt, "dead_letters.discard", ids=ids, older_than=1000)
    assert told["missing"] == ids
    assert len((await do(rt, "dead_letters.list"))["dead_letters"]) == 1


async def test_null_is_a_value_and_not_absence(rt: Service) -> None:
    assert await do(rt, "state.get", group="g", key="k") == {"found": False, "value": None}
    told = await do(rt, "state.set", group="g", key="k", value=None)
    assert told == {"new_value": None, "old_value": None}
    assert await do(rt, "state.get", group="g", key="k") == {"found": True, "value": None}
    assert await do(rt, "state.delete", group="g", key="k") == {"found": True, "old_value": None}
    assert await do(rt, "state.delete", group="g", key="k") == {"found": False, "old_value": None}


async def test_a_value_may_have_a_time_to_live(rt: Service) -> None:
    await do(rt, "state.set", group="g", key="k", value=1, ttl=0.01)
    with trio.fail_after(20):
        while (await do(rt, "state.get", group="g", key="k"))["found"]:
            await trio.sleep(0.005)
    assert await do(rt, "state.list") == {"groups": [], "more": False}
    kind, words = await refused(rt, "state.set", group="g", key="k", value=1, ttl=0)
    assert (kind, words) == ("ValueError", "ttl is a number of seconds over 0, not 0.0")


async def test_groups_and_items_are_listed_in_order_a_page_at_a_time(rt: Service) -> None:
    for group in ("b", "a", "ä"):
        for key in ("2", "1", "3"):
            await rt.state.set(group, key, {"key": key})
    await rt.streams["chat"].set("c", "1", "of a stream")
    assert await do(rt, "state.list", limit=2) == {"groups": ["a", "b"], "more": True}
    assert await do(rt, "state.list", after="b") == {"groups": ["ä"], "more": False}
    page = await do(rt, "state.list", group="b", limit=2)
    assert page["items"] == [{"key": key, "value": {"key": key}} for key in ("1", "2")]
    assert page["more"] is True
    page = await do(rt, "state.list", group="b", after="2")
    assert page == {"items": [{"key": "3", "value": {"key": "3"}}], "more": False}
    assert await do(rt, "state.list", group="none") == {"items": [], "more": False}
    assert (await refused(rt, "state.list", group=""))[0] == "ValueError"


async def test_an_answer_has_not_more_than_so_many_bytes_of_values(
    rt: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatching, "VALUES_AT_ONCE", 250)
    for key in "abcde":
        await rt.state.set("g", key, "x" * 100)
    found: list[str] = []
    after, more = "", True
    while more:
        page = await do(rt, "state.list", group="g", after=after)
        more = page["more"]
        assert len(page["items"]) <= 3
        found += [item["key"] for item in page["items"]]
        after = found[-1]
    assert found == [*"abcde"]


async def test_the_file_is_looked_at_copied_and_made_smaller(tmp_path: Path) -> None:
    app = App([bad, good], root=tmp_path, store=STORES[1])
    async with open_runtime(app, observers=()) as rt:
        await bury(rt, 1)
        await rt.state.set("g", "k", 1)
        info = await do(rt, "store.info")
        assert info["path"] == str(tmp_path / "store.db")
        assert info["steps"] == [
            {"name": "Bad", "waiting": 0, "leased": 0, "delayed": 0, "dead": 1}
        ]
        assert (info["items"], info["dead_letters"]) == ({"": 1}, 1)
        target = tmp_path / "copy.db"
        told = await do(rt, "store.backup", target=str(target))
        assert told == {
            "path": info["path"],
            "target": str(target),
            "bytes": target.stat().st_size,  # noqa: ASYNC240
        }
        assert (await refused(rt, "store.backup", target=str(target)))[0] == "FileExistsError"
        told = await do(rt, "store.vacuum")
        assert told["bytes_after"] <= told["bytes_before"]


@pytest.mark.parametrize("op", ["store.info", "store.vacuum", "store.backup"])
async def test_a_store_without_a_file_is_told(op: str) -> None:
    params = {"target": "/tmp/x.db"} if op == "store.backup" else {}  # noqa: S108
    async with open_runtime(App([good]), observers=()) as rt:
        assert await refused(rt, op, **params) == (
            "ValueError",
            "the store is memory:, which has no file",
        )


async def test_without_steps_that_run_things_wait(tmp_path: Path) -> None:
    """As a command works where no service runs."""
    app = App([bad, good], root=tmp_path, store=STORES[1])
    async with open_runtime(app, observers=()) as rt:
        (letter,) = await bury(rt, 1)
    async with open_runtime(app, idle=True, observers=()) as idle:
        assert (await do(idle, "dead_letters.redrive", ids=[letter["id"]]))["missing"] == []
        await do(idle, "enqueue", topic="good")
        counts = {each["name"]: each["waiting"] for each in (await do(idle, "status"))["steps"]}
        assert counts == {"Bad": 1, "Good": 1}
    async with open_runtime(app, observers=()) as rt:
        await rt.quiesce()
        steps = (await do(rt, "status"))["steps"]
        assert [(each["waiting"], each["dead"]) for each in steps] == [(0, 1), (0, 0)]
