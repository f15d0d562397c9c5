"""Stands in for a carrier that is not part of this program, and whose line is often busy."""

import trio

_calls: dict[str, int] = {}


async def collect(order_id):
    """Have a parcel collected. Gives its number, the same each time for the same order.

    The first call for an order, in the life of a process, fails.
    """
    await trio.sleep(0.05)
    _calls[order_id] = _calls.get(order_id, 0) + 1
    if _calls[order_id] == 1:
        raise ConnectionError("the carrier's line is busy")
    return f"parcel-{order_id}"
