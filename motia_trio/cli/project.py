"""What the commands talk to: a project's service, or its store where no service runs."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from motia_trio.control import client
from motia_trio.control.place import FOLDER, SOCKET
from motia_trio.control.protocol import Refused
from motia_trio.errors import LoadFailed, SettingInvalid, StoreLocked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from motia_trio.app import App
    from motia_trio.settings import Settings

__all__ = ["Ask", "Failed", "ask_service", "project_settings", "store_path", "talk"]

# seconds that a store may be locked by a process that is starting or stopping, or by a command
LOCKED_FOR = 2.0


class Failed(click.ClickException):
    """The command could not do what it should. Exit code 1."""

    exit_code = 1

    def show(self, file: Any = None) -> None:
        """Say so on stderr."""
        for line in self.message.splitlines():
            click.echo(f"motia-trio: {line}", err=True, file=file)


class Ask(Protocol):
    """Has operations of the control protocol done."""

    def __call__(self, op: str, /, **params: Any) -> Any:
        """Have one done, and give its result.

        Raises:
            Failed: it was not done.
        """
        ...


@contextmanager
def talk(directory: str, *, steps: bool = False, creates: bool = False) -> Iterator[Ask]:
    """Talk to the service of a project; where none runs, open its store meanwhile.

    ``steps``: load them, because what is done may concern them. ``creates``: make the store's file
    if there is none.

    Raises:
        Failed: neither can be had.
    """
    root = Path(directory).absolute()
    until = time.monotonic() + LOCKED_FOR
    app: App | None = None
    with ExitStack() as stack:
        while True:
            if _listens(root):
                ask = _talking(root)
                break
            app = app or _app(root, steps=steps, creates=creates)
            try:
                ask = stack.enter_context(_opened(app))
            except StoreLocked as error:
                if time.monotonic() > until:
                    raise Failed(_locked(root, error)) from None
                time.sleep(0.05)
            else:
                break
        yield ask


def _talking(root: Path) -> Ask:
    def ask(op: str, /, **params: Any) -> Any:
        try:
            return ask_service(root, op, **params)
        except client.NobodyListens as error:
            raise Failed(f"the service has stopped meanwhile: {error}") from None

    return ask


def _listens(root: Path) -> bool:
    try:
        return client.listens(root / FOLDER)
    except client.NoAnswer as error:
        raise Failed(str(error)) from None


def _locked(root: Path, error: StoreLocked) -> str:
    return (
        f"{error}\nnobody listens on {root / FOLDER / SOCKET}: that process is no `motia-trio run` "
        "of this project, or is just starting or stopping"
    )


def ask_service(root: Path, op: str, /, **params: Any) -> Any:
    """Ask a running service.

    Raises:
        Failed: it did not do it, or did not answer.
        client.NobodyListens: there is none.
    """
    try:
        return client.ask(root / FOLDER, op, params)
    except (Refused, client.NoAnswer, ValueError) as error:
        raise Failed(str(error)) from None


def project_settings(root: Path) -> Settings:
    """Give the settings of a project, from where ``motia-trio run`` takes them.

    Raises:
        Failed: they cannot be read.
    """
    from motia_trio.cli.sources import settings_from

    try:
        return settings_from(root, os.environ, {})
    except (SettingInvalid, OSError) as error:
        raise Failed(str(error)) from None


def store_path(root: Path, settings: Settings) -> Path:
    """Give the path of a project's store.

    Raises:
        Failed: it has no file.
    """
    from motia_trio.store.urls import sqlite_path

    path = sqlite_path(settings.store, root)
    if path is None:
        raise Failed(
            f"no service runs in {root}, and its store, {settings.store}, is there only while one "
            "does"
        )
    return path


def _app(root: Path, *, steps: bool, creates: bool) -> App:
    """The app of a project in which no service runs, as it is opened for its store."""
    from motia_trio.app import App

    settings = project_settings(root)
    path = store_path(root, settings)
    if not creates and not path.exists():
        raise Failed(
            f"{path}: there is no store yet: nothing has run here. Is {root} the project's folder? "
            "Name another with --dir"
        )
    given = settings.model_dump(exclude_unset=True)
    if not steps:  # functions of the project, which is not imported to look at its store
        for name in ("middleware", "authenticate"):
            given.pop(name, None)
    try:
        return App.from_directory(root, **given) if steps else App(root=root, **given)
    except (LoadFailed, SettingInvalid, OSError) as error:
        raise Failed(str(error)) from None


@contextmanager
def _opened(app: App) -> Iterator[Ask]:
    """Open the store of an app. Raises StoreLocked, and Failed if it cannot be opened at all."""
    from motia_trio.cli.offline import opened

    with ExitStack() as stack:
        try:
            ask = stack.enter_context(opened(app))
        except StoreLocked:
            raise
        except (SettingInvalid, OSError) as error:
            raise Failed(str(error)) from None
        yield ask
