"""What the commands talk to, and what becomes of it meanwhile."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest
import trio

from motia_trio import App
from motia_trio.cli.offline import opened
from motia_trio.cli.project import Failed, talk
from motia_trio.cli.sources import STORE
from motia_trio.store.sqlite.lock import locked
from tests.cli.conftest import FILES, serving
from tests.support import project

if TYPE_CHECKING:
    from pathlib import Path


def test_a_service_that_stops_meanwhile_is_told(tmp_path: Path) -> None:
    root = project(tmp_path, FILES)
    with serving(root):
        with talk(str(root)) as ask:
            assert ask("state.list") == {"groups": [], "more": False}
            stopped = ask
    with pytest.raises(Failed, match=r"the service has stopped meanwhile: .*nobody listens there"):
        stopped("state.list")


def test_what_the_body_raises_comes_out_as_it_is(tmp_path: Path) -> None:
    """An error of the system too, as of a pipe that was closed; and the store is closed."""
    root = project(tmp_path, FILES)
    for _ in range(2):
        with pytest.raises(BrokenPipeError):
            with talk(str(root), creates=True) as ask:
                ask("state.list")
                raise BrokenPipeError(32, "Broken pipe")
    with locked(root / ".motia" / "store.db"):
        pass


def test_an_interrupt_ends_what_is_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Ctrl-C does in a long vacuum."""
    begun, ended = threading.Event(), threading.Event()

    async def for_ever(*_: Any) -> Any:
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    def interrupt() -> None:
        begun.wait(60)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    monkeypatch.setattr("motia_trio.cli.offline.dispatch", for_ever)
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        with opened(App(root=tmp_path, store=STORE)) as ask:
            ask("store.vacuum")
    thread.join()
    assert ended.is_set()
    with locked(tmp_path / ".motia" / "store.db"):
        pass
