"""Routes as the path templates of OpenAPI."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motia_trio.api_docs import Paths


def templates(*routes: tuple[str, str]) -> dict[str, Any]:
    """The templates of routes, with the names of the parameters of each operation."""
    paths = Paths()
    for method, path in routes:
        item, parameters = paths.add(path, method)
        item.operations[method] = {"parameters": [each.as_object() for each in parameters]}
    return {
        path: {
            method: {each["name"]: each.get("description", "") for each in told["parameters"]}
            for method, told in item.items()
        }
        for path, item in paths.as_object().items()
    }


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/", "/"),
        ("/users", "/users"),
        ("/users/", "/users"),
        ("/users/:id", "/users/{id}"),
        ("/users/{id}/posts/:post", "/users/{id}/posts/{post}"),
        ("/files/*path", "/files/{path}"),
        ("/files/*", "/files/{rest}"),
        ("/caf\u00e9/a b", "/caf%C3%A9/a%20b"),
        ("/caf%C3%A9", "/caf%C3%A9"),
        ("/a:b/~x", "/a:b/~x"),
        ("/:rest/*", "/{rest}/{rest_2}"),
    ],
)
def test_a_path_has_its_template(path: str, template: str) -> None:
    assert list(templates(("get", path))) == [template]


def test_routes_that_differ_in_names_alone_share_the_template_of_the_first() -> None:
    told = templates(("get", "/users/:id"), ("put", "/users/{name}"), ("delete", "/users/:id"))
    assert told == {
        "/users/{id}": {
            "get": {"id": ""},
            "put": {"id": "`name` in the step."},
            "delete": {"id": ""},
        }
    }


def test_a_rest_says_that_it_takes_slashes() -> None:
    (parameter,) = Paths().add("/files/*path", "get")[1]
    told = parameter.as_object()
    assert "slashes" in told["description"]
    assert told["schema"] == {"type": "string"}  # it may be empty, other parameters may not


def test_a_rest_beside_a_parameter_in_its_place_is_two_parameters() -> None:
    told = templates(("get", "/files/:id"), ("post", "/files/*path"), ("get", "/files/*path"))
    assert [(path, list(item)) for path, item in told.items()] == [
        ("/files/{id}", ["get", "post"]),
        ("/files/{path}/{path_2}", ["get"]),
    ]


segments = st.sampled_from(["a", "b", ":id", "{name}", ":x", "%41"])


@given(st.sets(st.tuples(st.lists(segments, max_size=3), st.booleans(), st.sampled_from("gp"))
       .map(lambda r: (r[2], "/" + "/".join([*dict.fromkeys(r[0]), *(["*rest"] if r[1] else [])]))), max_size=12))  # fmt: skip
def test_no_two_templates_are_one_and_each_parameter_is_in_its_template(
    routes: set[tuple[str, str]],
) -> None:
    ordered = sorted(routes, key=lambda route: (route[1].endswith("*rest"), route))
    told = templates(*ordered)
    shapes = [re.sub(r"\{[^}]*\}", "{}", path) for path in told]
    assert len(set(shapes)) == len(shapes)
    for path, item in told.items():
        for names in item.values():
            assert re.findall(r"\{([^}]*)\}", path) == list(names)
