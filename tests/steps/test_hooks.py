"""How the functions of a stream's config are called."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from motia_trio.steps import inspect_hook


class Callable:
    def __call__(self, subscription: Any, ctx: Any) -> None: ...

    async def method(self, subscription: Any, auth: Any) -> None: ...


async def asynchronous(s: Any, c: Any, a: Any) -> None: ...


@pytest.mark.parametrize(
    ("name", "function", "given"),
    [
        ("canAccess", lambda: True, ""),
        ("canAccess", lambda subscription: True, "s"),
        ("canAccess", lambda authContext: True, "a"),  # noqa: N803 - as Motia's are written
        ("canAccess", lambda subscription, anything: True, "sa"),
        ("canAccess", lambda subscription, ctx: True, "sa"),
        ("canAccess", lambda subscription, auth, more=1: True, "sa"),
        ("canAccess", lambda *parts: True, "sa"),
        ("onJoin", lambda: None, ""),
        ("onJoin", lambda sub: None, "s"),
        ("onJoin", lambda ctx: None, "c"),
        ("onJoin", lambda auth_context: None, "a"),
        ("onJoin", lambda subscription, context: None, "sc"),
        ("onJoin", lambda subscription, auth_context: None, "sa"),
        ("onJoin", lambda subscription, authContext=None: None, "sa"),  # noqa: N803 - as above
        ("onJoin", lambda subscription, ctx, auth: None, "sca"),
        ("onJoin", lambda subscription, *more: None, "sca"),
        ("onLeave", lambda subscription, ctx=None, **more: None, "sc"),
        ("onLeave", asynchronous, "sca"),
        ("onLeave", Callable(), "sc"),
        ("onLeave", Callable().method, "sa"),
        ("onLeave", functools.partial(asynchronous, 1), "sc"),
        ("onLeave", print, "sca"),
    ],
)
def test_a_hook_is_given_what_it_asks_for(name: Any, function: Any, given: str) -> None:
    assert "".join(inspect_hook(name, function).arguments("s", "c", "a")) == given  # type: ignore[arg-type]


def test_whether_a_hook_is_async_is_seen_below_what_is_around_it() -> None:
    those: list[Any] = [asynchronous, functools.partial(asynchronous, 1), Callable().method]
    others: list[Any] = [Callable(), lambda: None, print]
    assert all(inspect_hook("onJoin", each).is_async for each in those)
    assert not any(inspect_hook("onJoin", each).is_async for each in others)


def yields(subscription: Any) -> Any:
    yield True


@pytest.mark.parametrize(
    ("name", "function", "words"),
    [
        ("canAccess", 5, "canAccess must be a function, not 5"),
        ("onJoin", yields, "onJoin has a yield"),
        ("canAccess", lambda s, c, a: True, r"asks for s, c, a; it is called as canAccess\(subscr"),
        (
            "onLeave",
            lambda s, c, a, x: True,
            r"as onLeave\(subscription, ctx, auth\), or with fewe",
        ),
        ("onJoin", lambda s, *, auth: True, "asks for s, auth"),
    ],
)
def test_what_no_hook_can_be_is_refused(name: Any, function: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        inspect_hook(name, function)
