"""What is given on the command line, put into values; each with what to say if it does not fit."""

from __future__ import annotations

import json
import re
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["directory_option", "duration", "json_option", "letter_id", "moment", "parse_json"]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")


def duration(text: str) -> float:
    """Give seconds: of 90, 45s, 30m, 2h, 7d, 1h30m.

    Raises:
        BadParameter: it is no length of time.
    """
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if not text or _PART.sub("", text):
        raise click.BadParameter(
            f"{text!r} is no length of time: give 90 (seconds), 45s, 30m, 2h, 7d or 1h30m"
        )
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def moment(text: str) -> str:
    """Give a time as ISO 8601, with its offset.

    Raises:
        BadParameter: it is no time, or says no timezone.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is no time: give 2026-12-24T18:00:00Z, or with +01:00"
        ) from None
    if at.tzinfo is None:
        raise click.BadParameter(f"{text!r} says no timezone: end it with Z, or +01:00")
    return at.isoformat()


def letter_id(text: str) -> str:
    """Give the id of a dead letter, as it was printed.

    Raises:
        BadParameter: it is none.
    """
    if not re.fullmatch(r"[0-9a-fA-F]{1,16}", text) or int(text, 16) >= 1 << 63:
        raise click.BadParameter(
            f"{text!r} is no id of a dead letter: 16 hex digits, as `dead-letters list` prints them"
        )
    return text.lower().zfill(16)


def parse_json(text: str) -> Any:
    """Give the value of a JSON argument; ``-`` reads it from stdin.

    Raises:
        BadParameter: it is no JSON.
    """
    raw = sys.stdin.buffer.read() if text == "-" else text
    try:
        return json.loads(raw, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        shown = "stdin" if text == "-" else repr(text[:60])
        raise click.BadParameter(
            f"{shown} is no JSON: {error}; a string needs its own quotes: '\"text\"'"
        ) from None


def _refuse(name: str) -> None:
    raise ValueError(f"{name} has no JSON form")


def directory_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--dir``."""
    return click.option(
        "--dir",
        "directory",
        default=".",
        metavar="DIR",
        type=click.Path(exists=True, file_okay=False),
        help="The project's folder.  [the current folder]",
    )(command)


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)
