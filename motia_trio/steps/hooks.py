"""How the functions of a stream's config are called, decided once at load by their signatures."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Literal

from attrs import frozen

from motia_trio.steps.handlers import is_async

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Hook", "inspect_hook"]

Part = Literal["subscription", "ctx", "auth"]

# motia-contract §7: what each of them is called with, in full
_FULL: dict[str, tuple[Part, ...]] = {
    "canAccess": ("subscription", "auth"),
    "onJoin": ("subscription", "ctx", "auth"),
    "onLeave": ("subscription", "ctx", "auth"),
}
_CONTEXT_NAMES = frozenset({"ctx", "context", "_ctx", "_context"})


@frozen
class Hook:
    """A function of a stream's config, ``name`` as the config calls it, and what it takes."""

    name: str
    function: Callable[..., Any]
    is_async: bool
    takes: tuple[Part, ...]

    def arguments(self, subscription: object, ctx: object, auth: object) -> tuple[object, ...]:
        """The positional arguments to call :attr:`function` with."""
        given: dict[Part, object] = {"subscription": subscription, "ctx": ctx, "auth": auth}
        return tuple(given[part] for part in self.takes)


def inspect_hook(name: Literal["canAccess", "onJoin", "onLeave"], function: object) -> Hook:
    """Decide how to call a hook: with all that there is for it, or with fewer.

    In full they are ``canAccess(subscription, auth)`` and ``onJoin(subscription, ctx, auth)``. Two
    parameters of ``onJoin`` and ``onLeave`` are the subscription and ctx, unless the name of the
    second has ``auth`` in it. A lone parameter is the subscription, unless its name says otherwise.

    Raises:
        TypeError: it is not callable, or asks for what no hook gets.
    """
    if not callable(function):
        raise TypeError(f"{name} must be a function, not {function!r:.80}")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{name} has a yield, so that calling it runs nothing; use return")
    full = _FULL[name]
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some builtins tell nothing; the usual form is the best guess
        return Hook(name, function, is_async(function), full)
    parameters = list(signature.parameters.values())
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [
        p
        for p in parameters
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if len(required) > len(full) or any(p.kind is p.KEYWORD_ONLY for p in required):
        raise TypeError(
            f"{name}{signature} asks for {', '.join(p.name for p in required)}; it is called as "
            f"{name}({', '.join(full)}), or with fewer"
        )
    takes = full
    if not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        takes = _parts(full, [p.name for p in positional][: len(full)])
    return Hook(name, function, is_async(function), takes)


def _parts(full: tuple[Part, ...], names: list[str]) -> tuple[Part, ...]:
    """What the parameters of these names are given."""
    if len(names) == len(full) or not names:
        return full[: len(names)]
    *_, last = names
    if "auth" in last.lower():
        return (*full[: len(names) - 1], "auth")
    if len(names) == 1 and last in _CONTEXT_NAMES and "ctx" in full:
        return ("ctx",)
    return full[: len(names)]
