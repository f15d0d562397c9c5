"""The work as Celery's tasks, on Redis, with the settings of `benchmarks.peers.on_celery`."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.channel import REDIS, done
from benchmarks.peers.on_celery import app as celery
from benchmarks.web.orders import total

celery.conf.result_backend = f"redis+socket://{REDIS}"


@celery.task
def handle(order: dict[str, Any]) -> None:
    """Do the work, and tell the clients' process."""
    assert total(order) > 0
    done(order["number"])


@celery.task(ignore_result=False)
def tell_total(order: dict[str, Any]) -> dict[str, Any]:
    """Do the work, and give the result."""
    return {"number": order["number"], "total": total(order)}
