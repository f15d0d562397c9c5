"""What an input must look like: JSON Schemas and pydantic's types, compiled once, asked alike."""

from motia_trio.steps.schemas.compiling import compile_schema, schema_to_json_schema
from motia_trio.steps.schemas.schema import Schema, SchemaInvalid

__all__ = ["Schema", "SchemaInvalid", "compile_schema", "schema_to_json_schema"]
