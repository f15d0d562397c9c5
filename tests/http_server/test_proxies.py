"""Who a request comes from, where proxies stand between."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motia_trio import App, SettingInvalid, http, step
from motia_trio.data import Data
from motia_trio.http_server.proxies import Caller, TrustedProxies
from tests.http_server.wire import served

TRUSTED = ("10.0.0.0/8", "::1", "192.168.1.5")


def caller(peer: str | None = "10.0.0.1", trusted: Any = TRUSTED, **headers: str) -> Caller:
    named = Data({name.replace("_", "-"): value for name, value in headers.items()})
    scope = {"client": None if peer is None else (peer, 1), "scheme": "http"}
    return TrustedProxies(trusted).caller(scope, named)


@step(http("GET", "/"), name="Who")
async def who(req: Any) -> Any:
    return {"status": 200, "body": [req.client, req.scheme, req.host]}


async def test_nobody_is_trusted_unless_it_is_said() -> None:
    headers = {
        "x-forwarded-for": "1.2.3.4",
        "x-forwarded-proto": "https",
        "x-forwarded-host": "shop.example",
    }
    async with served(who) as (rt, client):
        host = str(rt.http_url).removeprefix("http://")
        assert (await client.get("/", headers=headers)).json() == ["127.0.0.1", "http", host]
    async with served(who, trusted_proxies="127.0.0.1") as (_, client):
        answer = await client.get("/", headers=headers)
        assert answer.json() == ["1.2.3.4", "https", "shop.example"]


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("1.2.3.4", "1.2.3.4"),
        ("6.6.6.6, 1.2.3.4", "1.2.3.4"),
        ("6.6.6.6, 1.2.3.4, 10.0.0.7", "1.2.3.4"),
        ("10.0.0.8, 10.0.0.7", "10.0.0.8"),
        ("1.2.3.4:5678", "1.2.3.4"),
        ("[2001:db8::1]:5678", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("6.6.6.6, unknown, 10.0.0.7", "10.0.0.7"),
        ("nonsense", "10.0.0.1"),
        ("", "10.0.0.1"),
        (" , ,", "10.0.0.1"),
    ],
)
def test_the_client_is_the_rightmost_that_is_not_trusted(forwarded: str, client: str) -> None:
    assert caller(x_forwarded_for=forwarded).client == client


def test_of_a_client_that_is_not_trusted_nothing_is_believed() -> None:
    assert caller("6.6.6.6", x_forwarded_for="1.2.3.4", x_forwarded_proto="https") == Caller(
        "6.6.6.6", "http", None
    )
    assert caller(None, x_forwarded_for="1.2.3.4").client is None
    assert caller("odd", x_forwarded_for="1.2.3.4").client == "odd"


def test_scheme_and_host_are_those_of_the_proxy_that_the_client_reached() -> None:
    found = caller(
        x_forwarded_for="6.6.6.6, 1.2.3.4, 10.0.0.7",
        x_forwarded_proto="ftp, https, http",
        x_forwarded_host="evil, shop.example, inner",
    )
    assert found == Caller("1.2.3.4", "https", "shop.example")
    found = caller(x_forwarded_for="6.6.6.6, 1.2.3.4", x_forwarded_proto="https", host="inner")
    assert found == Caller("1.2.3.4", "https", "inner")
    assert caller(x_forwarded_proto="javascript", x_forwarded_host="a/b").scheme == "http"
    assert caller(x_forwarded_host="a/b", host="x").host == "x"


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        ("for=1.2.3.4;proto=https;host=shop.example", Caller("1.2.3.4", "https", "shop.example")),
        ('For="[2001:db8::1]:80"; Proto=HTTPS', Caller("2001:db8::1", "https", None)),
        ("for=6.6.6.6, for=1.2.3.4, for=10.0.0.7;proto=https", Caller("1.2.3.4", "https", None)),
        ('for="1.2.3.4:\\5"', Caller("1.2.3.4", "http", None)),
        ("for=_hidden", Caller("10.0.0.1", "http", None)),
        ("for=1.2.3.4 nonsense", Caller("10.0.0.1", "http", None)),
        (';;,="', Caller("10.0.0.1", "http", None)),
    ],
)
def test_forwarded_is_read_as_the_standard_says(forwarded: str, expected: Caller) -> None:
    """RFC 7239; where there is an X-Forwarded header, too, that counts."""
    assert caller(forwarded=forwarded) == expected
    assert caller(forwarded=forwarded, x_forwarded_for="5.5.5.5").client == "5.5.5.5"


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_header_breaks_it(first: str, second: str) -> None:
    caller(x_forwarded_for=first, x_forwarded_host=second)
    caller(forwarded=first + second)


@given(st.lists(st.ip_addresses(v=4).map(str), max_size=5))
def test_what_a_client_makes_up_changes_nothing(made_up: list[str]) -> None:
    """A proxy appends whom it saw, whatever was there."""
    forwarded = ", ".join([*made_up, "1.2.3.4", "10.9.9.9"])
    assert caller(x_forwarded_for=forwarded).client == "1.2.3.4"


@pytest.mark.parametrize("nets", ["proxy.example", "10.0.0.0/99", [5]])
def test_what_is_no_address_is_refused(nets: Any) -> None:
    with pytest.raises(SettingInvalid, match="trusted_proxies"):
        App([who], trusted_proxies=nets)
