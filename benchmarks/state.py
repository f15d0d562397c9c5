"""State: gets a second beside a dict with the same codec, and sets a second, few keys and many.

    python benchmarks/state.py [--sizes 20000:200,20000:1000,2000000:200] [--seconds S] [--rounds N]

So many keys, with values of so many bytes of JSON: orders as a shop keeps them, with a note. A get
is ``await rt.state.get(group, key)`` of a random key, the reference ``decode(a_dict[group, key])``.
Keys are taken in two ways: evenly out of all, and as most programs do, nine of ten out of the same
thousand. A set is ``await rt.state.set(group, key, value)`` by so many tasks at once, always a new
value: each is durable when it returns. The store is a file with ``synchronous=FULL``.
"""

from __future__ import annotations

import sys
from pathlib import Path

# run as a script, this folder must not be searched: its files would hide the library's
sys.path[0] = str(Path(__file__).parents[1])

import argparse
import random
import tempfile
import time
from typing import Any

import trio
from benchmarks.table import print_table, ratios, spread

from motia_trio import App, codec, open_runtime
from motia_trio.store import Place, Put, Work

GROUPS = 100
HOT = 1000


def value(number: int, size: int) -> dict[str, Any]:
    """An order, of about so many bytes as JSON."""
    return {
        "note": "x" * (size - 190),
        "id": number,
        "status": "paid",
        "customer": {"name": f"customer {number}", "city": "Lisbon", "since": 2019},
        "lines": [{"sku": "A-100", "count": 2, "price": 19.9}, {"sku": "B-7", "count": 1}],
    }


def place(number: int) -> tuple[str, str]:
    """The group and key of an order."""
    return f"orders {number % GROUPS}", f"order-{number}"


def numbers(keys: int, count: int, *, hot: bool) -> list[int]:
    """Random keys, nine of ten out of the same thousand if ``hot``."""
    rng = random.Random(7)
    return [
        rng.randrange(min(keys, HOT)) if hot and rng.random() < 0.9 else rng.randrange(keys)
        for _ in range(count)
    ]


async def fill(rt: Any, keys: int, size: int) -> None:
    """Write all keys, many in a commit."""
    for first in range(0, keys, 5000):
        writes = [
            Put(Place("", *place(number)), codec.encode(value(number, size)))
            for number in range(first, min(keys, first + 5000))
        ]
        await rt.store.commit(Work(writes=writes), time.time())
        if first % 500_000 == 0:
            print(f"  {first:,} of {keys:,} keys written", file=sys.stderr)


async def gets(rt: Any, wanted: list[int]) -> float:
    """Gets a second of the store."""
    names = [place(number) for number in wanted]
    state = rt.state
    began = time.perf_counter()
    for group, key in names:
        await state.get(group, key)
    return len(names) / (time.perf_counter() - began)


def dict_gets(kept: dict[tuple[str, str], bytes], wanted: list[int]) -> float:
    """Gets a second of a dict."""
    names = [place(number) for number in wanted]
    began = time.perf_counter()
    for name in names:
        codec.decode(kept[name])
    return len(names) / (time.perf_counter() - began)


async def sets(rt: Any, keys: int, size: int, tasks: int, seconds: float) -> float:
    """Sets a second by so many tasks."""
    done = 0
    end = time.perf_counter() + seconds
    rng = random.Random(tasks)

    async def write() -> None:
        nonlocal done
        while time.perf_counter() < end:
            done += 1
            await rt.state.set(*place(rng.randrange(keys)), value(done, size))

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(tasks):
            nursery.start_soon(write)
    return done / (time.perf_counter() - began)


async def measure(keys: int, size: int, seconds: float, rounds: int) -> list[tuple[str, ...]]:
    """Fill a store, and measure."""
    rows: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory(dir=".") as folder:
        app = App([], root=folder, store="sqlite:///store.db")
        async with open_runtime(app, observers=()) as rt:
            await fill(rt, keys, size)
            kept = {place(n): codec.encode(value(n, size)) for n in range(keys)}
            for hot in (True, False):
                wanted = numbers(keys, 50_000, hot=hot)
                await gets(rt, wanted)
                mine, other = [], []
                for _ in range(rounds):
                    other.append(dict_gets(kept, wanted))
                    mine.append(await gets(rt, wanted))
                name = "get, mostly the same" if hot else "get, any"
                ratio = spread(ratios(mine, other), 2)
                rows.append((f"{keys:,}", f"{size:,}", name, spread(mine), spread(other), ratio))
            del kept
            for tasks in (1, 16, 64):
                rates = [await sets(rt, keys, size, tasks, seconds) for _ in range(rounds)]
                rows.append(
                    (f"{keys:,}", f"{size:,}", f"set, {tasks} tasks", spread(rates), "", "")
                )
        file = (Path(folder) / "store.db").stat().st_size
        rows.append((f"{keys:,}", f"{size:,}", "file, MB", f"{file / 1e6:,.0f}", "", ""))
    return rows


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="20000:200,20000:1000,2000000:200")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each measurement of sets")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rows: list[tuple[str, ...]] = [("keys", "bytes", "what", "ours, a second", "dict", "ratio")]
    for pair in options.sizes.split(","):
        keys, size = map(int, pair.split(":"))
        rows += trio.run(measure, keys, size, options.seconds, options.rounds)
    print_table(rows)


if __name__ == "__main__":
    main()
