"""Where the command's settings come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from motia_trio.cli.sources import STORE, settings_from
from motia_trio.errors import SettingInvalid
from motia_trio.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


def test_without_any_source_the_settings_are_the_defaults(tmp_path: Path) -> None:
    """But for the store, which is a file: the command keeps what it is given."""
    assert settings_from(tmp_path, {}, {}) == Settings(store=STORE)


def test_a_flag_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "motia.toml").write_text("port = 1\nmailbox = 1\nbody_limit = 1\n")
    environment = {"MOTIA_TRIO_PORT": "2", "MOTIA_TRIO_MAILBOX": "2"}
    settings = settings_from(tmp_path, environment, {"port": 3})
    assert (settings.port, settings.mailbox, settings.body_limit) == (3, 2, 1)


def test_every_setting_can_come_from_every_source(tmp_path: Path) -> None:
    values = {
        "host": "::1",
        "port": 1,
        "store": "memory://",
        "synchronous": "normal",
        "body_limit": 2,
        "message_limit": 3,
        "mailbox": 4,
        "shutdown_timeout": 5.5,
        "request_timeout": 6.5,
        "client_timeout": 7.5,
        "max_connections": 8,
        "cors_origins": "https://a, https://b",
        "cors_credentials": True,
        "cors_headers": "x-a,x-b",
        "cors_expose": "x-c",
        "cors_max_age": 9,
        "trusted_proxies": "10.0.0.0/8, ::1",
        "certfile": "cert.pem",
        "keyfile": "key.pem",
        "openapi_path": "/o.json",
        "asyncapi_path": "",
        "strict_responses": True,
        "raise_quarantine": True,
        "middleware": "src.guards:one, src.guards:two",
        "stream_port": 10,
        "stream_origins": "https://c",
        "stream_max_connections": 11,
        "stream_max_connections_per_address": 12,
        "stream_max_subscriptions": 13,
        "stream_max_subscriptions_per_address": 14,
        "stream_max_subscriptions_per_connection": 15,
        "stream_frame_limit": 16,
        "stream_buffer": 17,
        "stream_buffer_bytes": 18,
        "stream_ping_interval": 19.5,
        "stream_ping_timeout": 20.5,
        "stream_log": 21,
        "authenticate": "src.guards:who",
        "log_level": "debug",
        "log_format": "json",
    }
    assert set(values) == set(Settings.model_fields)
    environment = {f"MOTIA_TRIO_{name.upper()}": str(value) for name, value in values.items()}
    from_environment = settings_from(tmp_path, environment, {})
    from_flags = settings_from(tmp_path, {}, values)
    lines = (f"{k} = {str(v).lower() if v is True else repr(v)}" for k, v in values.items())
    (tmp_path / "motia.toml").write_text("\n".join(lines))
    from_file = settings_from(tmp_path, {}, {})
    assert from_environment == from_flags == from_file == Settings.of("test", values)


def test_the_file_may_have_a_table_of_what_concerns_streams(tmp_path: Path) -> None:
    text = """\
port = 1

[streams]
port = 2
origins = ["https://a", "https://b"]
authenticate = "src.guards:who"
"""
    (tmp_path / "motia.toml").write_text(text)
    settings = settings_from(tmp_path, {}, {})
    assert (settings.port, settings.stream_port) == (1, 2)
    assert settings.stream_origins == ("https://a", "https://b")
    assert settings.authenticate == "src.guards:who"
    assert settings_from(tmp_path, {"MOTIA_TRIO_STREAM_PORT": "3"}, {}).stream_port == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[streams]\nprot = 1\n", "unknown setting 'stream_prot'; did you mean 'stream_port'?"),
        ("[streams]\nport = true\n", "stream_port = True: "),
        ("stream_port = 1\n[streams]\nport = 1\n", "stream_port is there twice: also as port in"),
        ("streams = 1\n", "unknown setting 'streams'"),
        ("[stream]\nport = 1\n", "unknown setting 'stream'"),
    ],
    ids=["unknown", "value", "twice", "no table", "other table"],
)
def test_what_is_wrong_in_the_table_is_told(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "motia.toml").write_text(text)
    with pytest.raises(SettingInvalid) as invalid:
        settings_from(tmp_path, {}, {})
    assert f"motia.toml: {words}" in str(invalid.value)


def test_other_variables_of_the_environment_are_none_of_ours(tmp_path: Path) -> None:
    environment = {"PORT": "1", "MOTIA_PORT": "2", "motia_trio_port": "3"}
    assert settings_from(tmp_path, environment, {}) == Settings(store=STORE)


def test_a_misspelt_variable_is_an_error_and_not_ignored(tmp_path: Path) -> None:
    with pytest.raises(SettingInvalid, match=r"environment .* 'prot'; did you mean 'port'"):
        settings_from(tmp_path, {"MOTIA_TRIO_PROT": "1"}, {})


def test_a_wrong_value_is_told_with_its_source(tmp_path: Path) -> None:
    with pytest.raises(SettingInvalid, match=r"environment \(MOTIA_TRIO_…\): port = 'x'"):
        settings_from(tmp_path, {"MOTIA_TRIO_PORT": "x"}, {})
    with pytest.raises(SettingInvalid, match="flags: mailbox = 0"):
        settings_from(tmp_path, {}, {"mailbox": 0})
    (tmp_path / "motia.toml").write_text("port = 70000\n")
    with pytest.raises(SettingInvalid, match=r"motia\.toml: port = 70000"):
        settings_from(tmp_path, {}, {})


@pytest.mark.parametrize("raw", [b"port = ", b"port: 1", b"\xff"])
def test_a_file_that_cannot_be_read_is_told_by_its_name(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "motia.toml").write_bytes(raw)
    with pytest.raises(SettingInvalid, match=r"motia\.toml: "):
        settings_from(tmp_path, {}, {})
