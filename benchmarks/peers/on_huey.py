"""huey on SQLite, with fsync."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.peers.blocking import measure
from benchmarks.peers.channel import FOLDER, done
from huey import SqliteHuey

if TYPE_CHECKING:
    from benchmarks.peers.load import Figures, Load

# fsync=True is synchronous=FULL; the journal is the WAL, which is its default
huey = SqliteHuey(filename=str(FOLDER / "huey.db"), fsync=True, results=False)


@huey.task()
def cycle(number: int, text: str) -> None:
    """Do nothing."""
    done(number)


def publish(load: Load) -> Figures:
    """Measure."""
    return measure(load, cycle)
