"""The settings of one runtime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import ValidationError

from motia_trio.errors import SettingInvalid
from motia_trio.settings import Settings


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = Settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 3111)
    assert settings.store == "memory:"
    assert settings.body_limit == 16 * 1024**2
    assert settings.message_limit == 1024**2
    assert settings.mailbox == 100
    assert settings.shutdown_timeout == 30
    assert settings.raise_quarantine is False
    assert settings.stream_port == 3112
    assert settings.stream_max_connections == 10_000
    assert settings.stream_max_connections_per_address is None
    assert settings.stream_max_subscriptions == 200_000
    assert settings.stream_max_subscriptions_per_address is None
    assert settings.stream_max_subscriptions_per_connection == 1_000
    assert settings.stream_frame_limit == 64 * 1024
    assert (settings.stream_buffer, settings.stream_buffer_bytes) == (4_096, 4 * 1024**2)
    assert (settings.stream_ping_interval, settings.stream_ping_timeout) == (20, 20)
    assert settings.stream_log == 10_000
    assert settings.authenticate is None


def test_settings_do_not_change() -> None:
    settings: Any = Settings()
    with pytest.raises(ValidationError):
        settings.port = 1


def test_some_may_be_changed_and_the_others_stay() -> None:
    first = Settings.of("App", {"port": 1, "mailbox": 2})
    second = first.but("flags", {"port": 3})
    assert (second.port, second.mailbox, first.port) == (3, 2, 1)


def test_only_what_was_said_counts_as_set() -> None:
    settings = Settings.of("App", {"port": 3111}).but("flags", {"mailbox": 5})
    assert settings.model_dump(exclude_unset=True) == {"port": 3111, "mailbox": 5}


def test_the_origins_of_streams_are_those_of_cors_unless_they_are_said() -> None:
    assert Settings().stream_origins is None
    assert Settings.of("environment", {"stream_origins": ""}).stream_origins == ()
    assert Settings.of("flags", {"stream_origins": "https://a"}).stream_origins == ("https://a",)


def test_an_empty_name_of_authenticate_is_none() -> None:
    assert Settings.of("environment", {"authenticate": ""}).authenticate is None


@dataclass
class Tokens:
    """What authenticates may be an object, with what it needs to know."""

    known: list[str]

    def __call__(self, request: object) -> bool:
        return request in self.known


def test_an_object_that_authenticates_is_still_itself_when_other_settings_are_changed() -> None:
    tokens = Tokens(["t"])
    assert Settings.of("App", {"authenticate": tokens}).but("flags", {"port": 1}).authenticate is (
        tokens
    )


def test_values_may_come_as_text() -> None:
    values = {"port": "0", "shutdown_timeout": "2.5", "raise_quarantine": "true"}
    settings = Settings.of("environment", values)
    assert (settings.port, settings.shutdown_timeout, settings.raise_quarantine) == (0, 2.5, True)


def test_an_unknown_setting_is_told_with_its_source_and_the_nearest_known() -> None:
    with pytest.raises(SettingInvalid) as invalid:
        Settings.of("motia.toml", {"prot": 1})
    assert str(invalid.value) == "motia.toml: unknown setting 'prot'; did you mean 'port'?"


def test_an_unknown_setting_that_is_like_none_is_told_with_all_that_are_known() -> None:
    with pytest.raises(SettingInvalid, match="unknown setting 'xyzzy'; known: host, port, store"):
        Settings.of("App", {"xyzzy": 1})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("port", 65536, "less than or equal to 65535"),
        ("port", "http", "valid integer"),
        ("mailbox", 0, "greater than or equal to 1"),
        ("body_limit", -1, "greater than or equal to 1"),
        ("shutdown_timeout", -1, "greater than or equal to 0"),
        ("shutdown_timeout", float("inf"), "finite"),
        ("log_level", "loud", "'debug'"),
        ("log_format", "xml", "'text' or 'json'"),
        ("stream_port", -1, "greater than or equal to 0"),
        ("stream_buffer", 0, "greater than or equal to 1"),
        ("stream_ping_interval", 0, "greater than 0"),
        ("stream_max_connections_per_address", True, "expected a number"),
        ("stream_origins", "shop.example", "is no origin"),
        ("authenticate", 3, "expected a function, or its name as"),
    ],
)
def test_a_wrong_value_is_told_with_name_value_and_what_was_expected(
    name: str, value: object, words: str
) -> None:
    with pytest.raises(SettingInvalid) as invalid:
        Settings().but("App", {name: value})
    assert str(invalid.value).startswith(f"App: {name} = {value!r}: ")
    assert words in str(invalid.value)


def test_all_that_is_wrong_is_told_together() -> None:
    with pytest.raises(SettingInvalid) as invalid:
        Settings.of("App", {"port": -1, "mailbox": 0, "hots": "x"})
    for word in ("port = -1", "mailbox = 0", "did you mean 'host'?"):
        assert word in str(invalid.value)
