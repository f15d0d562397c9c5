"""``motia-trio openapi`` and ``motia-trio asyncapi``: what a project offers, as a document."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from motia_trio.cli.project import Failed, project_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from motia_trio.app import App

__all__ = ["asyncapi", "openapi"]


def _documenting(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what both commands take."""
    options = (
        click.argument("directory", metavar="[DIR]", default="."),
        click.option(
            "--output",
            "-o",
            metavar="FILE",
            type=click.Path(dir_okay=False, path_type=Path),
            help="Write it there.  [stdout]",
        ),
        click.option("--title", help="What the document is about.  [the folder's name]"),
        click.option(
            "--api-version", default="1.0.0", help="The version of the interface.  [1.0.0]"
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@_documenting
def openapi(directory: str, output: Path | None, title: str | None, api_version: str) -> None:
    """Print the OpenAPI 3.1 document of a project's HTTP triggers, as JSON.

    The steps are loaded, and nothing is run. What they print while they are loaded goes to stderr.

    \b
    Examples:
        motia-trio openapi > openapi.json
        motia-trio openapi /srv/shop --output openapi.json --title Shop
    """  # noqa: D301 - click wants the character itself
    from motia_trio.openapi import openapi_document

    _write(openapi_document(_load(directory), title=title, version=api_version), output)


@click.command()
@_documenting
def asyncapi(directory: str, output: Path | None, title: str | None, api_version: str) -> None:
    """Print the AsyncAPI 3.0 document of a project's topics and streams, as JSON.

    The steps are loaded, and nothing is run. What they print while they are loaded goes to stderr.

    \b
    Example:
        motia-trio asyncapi > asyncapi.json
    """  # noqa: D301 - click wants the character itself
    from motia_trio.asyncapi import asyncapi_document

    _write(asyncapi_document(_load(directory), title=title, version=api_version), output)


def _load(directory: str) -> App:
    """The app of a project.

    Raises:
        Failed: it does not load; with all that ``motia-trio run`` would say.
    """
    from motia_trio.app import App
    from motia_trio.errors import LoadFailed, SettingInvalid

    root = Path(directory)
    settings = project_settings(root).model_dump(exclude_unset=True)
    try:
        with redirect_stdout(sys.stderr):
            return App.from_directory(root, **settings)
    except (LoadFailed, SettingInvalid) as error:
        raise Failed(str(error)) from None
    except OSError as error:
        raise Failed(f"{error.filename or root}: {error.strerror or error}") from None


def _write(document: dict[str, Any], output: Path | None) -> None:
    # in ASCII: a terminal, or a tool of another locale, may have no letters for the rest
    text = json.dumps(document, indent=2)
    if output is None:
        click.echo(text)
        return
    try:
        output.write_text(text + "\n", encoding="ascii")
    except OSError as error:
        raise Failed(f"{output}: {error.strerror or error}") from None
