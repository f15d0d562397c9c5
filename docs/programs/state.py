"""State: groups of keys of JSON values, changed in one step each, some of them for a time."""

import trio
import trio.testing

from motia_trio import App, NotEncodable, open_runtime
from motia_trio.store import UpdateInvalid


async def main():
    async with open_runtime(App(), observers=()) as rt:
        state = rt.state  # in a handler: ctx.state

        change = await state.set("orders", "17", {"item": "kettle", "paid": False})
        assert change == {"new_value": {"item": "kettle", "paid": False}, "old_value": None}
        assert await state.get("orders", "17") == {"item": "kettle", "paid": False}
        assert await state.get("orders", "18") is None

        # a group is told in the order of its keys; None is a value, and not absence
        await state.set("orders", "16", None)
        assert await state.keys("orders") == ["16", "17"]
        assert await state.list("orders") == [None, {"item": "kettle", "paid": False}]
        assert await state.list_groups() == ["orders"]

        # an update reads, changes and writes in one step: nobody comes between
        await state.update("orders", "17", {"type": "set", "path": "paid", "value": True})
        await state.update("totals", "sold", {"type": "increment"})
        await state.update("totals", "sold", {"type": "increment", "by": 4})
        assert await state.get("totals", "sold") == 5

        # what does not fit is refused, all of it
        ops = [
            {"type": "set", "path": "item", "value": "spoon"},
            {"type": "append", "path": "item", "value": "fork"},
        ]
        try:
            await state.update("orders", "17", ops)
        except UpdateInvalid as error:
            print(error)
        assert await state.get("orders", "17") == {"item": "kettle", "paid": True}
        try:
            await state.set("orders", "19", {"prices": [1.5, float("nan")]})
        except NotEncodable as error:
            print(error)

        # for a time: an update leaves the expiry as it is
        await state.set("sessions", "ada", {"pages": 1}, ttl=60)
        await trio.sleep(50)
        await state.update("sessions", "ada", {"type": "increment", "path": "pages"})
        assert await state.get("sessions", "ada") == {"pages": 2}
        await trio.sleep(10)
        assert await state.get("sessions", "ada") is None

        assert await state.delete("orders", "17") == {"item": "kettle", "paid": True}
        assert await state.clear("orders") == 1
        assert await state.list_groups() == ["totals"]


trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
