"""Schemas that are types: pydantic's models, and whatever its TypeAdapter takes."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind

from motia_trio import codec
from motia_trio.data import wrap
from motia_trio.errors import DoesNotFit, Misfit
from motia_trio.steps.schemas.misfits import from_pydantic
from motia_trio.steps.schemas.schema import Schema, SchemaInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping


__all__ = ["TypeSchema"]

_encode = msgspec.json.Encoder().encode


class TypeSchema(Schema):
    """A type that pydantic validates. The handler gets what validation gives: an instance.

    Values are validated as JSON, whichever way they come: text is taken for a UUID, a date or an
    enum, and a list for a tuple or a set, by strict models too.
    """

    def __init__(self, given: Any) -> None:
        self._given = given
        self._adapter = _adapt(given)
        self._validator = self._adapter.validator

    @property
    def json_schema(self) -> Mapping[str, Any]:
        """What pydantic says of it. A part that has no JSON Schema is ``{}``: anything."""
        return self._json_schema

    @cached_property
    def _json_schema(self) -> Mapping[str, Any]:
        return self._adapter.json_schema(schema_generator=_Lenient)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TypeSchema) and self._given == other._given

    def __hash__(self) -> int:
        return hash((TypeSchema, self._name))

    def __repr__(self) -> str:
        return f"<schema of {self._name}>"

    @property
    def _name(self) -> str:
        return getattr(self._given, "__qualname__", None) or repr(self._given)

    def check(self, value: Any) -> Any:
        """Give the instance, or whatever else validation makes of the value."""
        try:
            raw = None if isinstance(value, (bytes, bytearray)) else _encode(value)
        except RecursionError:
            raise DoesNotFit([Misfit("", "is nested too deeply to be checked")]) from None
        except (TypeError, ValueError):  # it holds a file of a form, or an instance already
            raw = None
        try:
            if raw is None:
                return wrap(self._validator.validate_python(value))
            return wrap(self._validator.validate_json(raw))
        except ValidationError as error:
            raise from_pydantic(error, value) from None

    def check_form(self, values: Mapping[str, Any]) -> Any:
        """Give the instance, of a form's strings and files. A field of bytes takes a file."""
        if not self._takes_files:
            return super().check_form(values)
        read = self._strings.read(values)
        while True:
            try:
                return wrap(self._validator.validate_python(read))
            except ValidationError as error:
                wanted = {each["loc"][0] for each in error.errors() if each["type"] == "bytes_type"}
                if not sum(_read_file(read, name) for name in wanted):
                    raise from_pydantic(error, read) from None

    @cached_property
    def _takes_files(self) -> bool:
        """Whether a field may be a file, or bytes."""
        return b'"binary"' in _encode(self.json_schema)

    def check_json(self, raw: bytes) -> Any:
        """Give the instance, or whatever else validation makes of the value."""
        # pydantic's own reader takes NaN and numbers that are too large for a float
        value = codec.decode(raw)
        try:
            return wrap(self._validator.validate_json(raw))
        except ValidationError as error:
            raise from_pydantic(error, value) from None


def _read_file(values: dict[str, Any], name: object) -> bool:
    """Put their bytes in the place of a form's files of one name; False if there are none."""
    given = values.get(name) if isinstance(name, str) else None
    files = given if isinstance(given, list) else [given]
    read = [
        content if isinstance(content := getattr(file, "bytes", None), bytes) else file
        for file in files
    ]
    if read == files:
        return False
    values[str(name)] = read if isinstance(given, list) else read[0]
    return True


def _adapt(given: Any) -> TypeAdapter[Any]:
    try:
        if isinstance(given, type) and issubclass(given, BaseModel):
            given.model_rebuild()
        adapter = given if isinstance(given, TypeAdapter) else TypeAdapter(given)
        adapter.rebuild()  # what is deferred, or was not defined yet, is built now or never
    except PydanticUndefinedAnnotation as error:
        raise SchemaInvalid(
            f"{error.name!r} is used in an annotation and is not defined in its module"
        ) from None
    except PydanticUserError as error:
        # what follows is advice on how to write types of one's own
        raise SchemaInvalid(error.message.partition("\n")[0].partition(". ")[0]) from None
    except Exception as error:  # what the code of a type of somebody's own raises
        raise SchemaInvalid(f"{type(error).__qualname__}: {error}") from error
    return adapter


class _Lenient(GenerateJsonSchema):
    """Documents what can be documented, and stays silent about the rest."""

    ignored_warning_kinds: set[JsonSchemaWarningKind] = {  # noqa: RUF012 - as pydantic has it
        "skipped-choice",
        "non-serializable-default",
    }

    def handle_invalid_for_json_schema(
        self,
        schema: Any,  # noqa: ARG002 - the signature is pydantic's
        error_info: str,  # noqa: ARG002 - as above
    ) -> dict[str, Any]:
        return {}
