"""What a store tells beside what the model does."""

# assert is how a test speaks
# ruff: noqa: S101

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from attrs import evolve

from motia_trio.store import Counts
from motia_trio.testing.stores.stories import STEPS, TOPICS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from motia_trio.messages import DeadLetter
    from motia_trio.store import Snapshot, Store
    from motia_trio.testing.stores.model import Letter, Model

__all__ = ["compare_deliveries", "compare_letters", "compare_snapshot"]


def compare_deliveries(store: Store, model: Model) -> None:
    """See how many deliveries there are, and when the next is due."""
    counts = store.counts(model.now)
    assert {step: counts.get(step, Counts()) for step in STEPS} == {
        step: model.counts(step) for step in STEPS
    }
    assert store.agenda(model.now) == model.agenda()


def compare_letters(store: Store, model: Model) -> None:
    """See which dead letters there are, by every filter, page by page."""
    dead = sorted(model.letters, key=lambda letter: letter.claim.id)
    for step, topic, before in itertools.product(
        (None, *STEPS), (None, *TOPICS), (None, model.now, model.now - 1)
    ):
        expected = [
            letter
            for letter in dead
            if step in {None, letter.claim.route.step}
            and topic in {None, letter.claim.message.topic}
            and (before is None or letter.died_at < before)
        ]
        given = store.dead_letters(step=step, topic=topic, died_before=before)
        _compare(given, expected)
        page = store.dead_letters(step=step, topic=topic, died_before=before, limit=2)
        _compare(page, expected[:2])
        if len(expected) > 2:
            last = page[-1].id
            rest = store.dead_letters(step=step, topic=topic, died_before=before, after=last)
            _compare(rest, expected[2:])
    ids = {letter.claim.id for letter in dead[::2]} | {1}
    _compare(store.dead_letters(ids=ids), dead[::2])
    assert list(store.dead_letters(ids=())) == []


def _compare(given: Sequence[DeadLetter], expected: Sequence[Letter]) -> None:
    told = [evolve(letter, failures=tuple(letter.failures)) for letter in given]
    assert told == [letter.told() for letter in expected]


def compare_snapshot(
    snapshot: Snapshot, model: Model, group: str, key: str | None, since: int | None
) -> None:
    """See all of a group, or of a key of it; or what was missed of it ``since`` a change."""
    if since is not None:
        assert snapshot.items == {}
        assert snapshot.missed is not None
        told = [
            evolve(each, item=each.item and evolve(each.item, version=0))
            for each in snapshot.missed
        ]
        assert told == model.missed(since, "s", group, key)
        return
    assert snapshot.missed is None
    items = model.items("s", group)
    if key is not None:
        items = {key: items[key]} if key in items else {}
    assert [(name, item.value, item.expires_at) for name, item in snapshot.items.items()] == [
        (name, kept.value, kept.expires_at) for name, kept in items.items()
    ]
