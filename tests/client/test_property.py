"""Whatever happens to connections and servers: followers end up with what the server has."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
from attrs import define, field
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from motia_trio.client import Follower, StreamClient, StreamEvent, open_stream_client
from tests.client.fake import URL, fake_server
from tests.client.model import Model

KEYS = ["a", "b", "c"]
Action = tuple[Any, ...]

CHANGES = st.one_of(
    st.tuples(st.just("set"), st.sampled_from(KEYS)),
    st.tuples(st.just("set"), st.sampled_from(KEYS)),
    st.tuples(st.just("delete"), st.sampled_from(KEYS)),
    st.tuples(st.just("send")),
)
SENDING = st.one_of(
    st.tuples(st.just("flush"), st.integers(1, 4)),
    st.tuples(st.just("flush"), st.just(100)),
    st.tuples(st.just("merge")),
)
LOSSES = st.one_of(
    st.tuples(st.just("drop"), st.sampled_from([None, 1001, 4008])),
    st.tuples(st.just("drop"), st.sampled_from([None, 1001, 4008])),
    st.tuples(st.just("restart"), st.booleans()),
    st.tuples(st.just("forget")),
)
FOLLOWING = st.one_of(
    st.tuples(st.just("take"), st.integers(0, 3)),
    st.tuples(st.just("follow"), st.sampled_from(["group", "item", "events"])),
    st.tuples(st.just("leave"), st.integers(0, 3)),
)
LIFE = st.one_of(CHANGES, CHANGES, SENDING, SENDING, FOLLOWING)


@st.composite
def scripts(draw: st.DrawFn) -> list[Action]:
    """Some lives of a connection, what happens in each, and until there is the next."""
    script: list[Action] = []
    for _ in range(draw(st.integers(1, 5))):
        script += draw(st.lists(LIFE, min_size=1, max_size=8))
        script.append(draw(LOSSES))
        script += draw(st.lists(CHANGES, max_size=3))
        script.append(("wait",))
    return script


@define(eq=False)
class Watcher:
    """A follower, and what it has given."""

    kind: str
    follower: Follower[Any]
    taken: list[Any] = field(factory=list)
    since: int = 0

    async def take(self) -> None:
        """Take what there is."""
        with trio.move_on_after(0.001):
            while True:
                self.taken.append(await self.follower.receive())
                if self.kind != "events":
                    return

    async def take_all(self) -> None:
        """Take everything that there is."""
        with trio.move_on_after(0.001):
            while True:
                self.taken.append(await self.follower.receive())


class Script:
    """Does one thing after the other to a client and its server."""

    def __init__(self, client: StreamClient, model: Model) -> None:
        self.client = client
        self.model = model
        self.watchers: list[Watcher] = []
        self.left = 0

    async def do(self, action: Action) -> None:
        """Do one thing."""
        name, *arguments = action
        await getattr(self, name)(*arguments)
        await trio.testing.wait_all_tasks_blocked()

    async def set(self, key: str) -> None:
        self.model.set(key)

    async def delete(self, key: str) -> None:
        self.model.delete(key)

    async def send(self) -> None:
        self.model.send()

    async def flush(self, count: int) -> None:
        await self.model.flush(count)

    async def merge(self) -> None:
        self.model.merge()

    async def drop(self, code: int | None) -> None:
        await self.model.drop(code)

    async def forget(self) -> None:
        self.model.forget()

    async def restart(self, keeps_log: bool) -> None:  # noqa: FBT001
        await self.model.drop(1001)
        self.model.restart(keeps_log=keeps_log)

    async def wait(self) -> None:
        """Until there is a connection again, if there is none."""
        await trio.sleep(40)

    async def follow(self, kind: str) -> None:
        if len(self.watchers) > 3:
            return
        follow: dict[str, Callable[[], Follower[Any]]] = {
            "group": partial(self.client.group, "chat", "room-1"),
            "item": partial(self.client.item, "chat", "room-1", "a"),
            "events": partial(self.client.events, "chat", "room-1"),
        }
        watcher = Watcher(kind, follow[kind](), since=self.model.version)
        self.watchers.append(watcher)
        await watcher.take()

    async def take(self, number: int) -> None:
        if number < len(self.watchers):
            await self.watchers[number].take()

    async def leave(self, number: int) -> None:
        if number < len(self.watchers):
            self.left += 1
            await self.watchers.pop(number).follower.aclose()

    async def settle(self) -> None:
        """Until everything that is to be known is known."""
        for _ in range(3):
            await self.wait()
            await self.model.flush()
        for watcher in self.watchers:
            await watcher.take_all()

    def judge(self, watcher: Watcher) -> None:
        """Compare what a follower has given with what was there."""
        model, taken = self.model, watcher.taken
        if watcher.kind == "events":
            numbers = [each.data for each in taken if isinstance(each, StreamEvent)]
            assert numbers == sorted(set(numbers))
            assert set(numbers) <= set(model.events)
            return
        states = taken if watcher.kind == "group" else [[one] if one else [] for one in taken]
        newest: dict[str, int] = {}
        for state in states:
            assert len({item["id"] for item in state}) == len(state)
            for item in state:
                assert item in model.committed
                assert item["n"] >= newest.get(item["id"], 0)
                newest[item["id"]] = item["n"]
        items = list(model.items.values())
        if watcher.kind == "item":
            assert taken[-1] == model.items.get("a")
        else:
            assert sorted(taken[-1], key=str) == sorted(items, key=str)
        join = watcher.follower._subscription.id  # noqa: SLF001  # which join is whose
        expected = model.unresumed.get(join, 0)
        assert watcher.follower.gaps >= expected
        if model.tells_whose or not self.left:
            assert watcher.follower.gaps == expected


async def run_script(actions: list[Action], *, tells_whose: bool) -> None:
    """Do it all, let it become quiet, and compare."""
    async with fake_server() as server, open_stream_client(URL) as client:
        async with trio.open_nursery() as nursery:
            model = Model(server, tells_whose)
            nursery.start_soon(model.run)
            await trio.testing.wait_all_tasks_blocked()
            script = Script(client, model)
            await script.do(("follow", "group"))
            for action in actions:
                await script.do(action)
            await script.settle()
            for watcher in script.watchers:
                script.judge(watcher)
            event(f"resumed: {min(model.resumed, 3)}")
            event(f"not resumed: {min(sum(model.unresumed.values()), 3)}")
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("tells_whose", [True, False])
# made and merged while it waited, of which a later change came and it did not
@example(
    actions=[
        ("flush", 9),
        ("set", "a"),
        ("set", "b"),
        ("set", "a"),
        ("merge",),
        ("flush", 1),
        ("drop", None),
    ],
)
# lost in the middle of what was missed
@example(
    actions=[
        ("flush", 9),
        ("drop", None),
        ("set", "a"),
        ("set", "b"),
        ("wait",),
        ("flush", 2),
        ("drop", 4008),
    ],
)
# gone and back while there was no connection
@example(
    actions=[("set", "a"), ("flush", 9), ("drop", None), ("delete", "a"), ("set", "a"), ("wait",)]
)
@given(actions=scripts())
@settings(max_examples=60)
def test_when_it_is_quiet_followers_have_what_the_server_has(
    tells_whose: bool,  # noqa: FBT001
    actions: list[Action],
) -> None:
    """And never had what was not committed, nor anything older after something newer."""
    trio.run(
        partial(run_script, actions, tells_whose=tells_whose),
        clock=trio.testing.MockClock(autojump_threshold=0),
    )
