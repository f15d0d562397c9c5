"""What things are called in the documents about an app: ids, titles and tags. Pure."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from motia_trio.app import App
    from motia_trio.steps import Step

__all__ = ["describe", "humanise", "identifier", "info_of", "tags_of", "unique"]

# what OpenAPI and AsyncAPI let the name of a component be made of
_FORBIDDEN = re.compile(r"[^A-Za-z0-9._-]")
# between a small letter and a capital, and before the last of several capitals
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[\s_-]+")


def identifier(text: str) -> str:
    """Give a text as an id: letters, digits, ``.``, ``_`` and ``-``; ``_`` for all else."""
    return _FORBIDDEN.sub("_", text) or "_"


def unique(wanted: str, taken: Collection[str]) -> str:
    """Give ``wanted`` if it is free, or else with the first number behind it that is."""
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    return name


def humanise(name: str) -> str:
    """Give a step's name as words: ``Create order`` for ``CreateOrder`` or ``create-order``."""
    words = [word for word in _HUMP.split(name) if word]
    lowered = [word if word.isupper() and len(word) > 1 else word.lower() for word in words]
    text = " ".join(lowered)
    return text[:1].upper() + text[1:]


def describe(step: Step) -> dict[str, str]:
    """Give ``summary`` and ``description`` of a step: its own, or its name as words."""
    text = (step.description or "").strip()
    if not text:
        return {"summary": humanise(step.name)}
    return {"summary": text.splitlines()[0].rstrip(), "description": text}


def tags_of(flows: Iterable[str]) -> list[dict[str, str]]:
    """Give tag objects, each once, in the order in which they come."""
    return [{"name": flow} for flow in dict.fromkeys(flows)]


def info_of(app: App, title: str | None, version: str) -> dict[str, Any]:
    """Give the ``info`` of a document: the title is the project's folder if not given."""
    return {"title": title or PurePath(app.root).name or "Motia", "version": version}
