"""Promises 1, 2, 6 and 10 on a disk that is full, or that cannot be written.

The store stands on a small file system of its own, which only root may mount.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
import trio

from motia_trio import App, Service, http, open_runtime, queue, step
from motia_trio.errors import StoreBroken
from motia_trio.events import AttemptFailed, DeadLettered, StoreFailed, StoreRecovered
from tests.support import Notebook, child, open_to_all

MOUNT, UMOUNT = shutil.which("mount"), shutil.which("umount")
STORE = "sqlite:///store.db"
CHAT = [{"name": "chat"}]
# bytes: room for the store's log, which is moved into its file after 8 MB
SIZE = 24 * 1024 * 1024
FULL = "the disk is full"


@attrs.define
class Disk:
    """A small file system, mounted at ``path``."""

    path: Path

    def fill(self) -> None:
        """Leave no room at all."""
        with (self.path / "ballast").open("ab", buffering=0) as file:
            for size in (65536, 4096, 1):
                with contextlib.suppress(OSError):
                    while file.write(b"x" * size) == size:
                        pass
        found = os.statvfs(self.path)
        assert found.f_bavail == 0

    def make_room(self) -> None:
        """Take away what filled it."""
        (self.path / "ballast").unlink()

    def remount(self, options: str) -> None:
        """Change how it is mounted."""
        subprocess.run([str(MOUNT), "-o", f"remount,{options}", str(self.path)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A small file system."""
    if sys.platform != "linux":
        pytest.skip("mounts a tmpfs, which is Linux's")
    if os.geteuid() != 0:
        pytest.skip("mounts a tmpfs, for which one has to be root")
    if MOUNT is None or UMOUNT is None:
        pytest.skip("mounts a tmpfs, and there is no mount on PATH")
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        [str(MOUNT), "-t", "tmpfs", "-o", f"size={SIZE},mode=0777", "tmpfs", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield Disk(path)
    finally:
        subprocess.run([str(UMOUNT), "--lazy", str(path)], check=True)


# what is published, and written


@step(queue("work"), queue("later"), name="Work")
async def work(data: Any) -> None:
    """Never run, or done at once."""


async def _enqueue(rt: Service) -> Any:
    return await rt.enqueue("later", "x" * 1000, delay=3600)


async def _enqueue_with_a_key(rt: Service) -> Any:
    return await rt.enqueue("later", "x" * 1000, delay=3600, key="once")


async def _set_state(rt: Service) -> Any:
    return await rt.state.set("group", "key", "x" * 1000)


async def _update_state(rt: Service) -> Any:
    return await rt.state.update("group", "key", {"type": "set", "path": "n", "value": "new"})


async def _delete_state(rt: Service) -> Any:
    return await rt.state.delete("group", "there")


async def _set_stream(rt: Service) -> Any:
    return await rt.streams.chat.set("group", "key", "x" * 1000)


async def _contents(rt: Service) -> Any:
    """All that can be read of the store."""
    counts = rt.tree()["Work"].deliveries
    groups = (rt.state, "group"), (rt.streams.chat, "group")
    items = [
        dict(zip(await where.keys(g), await where.list(g), strict=True)) for where, g in groups
    ]
    return counts, items, [*rt.dead_letters.list()]


@pytest.mark.parametrize(
    "call",
    [_enqueue, _enqueue_with_a_key, _set_state, _update_state, _delete_state, _set_stream],
)
async def test_who_publishes_or_writes_is_told_and_nothing_of_it_is_there(
    disk: Disk, call: Callable[[Service], Awaitable[Any]]
) -> None:
    """Reading goes on. The same call does its work when there is room, without a restart."""
    app = App([work], streams=CHAT, root=disk.path, store=STORE)
    async with open_runtime(app, observers=()) as rt:
        await rt.state.set("group", "there", 1)
        before = await _contents(rt)
        disk.fill()
        for _ in range(3):
            with pytest.raises(StoreBroken, match=FULL):
                await call(rt)
            assert await _contents(rt) == before
        disk.make_room()
        await call(rt)
        after = await _contents(rt)
        assert after != before
    async with open_runtime(app, observers=()) as rt:
        assert await _contents(rt) == after


async def test_many_that_publish_at_once_are_all_told_and_what_one_was_told_is_true(
    disk: Disk,
) -> None:
    """Until the disk is full each is kept; then none is, be they committed together or not."""
    app = App([work], root=disk.path, store=STORE)
    kept: list[str] = []
    told: list[str] = []

    async def publish(rt: Service) -> None:
        while True:
            try:
                kept.append(await rt.enqueue("later", "x" * 2000, delay=3600))
            except StoreBroken as error:
                told.append(str(error))
                return

    async with open_runtime(app, observers=()) as rt:
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(publish, rt)
        assert told == [FULL] * 20
        assert rt.tree()["Work"].deliveries.delayed == len(kept)
    assert len(kept) > 1000
    assert len(set(kept)) == len(kept)
    async with open_runtime(app, observers=()) as rt:
        assert rt.tree()["Work"].deliveries.delayed == len(kept)


# what is handled


async def test_an_acknowledgement_is_kept_when_there_is_room_and_nothing_is_handled_twice(
    disk: Disk,
) -> None:
    """However an attempt ended: well, with a failure, for the last time, as a transaction."""
    began: list[str] = []
    go = trio.Event()
    retry = {"queue": {"maxRetries": 1, "backoffType": "fixed", "backoffDelayMs": 0}}

    async def handle(name: str) -> None:
        began.append(name)
        if len(began) == 5:
            disk.fill()
            go.set()
        await go.wait()

    @step(queue("work"), name="Well")
    async def well(data: Any) -> None:
        await handle("well")

    @step(queue("work"), name="Thread")
    def thread(data: Any) -> None:
        trio.from_thread.run(handle, "thread")

    @step(queue("work", infrastructure=retry), name="Fails")
    async def fails(data: Any) -> None:
        await handle("fails")
        if began.count("fails") == 1:
            raise OSError("no luck")

    @step(queue("work", config={"maxRetries": 0}), name="Dies")
    async def dies(data: Any) -> None:
        await handle("dies")
        raise OSError("no luck")

    @step(queue("work"), name="Transaction", delivery="transactional", enqueues=["follow"])
    async def transaction(data: Any, ctx: Any) -> None:
        await ctx.state.update("group", "count", {"type": "increment", "path": ""})
        await ctx.streams.chat.set("room", "1", "text")
        await ctx.enqueue("follow", "x")
        await handle("transaction")

    @step(queue("follow"), name="Follow")
    async def follow(data: Any) -> None:
        began.append("follow")

    notebook = Notebook()
    steps = [well, thread, fails, dies, transaction, follow]
    app = App(steps, streams=CHAT, root=disk.path, store=STORE)
    async with open_runtime(app, observers=[notebook]) as rt:
        await rt.enqueue("work", 1)
        with trio.fail_after(20):
            await go.wait()
            while len(notebook.of(StoreFailed)) < 5:
                await trio.sleep(0.01)
            assert sorted(began) == ["dies", "fails", "thread", "transaction", "well"]
            assert {event.error for event in notebook.of(StoreFailed)} == {f"StoreBroken: {FULL}"}
            assert {event.step for event in notebook.of(StoreFailed)} == {
                "Well", "Thread", "Fails", "Dies", "Transaction",
            }  # fmt: skip
            assert await rt.state.get("group", "count") is None
            assert await rt.streams.chat.list("room") == []
            assert not notebook.of(StoreRecovered)
            assert not notebook.of(DeadLettered)
            disk.make_room()
            await rt.quiesce()
            while len(notebook.of(StoreRecovered)) < 5:
                await trio.sleep(0.01)
        assert await rt.state.get("group", "count") == 1
        assert await rt.streams.chat.list("room") == ["text"]
        assert [letter.step for letter in rt.dead_letters.list()] == ["Dies"]
        assert len(notebook.of(StoreFailed)) == len(notebook.of(StoreRecovered)) == 5
        assert [event.attempt for event in notebook.of(AttemptFailed)] == [1, 1]
    assert sorted(began) == [
        "dies", "fails", "fails", "follow", "thread", "transaction", "well",
    ]  # fmt: skip
    async with open_runtime(app, observers=()) as rt:
        assert all(
            (each.deliveries.waiting, each.deliveries.delayed) == (0, 0)
            for each in rt.tree().actors
        )


async def test_what_is_handled_and_cannot_be_kept_is_bounded(disk: Disk) -> None:
    """A step does not work off all that waits while nothing of it can be kept: it would all be
    handled again after a crash, and until then fill the memory.
    """
    handled: list[int] = []
    go = trio.Event()

    @step(queue("work", config={"concurrency": 4}), name="Work")
    async def work(number: int) -> None:
        await go.wait()
        handled.append(number)

    app = App([work], root=disk.path, store=STORE, mailbox=10)
    async with open_runtime(app, observers=()) as rt:
        for start in range(0, 1500, 100):
            async with trio.open_nursery() as nursery:
                for number in range(start, start + 100):
                    nursery.start_soon(rt.enqueue, "work", number)
        disk.fill()
        go.set()
        before = -1
        with trio.fail_after(60):
            while before != len(handled):  # until it stands still
                before = len(handled)
                await trio.sleep(0.5)
        assert 0 < before < 400
        assert rt.tree()["Work"].deliveries.waiting > 1000
        disk.make_room()
        with trio.fail_after(60):
            await rt.quiesce()
    assert sorted(handled) == list(range(1500))


async def test_on_a_disk_that_others_have_filled_it_goes_on_in_the_room_that_it_has(
    disk: Disk,
) -> None:
    """What is done makes room for what comes: in the file, and in the log once that was moved."""
    handled: list[int] = []

    @step(queue("work"), name="Work")
    async def work(data: Any) -> None:
        handled.append(data["number"])

    app = App([work], root=disk.path, store=STORE)
    notebook = Notebook()
    for at in (0, 1, 2):
        async with open_runtime(app, observers=[notebook]) as rt:
            for number in range(at * 1000, at * 1000 + 1000):
                await rt.enqueue("work", {"number": number, "text": "x" * 1000})
                if number == 1200:
                    disk.fill()
            with trio.fail_after(20):
                await rt.quiesce()
        if at == 1:
            disk.make_room()
    assert handled == list(range(3000))
    assert not notebook.of(StoreFailed)


async def test_a_stop_on_a_full_disk_ends_and_what_was_not_kept_comes_again(disk: Disk) -> None:
    """Within its limit; at the next start, which has room, it is handled once more."""
    handled: list[str] = []

    @step(queue("work"), name="Work")
    async def work(data: str) -> None:
        handled.append(data)
        if len(handled) == 1:
            disk.fill()

    app = App([work], root=disk.path, store=STORE, shutdown_timeout=0.2)
    notebook = Notebook()
    with trio.fail_after(20):
        async with open_runtime(app, observers=[notebook]) as rt:
            await rt.enqueue("work", "x")
            while not notebook.of(StoreFailed):
                await trio.sleep(0.01)
        disk.make_room()
        async with open_runtime(app, observers=()) as rt:
            await rt.quiesce()
            assert not rt.dead_letters.list()
    assert handled == ["x", "x"]


async def test_a_request_whose_handler_cannot_write_is_answered_with_500(disk: Disk) -> None:
    """At once. Requests that only read are answered as ever, and all are when there is room."""

    @step(http("POST", "/orders"), enqueues=["work"], name="Take")
    async def take(req: Any, ctx: Any) -> Any:
        await ctx.enqueue("work", "x" * 1000)
        return {"status": 202, "body": {}}

    @step(http("PUT", "/orders"), delivery="transactional", name="Put")
    async def put(req: Any, ctx: Any) -> Any:
        await ctx.state.set("group", "order", req.body)
        return {"status": 200, "body": {}}

    @step(http("GET", "/orders"), name="Read")
    async def read(req: Any, ctx: Any) -> Any:
        return {"status": 200, "body": {"order": await ctx.state.get("group", "order")}}

    app = App([take, put, read, work], root=disk.path, store=STORE)
    async with open_runtime(app, http="127.0.0.1:0", observers=()) as rt:
        async with httpx.AsyncClient(base_url=str(rt.http_url), timeout=20) as client:
            assert (await client.post("/orders", json={})).status_code == 202
            with trio.fail_after(20):
                await rt.quiesce()
            disk.fill()
            for _ in range(3):
                assert (await client.post("/orders", json={})).status_code == 500
                assert (await client.put("/orders", json={"n": 1})).status_code == 500
                answer = await client.get("/orders")
                assert (answer.status_code, answer.json()) == (200, {"order": None})
            disk.make_room()
            assert (await client.post("/orders", json={})).status_code == 202
            assert (await client.put("/orders", json={"n": 1})).status_code == 200
            assert (await client.get("/orders")).json() == {"order": {"n": 1}}


# what has ended there


FILLS = """
import os, signal, sys, trio
from motia_trio import App, open_runtime, queue, step

@step(queue("later"), name="Work")
async def work(data):
    pass

async def main():
    app = App([work], root=sys.argv[1], store="sqlite:///store.db")
    kept = 0
    async with open_runtime(app, idle=True, observers=()) as rt:
        await rt.state.set("group", "kept", 0)
        try:
            while True:
                await rt.enqueue("later", "x" * 3000)
                kept += 1
                if kept % 10 == 0:
                    await rt.state.set("group", "kept", kept)
        except OSError as error:
            print(kept, error, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

trio.run(main)
"""


async def test_a_process_that_is_killed_on_a_full_disk_has_lost_nothing(disk: Disk) -> None:
    """What was acknowledged until then is there; while the disk is still full, too."""
    program = disk.path.with_name("fills.py")
    program.write_text(FILLS)
    with child(program, disk.path) as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    kept, _, words = out.strip().partition(" ")
    assert words == FULL
    app = App([work], root=disk.path, store=STORE)
    for _ in range(2):
        async with open_runtime(app, idle=True, observers=()) as rt:
            leased = await rt.store.lease("Work", 10_000, 1e12)
            assert len(leased.deliveries) == int(kept) > 100
            assert await rt.state.get("group", "kept") == int(kept) // 10 * 10
        disk.remount(f"size={2 * SIZE}")


# what cannot begin there

OPENS = """
import os, sys, trio
from motia_trio import App, open_runtime, queue, step
from motia_trio.errors import StoreBroken
import motia_trio.store.sqlite  # all is imported before the user changes

@step(queue("later"), name="Work")
async def work(data):
    pass

async def main():
    app = App([work], root=sys.argv[1], store=sys.argv[2])
    try:
        async with open_runtime(app, idle=True, observers=()) as rt:
            await rt.enqueue("later", 1)
    except StoreBroken as error:
        print(error)
    else:
        print("opened")

if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
trio.run(main)
"""


@contextmanager
def _without_permission(path: Path) -> Iterator[None]:
    mode = path.stat().st_mode
    path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        yield
    finally:
        path.chmod(mode)


def _open_as_anybody(folder: Path, store: str = STORE) -> str:
    """Open the store in a process of a user without rights. Gives what it says."""
    program = folder.parent / "opens.py"
    program.write_text(OPENS)
    with child(program, folder, store) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.removesuffix("\n")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that a user without rights can get at: pytest's own are private."""
    with open_to_all() as made:
        made.chmod(0o755)
        folder = made / "project"
        folder.mkdir()
        folder.chmod(0o777)
        yield folder


def test_a_store_that_may_not_be_written_does_not_open_and_says_why(folder: Path) -> None:
    """Its file, one of those beside it, or its folder: in one line, and nothing was changed."""
    assert _open_as_anybody(folder) == "opened"
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(files) == {"store.db", "store.db.lock", "store.db.hands"}
    for name, words in {
        "store.db": "store.db: cannot be written: Permission denied",
        "store.db.lock": "store.db.lock: Permission denied",
        "store.db.hands": "store.db.hands: Permission denied",
    }.items():
        with _without_permission(folder / name):
            assert _open_as_anybody(folder) == f"{folder}/{words}"
        after = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert {k: v for k, v in after.items() if not k.endswith(".lock")} == {
            k: v for k, v in files.items() if not k.endswith(".lock")
        }
    with _without_permission(folder):
        said = _open_as_anybody(folder, "sqlite:///new.db")
        assert said == f"{folder}/new.db.lock: Permission denied"
        said = _open_as_anybody(folder, "sqlite:///sub/new.db")
        assert said == f"{folder}/sub: the folder cannot be made: Permission denied"
    assert _open_as_anybody(folder) == "opened"


async def _open(disk: Disk, store: str = STORE) -> str:
    """Open the store and close it. Gives what it says if it cannot be."""
    try:
        async with open_runtime(App([work], root=disk.path, store=store), observers=()):
            return "opened"
    except StoreBroken as error:
        return str(error)


async def test_a_store_on_a_disk_that_is_read_only_does_not_open_and_says_why(disk: Disk) -> None:
    """In one line; later it opens as ever."""
    assert await _open(disk) == "opened"
    disk.remount("ro")
    assert await _open(disk) == f"{disk.path}/store.db.lock: Read-only file system"
    said = await _open(disk, "sqlite:///sub/store.db")
    assert said == f"{disk.path}/sub: the folder cannot be made: Read-only file system"
    disk.remount("rw")
    assert await _open(disk) == "opened"


async def test_a_store_on_a_disk_that_is_full_opens_or_says_why(disk: Disk) -> None:
    """A new one cannot; what is told is that the disk is full. With room it opens as ever."""
    disk.fill()
    for store in (STORE, "sqlite:///sub/store.db"):
        said = await _open(disk, store)
        assert "\n" not in said
        assert os.strerror(errno.ENOSPC) in said
    disk.make_room()
    app = App([work], root=disk.path, store=STORE)
    async with open_runtime(app, observers=()) as rt:
        await _enqueue(rt)
    disk.fill()
    said = await _open(disk)
    assert said in {"opened", f"{disk.path}/store.db: {FULL}"}, said
    disk.make_room()
    async with open_runtime(app, observers=()) as rt:
        assert rt.tree()["Work"].deliveries.delayed == 1
