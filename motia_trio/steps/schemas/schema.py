"""What every schema answers, whatever it was made of."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, RootModel

from motia_trio.data import Data, wrap
from motia_trio.steps.schemas.strings import Strings

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Schema", "SchemaInvalid"]


class SchemaInvalid(ValueError):
    """What was given as a schema is none. Its text says what is wrong in it, and where."""


class Schema(ABC):
    """What an input must look like. Two schemas that were made of equal things are equal."""

    @property
    @abstractmethod
    def json_schema(self) -> Mapping[str, Any]:
        """It as a JSON Schema of what comes in, for documents. Do not change it.

        A dict that was given as a schema is as it was given: if it names an older draft in
        ``$schema``, it is of that draft. Everything else is of 2020-12.
        """

    @abstractmethod
    def check(self, value: Any) -> Any:
        """Give what a handler gets of a decoded JSON value.

        A part that has no JSON form of its own (a date, a file of a form) is checked as the JSON
        that it would be, a file as a string.

        Raises:
            DoesNotFit: with everything that does not fit.
        """

    @abstractmethod
    def check_json(self, raw: bytes) -> Any:
        """Give what a handler gets of one JSON value as bytes.

        Raises:
            MalformedJson: it is not JSON.
            DoesNotFit: with everything that does not fit.
        """

    def check_form(self, values: Mapping[str, Any]) -> Any:
        """Give what a handler gets of a form, whose values are strings or lists of them.

        They are first read as what the schema wants; values that are no strings (files) stay.

        Raises:
            DoesNotFit: with everything that does not fit.
        """
        return self.check(self._strings.read(values))

    def check_strings(self, values: Mapping[str, Any]) -> Data:
        """Give a query with its strings read as what the schema wants.

        It is a mapping in any case: of a class's instance, the fields by their names.

        Raises:
            DoesNotFit: with everything that does not fit.
        """
        read = self._strings.read(values)
        fields = _fields(self.check(read))
        data: Data = wrap(read if fields is None else fields)
        return data

    @cached_property
    def takes_objects(self) -> bool:
        """Whether an object can fit: a query or a form is one."""
        return self._strings.takes_objects

    @cached_property
    def _strings(self) -> Strings:
        return Strings(self.json_schema)


def _fields(value: Any) -> dict[str, Any] | None:
    """A validated value as a dict; None for an object of somebody's own that has no fields."""
    if isinstance(value, RootModel):
        return _fields(value.root)
    if isinstance(value, BaseModel):
        names = type(value).model_fields
        return {name: getattr(value, name) for name in names} | (value.model_extra or {})
    if dataclasses.is_dataclass(value):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    if isinstance(value, dict):
        return value
    return None
