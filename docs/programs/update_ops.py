"""Every operation of state.update, one after the other on one value."""

import trio

from motia_trio import App, open_runtime


async def main():
    async with open_runtime(App(), observers=()) as rt:

        async def after(op):
            return (await rt.state.update("g", "k", op))["new_value"]

        # a missing parent is made, a missing number is 0, a missing list is empty
        value = await after({"type": "set", "path": "a.b", "value": 1})
        assert value == {"a": {"b": 1}}
        value = await after({"type": "increment", "path": "a.b", "by": 2})
        assert value == {"a": {"b": 3}}
        value = await after({"type": "decrement", "path": "a.c"})  # by 1
        assert value == {"a": {"b": 3, "c": -1}}
        value = await after({"type": "append", "path": "l", "value": "x"})
        assert value == {"a": {"b": 3, "c": -1}, "l": ["x"]}
        value = await after({"type": "merge", "path": "a", "value": {"c": {"d": 4}, "e": 5}})
        assert value == {"a": {"b": 3, "c": {"d": 4}, "e": 5}, "l": ["x"]}
        value = await after({"type": "remove", "path": "a.c"})
        assert value == {"a": {"b": 3, "e": 5}, "l": ["x"]}

        # in a list a segment is an index, the one behind the end appends
        value = await after({"type": "set", "path": "l.1", "value": "y"})
        assert value["l"] == ["x", "y"]
        value = await after({"type": "remove", "path": "l.0"})  # closes the gap
        assert value["l"] == ["y"]

        # keys with a dot in them: a list of literal segments
        value = await after({"type": "set", "path": ["prices", "1.5"], "value": "cheap"})
        assert value["prices"] == {"1.5": "cheap"}

        # no path, or "": the whole value
        value = await after({"type": "merge", "value": {"l": []}})
        assert value == {"a": {"b": 3, "e": 5}, "l": [], "prices": {"1.5": "cheap"}}
        assert await after({"type": "remove"}) is None
        assert await after([{"type": "set", "value": 1}, {"type": "increment", "by": 0.5}]) == 1.5


trio.run(main)
