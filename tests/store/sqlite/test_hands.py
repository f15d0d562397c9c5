"""The notes of what handlers have in hand."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from motia_trio.errors import StoreBroken
from motia_trio.messages import Bury, GiveBack
from motia_trio.store.sqlite import SqliteStore
from motia_trio.store.sqlite.hands import Hands
from motia_trio.testing.stores.probe import NOW, Probe

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hands"


def left_behind(path: Path) -> list[int]:
    """What a process that opened the notes now would find, without clearing them."""
    notes = Hands(path)
    left = notes.left
    notes.close()
    return sorted(left)


def test_what_is_in_hand_is_there_without_closing(path: Path) -> None:
    notes = Hands(path)
    numbers = [1, 2**63 - 1, 7]
    for number in (*numbers, 8, 7):
        notes.take(number)
    notes.put_down(8)
    notes.put_down(9)
    assert left_behind(path) == sorted(numbers)
    notes.close()
    assert left_behind(path) == []


def test_there_is_room_for_as_many_as_there_are(path: Path) -> None:
    notes = Hands(path)
    numbers = list(range(1, 3000))
    for number in numbers:
        notes.take(number)
    for number in numbers[::2]:
        notes.put_down(number)
    assert left_behind(path) == numbers[1::2]
    for number in numbers[::2]:
        notes.take(number)
    assert left_behind(path) == numbers
    size = path.stat().st_size
    notes.close()
    notes = Hands(path)
    for number in numbers:
        notes.take(number)
    notes.close()
    assert path.stat().st_size == size


def test_what_was_left_stays_until_it_is_counted(path: Path) -> None:
    dying = Hands(path)
    dying.take(7)
    assert left_behind(path) == [7]
    assert left_behind(path) == [7]
    notes = Hands(path)
    notes.clear_left()
    assert notes.left == []
    notes.close()
    assert left_behind(path) == []
    dying.close()


def test_a_file_of_any_length_is_read(path: Path) -> None:
    path.write_bytes((5).to_bytes(8, "little") + b"x" * 5)
    assert 5 in left_behind(path)


def test_a_full_disk_leaves_the_rest_unnoted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = Hands(path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    for number in range(1, 1000):
        notes.take(number)
    for number in range(1, 1000):
        notes.put_down(number)
    notes.take(1000)
    monkeypatch.undo()
    assert left_behind(path) == [1000]
    notes.close()


def test_notes_that_cannot_be_made_are_told(tmp_path: Path) -> None:
    with pytest.raises(StoreBroken, match=r"hands: Is a directory"):
        (tmp_path / "hands").mkdir()
        Hands(tmp_path / "hands")


async def test_a_crash_that_could_not_be_counted_is_counted_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(tmp_path / "store.db")
    async with store.opened(NOW):
        delivery = await Probe(store).take()
    dying = Hands(tmp_path / "store.db.hands")
    dying.take(delivery.id)
    with monkeypatch.context() as patch:
        patch.setattr("motia_trio.store.sqlite.writer.Writer._write", _disk_full)
        with pytest.raises(StoreBroken):
            async with store.opened(NOW):
                pass
    async with store.opened(NOW):
        (again,) = await Probe(store).lease()
    assert again.crashes == 1
    async with store.opened(NOW):
        (again,) = await Probe(store).lease()
    assert again.crashes == 1
    dying.close()


async def test_what_was_settled_in_any_way_is_in_nobody_s_hand(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    async with store.opened(NOW):
        probe = Probe(store)
        deliveries = await probe.keep(*"abcdef", take=True)
        for delivery in deliveries:
            store.begin(delivery)
        acked, done, given_back, retried, buried, last = deliveries
        await probe.ack(acked)
        await probe.commit(done=done)
        await probe.settle(given_back, GiveBack())
        await probe.retry(retried)
        await probe.settle(buried, Bury("why"))
        await probe.acknowledge(last)
        assert left_behind(tmp_path / "store.db.hands") == []


def _disk_full(*_: object) -> None:
    raise StoreBroken("the disk is full")
