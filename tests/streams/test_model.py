"""Everything at once: whenever it is quiet, everybody knows what there is."""

from __future__ import annotations

import tempfile
import threading
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from motia_trio.actors import clock as clock_module
from motia_trio.streams import hub as hub_module
from tests.streams.ends import SocketEnd
from tests.streams.world import PATIENCE, World

PEOPLE = 4
START = 1_800_000_000.0

Step = tuple[Any, ...]

WHO = st.integers(0, PEOPLE - 1)
STREAM = st.sampled_from(["chat", "chat", "brief", "few"])
GROUP = st.sampled_from(["g1", "g1", "g2"])
KEY = st.sampled_from("abc")
PLACE = (STREAM, GROUP, st.none() | KEY)
WRITE = st.tuples(
    st.sampled_from(["set", "set", "set", "set", "update", "update", "delete", "delete", "clear"]),
    STREAM,
    GROUP,
    KEY,
)

WRITES = st.tuples(st.just("write"), WHO, WRITE)
SENDS = st.tuples(st.just("send"), WHO, *PLACE)
JOINS = st.tuples(st.just("join"), WHO, *PLACE)
LEAVES = st.tuples(st.just("leave"), WHO, st.integers(0, 5))
CONNECTS = st.tuples(st.just("connect"), WHO)
READS = st.tuples(st.just("read"), WHO, st.sampled_from([0, 1, 2, 5]))
ALONE = st.one_of(
    WRITES,
    WRITES,
    WRITES,
    SENDS,
    JOINS,
    JOINS,
    LEAVES,
    CONNECTS,
    READS,
    st.lists(WRITE, min_size=1, max_size=4).map(lambda writes: ("together", 0, *writes)),
    st.tuples(st.just("hang up"), WHO, st.booleans()),
)
TOGETHER = st.one_of(
    st.lists(st.one_of(WRITES, WRITES, JOINS, LEAVES, CONNECTS), min_size=2, max_size=8),
    st.lists(WRITES, min_size=5, max_size=15),
).map(lambda steps: ("at once", 0, *steps))
STEP = st.one_of(
    ALONE,
    ALONE,
    ALONE,
    TOGETHER,
    st.tuples(st.just("pass time"), WHO, st.sampled_from([0.01, 0.5, 1.0])),
    st.tuples(st.just("be quiet"), WHO),
    st.tuples(st.just("restart"), WHO, st.booleans()),
)


@st.composite
def slow(draw: st.DrawFn) -> list[Step]:
    """Somebody does not read while much happens, and then perhaps does again."""
    who = draw(WHO)
    return [
        ("read", who, draw(st.sampled_from([0, 0, 1]))),
        *draw(st.lists(st.one_of(WRITES, WRITES, WRITES, SENDS, JOINS, TOGETHER), min_size=5)),
        ("read", who, draw(st.sampled_from([1, 3, inf]))),
    ]


@st.composite
def away(draw: st.DrawFn) -> list[Step]:
    """Somebody is away while much happens, and perhaps cut off again after some of it."""
    who = draw(WHO)
    steps: list[Step] = [("hang up", who, draw(st.booleans()))]
    for _ in range(draw(st.integers(1, 3))):
        steps += draw(st.lists(st.one_of(WRITES, WRITES, WRITES, TOGETHER), min_size=1))
        # it takes so many messages in its first moments
        steps += [("connect", who), ("read", who, draw(st.integers(0, 6))), ("turn", who)]
        if draw(st.booleans()):
            steps.append(("hang up", who, draw(st.booleans())))
    return [*steps, ("connect", who), ("read", who, inf)]


# what happens, in scenes of some steps each
SCENE = st.one_of(st.lists(STEP, min_size=1, max_size=5), slow(), away())
LIFE = st.lists(SCENE, min_size=4, max_size=12).map(
    lambda scenes: [step for scene in scenes for step in scene]
)

# at the beginning people come, and follow something
BEGINNING: list[Step] = [
    *(("connect", who) for who in range(PEOPLE)),
    *(("join", who, "chat", "g1", None) for who in range(PEOPLE)),
    ("join", 0, "chat", "g1", "a"),
    ("join", 1, "brief", "g1", None),
    ("join", 2, "few", "g1", None),
    ("join", 3, "few", "g1", "a"),
]


def live(steps: list[Step], store: str, at_once: int, **manner: Any) -> None:
    """Have a world live through everything."""

    async def main(root: Path) -> None:
        now: Any = None
        over = threading.Event()

        async def watch() -> None:
            """The clock may stand still: so a test that hangs would hang for ever."""
            assert await trio.to_thread.run_sync(over.wait, PATIENCE * 3), f"hangs at {now}"

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            try:
                world = World(root, store, nursery, people=PEOPLE, **manner)
                await world.start()
                for each in [*BEGINNING, *steps, ("be quiet", 0)]:
                    now = each
                    await world.do(*each)
                now = "the end"
                await world.stop()
            finally:
                over.set()

    with (
        tempfile.TemporaryDirectory() as root,
        mock.patch.object(hub_module, "AT_ONCE", at_once),
    ):
        if "make_end" in manner:
            trio.run(main, Path(root))
            return
        clock = trio.testing.MockClock()
        wall = SimpleNamespace(time=lambda: START + clock.current_time())
        with mock.patch.object(clock_module, "time", wall):
            trio.run(main, Path(root), clock=clock)


MANNERS = st.fixed_dictionaries(
    {
        "at_once": st.sampled_from([0, 1, 64]),
        "stream_buffer": st.sampled_from([3, 8, 1000]),
        "stream_log": st.sampled_from([10, 10_000]),
    }
)


@settings(max_examples=80)
@given(LIFE, MANNERS)
def test_whenever_it_is_quiet_everybody_knows_what_there_is_in_memory(
    steps: list[Step], manner: dict[str, Any]
) -> None:
    live(steps, "memory:", brief=1.0, **manner)


@settings(max_examples=20)
@given(LIFE, MANNERS)
def test_whenever_it_is_quiet_everybody_knows_what_there_is_on_disk(
    steps: list[Step], manner: dict[str, Any]
) -> None:
    live(steps, "sqlite:///store.db", brief=1.0, **manner)


@settings(max_examples=8)
@given(LIFE, MANNERS, st.sampled_from(["memory:", "sqlite:///store.db"]))
def test_whenever_it_is_quiet_everybody_knows_what_there_is_on_real_sockets(
    steps: list[Step], manner: dict[str, Any], store: str
) -> None:
    live(
        steps,
        store,
        brief=0.05,
        pad=20_000,
        make_end=SocketEnd.connect,
        streams="127.0.0.1:0",
        **manner,
    )
