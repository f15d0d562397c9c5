"""What random stories are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen
from hypothesis import strategies as st

from motia_trio.messages import Message, Origin, Route
from motia_trio.store import Clear, Place, Put, Remove, Update, parse_ops
from motia_trio.testing.stores.probe import NOW

if TYPE_CHECKING:
    from motia_trio.store import Seen, Write

__all__ = [
    "GROUPS", "KEYS", "LANES", "MESSAGES", "NO_WRITES", "ORIGIN", "READINGS", "SOON", "SPACES",
    "STEPS", "TOPICS", "WHICH", "WRITES", "Reading",
]  # fmt: skip

STEPS = ("A", "B")
LANES = ("queue", "state", "queue", "queue")
TOPICS = ("t", "u")
SPACES = ("", "s")
GROUPS = ("g", "watched")
KEYS = ("k", "l", "m")

WHICH = st.integers(0, 99)
SOON = st.sampled_from([0.0, 0.0, 1.0, 3.0, -1.0])  # seconds from now
ROUTES = st.lists(
    st.builds(
        Route,
        step=st.sampled_from(["A", "A", "A", "B"]),
        trigger=st.sampled_from([0, 1]),
        due_at=SOON,
        fifo=st.sampled_from([None, None, "g", "g", "h"]),
        take=st.booleans(),
        lane=st.sampled_from(LANES),
    ),
    min_size=0,
    max_size=3,
)
MESSAGES = st.lists(
    st.tuples(
        st.builds(
            Message,
            id=st.just(""),  # from the store
            topic=st.sampled_from(TOPICS),
            payload=st.just(b"{}"),
            trace_id=st.just("0" * 32),
            created_at=st.just(NOW),
            priority=st.sampled_from([-1, 0, 0, 0, 5]),
            expires_at=st.sampled_from([None, None, NOW + 5]),
            key=st.sampled_from([None, None, None, "x", "y"]),
        ),
        ROUTES,
    ),
    max_size=4,
)
PLACES = st.builds(Place, st.sampled_from(SPACES), st.sampled_from(GROUPS), st.sampled_from(KEYS))
VALUES = st.sampled_from([b"null", b"1", b'{"n":1}', b'{"n":"x"}', b"[]"])
OPS = st.sampled_from(
    [
        parse_ops({"type": "increment", "path": "n"}),
        parse_ops({"type": "append", "path": "l", "value": 1}),
        parse_ops({"type": "merge", "value": {"m": 2}}),
        parse_ops({"type": "remove", "path": "n"}),
    ]
)
EXPIRIES = st.sampled_from([None, None, 1.0, 3.0, 0.0])  # seconds from now
KEEPS = st.sampled_from([None, None, 1, 2])
WRITES = st.lists(
    st.one_of(
        st.builds(Put, PLACES, VALUES, EXPIRIES, KEEPS),
        st.builds(Remove, PLACES),
        st.builds(
            Update,
            PLACES,
            OPS,
            limit=st.sampled_from([1000, 1000, 12]),
            expires_at=EXPIRIES,
            keep=KEEPS,
        ),
        st.builds(Clear, st.sampled_from(SPACES), st.sampled_from(GROUPS)),
    ),
    max_size=3,
)
NO_WRITES: st.SearchStrategy[list[Write]] = st.just([])
READINGS = st.tuples(
    st.sampled_from(SPACES),
    st.sampled_from([None, *GROUPS, *GROUPS]),
    st.sampled_from([None, *KEYS]),
).map(lambda what: (what[0], what[1], what[2] if what[1] else None))
# what brought the changes of every commit about
ORIGIN = Origin("f" * 32, hops=2, sender="A")


@frozen
class Reading:
    """Something that was read: what the store takes for it, and what the model does."""

    what: tuple[str, str | None, str | None]
    seen: Seen
    mark: object
