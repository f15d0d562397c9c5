"""How the commands print: tables, times, sizes, JSON. Nothing here moves a terminal's cursor."""

from __future__ import annotations

import json
import shutil
import sys
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

__all__ = [
    "clean",
    "pairs",
    "print_json",
    "print_json_list",
    "short_json",
    "since",
    "size",
    "span",
    "table",
]

_SPANS = ((86400.0, "d"), (3600.0, "h"), (60.0, "m"), (1.0, "s"))
# rows of a table that are laid out together; columns that its last one keeps on a narrow terminal
_AT_ONCE, _NARROWEST = 1000, 12


def clean(text: object) -> str:
    """Give a text as one line, what does not print as an escape."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in str(text)
    )


def span(seconds: float) -> str:
    """Give a length of time in its two largest units: ``2d 3h``, ``45s``."""
    left = max(0.0, seconds)
    parts: list[str] = []
    for unit, name in _SPANS:
        count, left = divmod(left, unit)
        if count or parts:
            parts.append(f"{count:.0f}{name}")
    parts = [part for part in parts[:2] if not part.startswith("0")]
    return " ".join(parts) or "0s"


def since(moment: str | None) -> str:
    """Give how long ago a moment was that the service told: ``2d 3h``."""
    if moment is None:
        return "-"
    at = datetime.fromisoformat(moment)
    return span((datetime.now(UTC) - at).total_seconds())


def size(count: int) -> str:
    """Give a number of bytes: ``1.5 MiB``."""
    number = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} B" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def table(
    headers: Sequence[str], rows: Iterable[Sequence[object]], numbers: Collection[str] = ()
) -> Iterator[str]:
    """Give the lines of a table. The columns of these ``numbers`` are set to the right.

    A line is cut off where the terminal ends, and not at all where the output is no terminal. Of
    very many rows some are taken at a time, and the columns only get wider.
    """
    right = [header in numbers for header in headers]
    widths = [len(header) for header in headers]
    remaining = iter(rows)
    head: list[Sequence[str]] = [headers]
    while chunk := list(islice(remaining, _AT_ONCE)):
        cells = [[clean(cell) for cell in row] for row in chunk]
        for at, column in enumerate(zip(*cells, strict=True)):
            widths[at] = max(widths[at], *map(len, column))
        for row in (*head, *cells):
            yield _line(row, widths, right)
        head = []
    if head:
        yield _line(headers, widths, right)


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = [
        cell.rjust(width) if to_the_right else cell.ljust(width)
        for cell, width, to_the_right in zip(row, widths, right, strict=True)
    ]
    line = "  ".join(padded).rstrip()
    if not sys.stdout.isatty():
        return line
    room = max(shutil.get_terminal_size().columns, sum(widths[:-1]) + 2 * len(widths) + _NARROWEST)
    return line if len(line) <= room else line[: room - 3] + "..."


def pairs(rows: Iterable[tuple[str, object]]) -> Iterator[str]:
    """Give the lines of names and what they are, one under the other."""
    shown = [(name, clean(value)) for name, value in rows]
    width = max((len(name) for name, _ in shown), default=0)
    return (f"{name:<{width}}  {value}".rstrip() for name, value in shown)


def short_json(value: Any, indent: int | None = None) -> str:
    """Give a value as JSON that can be read: letters of all languages, no control characters."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return "".join(
        char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text
    )


def print_json(value: Any) -> None:
    """Print a value as one line of JSON, in ASCII."""
    click.echo(json.dumps(value))


def print_json_list(values: Iterable[Any]) -> None:
    """Print an array of JSON, each element on a line of its own, as they come."""
    first = True
    for value in values:
        click.echo(("[\n" if first else ",\n") + json.dumps(value), nl=False)
        first = False
    click.echo("[]" if first else "\n]")
