"""State and streams, as handlers and programs reach them: what each call does, gives and tells."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import trio
from pydantic import BaseModel

from motia_trio import App, NotEncodable, Service, open_runtime, queue, state, step, stream
from motia_trio.errors import StoreBroken, ValueTooLarge
from motia_trio.store import UpdateInvalid
from motia_trio.store.sqlite.writer import Writer

Where = dict[str, Any]
STREAMS = [{"name": name} for name in ("chat", "a", "b c/ü", "other")]


async def in_handler(
    where: Where, act: Callable[[Any], Any], *, thread: bool = False, **config: Any
) -> Any:
    """Call something with the ctx of a handler, and give what it gives or raises."""
    out: list[Any] = []

    async def handler(data: Any, ctx: Any) -> None:
        try:
            out.append(await act(ctx))
        except Exception as error:  # noqa: BLE001 - told to the test
            out.append(error)

    def threaded(data: Any, ctx: Any) -> None:
        try:
            out.append(act(ctx))
        except Exception as error:  # noqa: BLE001 - told to the test
            out.append(error)

    config = config or {"name": "Go", "triggers": [{"type": "queue", "topic": "go"}]}
    app = App([step(config, threaded if thread else handler)], streams=STREAMS, **where)
    async with open_runtime(app, observers=()) as rt:
        await rt.enqueue("go")
        with trio.fail_after(20):
            await rt.quiesce()
        assert not rt.dead_letters.list()
    if isinstance(out[0], Exception):
        raise out[0]
    return out[0]


# what each call does


async def test_what_is_set_can_be_got_listed_and_deleted(where: Where) -> None:
    async with open_runtime(App([], streams=STREAMS, **where), observers=()) as rt:
        for items in (rt.state, rt.streams.chat):
            assert await items.get("g", "k") is None
            assert await items.list("g") == await items.keys("g") == await items.list_groups() == []
            assert await items.set("g", "k", {"n": 1}) == {"new_value": {"n": 1}, "old_value": None}
            assert await items.set("g", "k", 2) == {"new_value": 2, "old_value": {"n": 1}}
            await items.set("g", "a", [True])
            await items.set("f", "z", "text")
            assert await items.get("g", "k") == 2
            assert await items.keys("g") == ["a", "k"]
            assert await items.list("g") == await items.get_group("g") == [[True], 2]
            assert await items.list_groups() == ["f", "g"]
            assert await items.delete("g", "a") == [True]
            assert await items.delete("g", "a") is None
            assert await items.list("g") == [2]
            assert await items.delete("g", "k") == 2
            assert await items.list_groups() == ["f"]


async def test_a_group_is_cleared_as_a_whole(where: Where) -> None:
    async with open_runtime(App([], **where), observers=()) as rt:
        for key in "abc":
            await rt.state.set("g", key, key)
            await rt.state.set("h", key, key)
        assert await rt.state.clear("g") == 3
        assert await rt.state.clear("g") == 0
        assert await rt.state.list_groups() == ["h"]


@pytest.mark.parametrize("thread", [False, True], ids=["async", "thread"])
async def test_every_method_answers_to_its_camel_case_name(where: Where, *, thread: bool) -> None:
    """From a thread, with what it gives; elsewhere with something to await."""

    def in_thread(ctx: Any) -> Any:
        ctx.state.set("g", "k", 1)
        return ctx.state.getGroup("g"), ctx.state.listGroups(), ctx.streams.chat.getGroup("g")

    async def in_task(ctx: Any) -> Any:
        await ctx.state.set("g", "k", 1)
        items = ctx.streams["chat"]
        return (
            await ctx.state.getGroup("g"),
            await ctx.state.listGroups(),
            await items.getGroup("g"),
        )

    act = in_thread if thread else in_task
    assert await in_handler(where, act, thread=thread) == ([1], ["g"], [])


async def test_calls_from_a_thread_do_their_work_and_give_the_result(where: Where) -> None:
    def act(ctx: Any) -> Any:
        items = ctx.state
        return [
            items.set("g", "k", 1),
            items.get("g", "k"),
            items.update("g", "k", [{"type": "increment", "by": 2}]),
            items.keys("g"),
            items.list("g"),
            items.list_groups(),
            items.delete("g", "k"),
            items.set("g", "a", 0)["old_value"],
            items.clear("g"),
            ctx.streams.chat.set("room", "1", "hello"),
            ctx.streams.chat.get("room", "1"),
        ]

    assert await in_handler(where, act, thread=True) == [
        {"new_value": 1, "old_value": None}, 1, {"new_value": 3, "old_value": 1},
        ["k"], [3], ["g"], 3, None, 1, {"new_value": "hello", "old_value": None}, "hello",
    ]  # fmt: skip


async def test_errors_in_a_thread_are_raised_in_it(where: Where) -> None:
    def act(ctx: Any) -> Any:
        with pytest.raises(ValueError, match="group is a non-empty string"):
            ctx.state.get("", "k")
        with pytest.raises(UpdateInvalid, match="expected a number"):
            ctx.state.update("g", "k", [{"type": "set", "value": "x"}, {"type": "increment"}])
        return ctx.state.get("g", "k")

    assert await in_handler(where, act, thread=True) is None


async def test_a_write_that_nobody_awaits_is_made_before_the_invocation_ends(where: Where) -> None:
    async def act(ctx: Any) -> None:
        ctx.state.set("g", "k", 1)
        ctx.streams.chat.set("room", "1", 2)

    got: list[Any] = []

    @step(state(), stream("chat"), name="Watch")
    async def watch(change: Any, ctx: Any) -> None:
        got.append(ctx.trigger.type)

    @step(queue("go"), name="Go")
    async def go(data: Any, ctx: Any) -> None:
        await act(ctx)

    async with open_runtime(App([go, watch], streams=STREAMS, **where), observers=()) as rt:
        await rt.enqueue("go")
        await rt.quiesce()
        assert await rt.state.get("g", "k") == 1
        assert await rt.streams.chat.get("room", "1") == 2
    assert sorted(got) == ["state", "stream"]


async def test_none_is_a_value_and_not_nothing(where: Where) -> None:
    async with open_runtime(App([], **where), observers=()) as rt:
        await rt.state.set("g", "k", None)
        assert await rt.state.get("g", "k") is None
        assert await rt.state.keys("g") == ["k"]
        assert await rt.state.list("g") == [None]
        assert await rt.state.list_groups() == ["g"]
        assert await rt.state.clear("g") == 1


async def test_state_and_every_stream_have_names_of_their_own(where: Where) -> None:
    async with open_runtime(App([], streams=STREAMS, **where), observers=()) as rt:
        await rt.state.set("g", "k", "state")
        await rt.streams.a.set("g", "k", "a")
        await rt.streams["b c/ü"].set("g", "k", "b")
        assert await rt.state.list("g") == ["state"]
        assert await rt.streams.a.list("g") == ["a"]
        assert await rt.streams["b c/ü"].list("g") == ["b"]
        assert await rt.streams.other.list_groups() == []


@pytest.mark.parametrize("name", ["a", "ä" * 256, "x" * 512, " ", "\0", "\n", ":", "%", "'"])
async def test_a_name_is_any_text_of_up_to_512_bytes(where: Where, name: str) -> None:
    async with open_runtime(App([], streams=[{"name": name}], **where), observers=()) as rt:
        for items in (rt.state, rt.streams[name]):
            await items.set(name, name, 1)
            assert await items.get(name, name) == 1
            assert await items.keys(name) == [name]
            assert await items.list_groups() == [name]


async def test_a_group_and_a_key_are_not_one_string(where: Where) -> None:
    async with open_runtime(App([], **where), observers=()) as rt:
        pairs = [("a:b", "c"), ("a", "b:c"), ("a:b:c", ""[:0] or "d"), ("A", "b:c"), ("a", "B:c")]
        for number, pair in enumerate(pairs):
            await rt.state.set(*pair, number)
        assert [await rt.state.get(*pair) for pair in pairs] == [0, 1, 2, 3, 4]
        assert await rt.state.keys("a") == ["B:c", "b:c"]
        await rt.state.clear("a")
        assert await rt.state.list_groups() == ["A", "a:b", "a:b:c"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "is a non-empty string, not ''"),
        (None, "is a non-empty string, not None"),
        (7, "is a non-empty string, not 7"),
        (b"x", "is a non-empty string, not b'x'"),
        ("x" * 513, "has 513 bytes, over the limit of 512: 'xxx"),
        ("ä" * 257, "has 514 bytes, over the limit of 512"),
        ("\ud800", "must be writable as UTF-8"),
    ],
)
async def test_what_is_no_name_is_refused_by_each_call(where: Where, name: Any, words: str) -> None:
    async with open_runtime(App([], streams=STREAMS, **where), observers=()) as rt:
        items = rt.state
        of_a_group: list[Callable[[Any], Any]] = [
            lambda group: items.get(group, "k"),
            lambda group: items.set(group, "k", 1),
            lambda group: items.delete(group, "k"),
            lambda group: items.update(group, "k", []),
            items.list, items.get_group, items.keys, items.clear,
        ]  # fmt: skip
        of_a_key: list[Callable[[Any], Any]] = [
            lambda key: items.get("g", key),
            lambda key: items.set("g", key, 1),
            lambda key: items.delete("g", key),
            lambda key: items.update("g", key, []),
        ]
        for call in of_a_group:
            with pytest.raises(ValueError, match=f"group {words}"):
                call(name)
        for call in of_a_key:
            with pytest.raises(ValueError, match=f"key {words}"):
                call(name)
        with pytest.raises(ValueError, match=f"stream {words}"):
            rt.streams[name]
        assert await items.list_groups() == []


async def test_what_it_does_not_have_is_told_with_what_it_has(where: Where) -> None:
    async with open_runtime(App([], streams=STREAMS, **where), observers=()) as rt:
        with pytest.raises(AttributeError, match="state has no 'gett'; it has clear, delete, get,"):
            _ = rt.state.gett
        with pytest.raises(AttributeError, match="stream 'chat' has no '_limits'"):
            _ = rt.streams.chat._limits  # noqa: SLF001 - what is tested


# values


async def test_a_value_is_what_json_makes_of_it_and_nobody_else_s(where: Where) -> None:
    class Point(BaseModel):
        x: int

    async with open_runtime(App([], **where), observers=()) as rt:
        value: dict[str, Any] = {"list": [1], "point": Point(x=1), "tuple": (1,)}
        told = await rt.state.set("g", "k", value)
        plain = {"list": [1], "point": {"x": 1}, "tuple": [1]}
        assert told["new_value"] == plain
        value["list"].append(2)
        told["new_value"]["list"].append(3)
        (await rt.state.get("g", "k"))["list"].append(4)
        assert await rt.state.get("g", "k") == plain


async def test_a_value_without_a_json_form_is_refused_by_the_path_to_it(where: Where) -> None:
    async with open_runtime(App([], streams=STREAMS, **where), observers=()) as rt:
        with pytest.raises(NotEncodable, match=r"\$\.a\[1\]: NaN and infinity"):
            await rt.state.set("g", "k", {"a": [1, math.nan]})
        with pytest.raises(NotEncodable, match=r"\$\.b: .*object has no JSON form"):
            await rt.streams.chat.set("g", "k", {"b": object()})
        with pytest.raises(NotEncodable, match="inf"):
            await rt.state.update("g", "k", [{"type": "set", "path": "a", "value": [math.inf]}])
        assert await rt.state.list_groups() == []


async def test_a_value_over_the_limit_is_refused_with_names_size_and_limit(where: Where) -> None:
    """However it comes about; what was there stays."""
    async with open_runtime(
        App([], message_limit=20, streams=STREAMS, **where), observers=()
    ) as rt:
        await rt.state.set("g", "k", "x" * 18)
        words = r"state 'g', 'k': 21 bytes are over the limit of 20; raise message_limit"
        with pytest.raises(ValueTooLarge, match=words):
            await rt.state.set("g", "k", "x" * 19)
        with pytest.raises(ValueTooLarge, match=r"stream 'chat' 'g', 'k': 21 bytes"):
            await rt.streams.chat.set("g", "k", "x" * 19)
        await rt.state.set("g", "l", ["x" * 10])
        words = "update of 'g', 'l': the value would have 27 bytes, over the limit of 20"
        with pytest.raises(ValueTooLarge, match=words):
            await rt.state.update("g", "l", [{"type": "append", "value": "y" * 10}])
        assert await rt.state.list("g") == ["x" * 18, ["x" * 10]]


# updates


async def test_operations_are_applied_in_their_order_as_one(where: Where) -> None:
    async with open_runtime(App([], streams=STREAMS, **where), observers=()) as rt:
        await rt.state.set("g", "k", {"n": 1, "gone": True})
        told = await rt.state.update(
            "g",
            "k",
            [
                {"type": "increment", "path": "n", "by": 4},
                {"type": "decrement", "path": "n"},
                {"type": "set", "path": "a.b", "value": 1},
                {"type": "append", "path": "list", "value": "x"},
                {"type": "merge", "path": ["a"], "value": {"c": 2}},
                {"type": "remove", "path": "gone"},
            ],
        )
        new = {"n": 4, "a": {"b": 1, "c": 2}, "list": ["x"]}
        assert told == {"new_value": new, "old_value": {"n": 1, "gone": True}}
        assert await rt.state.get("g", "k") == new
        made = await rt.streams.chat.update("g", "new", {"type": "increment", "path": "n"})
        assert made == {"new_value": {"n": 1}, "old_value": None}


async def test_of_operations_all_are_applied_or_none(where: Where) -> None:
    async with open_runtime(App([], **where), observers=()) as rt:
        await rt.state.set("g", "k", {"n": 1})
        bad = [{"type": "increment", "path": "n"}, {"type": "append", "path": "n", "value": 1}]
        with pytest.raises(
            UpdateInvalid, match=r"ops\[1\] \(append 'n'\): there is int 2; expected"
        ):
            await rt.state.update("g", "k", bad)
        with pytest.raises(UpdateInvalid, match="did you mean 'increment'"):
            await rt.state.update("g", "k", [{"type": "incremet", "path": "n"}])
        assert await rt.state.get("g", "k") == {"n": 1}


@pytest.mark.parametrize("thread", [False, True], ids=["async", "thread"])
async def test_many_that_update_one_value_at_once_lose_nothing(
    where: Where, *, thread: bool
) -> None:
    @step(queue("go"), name="Async")
    async def go(data: Any, ctx: Any) -> None:
        ops = [{"type": "increment", "path": "n"}, {"type": "append", "path": "by", "value": data}]
        await ctx.state.update("g", "k", ops)

    @step(queue("go"), name="Thread")
    def threaded(data: Any, ctx: Any) -> None:
        ops = [{"type": "increment", "path": "n"}, {"type": "append", "path": "by", "value": data}]
        ctx.state.update("g", "k", ops)

    app = App([threaded if thread else go], **where)
    async with open_runtime(app, observers=()) as rt:
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(rt.enqueue, "go", number)
        with trio.fail_after(20):
            await rt.quiesce()
        value = await rt.state.get("g", "k")
    assert value["n"] == 50
    assert sorted(value["by"]) == list(range(50))


async def test_who_finds_something_deleted_is_not_told_before_that_is_kept(
    on_disk: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the deletion that is on its way fails, so does what was found because of it."""
    found: list[Any] = []
    async with open_runtime(App([], **on_disk), observers=()) as rt:
        await rt.state.set("g", "k", 1)

        def fails(*_: Any) -> None:
            raise sqlite3.OperationalError("disk I/O error")

        async def call(make: Callable[[], Any]) -> None:
            try:
                found.append(await make())
            except StoreBroken as error:
                found.append(type(error))

        with monkeypatch.context() as patch:
            patch.setattr(Writer, "_write", fails)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(call, lambda: rt.state.delete("g", "k"))
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(call, lambda: rt.state.delete("g", "k"))
                nursery.start_soon(call, lambda: rt.state.clear("g"))
        assert found == [StoreBroken] * 3
        assert await rt.state.delete("g", "k") == 1


# time to live


async def test_an_expired_key_is_gone_for_every_reader_at_once(
    where: Where, autojump_clock: Any
) -> None:
    """Also before it is swept: nobody sweeps in a runtime that is idle."""
    async with open_runtime(App([], **where), idle=True, observers=()) as rt:
        await rt.state.set("g", "k", 1, ttl=60)
        await rt.state.set("g", "stays", 2)
        await rt.state.set("alone", "k", 3, ttl=60)
        await trio.sleep(59)
        assert await rt.state.get("g", "k") == 1
        assert await rt.state.keys("g") == ["k", "stays"]
        await trio.sleep(1.01)
        assert await rt.state.get("g", "k") is None
        assert await rt.state.list("g") == [2]
        assert await rt.state.keys("g") == ["stays"]
        assert await rt.state.list_groups() == ["g"]
        assert await rt.state.delete("g", "k") is None
        assert await rt.state.clear("alone") == 0
        assert await rt.state.set("alone", "k", 4) == {"new_value": 4, "old_value": None}


async def test_a_key_that_is_written_anew_lives_as_long_as_that_says(
    where: Where, autojump_clock: Any
) -> None:
    """An update leaves its time as it is."""
    async with open_runtime(App([], **where), observers=()) as rt:
        await rt.state.set("g", "set", 1, ttl=10)
        await rt.state.set("g", "longer", 1, ttl=10)
        await rt.state.set("g", "updated", 1, ttl=10)
        await trio.sleep(5)
        await rt.state.set("g", "set", 2)
        await rt.state.set("g", "longer", 2, ttl=10)
        await rt.state.update("g", "updated", {"type": "increment"})
        await trio.sleep(6)
        assert await rt.state.keys("g") == ["longer", "set"]
        await trio.sleep(5)
        assert await rt.state.keys("g") == ["set"]


async def test_what_has_expired_is_removed_in_the_background(
    where: Where, autojump_clock: Any
) -> None:
    """So that its room is free again: the store itself has it no more."""
    async with open_runtime(App([], **where), observers=()) as rt:
        for number in range(1200):
            await rt.state.set("g", f"{number}", number, ttl=10 + number % 7)
        await rt.state.set("g", "stays", "here")
        assert len(rt.store.items("", "g", -math.inf)) == 1201
        await trio.sleep(13)
        assert 1 < len(rt.store.items("", "g", -math.inf)) < 1201
        await trio.sleep(10)
        assert [*rt.store.items("", "g", -math.inf)] == ["stays"]


async def test_what_has_expired_is_swept_when_the_store_is_opened_again(
    on_disk: Where, autojump_clock: Any
) -> None:
    app = App([], **on_disk)
    async with open_runtime(app, idle=True, observers=()) as rt:
        await rt.state.set("g", "k", 1, ttl=0.000_001)
        await rt.state.set("g", "later", 1, ttl=60)
    async with open_runtime(app, observers=()) as rt:
        await trio.sleep(50)
        assert [*rt.store.items("", "g", -math.inf)] == ["later"]
        await trio.sleep(50)
        assert not rt.store.items("", "g", -math.inf)


@pytest.mark.parametrize("ttl", [0, -1, math.nan, math.inf, "1", True])
async def test_a_time_to_live_that_is_none_is_refused(where: Where, ttl: Any) -> None:
    async with open_runtime(App([], **where), observers=()) as rt:
        with pytest.raises(ValueError, match="ttl is a number of seconds over 0"):
            await rt.state.set("g", "k", 1, ttl=ttl)


# triggers


class Watch:
    """Steps that write down the changes that they are told of, by the name of the step."""

    def __init__(self, **triggers: Any) -> None:
        self.told: dict[str, list[Any]] = {name: [] for name in triggers}
        self.steps = [self._step(name, trigger) for name, trigger in triggers.items()]

    def _step(self, name: str, trigger: Any) -> Any:
        @step(trigger, name=name)
        async def watch(change: Any, ctx: Any) -> None:
            assert change == ctx.get_data()
            self.told[name].append(dict(change))

        return watch


def change(group: str, item: str, old: Any, new: Any) -> dict[str, Any]:
    return {"type": "state", "group_id": group, "item_id": item, "old_value": old, "new_value": new}


async def test_each_change_of_state_fires_the_triggers_that_watch_it(where: Where) -> None:
    watch = Watch(
        every=state(),
        group=state(group_id="a"),
        key=state(key="k"),
        one=state(group_id="a", key="k"),
    )
    async with open_runtime(App(watch.steps, streams=STREAMS, **where), observers=()) as rt:
        await rt.state.set("a", "k", 1)
        await rt.quiesce()
        await rt.state.set("a", "l", {"n": [None]})
        await rt.quiesce()
        await rt.state.update("b", "k", {"type": "set", "path": "n", "value": 2})
        await rt.quiesce()
        await rt.state.delete("a", "k")
        await rt.state.delete("a", "k")
        await rt.quiesce()
        await rt.state.clear("a")
        await rt.streams.a.set("a", "k", 1)
        await rt.quiesce()
    made = [
        change("a", "k", None, 1),
        change("a", "l", None, {"n": [None]}),
        change("b", "k", None, {"n": 2}),
        change("a", "k", 1, None),
        change("a", "l", {"n": [None]}, None),
    ]
    assert watch.told == {
        "every": made,
        "group": [each for each in made if each["group_id"] == "a"],
        "key": [each for each in made if each["item_id"] == "k"],
        "one": [made[0], made[3]],
    }


async def test_a_change_that_was_refused_fires_nothing(where: Where) -> None:
    watch = Watch(every=state())
    async with open_runtime(App(watch.steps, **where), observers=()) as rt:
        with pytest.raises(UpdateInvalid):
            await rt.state.update("g", "k", [{"type": "set", "value": "x"}, {"type": "increment"}])
        await rt.quiesce()
    assert watch.told == {"every": []}


async def test_the_changes_of_one_key_are_told_in_their_order(
    where: Where, autojump_clock: Any
) -> None:
    """The next begins when the one before it is done, also where that fails at first."""
    told: list[tuple[str, Any]] = []
    failed: set[int] = set()

    @step(state(), name="Watch")
    async def watch(change: Any, ctx: Any) -> None:
        await trio.sleep(3 if change.new_value % 2 else 1)
        if change.new_value % 5 == 0 and change.new_value not in failed:
            failed.add(change.new_value)
            raise OSError("no luck")
        told.append((change.item_id, change.new_value))

    async with open_runtime(App([watch], **where), observers=()) as rt:
        for number in range(20):
            await rt.state.set("g", "ab"[number // 10], number)
        began = trio.current_time()
        while len(told) < 20:
            await trio.sleep(1)
    assert [number for key, number in told if key == "a"] == list(range(10))
    assert [number for key, number in told if key == "b"] == list(range(10, 20))
    assert trio.current_time() - began < 40  # the keys one beside the other


async def test_the_changes_that_many_make_at_once_are_told_as_a_chain(where: Where) -> None:
    """What one left is what the next one found, whoever was first: by the real clock too."""
    told: list[tuple[Any, Any]] = []

    @step(state(), name="Watch")
    async def watch(change: Any, ctx: Any) -> None:
        told.append((change.old_value, change.new_value))

    async with open_runtime(App([watch], **where), observers=()) as rt:
        for begin in range(0, 80, 10):  # Trio turns the order of its tasks around now and then
            async with trio.open_nursery() as nursery:
                for number in range(begin, begin + 10):
                    nursery.start_soon(rt.state.set, "g", "k", number)
        with trio.fail_after(20):
            await rt.quiesce()
        last = await rt.state.get("g", "k")
    assert sorted(new for _, new in told) == list(range(80))
    assert [old for old, _ in told] == [None, *(new for _, new in told[:-1])]
    assert told[-1][1] == last


async def test_a_change_made_by_a_handler_carries_its_trace_and_its_name(where: Where) -> None:
    traces: list[str] = []

    @step(state(), name="Watch", infrastructure={"queue": {"maxRetries": 0}})
    async def watch(change: Any, ctx: Any) -> None:
        traces.append(ctx.trace_id)
        raise OSError("no luck")

    @step(queue("go"), name="Go")
    async def go(data: Any, ctx: Any) -> None:
        traces.append(ctx.trace_id)
        await ctx.state.set("g", "k", 1)

    async with open_runtime(App([go, watch], **where), observers=()) as rt:
        await rt.enqueue("go", trace_id="a" * 32)
        await rt.quiesce()
        (letter,) = rt.dead_letters.list()
    assert traces == ["a" * 32] * 2
    assert (letter.message.sender, letter.message.topic) == ("Go", "(state)")


async def test_an_expiry_is_told_once_as_a_change_to_nothing(
    where: Where, autojump_clock: Any
) -> None:
    """Whether it is the sweeper who finds it, or the one who writes the key anew."""
    watch = Watch(every=state(), stream=stream("chat"))
    async with open_runtime(App(watch.steps, streams=STREAMS, **where), observers=()) as rt:
        await rt.state.set("g", "swept", 1, ttl=10)
        await rt.streams.chat.set("room", "1", "hello", ttl=10)
        await trio.sleep(20)
        await rt.quiesce()
        assert watch.told["every"] == [change("g", "swept", None, 1), change("g", "swept", 1, None)]
        assert [told["event"] for told in watch.told["stream"]] == [
            {"type": "create", "data": "hello"},
            {"type": "delete", "data": "hello"},
        ]
        watch.told["every"].clear()
        await trio.sleep(1000)
        assert watch.told["every"] == []


async def test_an_expiry_that_was_not_swept_is_told_before_what_is_written_anew(
    on_disk: Where, autojump_clock: Any
) -> None:
    watch = Watch(every=state())
    app = App(watch.steps, **on_disk)
    async with open_runtime(app, idle=True, observers=()) as rt:
        await rt.state.set("g", "k", 1, ttl=10)
        await trio.sleep(20)
        assert await rt.state.set("g", "k", 2) == {"new_value": 2, "old_value": None}
    async with open_runtime(app, observers=()) as rt:
        await trio.sleep(30)  # the clock begins anew, with the real time
        await rt.quiesce()
    assert watch.told["every"] == [
        change("g", "k", None, 1), change("g", "k", 1, None), change("g", "k", None, 2),
    ]  # fmt: skip


async def test_each_change_of_a_stream_fires_the_triggers_that_watch_it(where: Where) -> None:
    watch = Watch(
        every=stream("chat"),
        group=stream("chat", group_id="a"),
        item=stream("chat", item_id="1"),
        one=stream("chat", group_id="a", item_id="1"),
        other=stream("other"),
    )
    async with open_runtime(App(watch.steps, streams=STREAMS, **where), observers=()) as rt:
        now = rt._shared.clock.now  # noqa: SLF001 - the time that it says
        began = now()
        chat = rt.streams.chat
        calls: list[Callable[[], Any]] = [
            lambda: chat.set("a", "1", {"text": "hello"}),
            lambda: chat.update("a", "1", {"type": "set", "path": "n", "value": 1}),
            lambda: chat.set("a", "2", 2),
            lambda: chat.set("b", "1", 3),
            lambda: chat.delete("a", "1"),
            lambda: rt.state.set("a", "1", 4),
        ]
        for call in calls:
            await call()
            await rt.quiesce()
        ended = now()
    events = [(t["group_id"], t["id"], t["event"]["type"], t["event"]["data"]) for t in watch.told["every"]]  # fmt: skip
    assert events == [
        ("a", "1", "create", {"text": "hello"}),
        ("a", "1", "update", {"text": "hello", "n": 1}),
        ("a", "2", "create", 2),
        ("b", "1", "create", 3),
        ("a", "1", "delete", {"text": "hello", "n": 1}),
    ]
    first = watch.told["every"][0]
    assert {*first} == {"type", "timestamp", "stream_name", "group_id", "id", "event"}
    assert (first["type"], first["stream_name"]) == ("stream", "chat")
    assert int(began * 1000) <= first["timestamp"] <= int(ended * 1000)
    every = watch.told["every"]
    assert watch.told["group"] == [told for told in every if told["group_id"] == "a"]
    assert watch.told["item"] == [told for told in every if told["id"] == "1"]
    assert watch.told["one"] == [every[0], every[1], every[4]]
    assert watch.told["other"] == []


# the first dialect


FIRST: dict[str, Any] = {"name": "Go", "type": "event", "subscribes": ["go"]}


@pytest.mark.parametrize("thread", [False, True], ids=["async", "thread"])
async def test_the_first_dialect_finds_a_value_in_its_data(where: Where, *, thread: bool) -> None:
    """Half of the public steps unwrap what they read this way, and the other half does not."""

    def look(value: Any) -> list[Any]:
        return [value["data"], value.get("data"), value["n"], value == {"n": 1}, bool(value)]

    async def in_task(ctx: Any) -> Any:
        await ctx.state.set("g", "k", {"n": 1})
        await ctx.state.set("g", "own", {"data": 7})
        own = await ctx.state.get("g", "own")
        return [*look(await ctx.state.get("g", "k")), own["data"], own.get("data")]

    def in_thread(ctx: Any) -> Any:
        ctx.state.set("g", "k", {"n": 1})
        ctx.state.set("g", "own", {"data": 7})
        own = ctx.state.get("g", "own")
        return [*look(ctx.state.get("g", "k")), own["data"], own.get("data")]

    act = in_thread if thread else in_task
    found = await in_handler(where, act, thread=thread, **FIRST)
    assert found == [{"n": 1}, {"n": 1}, 1, True, True, 7, 7]


async def test_the_first_dialect_finds_nothing_in_the_data_of_nothing(where: Where) -> None:
    async def act(ctx: Any) -> Any:
        nothing = await ctx.state.get("g", "k")
        return [bool(nothing), nothing["data"], nothing.get("n", 5), nothing == None, not nothing]  # noqa: E711

    assert await in_handler(where, act, **FIRST) == [False, None, 5, True, True]


async def test_a_key_that_the_first_dialect_asks_a_value_for_and_is_not_there_is_an_error(
    where: Where,
) -> None:
    async def act(ctx: Any) -> Any:
        await ctx.state.set("g", "k", {"n": 1})
        value = await ctx.state.get("g", "k")
        assert value.get("m") is None
        assert "data" not in value
        return value["m"]

    with pytest.raises(KeyError, match="m"):
        await in_handler(where, act, **FIRST)


async def test_what_the_first_dialect_found_can_be_passed_on_also_when_it_is_nothing() -> None:
    """Nothing is null, wherever it goes."""
    got: list[Any] = []

    async def handler(req: Any, ctx: Any) -> Any:
        await ctx.state.set("g", "k", {"n": 1})
        found = {"some": await ctx.state.get("g", "k"), "none": await ctx.state.get("g", "none")}
        await ctx.enqueue("work", found)
        await ctx.state.set("g", "found", found)
        return {"status": 200, "body": found["none"] if req.query_params.get("none") else found}

    @step(queue("work"), name="Work")
    async def work(data: Any, ctx: Any) -> None:
        got.append((dict(data), await ctx.state.get("g", "found")))

    first = step({"name": "A", "type": "api", "path": "/a", "method": "GET"}, handler)
    async with open_runtime(App([first, work]), observers=()) as rt:
        transport = httpx.ASGITransport(rt.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            answer = await client.get("/a")
            none = await client.get("/a?none=1")
        await rt.quiesce()
    found = {"some": {"n": 1}, "none": None}
    assert (answer.status_code, answer.json()) == (200, found)
    assert (none.status_code, none.json()) == (200, None)
    assert got[0] == (found, found)


async def test_the_first_dialect_gets_the_item_itself_of_what_it_sets_in_a_stream(
    where: Where,
) -> None:
    """Of state it gets both values, as the others do of both."""

    async def act(ctx: Any) -> Any:
        return [
            await ctx.streams.chat.set("room", "1", {"text": "hello"}),
            await ctx.streams.chat.get("room", "1"),
            await ctx.state.set("g", "k", 1),
        ]

    both = {"new_value": {"text": "hello"}, "old_value": None}
    state_told = {"new_value": 1, "old_value": None}
    first = await in_handler(where, act, **FIRST)
    assert first == [{"text": "hello"}, {"text": "hello"}, state_told]
    where = {**where, "root": where["root"] / "other"}
    assert await in_handler(where, act) == [both, {"text": "hello"}, state_told]


async def test_the_second_dialect_gets_plain_values(where: Where) -> None:
    async def act(ctx: Any) -> Any:
        await ctx.state.set("g", "k", {"n": 1})
        return [type(await ctx.state.get("g", "k")), await ctx.state.get("g", "none")]

    assert await in_handler(where, act) == [dict, None]


# over restarts


async def test_a_result_that_was_not_awaited_says_so_however_it_is_used() -> None:
    async with open_runtime(App([]), observers=()) as rt:
        found: Any = rt.state.get("g", "k")
        for use in (
            bool,
            len,
            list,
            lambda each: each["x"],
            lambda each: each.x,
            lambda each: "x" in each,
        ):
            with pytest.raises((TypeError, AttributeError), match="is an await missing"):
                use(found)
        assert await found is None


async def test_state_and_streams_are_there_when_the_store_is_opened_again(on_disk: Where) -> None:
    async def look(rt: Service) -> list[Any]:
        return [
            await rt.state.get("g", "k"),
            await rt.state.keys("g"),
            await rt.state.list_groups(),
            await rt.streams.chat.list("room"),
            await rt.streams.chat.list_groups(),
        ]

    app = App([], streams=STREAMS, **on_disk)
    async with open_runtime(app, observers=()) as rt:
        await rt.state.set("g", "k", {"n": 1})
        await rt.state.set("g", "none", None)
        await rt.state.set("h", "gone", 1)
        await rt.state.delete("h", "gone")
        await rt.streams.chat.set("room", "1", "hello")
        before = await look(rt)
    assert before == [{"n": 1}, ["k", "none"], ["g"], ["hello"], ["room"]]
    async with open_runtime(app, observers=()) as rt:
        assert await look(rt) == before
