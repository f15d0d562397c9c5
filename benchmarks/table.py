"""Ratios pair by pair, and a table of them: what every benchmark here prints."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Median and range of some figures; or the only figure there is."""
    ordered = sorted(values)
    if len(ordered) == 1:
        return f"{ordered[0]:,.{digits}f}"
    return (
        f"{statistics.median(ordered):,.{digits}f} "
        f"({ordered[0]:,.{digits}f} to {ordered[-1]:,.{digits}f})"
    )


def ratios(ours: Sequence[float], reference: Sequence[float]) -> list[float]:
    """Ours by the reference, run by run: what drifts between runs cancels out."""
    return [mine / other for mine, other in zip(ours, reference, strict=True)]


def print_table(rows: Iterable[Sequence[str]]) -> None:
    """Print rows in columns; the first row is the heading."""
    table = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for index, row in enumerate(table):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
        if index == 0:
            print("  ".join("-" * width for width in widths))
