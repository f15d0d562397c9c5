"""Pages of other origins: what the settings allow, and what a browser is told."""

from __future__ import annotations

from typing import Any

import pytest

from motia_trio import App, SettingInvalid, http, open_runtime, step
from tests.http_server.wire import served

ran: list[str] = []


@step(http("GET", "/a"), http("PUT", "/a"), name="A")
async def a(req: Any) -> Any:
    ran.append(req.method)
    return {"status": 200, "body": {}}


@step(http("OPTIONS", "/own"), name="Own")
async def own(req: Any) -> Any:
    return {"status": 200, "body": "mine", "headers": {"allow": "everything"}}


@step(http("GET", "/says"), name="Says")
async def says(req: Any) -> Any:
    return {"status": 200, "headers": {"Access-Control-Allow-Origin": "https://only"}}


@step(http("GET", "/broken"), name="Broken")
async def broken(req: Any) -> Any:
    raise ValueError


PREFLIGHT = {
    "origin": "https://page",
    "access-control-request-method": "PUT",
    "access-control-request-headers": "x-token, content-type",
}


def cors(answer: Any) -> dict[str, str]:
    return {
        name.removeprefix("access-control-"): value
        for name, value in answer.headers.items()
        if name.startswith("access-control-") or name == "vary"
    }


async def test_every_origin_may_read_by_default_without_credentials() -> None:
    """Errors too."""
    async with served(a, broken) as (_, client):
        for method, path, status in (
            ("GET", "/a", 200),
            ("POST", "/a", 405),
            ("GET", "/nope", 404),
            ("GET", "/broken", 500),
        ):
            answer = await client.request(method, path, headers={"origin": "https://page"})
            assert answer.status_code == status
            assert cors(answer) == {"allow-origin": "*"}


async def test_a_preflight_is_answered_without_the_handler() -> None:
    ran.clear()
    async with served(a) as (_, client):
        answer = await client.options("/a", headers=PREFLIGHT)
        assert (answer.status_code, answer.content) == (204, b"")
        assert cors(answer) == {
            "allow-origin": "*",
            "allow-methods": "GET, HEAD, OPTIONS, PUT",
            "allow-headers": "x-token, content-type",
            "max-age": "600",
        }
        assert "x-trace-id" in answer.headers
        answer = await client.options("/nope", headers=PREFLIGHT)
        assert (answer.status_code, cors(answer)["allow-methods"]) == (204, "PUT")
    assert ran == []


async def test_the_origins_that_are_listed_and_no_others() -> None:
    settings: dict[str, Any] = {
        "cors_origins": "https://page, http://localhost:5173/",
        "cors_credentials": True,
        "cors_headers": ["x-token"],
        "cors_expose": "x-trace-id",
        "cors_max_age": 5,
    }
    async with served(a, **settings) as (_, client):
        answer = await client.get("/a", headers={"origin": "https://page"})
        assert cors(answer) == {
            "allow-origin": "https://page",
            "allow-credentials": "true",
            "expose-headers": "x-trace-id",
            "vary": "Origin",
        }
        answer = await client.get("/a", headers={"origin": "http://localhost:5173"})
        assert cors(answer)["allow-origin"] == "http://localhost:5173"
        answer = await client.options("/a", headers=PREFLIGHT)
        assert cors(answer)["allow-headers"] == "x-token"
        assert cors(answer)["max-age"] == "5"
        for origin in ("https://evil", "https://page.evil", "null"):
            answer = await client.get("/a", headers={"origin": origin})
            assert (answer.status_code, cors(answer)) == (200, {"vary": "Origin"})
            answer = await client.options("/a", headers={**PREFLIGHT, "origin": origin})
            assert (answer.status_code, cors(answer)) == (204, {"vary": "Origin"})
        assert cors(await client.get("/a")) == {"vary": "Origin"}


async def test_an_empty_list_of_origins_turns_it_off() -> None:
    async with served(a, cors_origins="") as (_, client):
        answer = await client.get("/a", headers={"origin": "https://page"})
        assert cors(answer) == {}
        answer = await client.options("/a", headers=PREFLIGHT)
        assert (answer.status_code, cors(answer)) == (204, {})
        assert answer.headers["allow"] == "GET, HEAD, OPTIONS, PUT"


async def test_a_route_for_options_answers_itself_and_a_header_of_a_handler_stands() -> None:
    async with served(own, says) as (_, client):
        answer = await client.options("/own", headers=PREFLIGHT)
        assert (answer.status_code, answer.text) == (200, "mine")
        assert cors(await client.get("/says")) == {"allow-origin": "https://only"}


async def test_options_says_what_is_allowed() -> None:
    async with served(a) as (_, client):
        answer = await client.options("/a")
        assert (answer.status_code, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS, PUT")
        assert (await client.options("/nope")).status_code == 404


async def test_credentials_with_every_origin_are_refused() -> None:
    with pytest.raises(SettingInvalid, match="cors_origins that name each origin"):
        async with open_runtime(App([a], cors_credentials=True)):
            pytest.fail("entered")


@pytest.mark.parametrize(
    "settings",
    [{"cors_origins": "page"}, {"cors_headers": "a b"}, {"cors_max_age": -1}, {"cors_expose": [1]}],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingInvalid, match=next(iter(settings))):
        App([a], **settings)
