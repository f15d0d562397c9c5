"""The hub: who is told what, in which order, and from which change on."""

from __future__ import annotations

from unittest import mock

import attrs
import pytest
import trio
import trio.testing

from motia_trio.store import (
    Place,
    Put,
)
from tests.streams.stage import Listener, open_stream

# who is told


async def test_who_joins_a_group_is_told_all_of_it_and_then_every_change() -> None:
    async with open_stream() as stream:
        await stream.set("a")
        listener = Listener()
        follow = stream.join(listener)
        await stream.set("a")
        await stream.set("b")
        await stream.delete("a")
        assert listener.told == [("sync", None), ("update", "a"), ("create", "b"), ("delete", "a")]
        assert listener.client.heard[0]["event"]["data"] == [{"id": "a", "n": 1}]
        assert listener.client.heard[3]["event"]["data"] == {"id": "a", "n": 2}
        assert follow.state.value == stream.now_in("room") != {}


async def test_who_joins_an_item_is_told_of_that_alone() -> None:
    async with open_stream() as stream:
        await stream.set("a")
        there, missing = Listener(), Listener()
        stream.join(there, "a")
        stream.join(missing, "b")
        for key in ("a", "b", "c"):
            await stream.set(key)
        assert there.told == [("sync", "a"), ("update", "a")]
        assert missing.told == [("sync", "b"), ("create", "b")]
        assert there.client.heard[0]["event"]["data"] == {"id": "a", "n": 1}
        assert missing.client.heard[0]["event"]["data"] is None


@pytest.mark.parametrize("many", [1, 3])
async def test_a_connection_gets_one_message_however_many_of_its_subscriptions_match(
    many: int,
) -> None:
    async with open_stream() as stream:
        listener = Listener()
        for number in range(many):
            stream.join(listener, "a", name=f"item {number}")
            stream.join(listener, name=f"group {number}")
        await stream.set("a")
        stream.send(1, "a")
        assert listener.told[2 * many :] == [("create", "a"), ("event", 1)]


async def test_groups_and_streams_of_the_same_keys_are_not_mixed_up() -> None:
    async with open_stream() as stream:
        listener = Listener()
        stream.join(listener, "a", "g1")
        await stream.set("a", "g2")
        await stream.write(Put(Place("other", "g1", "a"), b"{}"))
        stream.hub.send("other", "g1", None, b"{}")
        stream.send(1, "a", "g2")
        assert listener.told == [("sync", "a")]


async def test_an_event_goes_to_the_group_or_to_who_follows_the_item_and_to_the_group() -> None:
    async with open_stream() as stream:
        group, item, other = Listener(), Listener(), Listener()
        stream.join(group)
        stream.join(item, "a")
        stream.join(other, "b")
        stream.send(1)
        stream.send(2, "a")
        assert group.client.events == [1, 2]
        assert item.client.events == [2]
        assert other.client.events == []
        assert [each.get("id") for each in group.client.heard] == [None, None, "a"]


async def test_who_has_left_is_told_nothing_more_but_what_another_subscription_follows() -> None:
    async with open_stream() as stream:
        listener = Listener()
        group, item = stream.join(listener), stream.join(listener, "a")
        stream.leave(listener, group)
        for key in ("a", "b"):
            await stream.set(key)
        assert listener.told[2:] == [("create", "a")]
        stream.leave(listener, item)
        await stream.set("a")
        assert len(listener.told) == 3


async def test_a_join_that_is_made_again_is_answered_again_and_changes_still_come_once() -> None:
    async with open_stream() as stream:
        stream.join(Listener())
        listener = Listener()
        follow = stream.join(listener)
        listener.client.join(follow)
        stream.hub.begin(listener, listener.subscriptions[follow.id])
        await stream.set("a")
        assert listener.told == [("sync", None), ("sync", None), ("create", "a")]
        stream.leave(listener, follow)
        await stream.set("a")
        assert len(listener.told) == 3


async def test_presence_counts_connections_that_are_in_a_group() -> None:
    async with open_stream() as stream:
        one, two = Listener(), Listener()
        assert stream.hub.presence("chat", "room") == 0
        joined = [
            (one, stream.join(one)),
            (one, stream.join(one, "a")),
            (two, stream.join(two, "a")),
        ]
        stream.join(two, "a", "elsewhere")
        assert stream.hub.presence("chat", "room") == 2
        for left, (listener, follow) in enumerate(joined):
            stream.leave(listener, follow)
            assert stream.hub.presence("chat", "room") == [2, 1, 0][left]
        assert stream.hub.presence("chat", "elsewhere") == 1
        assert stream.hub.presence("other", "elsewhere") == 0


async def test_nothing_is_remembered_of_a_group_when_all_have_left() -> None:
    async with open_stream() as stream:
        for group in ("a", "b"):
            listener = Listener()
            for follow in (stream.join(listener, None, group), stream.join(listener, "k", group)):
                stream.leave(listener, follow)
        assert stream.hub.statistics().groups == 0
        assert stream.hub.statistics().subscriptions == 0


# snapshots, and their place among the changes


async def test_a_snapshot_that_is_ahead_of_what_was_told_is_sent_when_that_was_told() -> None:
    async with open_stream() as stream:
        before, after = Listener(), Listener()
        stream.join(before, "a")
        stream.hold()
        for key in ("a", "b"):
            await stream.set(key)
        follow = stream.join(after)
        stream.join(after, "a")
        await stream.set("c")
        assert after.told == []
        stream.release(1)
        assert (before.told, after.told) == ([("sync", "a"), ("create", "a")], [])
        stream.release(1)
        assert after.told == [("sync", None), ("sync", "a")]
        assert [item["id"] for item in after.client.heard[0]["event"]["data"]] == ["a", "b"]
        stream.release()
        assert after.told[2:] == [("create", "c")]
        assert follow.state.value == stream.now_in("room")


async def test_who_joins_while_the_hub_is_late_may_have_what_it_knows_already() -> None:
    async with open_stream() as stream:
        stream.join(Listener())
        stream.hold()
        await stream.set("a")
        listener = Listener()
        follow = stream.join(listener)
        assert (listener.told, stream.reads) == ([("sync", None)], 1)
        stream.release()
        assert listener.told == [("sync", None), ("create", "a")]
        assert follow.state.value == stream.now_in("room")


async def test_an_answer_that_waits_is_to_the_join_that_asked_for_it() -> None:
    """And not to what the same subscription was joined with meanwhile."""
    async with open_stream() as stream:
        await stream.set("a")
        listener = Listener()
        last = stream.last
        stream.hold()
        await stream.set("a")
        follow = stream.join(listener, since=last)
        listener.subscriptions[follow.id].since = None
        stream.release()
        assert listener.told == [("resume", None), ("update", "a")]
        assert listener.client.heard[0]["event"]["data"] == {"since": last}


async def test_who_leaves_before_its_snapshot_was_sent_gets_none() -> None:
    async with open_stream() as stream:
        listener = Listener()
        stream.hold()
        await stream.set("a")
        stream.leave(listener, stream.join(listener))
        follow = stream.join(listener)
        await stream.set("b")
        stream.release()
        assert listener.told == [("sync", None), ("create", "b")]
        assert follow.state.value == stream.now_in("room")


async def test_a_store_that_cannot_be_read_is_the_callers_error_and_nobody_is_told_of_changes() -> (
    None
):
    async with open_stream() as stream:
        listener = Listener()
        with mock.patch.object(stream.store, "snapshot", side_effect=OSError("no disk")):
            with pytest.raises(OSError, match="no disk"):
                stream.join(listener)
        await stream.set("a")
        assert listener.told == []
        stream.leave(listener, listener.client.follows["room/None"])
        assert stream.hub.presence("chat", "room") == 0


async def test_who_resumes_is_told_what_it_missed_and_then_every_change() -> None:
    async with open_stream() as stream:
        for key in ("a", "b", "c"):
            await stream.set(key)
        listener = Listener()
        stream.join(listener, group="elsewhere")
        since = listener.client.heard[0]["seq"]
        for key in ("d", "a", "d"):
            await stream.set(key)
        await stream.set("x", "elsewhere")
        await stream.delete("b")
        again, whole = Listener(), Listener()
        stream.join(again, since=since)
        stream.join(whole, since=5)
        await stream.set("e")
        assert again.told == [
            ("resume", None),
            ("update", "a"),
            ("create", "d"),
            ("delete", "b"),
            ("create", "e"),
        ]
        marker, _, d, b, _ = again.client.heard
        assert marker["event"]["data"] == {"since": since}
        assert d["event"]["data"] == {"id": "d", **stream.now_in("room")["d"]}
        assert b["event"]["data"] == {"id": "b"}
        assert [each["seq"] for each in again.client.heard] == sorted(
            each["seq"] for each in again.client.heard
        )
        assert whole.told == [("sync", None), ("create", "e")]


async def test_who_is_cut_off_amid_what_it_missed_resumes_from_there() -> None:
    async with open_stream() as stream:
        await stream.set("b")
        listener = Listener()
        follow = stream.join(listener, since=1)
        stream.lose(listener)
        await stream.delete("b")
        await stream.set("a")
        await stream.set("b")
        follow.connect()
        listener = Listener(room=3)
        stream.rejoin(listener, follow)
        assert listener.told == [("resume", None), ("delete", "b"), ("create", "a")]
        stream.lose(listener)
        await stream.delete("b")
        follow.connect()
        stream.rejoin(Listener(), follow)
        assert follow.state.value == stream.now_in("room")


async def test_who_has_missed_nothing_is_told_so_and_how_far_that_goes() -> None:
    async with open_stream() as stream:
        await stream.set("a")
        since = stream.last
        await stream.set("x", "elsewhere")
        listener = Listener()
        stream.join(listener, since=since)
        assert listener.told == [("resume", None)]
        assert listener.client.heard[0]["seq"] == stream.last > since


async def test_the_items_of_a_group_are_read_once_for_all_who_join_while_nothing_changes() -> None:
    async with open_stream() as stream:
        await stream.set("a")
        for _ in range(5):
            stream.join(Listener())
        assert stream.reads == 1
        await stream.set("a", "elsewhere")
        stream.join(Listener())
        assert stream.reads == 1
        await stream.set("a")
        for _ in range(5):
            listener = Listener()
            assert stream.join(listener).state.value == stream.now_in("room")
        assert stream.reads == 2


@pytest.mark.parametrize("told", [True, False])
async def test_what_was_read_for_another_is_not_told_when_something_has_changed(told: bool) -> None:  # noqa: FBT001
    async with open_stream() as stream:
        await stream.set("a")
        stream.join(Listener())
        if not told:
            stream.hold()
        await stream.set("a")
        listener = Listener()
        follow = stream.join(listener)
        await stream.set("b")
        stream.release()
        assert follow.state.value == stream.now_in("room")


async def test_what_was_read_in_a_group_that_all_have_left_is_not_told_to_the_next() -> None:
    async with open_stream() as stream:
        await stream.set("a")
        listener = Listener()
        stream.leave(listener, stream.join(listener))
        await stream.set("a")
        assert stream.join(listener).state.value == stream.now_in("room")


async def test_an_item_whose_time_is_over_is_told_to_be_gone_to_who_was_told_of_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_stream() as stream:
        await stream.set("a", ttl=5)
        await stream.set("b")
        listeners = [Listener(), Listener(), Listener()]
        follows = [stream.join(listeners[0])]
        await trio.sleep(6)
        follows.append(stream.join(listeners[1]))  # the sweep is late
        await stream.store.sweep(10, stream.clock.now())
        follows.append(stream.join(listeners[2]))
        for follow in follows:
            assert follow.state.value == stream.now_in("room")
        assert [("delete", "a") in each.told for each in listeners] == [True, True, False]


async def test_an_item_that_is_renewed_when_its_time_is_over_is_there_for_who_joined_just_then(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_stream() as stream:
        await stream.set("a", ttl=5)
        asked_at = stream.clock.now() + 4.99
        await trio.sleep(5.01)
        # it was asked for in time, and is kept a moment later
        renewed = attrs.evolve(stream.put("a"), expires_at=asked_at + 5)
        group, item = Listener(), Listener()
        follows = [stream.join(group), stream.join(item, "a")]
        await stream.write(renewed, now=asked_at)
        assert follows[0].state.value == stream.now_in("room") != {}
        assert follows[1].state.value == stream.now_in("room", "a") is not None
