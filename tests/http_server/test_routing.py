"""From a method and a path to a route."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote

import pytest
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from motia_trio.http_server.routing import Match, NoMethod, Routes


def find(method: str, path: str, *routes: str) -> Any:
    """Route by ``"METHOD /path"``; targets are those strings."""
    split = (route.partition(" ") for route in routes)
    found = Routes((verb, pattern, f"{verb} {pattern}") for verb, _, pattern in split).find(
        method, path
    )
    return (found.target, found.params) if isinstance(found, Match) else found


@pytest.mark.parametrize(
    ("route", "path", "params"),
    [
        ("/", "/", {}),
        ("/users", "/users", {}),
        ("/users", "/users/", {}),
        ("/users/", "/users", {}),
        ("/users/:id", "/users/17", {"id": "17"}),
        ("/users/{id}", "/users/17", {"id": "17"}),
        ("/users/:id", "/users/17/", {"id": "17"}),
        ("/:a/x/{b}", "/1/x/2", {"a": "1", "b": "2"}),
        ("/users/:id", "/users/J%C3%BCrgen%20M", {"id": "Jürgen M"}),
        ("/users/:id", "/users/a%2Fb", {"id": "a/b"}),
        ("/users/:id", "/users/a%252Fb", {"id": "a%2Fb"}),
        ("/users/:id", "/users/a+b", {"id": "a+b"}),
        ("/users/:id", "/users/100%", {"id": "100%"}),
        ("/users", "/us%65rs", {}),
        ("/files/*rest", "/files/a/b.txt", {"rest": "a/b.txt"}),
        ("/files/*", "/files/a", {"rest": "a"}),
        ("/files/*path", "/files", {"path": ""}),
        ("/files/*path", "/files/", {"path": ""}),
        ("/:a/*rest", "/1/2/3", {"a": "1", "rest": "2/3"}),
        ("/*all", "/", {"all": ""}),
        ("/a/*rest", "/a/b//c", {"rest": "b//c"}),
        ("/:", "/:", {}),
    ],
)
def test_a_path_matches(route: str, path: str, params: dict[str, str]) -> None:
    assert find("GET", path, f"GET {route}") == (f"GET {route}", params)


@pytest.mark.parametrize(
    ("route", "path"),
    [
        ("/users", "/Users"),
        ("/users", "/user"),
        ("/users", "/users/1"),
        ("/users/:id", "/users"),
        ("/users/:id", "/users/"),
        ("/users/:id", "/users//"),
        ("/users/:id/x", "/users//x"),
        ("/users/:id", "/users/1/2"),
        ("/a/*rest/b", "/a/x/b"),
        ("/a", "//a"),
        ("/a", "/a//"),
        ("/", "/a"),
        ("/a/b", "/a%2Fb"),
    ],
)
def test_a_path_does_not_match(route: str, path: str) -> None:
    assert find("GET", path, f"GET {route}") is None


def test_what_is_written_wins_over_a_parameter_and_that_over_a_rest() -> None:
    routes = ["GET /a/*rest", "GET /a/:id", "GET /a/b", "GET /:x/b"]
    assert find("GET", "/a/b", *routes) == ("GET /a/b", {})
    assert find("GET", "/a/c", *routes) == ("GET /a/:id", {"id": "c"})
    assert find("GET", "/a/c/d", *routes) == ("GET /a/*rest", {"rest": "c/d"})
    assert find("GET", "/z/b", *routes) == ("GET /:x/b", {"x": "z"})


def test_a_dead_end_behind_what_is_written_is_left_again() -> None:
    routes = ["GET /a/b/c", "GET /:x/b/d", "GET /*rest"]
    assert find("GET", "/a/b/d", *routes) == ("GET /:x/b/d", {"x": "a"})
    assert find("GET", "/a/b/e", *routes) == ("GET /*rest", {"rest": "a/b/e"})


def test_head_is_answered_by_get_unless_there_is_a_head_route() -> None:
    assert find("HEAD", "/a", "GET /a") == ("GET /a", {})
    assert find("HEAD", "/a", "GET /a", "HEAD /a") == ("HEAD /a", {})
    assert find("GET", "/a", "HEAD /a") == NoMethod(("HEAD", "OPTIONS"))


def test_another_method_is_told_which_are_allowed() -> None:
    assert find("PUT", "/a", "GET /a", "POST /a", "DELETE /:x") == NoMethod(
        ("DELETE", "GET", "HEAD", "OPTIONS", "POST")
    )


def test_a_route_of_ones_own_method_behind_a_parameter_wins_over_405() -> None:
    assert find("GET", "/users/me", "POST /users/me", "GET /users/:id") == (
        "GET /users/:id",
        {"id": "me"},
    )


# the law: routes against a plain model

SEGMENTS = ["a", "b", "ab", "%61", "%2F", "a%20b", "é"]
PARTS = st.sampled_from(["a", "b", "ab", "a b", ":x", "{y}", ":z"])
PATTERNS = st.builds(
    lambda parts, rest, slash: "/" + "/".join([*parts, *rest]) + slash * bool(parts or rest),
    st.lists(PARTS, max_size=3),
    st.sampled_from([[], [], ["*rest"]]),
    st.sampled_from(["", "/"]),
)
METHODS = st.sampled_from(["GET", "POST", "HEAD"])
PATHS = st.builds(
    lambda parts, slash: "/" + "/".join(parts) + slash * bool(parts),
    st.lists(st.sampled_from(["", *SEGMENTS]), max_size=4).filter(lambda p: p != [""]),
    st.sampled_from(["", "/"]),
)


@frozen
class Plain:
    """One route, matched in the plainest way."""

    method: str
    pattern: str

    @property
    def parts(self) -> list[str]:
        return [part for part in self.pattern.split("/") if part]

    @property
    def shape(self) -> tuple[str, ...]:
        """What makes two routes the same: parameters have no names."""
        return (self.method, *((":" if part[0] in ":{" else part) for part in self.parts))

    def match(self, path: str) -> tuple[list[int], dict[str, str]] | None:
        """How specific the match is, segment by segment (0 is best), and the parameters."""
        asked = [unquote(part) for part in path.removeprefix("/").removesuffix("/").split("/")]
        asked = [] if asked == [""] else asked
        ranks: list[int] = []
        params: dict[str, str] = {}
        for index, part in enumerate(self.parts):
            if part[0] == "*":
                return [*ranks, 2], params | {"rest": "/".join(asked[index:])}
            if index == len(asked):
                return None
            if part[0] in ":{":
                if not asked[index]:
                    return None
                ranks.append(1)
                params[part.strip(":{}")] = asked[index]
            elif part == asked[index]:
                ranks.append(0)
            else:
                return None
        return (ranks, params) if len(self.parts) == len(asked) else None


@settings(deadline=None, max_examples=400)
@given(
    st.lists(st.builds(Plain, METHODS, PATTERNS), max_size=6, unique_by=lambda r: r.shape),
    METHODS,
    PATHS,
)
def test_routes_find_what_a_plain_search_finds(plain: list[Plain], method: str, path: str) -> None:
    found = Routes((route.method, route.pattern, route) for route in plain).find(method, path)
    matches = [(route, made) for route in plain if (made := route.match(path)) is not None]
    serving = [
        (made[0], route.method != method, route.pattern, made[1], route)
        for route, made in matches
        if route.method == method or (method == "HEAD" and route.method == "GET")
    ]
    if serving:
        *_, params, route = min(serving, key=lambda each: each[:3])
        assert isinstance(found, Match)
        assert found.target == route
        assert found.params == params
    elif matches:
        allowed = {route.method for route, _ in matches} | {"OPTIONS"}
        allowed |= {"HEAD"} if "GET" in allowed else set()
        assert found == NoMethod(tuple(sorted(allowed)))
    else:
        assert found is None


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_a_parameter_is_what_was_percent_encoded(text: str) -> None:
    assert find("GET", "/x/" + quote(text, safe=""), "GET /x/:value") == (
        "GET /x/:value",
        {"value": text},
    )
