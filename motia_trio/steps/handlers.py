"""How a handler, a condition or a middleware is called, decided once at load by its signature."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Literal, get_origin

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Handler", "inspect_authenticate", "inspect_handler", "inspect_middleware", "is_async"]

_CONTEXT_NAMES = frozenset({"ctx", "context", "_ctx", "_context"})

Shape = Literal["none", "input", "ctx", "both"]


@frozen
class Handler:
    """A function and the way it wants to be called."""

    function: Callable[..., Any]
    shape: Shape
    is_async: bool
    #: whether its input is annotated ``MotiaHttpArgs``: it wants to write its answer itself
    wants_http_args: bool = False

    def arguments(self, input: object, ctx: object) -> tuple[object, ...]:
        """The positional arguments to call :attr:`function` with."""
        if self.shape == "both":
            return (input, ctx)
        if self.shape == "input":
            return (input,)
        return (ctx,) if self.shape == "ctx" else ()


def inspect_handler(
    function: object, *, what: str = "handler", lone: Literal["input", "ctx"] = "input"
) -> Handler:
    """Decide how to call a handler: ``(input, ctx)``, ``(input)``, ``(ctx)`` or ``()``.

    A lone parameter is what ``lone`` says, unless its name says that it is the context. ``what``
    names the function in errors: a condition is called in the same ways.

    Raises:
        TypeError: it is not callable, or asks for arguments that no handler gets.
    """
    if not callable(function):
        raise TypeError(f"{what} must be a function, not a {type(function).__qualname__}")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"{what} has a yield, so that calling it runs nothing; use return"
            + (' (a body that is streamed is returned: {"status": 200, "body": rows()})'
               if what == "handler" else "")
        )  # fmt: skip
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
            f"{what}{inspect.signature(function)} asks for {', '.join(required)}; "
            f"a {what} is called as {what}(input, ctx), {what}(input), {what}(ctx) or {what}()"
        )
    if len(positional) >= 2 or any(p.kind is p.VAR_POSITIONAL for p in parameters):
        shape: Shape = "both"
    elif len(positional) == 1:
        shape = "ctx" if positional[0].name in _CONTEXT_NAMES else lone
    else:
        shape = "none"
    wants = shape in {"both", "input"} and bool(positional) and _wants_http_args(positional[0])
    return Handler(function, shape, is_async=is_async(function), wants_http_args=wants)


def inspect_middleware(function: object) -> Handler:
    """Decide how to call a middleware: ``(req, ctx, next)``, async or not.

    Raises:
        TypeError: it is not callable, or cannot be called so.
    """
    name = getattr(function, "__name__", type(function).__qualname__)
    if not callable(function):
        raise TypeError(f"a middleware must be a function, not {function!r:.80}")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"middleware {name} has a yield, so that calling it runs nothing; use return"
        )
    try:
        inspect.signature(function).bind(None, None, None)
    except TypeError:
        raise TypeError(
            f"middleware {name}{inspect.signature(function)} cannot be called as "
            f"{name}(req, ctx, next)"
        ) from None
    except ValueError:  # some builtins tell nothing
        pass
    return Handler(function, "both", is_async=is_async(function))


def inspect_authenticate(function: object) -> Handler:
    """Decide how to call what tells who a client is: ``(request)`` or ``(request, ctx)``.

    Raises:
        TypeError: it is not callable, or cannot be called so.
    """
    if not callable(function):
        raise TypeError(f"authenticate must be a function, not {function!r:.80}")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError("authenticate has a yield, so that calling it runs nothing; use return")
    shapes: tuple[tuple[Shape, tuple[None, ...]], ...] = (
        ("input", (None,)),
        ("both", (None, None)),
    )
    for shape, given in shapes:
        try:
            inspect.signature(function).bind(*given)
        except TypeError:
            continue
        except ValueError:  # some builtins tell nothing
            pass
        return Handler(function, shape, is_async=is_async(function))
    raise TypeError(
        f"authenticate{inspect.signature(function)} cannot be called as authenticate(request) or "
        "authenticate(request, ctx)"
    )


def _wants_http_args(parameter: inspect.Parameter) -> bool:
    """Whether a parameter is annotated ``MotiaHttpArgs``, be it as text, or with its body's type.

    Source: handlers of Motia 1.0 ask for the writer of the answer by this annotation alone.
    """
    given = parameter.annotation
    if isinstance(given, str):
        return given.partition("[")[0].rpartition(".")[2].strip() == "MotiaHttpArgs"
    given = get_origin(given) or given
    metadata = getattr(given, "__pydantic_generic_metadata__", None) or {}
    return getattr(metadata.get("origin") or given, "__name__", "") == "MotiaHttpArgs"


def is_async(function: Callable[..., Any]) -> bool:
    """Whether a function is an ``async def``, below its decorators and partials."""
    inner = inspect.unwrap(function)
    while isinstance(inner, functools.partial):
        inner = inner.func
    return inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(
        getattr(inner, "__call__", None)  # noqa: B004 - asks about the method, not whether callable
    )
