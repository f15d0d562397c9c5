"""An error in words: one line, the place in the user's code, the traceback."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motia_trio import codec, queue, step
from motia_trio.errors import NotEncodable
from motia_trio.failures import Told, leaves, tell_error

HERE = Path(__file__)


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001
        return caught


def told(error: BaseException, root: str = "") -> Told:
    return tell_error(raised(error), root)


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_an_error_is_told_in_one_line_with_its_type_and_notes() -> None:
    error = ValueError("two\n  lines")
    error.add_note("try\nthis")
    assert told(error).error == "ValueError: two lines (try this)"
    assert told(KeyError()).error == "KeyError"


def test_the_place_is_relative_to_the_root_and_names_line_and_function() -> None:
    line = raised.__code__.co_firstlineno + 2
    where = f"{HERE.name}:{line} in raised"
    assert told(ValueError("x"), str(HERE.parent)).where == where
    assert told(ValueError("x"), str(HERE.parent) + os.sep).where == where
    assert told(ValueError("x")).where == f"{HERE.parent}{os.sep}{where}"


def test_a_folder_with_the_roots_name_as_a_prefix_is_not_below_it() -> None:
    assert told(ValueError("x"), str(HERE)[:-3]).where.startswith(str(HERE))


def test_the_place_is_in_the_users_code_and_not_in_a_library() -> None:
    for broken in (lambda: json.loads("{"), lambda: asyncio.run(5), lambda: codec.encode(object())):  # type: ignore[arg-type]
        with pytest.raises((ValueError, NotEncodable)) as caught:
            broken()
        place = tell_error(caught.value, str(HERE.parent)).where
        assert place.startswith(HERE.name)
        assert place.endswith("in <lambda>")


def test_an_error_that_was_never_raised_has_no_place() -> None:
    assert tell_error(ValueError("x")).where == "unknown"


def test_the_traceback_shows_the_users_frames_and_the_cause() -> None:
    error = ValueError("outer")
    error.__cause__ = raised(KeyError("inner"))
    text = told(error).traceback
    assert text.index("KeyError: 'inner'") < text.index("ValueError: outer")
    assert "in raised" in text


def test_the_traceback_does_not_begin_with_the_frames_through_which_we_called() -> None:
    @step(queue("t"))
    def handler() -> None:
        raise ValueError("x")

    with pytest.raises(ValueError, match="x") as caught:
        handler()
    assert caught.tb.tb_next is not None
    from_our_frame = caught.value.with_traceback(caught.tb.tb_next)
    text = tell_error(from_our_frame).traceback
    assert "in handler" in text
    assert "builders.py" not in text


def deep(level: int) -> None:
    if level == 0:
        raise ValueError("deep")
    deep(level - 1)


def test_the_traceback_of_a_deep_recursion_is_short() -> None:
    with pytest.raises(ValueError, match="deep") as caught:
        deep(800)
    assert len(tell_error(caught.value).traceback.splitlines()) < 100


def test_a_group_of_one_is_told_as_its_one_error() -> None:
    group = ExceptionGroup("g", [ExceptionGroup("h", [ValueError("x")])])
    assert told(group).error == "ValueError: x"


def test_a_group_is_told_with_its_first_leaves() -> None:
    group = ExceptionGroup("g", [ValueError(n) for n in range(7)])
    line = told(group).error
    assert line.startswith("ExceptionGroup: g (7 sub-exceptions): ValueError: 0; ValueError: 1")
    assert "ValueError: 4" in line
    assert "ValueError: 5" not in line


def test_an_error_whose_words_raise_is_told_all_the_same() -> None:
    assert told(Unspeakable()).error == "Unspeakable: <its text raised RuntimeError>"


def test_a_group_with_an_error_whose_words_raise_is_told_all_the_same() -> None:
    line = told(ExceptionGroup("g", [Unspeakable(), ValueError("x")])).error
    assert "Unspeakable" in line
    assert "ValueError: x" in line


def groups(inner: st.SearchStrategy[Exception]) -> st.SearchStrategy[Exception]:
    return st.lists(inner, min_size=1, max_size=3).map(lambda parts: ExceptionGroup("g", parts))


def flat(error: BaseException) -> list[BaseException]:
    found, waiting = [], [error]
    while waiting:
        first = waiting.pop(0)
        if isinstance(first, BaseExceptionGroup):
            waiting = [*first.exceptions, *waiting]
        else:
            found.append(first)
    return found


@given(st.recursive(st.builds(ValueError, st.integers()), groups, max_leaves=8))
def test_the_leaves_of_a_group_are_its_errors_in_order(error: Exception) -> None:
    assert leaves(error) == flat(error)
    if not isinstance(error, BaseExceptionGroup):
        assert leaves(error) == [error]


@given(st.recursive(st.builds(ValueError, st.text("ab \n\r\t", max_size=8)), groups, max_leaves=5))
def test_whatever_was_raised_is_told_in_one_line(error: Exception) -> None:
    line = tell_error(error).error
    assert line
    assert len(line.splitlines()) == 1
