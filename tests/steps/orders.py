"""One schema in three forms, and what does not fit it."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ConfigDict, TypeAdapter

from motia_trio.errors import DoesNotFit
from motia_trio.steps import compile_schema


class Item(BaseModel):
    name: str


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid")
    text: str
    count: int = 1
    items: list[Item] = []


ORDER = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "count": {"type": "integer", "default": 1},
        "items": {"type": "array", "items": {"$ref": "#/$defs/Item"}},
    },
    "required": ["text"],
    "additionalProperties": False,
    "$defs": {
        "Item": {
            "type": "object",
            "properties": {"name": {"type": "string"}},
            "required": ["name"],
        }
    },
}

BOTH = pytest.mark.parametrize("kind", [ORDER, Order, TypeAdapter(Order)], ids=repr)


def misfits(kind: object, value: object) -> list[tuple[str, str]]:
    with pytest.raises(DoesNotFit) as failed:
        compile_schema(kind).check(value)
    return [(misfit.path, misfit.message) for misfit in failed.value.misfits]
