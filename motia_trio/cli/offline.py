"""A project's store, opened for a command while no service runs."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import trio

from motia_trio import codec
from motia_trio.cli.project import Ask, Failed
from motia_trio.control.dispatch import dispatch
from motia_trio.control.protocol import VERSION
from motia_trio.events import AppWarned, DeadLettered
from motia_trio.service import open_runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from motia_trio.app import App
    from motia_trio.events import Event
    from motia_trio.service import Service

__all__ = ["opened"]


class _Teller:
    """Tells on stderr what only the first who opens the store after a crash is told."""

    def observe(self, event: Event, /) -> None:
        """Tell of dead letters, and of what a dead process had in hand."""
        if isinstance(event, DeadLettered):
            letter = f"dead letter {event.id:016x} of step {event.step!r}"
            print(f"motia-trio: {letter}: {event.reason}", file=sys.stderr)
        elif isinstance(event, AppWarned) and event.message.startswith("the process died"):
            print(f"motia-trio: {event.message}", file=sys.stderr)


@contextmanager
def opened(app: App) -> Iterator[Ask]:
    """Open the runtime of an app whose steps do not run, in a thread, and give a way to ask it.

    Raises:
        OSError: its store cannot be opened.
    """
    ready: SimpleQueue[tuple[Service, trio.lowlevel.TrioToken] | BaseException] = SimpleQueue()
    scope = trio.CancelScope()

    async def main() -> None:
        async with open_runtime(app, idle=True, observers=[_Teller()]) as service:
            ready.put((service, trio.lowlevel.current_trio_token()))
            with scope:
                await trio.sleep_forever()

    def run() -> None:
        try:
            trio.run(main)
        except BaseException as error:  # noqa: BLE001, ASYNC103 - raised in the command's thread
            ready.put(error)

    thread = threading.Thread(target=run, name="motia_trio store", daemon=True)
    thread.start()
    first = ready.get()
    if isinstance(first, BaseException):
        thread.join()
        raise first
    service, token = first
    asking: set[trio.CancelScope] = set()

    async def answer(request: dict[str, Any]) -> dict[str, Any]:
        with trio.CancelScope() as asked:
            asking.add(asked)
            try:
                return await dispatch(service, request)
            finally:
                asking.discard(asked)
        raise Failed("interrupted")

    def leave() -> None:
        for asked in asking:
            asked.cancel()
        scope.cancel()

    def ask(op: str, /, **params: Any) -> Any:
        request = {"v": VERSION, "op": op, "params": params}
        told = trio.from_thread.run(answer, request, trio_token=token)
        if "error" in told:
            raise Failed(told["error"]["message"])
        return codec.decode(codec.encode(told["result"]))

    try:
        yield ask
    finally:
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(leave)
        thread.join()
        if not ready.empty() and isinstance(error := ready.get(), BaseException):
            raise error
