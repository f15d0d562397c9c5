"""What a state value is after a list of operations, and which lists are refused."""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Sequence
from copy import deepcopy
from types import MappingProxyType, SimpleNamespace
from typing import Any, Literal

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import BaseModel

from motia_trio.codec import decode, encode
from motia_trio.data import wrap
from motia_trio.errors import MotiaTrioError
from motia_trio.store.updates import Op, UpdateInvalid, apply_ops, parse_ops


def update(value: Any, *ops: Any) -> Any:
    return apply_ops(value, parse_ops(list(ops)))


def op(kind: str, path: object = "", **rest: Any) -> dict[str, Any]:
    return {"type": kind, "path": path, **rest}


# a model to agree with: recursive, one level a call, values built anew


class Refused(Exception):
    pass


def model(value: Any, step: dict[str, Any]) -> Any:
    path, kind = step["path"], step["type"]
    if not path:
        return None if kind == "remove" else model_leaf(value, step)
    head, inner = path[0], {**step, "path": path[1:]}
    if isinstance(value, list):
        if not head.isdecimal():
            raise Refused
        n = int(head)
        if n >= len(value):
            if kind == "remove":
                return value
            if n > len(value):
                raise Refused
            return [*value, model(None, inner)]
        if kind == "remove" and len(path) == 1:
            return [item for at, item in enumerate(value) if at != n]
        return [model(item, inner) if at == n else item for at, item in enumerate(value)]
    if value is None and kind == "remove":
        return None
    if value is None:
        return {head: model(None, inner)}
    if isinstance(value, dict):
        if head not in value:
            return value if kind == "remove" else {**value, head: model(None, inner)}
        if kind == "remove" and len(path) == 1:
            return {key: item for key, item in value.items() if key != head}
        return {key: model(item, inner) if key == head else item for key, item in value.items()}
    raise Refused


def model_leaf(old: Any, step: dict[str, Any]) -> Any:
    wanted: dict[str, tuple[type, ...]] = {"merge": (dict,), "append": (list,)}
    kind = step["type"]
    if kind == "set":
        return step["value"]
    if old is not None and type(old) not in wanted.get(kind, (int, float)):
        raise Refused
    if kind == "merge":
        return (old or {}) | step["value"]
    if kind == "append":
        return (old or []) + [step["value"]]
    sign = 1 if kind == "increment" else -1
    return (0 if old is None else old) + sign * step["by"]


def expected(value: Any, chosen: list[dict[str, Any]]) -> str:
    """What the model gives. As text: 1, 1.0 and True are not the same here."""
    try:
        for step in chosen:
            value = model(value, step)
    except Refused:
        return "refused"
    return repr(value)


def outcome(value: Any, ops: Sequence[Op]) -> str:
    try:
        return repr(apply_ops(value, ops))
    except UpdateInvalid:
        return "refused"


# values and operations; paths mostly lead to what is there, and on

KEYS = st.sampled_from(["a", "b", "0", "1", "a.b", ""])
TYPES = ["set", "merge", "append", "increment", "decrement", "remove"]
FITTING = {dict: ["merge"], list: ["append"], int: ["increment", "decrement"]}
NUMBERS = st.integers(-5, 5) | st.integers() | st.floats(-1e9, 1e9)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def places(draw: st.DrawFn, value: Any) -> tuple[list[str], Any]:
    """A path, and what is there."""
    path: list[str] = []
    for _ in range(draw(st.integers(0, 4))):
        if isinstance(value, list):
            segment = str(draw(st.integers(0, len(value) + draw(st.sampled_from([0, 0, 1])))))
            value = value[int(segment)] if int(segment) < len(value) else None
        elif isinstance(value, dict):
            segment = draw(st.sampled_from([*value, draw(KEYS)]))
            value = value.get(segment)
        else:
            segment = draw(KEYS)
            if value is not None and draw(st.integers(0, 3)):
                break  # beyond a number nothing fits: try it now and then
            value = None
        path.append(segment)
    return path, value


def paths(value: Any) -> st.SearchStrategy[list[str]]:
    return places(value).map(lambda place: place[0])


@st.composite
def steps(draw: st.DrawFn, value: Any) -> dict[str, Any]:
    path, there = draw(places(value))
    kind = draw(st.sampled_from(TYPES) | st.sampled_from(FITTING.get(type(there), TYPES)))
    step = op(kind, path)
    if kind == "merge":
        step["value"] = draw(st.dictionaries(KEYS, VALUES, max_size=3))
    elif kind in {"set", "append"}:
        step["value"] = draw(VALUES)
    elif kind != "remove":
        step["by"] = draw(NUMBERS)
    return step


@st.composite
def cases(draw: st.DrawFn) -> tuple[Any, list[dict[str, Any]]]:
    """A value and operations for it; some fit, and some do not."""
    start = value = draw(VALUES)
    chosen = []
    for _ in range(draw(st.integers(0, 5))):
        step = draw(steps(value))
        chosen.append(step)
        try:
            value = model(value, step)
        except Refused:
            if draw(st.booleans()):
                chosen.pop()
    return start, chosen


@given(cases())
def test_updates_agree_with_a_naive_model_and_fail_where_it_fails(
    case: tuple[Any, list[dict[str, Any]]],
) -> None:
    value, chosen = case
    assert outcome(value, parse_ops(chosen)) == expected(value, chosen)


@given(cases())
def test_neither_the_value_nor_the_operations_are_ever_changed(
    case: tuple[Any, list[dict[str, Any]]],
) -> None:
    value, chosen = case
    before = repr(value), repr(chosen)
    ops = parse_ops(chosen)
    for _ in range(2):  # were anything changed, the second run would give something else
        assert outcome(value, ops) == expected(value, chosen)
    assert (repr(value), repr(chosen)) == before


@given(cases(), st.integers(0, 5))
def test_two_lists_one_after_the_other_do_what_they_do_as_one(
    case: tuple[Any, list[dict[str, Any]]], cut: int
) -> None:
    value, chosen = case
    ops = parse_ops(chosen)
    try:
        at_once = apply_ops(value, ops)
    except UpdateInvalid:
        with pytest.raises(UpdateInvalid):
            apply_ops(apply_ops(value, ops[:cut]), ops[cut:])
    else:
        assert repr(apply_ops(apply_ops(value, ops[:cut]), ops[cut:])) == repr(at_once)


@given(st.data(), VALUES, VALUES)
def test_what_was_set_is_found_at_its_path(data: st.DataObject, value: Any, new: Any) -> None:
    path = data.draw(paths(value))
    try:
        found = update(value, op("set", path, value=new))
    except UpdateInvalid:
        assume(False)  # noqa: FBT003
    for segment in path:
        found = found[int(segment) if isinstance(found, list) else segment]
    assert found is new


@given(st.data(), VALUES)
def test_what_was_removed_from_a_dict_is_there_no_more_and_removing_it_again_changes_nothing(
    data: st.DataObject, value: Any
) -> None:
    *way, last = [*data.draw(paths(value)), data.draw(KEYS)]
    holder = update(None, op("set", way, value={"a": 1, last: value}))
    removed = update(holder, op("remove", [*way, last]))
    assert removed == update(None, op("set", way, value={"a": 1} if last != "a" else {}))
    assert update(removed, op("remove", [*way, last])) is removed


@given(cases())
def test_a_list_that_fails_at_its_end_leaves_everything_as_it_was(
    case: tuple[Any, list[dict[str, Any]]],
) -> None:
    value, chosen = case
    before = deepcopy(value)
    with pytest.raises(UpdateInvalid):
        update(value, *chosen, op("set", value="text"), op("increment"))
    assert repr(value) == repr(before)


@given(st.integers(), st.integers(), st.lists(KEYS, max_size=3))
def test_an_increment_and_a_decrement_by_the_same_int_cancel_out_exactly(
    start: int, by: int, path: list[str]
) -> None:
    value = update(None, op("set", path, value=start))
    up = update(value, op("increment", path, by=by))
    assert up == update(None, op("set", path, value=start + by))
    assert repr(update(up, op("decrement", path, by=by))) == repr(value)


@given(cases())
def test_operations_come_through_json_unchanged(case: tuple[Any, list[dict[str, Any]]]) -> None:
    chosen = decode(encode(case[1]))
    ops = parse_ops(chosen)
    assert parse_ops(decode(encode(ops))) == ops
    assert parse_ops(ops) == ops
    assert [list(one.path) for one in ops] == [step["path"] for step in chosen]


# each operation


@pytest.mark.parametrize(
    ("value", "step", "expected"),
    [
        ({"a": 1}, op("set", "b.c", value=2), {"a": 1, "b": {"c": 2}}),
        (None, op("set", "a", value=None), {"a": None}),
        ({"a": None}, op("set", "a.b", value=1), {"a": {"b": 1}}),
        ({"a": 1}, op("set", value=[]), []),
        ({"a": [1, 2]}, op("set", "a.0", value=3), {"a": [3, 2]}),
        ({"a": [1, 2]}, op("set", "a.2", value=3), {"a": [1, 2, 3]}),
        ({"a": [1]}, op("set", "a.1.b", value=3), {"a": [1, {"b": 3}]}),
        ([1, 2], op("set", "001", value=3), [1, 3]),
        ({"a": {"0": 1}}, op("set", "a.0", value=3), {"a": {"0": 3}}),
        (None, op("set", "a.0", value=3), {"a": {"0": 3}}),
        ({"a": 1, "d": 3}, op("merge", value={"a": {}, "c": 2}), {"a": {}, "d": 3, "c": 2}),
        ({"a": {"b": 1, "c": 2}}, op("merge", value={"a": {"b": 3}}), {"a": {"b": 3}}),
        (None, op("merge", value={"a": 1}), {"a": 1}),
        ({}, op("merge", "a.b", value={}), {"a": {"b": {}}}),
        (None, op("increment", "a.n"), {"a": {"n": 1}}),
        (None, op("decrement", "n", by=2), {"n": -2}),
        ({"n": None}, op("increment", "n", by=2.5), {"n": 2.5}),
        (41, op("increment"), 42),
        (0.0, op("increment"), 1.0),
        ([1, 2], op("increment", "1", by=-5), [1, -3]),
        ([1], op("increment", "1"), [1, 1]),
        (None, op("append", "a", value=1), {"a": [1]}),
        ({"a": [1]}, op("append", "a", value=[2]), {"a": [1, [2]]}),
        ([], op("append", value=None), [None]),
        ({"a": 1, "b": 2}, op("remove", "a"), {"b": 2}),
        ({"a": None}, op("remove", "a"), {}),
        ({"a": [1, 2, 3]}, op("remove", "a.1"), {"a": [1, 3]}),
        ({"a": 1}, op("remove"), None),
        (None, op("remove"), None),
    ],
)
def test_an_operation_does_what_the_contract_says(
    value: Any, step: dict[str, Any], expected: Any
) -> None:
    assert repr(update(value, step)) == repr(expected)


@pytest.mark.parametrize("path", ["c", "c.d.e", "none.b", "list.2", "list.7", "list." + "9" * 5000])
def test_removing_what_is_missing_gives_the_very_same_value(path: str) -> None:
    value = {"a": 1, "none": None, "list": [1, 2]}
    assert update(value, op("remove", path)) is value


def test_what_is_not_on_the_way_is_shared_and_not_copied() -> None:
    value: dict[str, Any] = {"a": {"n": 1}, "b": {"big": []}}
    result = update(value, op("increment", "a.n"))
    assert result["a"] is not value["a"]
    assert result["b"] is value["b"]


def test_a_value_that_was_set_twice_is_not_changed_through_either_place() -> None:
    shared: list[int] = []
    steps_ = [
        op("set", "a", value=shared),
        op("set", "b", value=shared),
        op("append", "a", value=1),
    ]
    assert update(None, *steps_) == {"a": [1], "b": []}
    assert shared == []


def test_no_operations_change_nothing() -> None:
    value = {"a": 1}
    assert update(value) is value


def test_keys_with_dots_and_empty_keys_are_reached_by_lists() -> None:
    value = update({"a.b": 1, "": 2}, op("increment", ["a.b"]), op("increment", [""]))
    assert value == {"a.b": 2, "": 3}


def test_paths_know_keys_literally_though_reading_knows_both_spellings() -> None:
    value = wrap({"orderId": 1})
    result = update(value, op("set", "order_id", value=2))
    assert list(result.items()) == [("orderId", 1), ("order_id", 2)]
    assert type(result) is dict
    assert update(value, op("remove", "order_id")) is value


# what does not fit


@pytest.mark.parametrize(
    ("value", "step", "words"),
    [
        ("x", op("increment"), "ops[0] (increment the whole value): there is str 'x'; expected a number"),
        ({"a": {"n": "x"}}, op("increment", "a.n"), "ops[0] (increment 'a.n'): there is str 'x'; expected a number"),
        ({"n": True}, op("decrement", "n"), "ops[0] (decrement 'n'): there is bool True; expected a number"),
        ({"n": [1]}, op("increment", "n"), "ops[0] (increment 'n'): there is list [1]; expected a number"),
        ({"a": {}}, op("append", "a", value=1), "ops[0] (append 'a'): there is dict {}; expected a list"),
        ({"a": "text"}, op("append", "a", value="s"), "ops[0] (append 'a'): there is str 'text'; expected a list"),
        ({"a": False}, op("append", "a", value=1), "ops[0] (append 'a'): there is bool False; expected a list"),
        ({"a": []}, op("merge", "a", value={}), "ops[0] (merge 'a'): there is list []; expected a dict"),
        ({"a": 0}, op("merge", "a", value={}), "ops[0] (merge 'a'): there is int 0; expected a dict"),
        ({"a": 1}, op("set", "a.b.c", value=1), "ops[0] (set 'a.b.c'): at 'a' is int 1; expected a dict or a list"),
        (1, op("set", "a", value=1), "ops[0] (set 'a'): at the whole value is int 1; expected a dict or a list"),
        ({"a": "x"}, op("remove", "a.b"), "ops[0] (remove 'a.b'): at 'a' is str 'x'; expected a dict or a list"),
        ({"a.b": 1}, op("set", ["a.b", "c"], value=1), "ops[0] (set ['a.b', 'c']): at ['a.b'] is int 1; expected a dict or a list"),
        ({"a": [1, 2]}, op("set", "a.3", value=1), "ops[0] (set 'a.3'): at 'a' is list [1, 2]; expected an index from 0 to 2, not '3'"),
        ({"a": [1, 2]}, op("set", "a.-1", value=1), "ops[0] (set 'a.-1'): at 'a' is list [1, 2]; expected an index from 0 to 2, not '-1'"),
        ({"": 1}, op("set", ["", "a"], value=1), "ops[0] (set ['', 'a']): at [''] is int 1; expected a dict or a list"),
        ([], op("set", "b", value=1), "ops[0] (set 'b'): at the whole value is list []; expected an index from 0 to 0, not 'b'"),
        ([1], op("remove", "b"), "ops[0] (remove 'b'): at the whole value is list [1]; expected an index from 0 to 1, not 'b'"),
        ([1], op("set", ["²"], value=1), "ops[0] (set '²'): at the whole value is list [1]; expected an index from 0 to 1, not '²'"),
        ({"n": 1e308}, op("increment", "n", by=1e308), "ops[0] (increment 'n'): there is float 1e+308; expected less, as 1e+308 more is beyond a float"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_op_path_what_is_there_and_what_was_expected(
    value: Any, step: dict[str, Any], words: str
) -> None:
    with pytest.raises(UpdateInvalid) as caught:
        update(value, step)
    assert str(caught.value) == words


def test_the_error_counts_operations_from_zero() -> None:
    with pytest.raises(UpdateInvalid, match=r"^ops\[2\] \(append 'n'\): there is int 2;"):
        update({"n": 0}, op("increment", "n"), op("increment", "n"), op("append", "n", value=1))


def test_an_error_is_of_this_library_and_a_value_error() -> None:
    assert issubclass(UpdateInvalid, MotiaTrioError)
    assert issubclass(UpdateInvalid, ValueError)


# how operations are written


class Kind(enum.StrEnum):
    INCREMENT = "increment"


class Increment(BaseModel):
    type: Literal["increment"] = "increment"
    path: str
    by: int = 1


@attrs.define
class AnyUpdate:
    """One class for every type, as some write it: what is not needed is None."""

    type: str
    path: str | None = None
    value: Any = None
    by: int | None = None


@pytest.mark.parametrize(
    "written",
    [
        {"type": "increment", "path": "a.n", "by": 2},
        {"type": Kind.INCREMENT, "path": ["a", "n"], "by": 2, "value": None},
        [{"type": "increment", "path": ("a", "n"), "by": 2}],
        ({"by": 2, "path": "a.n", "type": "increment"},),
        MappingProxyType({"type": "increment", "path": "a.n", "by": 2}),
        wrap({"type": "increment", "path": "a.n", "by": 2}),
        OrderedDict(type="increment", path="a.n", by=2),
        Increment(path="a.n", by=2),
        [Increment(path="a.n", by=2)],
        SimpleNamespace(type="increment", path="a.n", by=2, note="not read"),
        AnyUpdate("increment", "a.n", by=2),
        Op("increment", ("a", "n"), by=2),
    ],
)
def test_an_operation_may_be_a_mapping_or_an_object_alone_or_in_a_sequence(written: Any) -> None:
    parsed = parse_ops(written)
    assert parsed == (Op("increment", ("a", "n"), by=2),)
    assert type(parsed[0].type) is str


def test_what_is_left_out_is_the_whole_value_and_one() -> None:
    wholes: list[dict[str, Any]] = [{}, {"path": ""}, {"path": []}, {"path": None}]
    for whole in wholes:
        assert parse_ops({"type": "set", "value": 1, **whole}) == (Op("set", (), 1),)
    assert parse_ops({"type": "increment"}) == (Op("increment", (), by=1),)
    assert apply_ops(1, [Op("increment"), Op("increment")]) == 3
    assert parse_ops([]) == ()


def test_none_is_a_value_that_an_object_can_set() -> None:
    assert update({"a": 1}, AnyUpdate("set", "a")) == {"a": None}
    assert update({"a": []}, AnyUpdate("append", "a")) == {"a": [None]}


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (None, "ops: NoneType None; expected an op such as {'type': 'set', 'path': 'a.b', 'value': 1}, or a list of ops"),
        ("set", "ops: str 'set'; expected an op such as {'type': 'set', 'path': 'a.b', 'value': 1}, or a list of ops"),
        (b"set", "ops: bytes b'set'; expected an op such as {'type': 'set', 'path': 'a.b', 'value': 1}, or a list of ops"),
        (["set"], "ops[0]: str 'set'; expected an op, a dict or an object"),
        ([op("remove"), 5], "ops[1]: int 5; expected an op, a dict or an object"),
        ({}, "ops[0]: type is missing; expected one of set, merge, append, increment, decrement, remove"),
        ([op("remove"), op("push", "n")], "ops[1]: unknown type 'push'; expected one of set, merge, append, increment, decrement, remove"),
        (op("incremnt", "n"), "ops[0]: unknown type 'incremnt'; did you mean 'increment'?"),
        (op("SET", "n", value=1), "ops[0]: unknown type 'SET'; did you mean 'set'?"),
        ({"type": ["set"]}, "ops[0]: unknown type ['set']; expected one of set, merge, append, increment, decrement, remove"),
        ({"tpye": "set"}, "ops[0]: unknown key 'tpye'; did you mean 'type'?"),
        ({"type": "set", "vaule": 1}, "ops[0]: unknown key 'vaule'; did you mean 'value'?"),
        (op("increment", "n", amount=5), "ops[0]: unknown key 'amount'; expected one of type, path, value, by"),
        ({"type": "set", 5: 1}, "ops[0]: unknown key 5; expected one of type, path, value, by"),
        (op("set", "a"), "ops[0] (set): value is missing; if it is to be None, say so"),
        (SimpleNamespace(type="append", path="a"), "ops[0] (append): value is missing; if it is to be None, say so"),
        (op("increment", "n", value=5), "ops[0] (increment): value: int 5; increment takes no value; did you mean 'by'?"),
        (op("set", "n", value=5, by=1), "ops[0] (set): by: int 1; set takes no by; did you mean 'value'?"),
        (op("remove", "n", value=5), "ops[0] (remove): value: int 5; remove takes no value"),
        (op("merge", "n", value=[1]), "ops[0] (merge): value: list [1]; expected a dict"),
        (op("merge", "n", value=None), "ops[0] (merge): value: NoneType None; expected a dict"),
        (op("increment", "n", by="1"), "ops[0] (increment): by: str '1'; expected a finite number"),
        (op("increment", "n", by=True), "ops[0] (increment): by: bool True; expected a finite number"),
        (op("increment", "n", by=None), "ops[0] (increment): by: NoneType None; expected a finite number"),
        (op("decrement", "n", by=float("nan")), "ops[0] (decrement): by: float nan; expected a finite number"),
        (op("decrement", "n", by=float("-inf")), "ops[0] (decrement): by: float -inf; expected a finite number"),
        (op("remove", "a..b"), "ops[0] (remove): path 'a..b' has an empty segment; expected a list"),
        (op("remove", ".a"), "ops[0] (remove): path '.a' has an empty segment; expected a list"),
        (op("remove", "a."), "ops[0] (remove): path 'a.' has an empty segment; expected a list"),
        (op("remove", "."), "ops[0] (remove): path '.' has an empty segment; expected a list"),
        (op("remove", 5), "ops[0] (remove): path: int 5; expected a dotted string or a list of strings, for an index '0'"),
        (op("remove", ["a", 0]), "ops[0] (remove): path: list ['a', 0]; expected a dotted string or a list of strings, for an index '0'"),
    ],
)  # fmt: skip
def test_an_operation_that_is_written_wrong_is_refused_with_what_is_wrong(
    written: Any, words: str
) -> None:
    with pytest.raises(UpdateInvalid) as caught:
        parse_ops(written)
    assert str(caught.value) == words


# far out

DEEP = [str(n) for n in range(10_000)]


def depth(value: Any) -> int:
    levels = 0
    while isinstance(value, (dict, list)) and value:
        value = next(iter(value.values() if isinstance(value, dict) else value))
        levels += 1
    return levels


@pytest.mark.parametrize("path", [DEEP, ".".join(DEEP)])
def test_ten_thousand_levels_are_gone_through_without_recursion(path: Any) -> None:
    made = update(None, op("set", path, value=1))
    assert depth(made) == 10_000
    assert depth(update(made, op("increment", path), op("remove", path))) == 9_999


def test_an_error_far_down_or_about_something_deep_has_a_short_message() -> None:
    made = update(None, op("set", DEEP, value="x" * 10_000))
    for value, step in [
        (made, op("increment", DEEP)),
        (made, op("increment")),
        (wrap(made), op("append", value=1)),
    ]:
        with pytest.raises(UpdateInvalid) as caught:
            update(value, step)
        assert len(str(caught.value)) < 500


def test_huge_ints_are_counted_exactly_and_refused_with_a_message_where_a_float_is_to_be_added() -> (
    None
):
    huge = 10**6000
    assert update({"n": huge}, op("increment", "n", by=huge)) == {"n": 2 * huge}
    for wrong in [op("increment", "n", by=0.5), op("append", "n", value=1)]:
        with pytest.raises(UpdateInvalid, match="too long to show"):
            update({"n": huge}, wrong)


@pytest.mark.parametrize("index", ["9" * 5000, "0" * 5000 + "2"])
def test_an_index_of_very_many_digits_is_an_index_as_any_other(index: str) -> None:
    with pytest.raises(UpdateInvalid, match="expected an index from 0 to 1"):
        update([1], op("set", index, value=1))
    assert update([1, 2], op("set", "0" * 5000 + "1", value=3)) == [1, 3]
