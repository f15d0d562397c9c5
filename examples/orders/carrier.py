# Stands in for a carrier that is not part of this program, and whose line is often busy.
from pathlib import Path

import trio

STRIKE = Path(__file__).with_name("strike")  # while there is such a file, nobody collects anything

_calls = {}


async def collect(order_id):
    """Have a parcel collected. Gives its number, the same each time for the same order.

    The first two calls for an order, in the life of a process, fail.
    """
    await trio.sleep(0.05)
    if STRIKE.exists():
        raise ConnectionError("the carrier is on strike")
    _calls[order_id] = _calls.get(order_id, 0) + 1
    if _calls[order_id] <= 2:
        raise ConnectionError("the carrier's line is busy")
    return f"parcel-{order_id}"
