"""Where the command's settings come from: flags over environment over ``motia.toml``."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

from motia_trio.errors import SettingInvalid
from motia_trio.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["PREFIX", "STORE", "settings_from"]

PREFIX = "MOTIA_TRIO_"
# where the command keeps everything if nobody says otherwise; the library's default is memory:
STORE = "sqlite:///.motia/store.db"


def settings_from(root: Path, environment: Mapping[str, str], flags: Mapping[str, Any]) -> Settings:
    """Put the settings of one start together.

    Raises:
        SettingInvalid: a source has an unknown setting or a value that does not fit; it is named.
    """
    settings = Settings(store=STORE)
    path = root / "motia.toml"
    if path.is_file():
        try:
            values = tomllib.loads(path.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise SettingInvalid(f"{path}: {error}") from None
        settings = settings.but(str(path), _flat(path, values))
    named = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(PREFIX)
    }
    settings = settings.but(f"environment ({PREFIX}…)", named)
    return settings.but("flags", flags)


def _flat(path: Path, values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings of a file, with those of its table ``[streams]`` by their whole names.

    There ``port`` is ``stream_port``, which may be written, too; ``authenticate`` is itself.
    """
    table = values.get("streams")
    if not isinstance(table, dict):
        return values  # a setting "streams" is told of as any unknown one
    flat = {name: value for name, value in values.items() if name != "streams"}
    for key, value in table.items():
        whole = key == "authenticate" or key.startswith("stream_")
        name = key if whole else f"stream_{key}"
        if name in flat:
            raise SettingInvalid(f"{path}: {name} is there twice: also as {key} in [streams]")
        flat[name] = value
    return flat
