"""How a handler is called, decided once at load from its signature."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Literal

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Handler", "inspect_handler"]

_CONTEXT_NAMES = frozenset({"ctx", "context", "_ctx", "_context"})

Shape = Literal["none", "input", "ctx", "both"]


@frozen
class Handler:
    """A function and the way it wants to be called."""

    function: Callable[..., Any]
    shape: Shape
    is_async: bool

    def arguments(self, input: object, ctx: object) -> tuple[object, ...]:
        """The positional arguments to call :attr:`function` with."""
        if self.shape == "both":
            return (input, ctx)
        if self.shape == "input":
            return (input,)
        return (ctx,) if self.shape == "ctx" else ()


def inspect_handler(function: object) -> Handler:
    """Decide how to call a handler: ``(input, ctx)``, ``(input)``, ``(ctx)`` or ``()``.

    A lone parameter is the input, unless its name says that it is the context.

    Raises:
        TypeError: it is not callable, or asks for arguments that no handler gets.
    """
    if not callable(function):
        raise TypeError(f"handler must be a function, not a {type(function).__qualname__}")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError("handler has a yield, so that calling it runs nothing; use return")
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some builtins tell nothing; the usual form is the best guess
        return Handler(function, "both", is_async=False)
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [
        p.name
        for p in parameters
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    keyword_only = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name in required]
    if len(required) > 2 or keyword_only:
        raise TypeError(
            f"handler{inspect.signature(function)} asks for {', '.join(required)}; "
            "a handler is called as handler(input, ctx), handler(input), handler(ctx) or handler()"
        )
    if len(positional) >= 2 or any(p.kind is p.VAR_POSITIONAL for p in parameters):
        shape: Shape = "both"
    elif len(positional) == 1:
        shape = "ctx" if positional[0].name in _CONTEXT_NAMES else "input"
    else:
        shape = "none"
    return Handler(function, shape, is_async=_is_async(function))


def _is_async(function: Callable[..., Any]) -> bool:
    inner = inspect.unwrap(function)
    while isinstance(inner, functools.partial):
        inner = inner.func
    return inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(
        getattr(inner, "__call__", None)  # noqa: B004 - asks about the method, not whether callable
    )
