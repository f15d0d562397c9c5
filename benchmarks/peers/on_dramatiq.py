"""dramatiq on Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dramatiq
from benchmarks.peers.blocking import measure
from benchmarks.peers.channel import REDIS, done
from dramatiq.brokers.redis import RedisBroker

if TYPE_CHECKING:
    from benchmarks.peers.load import Figures, Load

dramatiq.set_broker(RedisBroker(unix_socket_path=str(REDIS)))


@dramatiq.actor
def cycle(number: int, text: str) -> None:
    """Do nothing."""
    done(number)


def publish(load: Load) -> Figures:
    """Measure."""
    return measure(load, cycle.send)
