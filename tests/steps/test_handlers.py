"""How a handler is called is decided once, from its signature."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest

from motia_trio.steps import inspect_handler

if TYPE_CHECKING:
    from collections.abc import Callable


def none() -> None: ...
def lone(req: Any) -> None: ...
def lone_ctx(ctx: Any) -> None: ...
def lone_context(_context: Any = None) -> None: ...
def both(input: Any, ctx: Any) -> None: ...
def both_default(input: Any, ctx: Any = None) -> None: ...
def positional_only(input: Any, ctx: Any, /) -> None: ...
def optional_third(input: Any, ctx: Any, dry: bool = False) -> None: ...  # noqa: FBT001, FBT002
def star(*args: Any) -> None: ...
def one_and_star(input: Any, *args: Any) -> None: ...
def keywords(**options: Any) -> None: ...
def optional_keyword(input: Any, *, dry: bool = False) -> None: ...


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (none, ()),
        (keywords, ()),
        (lone, ("input",)),
        (optional_keyword, ("input",)),
        (lone_ctx, ("ctx",)),
        (lone_context, ("ctx",)),
        (both, ("input", "ctx")),
        (both_default, ("input", "ctx")),
        (positional_only, ("input", "ctx")),
        (optional_third, ("input", "ctx")),
        (star, ("input", "ctx")),
        (one_and_star, ("input", "ctx")),
    ],
)
def test_a_handler_gets_what_its_signature_has_room_for(
    function: Callable[..., Any], arguments: tuple[str, ...]
) -> None:
    handler = inspect_handler(function)
    assert handler.arguments("input", "ctx") == arguments
    handler.function(*arguments)


def three(a: Any, b: Any, c: Any) -> None: ...
def needs_keyword(a: Any, *, ctx: Any) -> None: ...


@pytest.mark.parametrize("function", [three, needs_keyword])
def test_arguments_that_no_handler_gets_are_refused(function: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="a handler is called as"):
        inspect_handler(function)


@pytest.mark.parametrize("thing", [None, "handler", {}])
def test_what_cannot_be_called_is_refused(thing: object) -> None:
    with pytest.raises(TypeError, match="handler must be a function"):
        inspect_handler(thing)


def test_a_builtin_without_a_signature_is_called_in_the_usual_form() -> None:
    assert inspect_handler(max).arguments("input", "ctx") == ("input", "ctx")


async def waits(input: Any, ctx: Any) -> None: ...


class WaitsWhenCalled:
    async def __call__(self, input: Any, ctx: Any) -> None: ...


class Methods:
    async def waits(self, input: Any) -> None: ...
    def works(self, input: Any) -> None: ...


@functools.wraps(waits)
def wrapped(*args: Any, **options: Any) -> Any:
    return waits(*args, **options)


@pytest.mark.parametrize(
    ("function", "is_async"),
    [
        (waits, True),
        (both, False),
        (functools.partial(waits, 1), True),
        (functools.partial(both, 1), False),
        (functools.partial(functools.partial(waits, 1)), True),
        (wrapped, True),
        (WaitsWhenCalled(), True),
        (Methods().waits, True),
        (Methods().works, False),
    ],
)
def test_async_handlers_are_told_from_sync_ones_through_any_wrapping(
    function: Callable[..., Any],
    is_async: bool,  # noqa: FBT001
) -> None:
    assert inspect_handler(function).is_async is is_async


def test_a_decorated_handler_is_called_as_the_one_inside() -> None:
    assert inspect_handler(wrapped).arguments("input", "ctx") == ("input", "ctx")
    assert inspect_handler(functools.partial(both, 1)).arguments("input", "ctx") == ("ctx",)
