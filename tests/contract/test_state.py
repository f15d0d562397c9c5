"""Contract §6: the state, what its calls give, and the steps that its changes start."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio

from motia_trio import App, UpdateInvalid, open_runtime, queue, state, step
from tests.contract.conftest import Project
from tests.contract.dialects import Dialect

Where = dict[str, Any]


def changes_of(seen: list[Any], **filters: Any) -> Any:
    """A step that writes down the changes it is given."""

    @step(state(**filters), name=f"Watches{random.random()}")
    async def watches(change: Any, ctx: Any) -> None:
        seen.append(dict(change))

    return watches


# what the calls give


@pytest.mark.parametrize(
    "value", [None, True, 7, 1.5, "ä", [1, [2]], {"a": {"b": None}}], ids=lambda v: type(v).__name__
)
async def test_groups_of_keys_of_json_values(value: Any, where: Where) -> None:
    """Groups of keys of JSON values"""
    async with open_runtime(App([], **where), observers=()) as rt:
        await rt.state.set("g", "k", value)
        await rt.state.set("h", "k", "other")
        assert await rt.state.get("g", "k") == value


async def test_durable(on_disk: Where) -> None:
    """Groups of keys of JSON values, durable."""
    async with open_runtime(App([], **on_disk), observers=()) as rt:
        await rt.state.set("g", "k", {"a": 1})
    async with open_runtime(App([], **on_disk), observers=()) as rt:
        assert await rt.state.get("g", "k") == {"a": 1}
        assert await rt.state.keys("g") == ["k"]


async def test_set(where: Where) -> None:
    """`set(group, key, value, ttl=None)` → `{"new_value", "old_value"}`"""
    async with open_runtime(App([], **where), observers=()) as rt:
        assert await rt.state.set("g", "k", {"a": 1}) == {"new_value": {"a": 1}, "old_value": None}
        assert await rt.state.set("g", "k", 2) == {"new_value": 2, "old_value": {"a": 1}}


async def test_set_gives_the_same_in_every_dialect(dialect: Dialect, files: Project) -> None:
    """`set(group, key, value, ttl=None)` → `{"new_value", "old_value"}`"""
    code = """
async def handler(input, ctx):
    saw(await ctx.state.set("g", "k", 1))
    saw(await ctx.state.set("g", "k", 2, ttl=60))
"""
    async with open_runtime(files.app(dialect.queue("t", code)), observers=()) as rt:
        await rt.enqueue("t")
        await rt.quiesce()
    assert files.seen == [
        {"new_value": 1, "old_value": None},
        {"new_value": 2, "old_value": 1},
    ]


async def test_set_ttl(where: Where, autojump_clock: Any) -> None:
    """`set(group, key, value, ttl=None)`"""
    async with open_runtime(App([], **where), observers=()) as rt:
        await rt.state.set("g", "k", 1, ttl=100)
        await trio.sleep(90)
        assert await rt.state.get("g", "k") == 1
        await trio.sleep(20)
        assert await rt.state.get("g", "k") is None
        assert await rt.state.keys("g") == []
        assert await rt.state.set("g", "k", 2) == {"new_value": 2, "old_value": None}


async def test_get(where: Where) -> None:
    """`get` → value or None"""
    async with open_runtime(App([], **where), observers=()) as rt:
        assert await rt.state.get("g", "k") is None
        await rt.state.set("g", "k", [1])
        assert await rt.state.get("g", "k") == [1]


async def test_delete(where: Where) -> None:
    """`delete` → old value or None"""
    async with open_runtime(App([], **where), observers=()) as rt:
        await rt.state.set("g", "k", [1])
        assert await rt.state.delete("g", "k") == [1]
        assert await rt.state.delete("g", "k") is None
        assert await rt.state.get("g", "k") is None


@pytest.mark.parametrize("method", ["list", "get_group", "getGroup"])
async def test_list_get_group(method: str, where: Where) -> None:
    """`list(group)`, `get_group`, `getGroup` → values"""
    async with open_runtime(App([], **where), observers=()) as rt:
        assert await getattr(rt.state, method)("g") == []
        await rt.state.set("g", "b", 2)
        await rt.state.set("g", "a", {"n": 1})
        await rt.state.set("h", "c", 3)
        found = await getattr(rt.state, method)("g")
    assert sorted(map(str, found)) == ["2", "{'n': 1}"]


async def test_keys(where: Where) -> None:
    """`keys(group)`"""
    async with open_runtime(App([], **where), observers=()) as rt:
        await rt.state.set("g", "b", 2)
        await rt.state.set("g", "a", 1)
        await rt.state.set("h", "c", 3)
        assert sorted(await rt.state.keys("g")) == ["a", "b"]


@pytest.mark.parametrize("method", ["list_groups", "listGroups"])
async def test_list_groups(method: str, where: Where) -> None:
    """`list_groups()`"""
    async with open_runtime(App([], streams=[{"name": "chat"}], **where), observers=()) as rt:
        await rt.state.set("g", "k", 1)
        await rt.state.set("h", "k", 1)
        await rt.state.set("gone", "k", 1)
        await rt.state.delete("gone", "k")
        await rt.streams.chat.set("a stream's", "k", 1)
        assert sorted(await getattr(rt.state, method)()) == ["g", "h"]


async def test_clear(where: Where) -> None:
    """`clear(group)`"""
    async with open_runtime(App([], **where), observers=()) as rt:
        for group, key in (("g", "a"), ("g", "b"), ("h", "a")):
            await rt.state.set(group, key, 1)
        await rt.state.clear("g")
        assert await rt.state.list("g") == []
        assert await rt.state.list("h") == [1]


async def test_update(where: Where) -> None:
    """`update(group, key, ops)` → `{"new_value", "old_value"}`"""
    async with open_runtime(App([], **where), observers=()) as rt:
        await rt.state.set("g", "k", {"n": 1})
        given = await rt.state.update("g", "k", [{"type": "increment", "path": "n", "by": 2}])
        assert given == {"new_value": {"n": 3}, "old_value": {"n": 1}}


async def test_update_is_atomic(where: Where) -> None:
    """`update(group, key, ops)` → …, atomic"""

    @step(queue("t"), name="Adds")
    async def adds(input: Any, ctx: Any) -> None:
        await ctx.state.update("g", "k", [{"type": "increment", "path": "n", "by": 1}])

    async with open_runtime(App([adds], **where), observers=()) as rt:
        for _ in range(30):
            await rt.enqueue("t")
        await rt.quiesce()
        assert await rt.state.get("g", "k") == {"n": 30}


async def test_update_is_all_or_nothing(where: Where) -> None:
    """`update(group, key, ops)` → …, all or nothing"""
    ops = [
        {"type": "increment", "path": "n", "by": 1},
        {"type": "append", "path": "name", "value": "x"},
    ]
    seen: list[Any] = []
    async with open_runtime(App([changes_of(seen)], **where), observers=()) as rt:
        await rt.state.set("g", "k", {"n": 1, "name": "text"})
        with pytest.raises(UpdateInvalid):
            await rt.state.update("g", "k", ops)
        assert await rt.state.get("g", "k") == {"n": 1, "name": "text"}
        await rt.quiesce()
    assert len(seen) == 1


# ops


@pytest.mark.parametrize(
    ("before", "op", "after"),
    [
        # `set path value`
        ({"a": 1}, {"type": "set", "path": "a", "value": 2}, {"a": 2}),
        ({"a": {"b": 1}}, {"type": "set", "path": "a.b", "value": [2]}, {"a": {"b": [2]}}),
        ({"a": 1}, {"type": "set", "path": "", "value": 5}, 5),
        # `merge path? value` (shallow)
        ({"a": {"x": 1}}, {"type": "merge", "value": {"a": {"y": 2}}}, {"a": {"y": 2}}),
        ({"a": 1}, {"type": "merge", "path": "", "value": {"b": 2}}, {"a": 1, "b": 2}),
        (
            {"a": {"x": {"p": 1}, "z": 0}},
            {"type": "merge", "path": "a", "value": {"x": {"q": 2}}},
            {"a": {"x": {"q": 2}, "z": 0}},
        ),
        # `increment path by`, `decrement path by`
        ({"n": 1}, {"type": "increment", "path": "n", "by": 2}, {"n": 3}),
        ({"n": 1.5}, {"type": "increment", "path": "n", "by": 2}, {"n": 3.5}),
        ({"n": 1}, {"type": "decrement", "path": "n", "by": 2}, {"n": -1}),
        ({"a": {"n": 1}}, {"type": "decrement", "path": "a.n", "by": 1}, {"a": {"n": 0}}),
        # `append path value`
        ({"l": [1]}, {"type": "append", "path": "l", "value": [2]}, {"l": [1, [2]]}),
        ([1], {"type": "append", "path": "", "value": 2}, [1, 2]),
        # `remove path`
        ({"a": 1, "b": 2}, {"type": "remove", "path": "a"}, {"b": 2}),
        ({"a": {"b": 1, "c": 2}}, {"type": "remove", "path": "a.b"}, {"a": {"c": 2}}),
        # A path is a dotted string or a list of literal segments; `""` or none is the whole value.
        ({"a.b": 1, "a": {"b": 2}}, {"type": "increment", "path": "a.b", "by": 1},
         {"a.b": 1, "a": {"b": 3}}),
        ({"a.b": 1, "a": {"b": 2}}, {"type": "increment", "path": ["a.b"], "by": 1},
         {"a.b": 2, "a": {"b": 2}}),
        ({"a": {"b": 1}}, {"type": "set", "path": ["a", "b"], "value": 2}, {"a": {"b": 2}}),
        (7, {"type": "increment", "path": "", "by": 1}, 8),
        (7, {"type": "increment", "by": 1}, 8),
        (7, {"type": "set", "value": 1}, 1),
        (7, {"type": "set", "path": [], "value": 1}, 1),
        # A missing parent is made, a missing number is 0, a missing list is [].
        ({}, {"type": "set", "path": "a.b.c", "value": 1}, {"a": {"b": {"c": 1}}}),
        (None, {"type": "set", "path": "a.b", "value": 1}, {"a": {"b": 1}}),
        ({}, {"type": "merge", "path": "a.b", "value": {"c": 1}}, {"a": {"b": {"c": 1}}}),
        ({}, {"type": "increment", "path": "a.n", "by": 2}, {"a": {"n": 2}}),
        (None, {"type": "increment", "path": "", "by": 2}, 2),
        ({}, {"type": "decrement", "path": "n", "by": 2}, {"n": -2}),
        ({}, {"type": "append", "path": "a.l", "value": 1}, {"a": {"l": [1]}}),
        (None, {"type": "append", "value": 1}, [1]),
    ],
    ids=lambda part: f"{part['type']} {part.get('path', 'nowhere')!r}"
    if isinstance(part, dict) and "type" in part else "",
)  # fmt: skip
async def test_op(before: Any, op: Any, after: Any, where: Where) -> None:
    """Ops: `set path value`, `merge path? value` (shallow), `increment path by`, `decrement path
    by`, `append path value`, `remove path`. A path is a dotted string or a list of literal
    segments; `""` or none is the whole value. A missing parent is made, a missing number is 0, a
    missing list is []."""
    async with open_runtime(App([], **where), observers=()) as rt:
        if before is not None:
            await rt.state.set("g", "k", before)
        given = await rt.state.update("g", "k", [op])
        assert given == {"new_value": after, "old_value": before}
        assert await rt.state.get("g", "k") == after


async def test_ops_are_applied_in_order(where: Where) -> None:
    """`update(group, key, ops)`"""
    ops = [
        {"type": "set", "path": "n", "value": 1},
        {"type": "increment", "path": "n", "by": 1},
        {"type": "append", "path": "seen", "value": "n"},
        {"type": "remove", "path": "old"},
    ]
    async with open_runtime(App([], **where), observers=()) as rt:
        await rt.state.set("g", "k", {"old": 1})
        await rt.state.update("g", "k", ops)
        assert await rt.state.get("g", "k") == {"n": 2, "seen": ["n"]}


async def test_ops_on_more_than_one_level(dialect: Dialect, files: Project) -> None:
    """(Seen: only one level works and the rest is skipped with a warning, whatever the
    documentation shows.)"""
    code = """
async def handler(input, ctx):
    await ctx.state.update("g", "k", [
        {"type": "set", "path": "a.b.c", "value": 1},
        {"type": "increment", "path": "a.n.x", "by": 1},
        {"type": "append", "path": "a.l.m", "value": 1},
    ])
    saw(await ctx.state.get("g", "k"))
"""
    async with open_runtime(files.app(dialect.queue("t", code)), observers=()) as rt:
        await rt.enqueue("t")
        await rt.quiesce()
    assert files.seen == [{"a": {"b": {"c": 1}, "n": {"x": 1}, "l": {"m": [1]}}}]


@pytest.mark.parametrize(
    ("before", "op"),
    [
        ({"a": "text"}, {"type": "increment", "path": "a", "by": 1}),
        ({"a": "text"}, {"type": "decrement", "path": "a", "by": 1}),
        ({"a": True}, {"type": "increment", "path": "a", "by": 1}),
        ({"a": 1}, {"type": "increment", "path": "a", "by": "one"}),
        ({"a": 1}, {"type": "append", "path": "a", "value": 1}),
        ({"a": 1}, {"type": "merge", "path": "a", "value": {"b": 1}}),
        ({"a": 1}, {"type": "merge", "value": 7}),
        ({"a": 1}, {"type": "set", "path": "a.b", "value": 1}),
        ({"a": 1}, {"type": "frobnicate", "path": "a", "value": 1}),
        ({"a": 1}, {"type": "set", "path": 7, "value": 1}),
    ],
)
async def test_a_wrong_type_is_an_error_and_changes_nothing(
    before: Any, op: Any, where: Where
) -> None:
    """A wrong type is an error and changes nothing."""
    seen: list[Any] = []
    async with open_runtime(App([changes_of(seen)], **where), observers=()) as rt:
        await rt.state.set("g", "k", before)
        with pytest.raises(UpdateInvalid):
            await rt.state.update("g", "k", [op])
        assert await rt.state.get("g", "k") == before
        await rt.quiesce()
    assert len(seen) == 1


# changes


async def test_each_change_fires_every_state_trigger(where: Where) -> None:
    """Each change fires every state trigger with `{type: "state", group_id, item_id, old_value,
    new_value}` (None where there is none)."""
    first: list[Any] = []
    second: list[Any] = []
    app = App([changes_of(first), changes_of(second)], **where)
    async with open_runtime(app, observers=()) as rt:
        await rt.state.set("g", "k", {"a": 1})
        await rt.state.set("g", "k", 2)
        await rt.state.update("g", "k", [{"type": "increment", "path": "", "by": 1}])
        await rt.state.delete("g", "k")
        await rt.quiesce()
    values = [(None, {"a": 1}), ({"a": 1}, 2), (2, 3), (3, None)]
    assert first == [
        {"type": "state", "group_id": "g", "item_id": "k", "old_value": old, "new_value": new}
        for old, new in values
    ]
    assert second == first


async def test_clear_changes_each_key(where: Where) -> None:
    """Each change fires every state trigger"""
    seen: list[Any] = []
    async with open_runtime(App([changes_of(seen)], **where), observers=()) as rt:
        for key in ("a", "b"):
            await rt.state.set("g", key, key)
        await rt.state.clear("g")
        await rt.quiesce()
    gone = [(each["item_id"], each["old_value"], each["new_value"]) for each in seen[2:]]
    assert sorted(gone) == [("a", "a", None), ("b", "b", None)]


async def test_the_change_answers_to_both_spellings(where: Where) -> None:
    """`{type: "state", group_id, item_id, old_value, new_value}`; §4: camelCase/snake_case
    aliases"""
    seen: list[Any] = []

    @step(state(), name="S")
    async def watches(change: Any) -> None:
        seen.append([change.groupId, change["itemId"], change.oldValue, change.get("newValue")])

    async with open_runtime(App([watches], **where), observers=()) as rt:
        await rt.state.set("g", "k", 1)
        await rt.quiesce()
    assert seen == [["g", "k", None, 1]]


async def test_changes_of_one_group_and_key_reach_one_step_in_order(where: Where) -> None:
    """Changes of one (group, key) reach one step in order."""
    chance = random.Random(1)
    seen: dict[str, list[Any]] = {"a": [], "b": []}
    failed: set[tuple[str, int]] = set()

    @step(state(), name="S", infrastructure={"queue": {"backoffDelayMs": 1}})
    async def watches(change: Any) -> None:
        await trio.sleep(chance.random() / 500)
        place = change.item_id, change.new_value
        if change.new_value % 5 == 0 and place not in failed:
            failed.add(place)
            raise OSError("once")
        seen[change.item_id].append(change.new_value)

    async with open_runtime(App([watches], **where), observers=()) as rt:
        for number in range(1, 16):
            await rt.state.set("g", "a", number)
            await rt.state.set("g", "b", number)
        with trio.fail_after(10):
            while min(map(len, seen.values())) < 15:
                await trio.sleep(0.01)
    assert seen == {"a": [*range(1, 16)], "b": [*range(1, 16)]}
    assert len(failed) == 6


@pytest.mark.parametrize(
    ("config", "seen"),
    [
        ({}, ["g/a", "g/b", "h/a"]),
        ({"groupId": "g"}, ["g/a", "g/b"]),
        ({"group_id": "g"}, ["g/a", "g/b"]),
        ({"scope": "g"}, ["g/a", "g/b"]),
        ({"key": "a"}, ["g/a", "h/a"]),
        ({"groupId": "g", "key": "a"}, ["g/a"]),
        ({"condition": lambda change, ctx: change.item_id == "b"}, ["g/b"]),
    ],
)
async def test_state_trigger_filters(config: Any, seen: list[str], where: Where) -> None:
    """Each change fires every state trigger; §1: in camelCase and in snake_case"""
    got: list[str] = []

    async def handler(change: Any) -> None:
        got.append(f"{change.group_id}/{change.item_id}")

    watches = step({"name": "S", "triggers": [{"type": "state", **config}]}, handler)
    async with open_runtime(App([watches], **where), observers=()) as rt:
        for group, key in (("g", "a"), ("g", "b"), ("h", "a")):
            await rt.state.set(group, key, 1)
        await rt.quiesce()
    assert sorted(got) == seen
