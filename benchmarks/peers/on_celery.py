"""Celery on Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.peers.blocking import measure
from benchmarks.peers.channel import REDIS, done
from celery import Celery

if TYPE_CHECKING:
    from benchmarks.peers.load import Figures, Load

app = Celery("cycle", broker=f"redis+socket://{REDIS}")
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,  # acknowledged after it ran, as in all the others but huey
    worker_prefetch_multiplier=128,  # what its page on optimizing advises for short tasks
)


@app.task
def cycle(number: int, text: str) -> None:
    """Do nothing."""
    done(number)


def publish(load: Load) -> Figures:
    """Measure."""
    return measure(load, cycle.delay)
