"""The settings of one runtime: one name each, as keyword, flag, environment variable and key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from motia_trio.errors import SettingInvalid, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Settings"]


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("expected a number")
    return value


Number = BeforeValidator(_no_bool)
Count = Annotated[int, Field(ge=1), Number]
Port = Annotated[int, Field(ge=0, le=65535), Number]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False), Number]


class Settings(BaseModel):
    """What may be set. Sizes are in bytes, times in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    port: Port = 3111
    store: str = "memory:"
    synchronous: Literal["full", "normal"] = "full"
    body_limit: Count = 16 * 1024 * 1024
    message_limit: Count = 1024 * 1024
    mailbox: Count = 100
    shutdown_timeout: Seconds = 30.0
    raise_quarantine: bool = False
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"

    @classmethod
    def of(cls, source: str, values: Mapping[str, Any]) -> Self:
        """Make settings of what ``source`` says.

        Raises:
            SettingInvalid: a name is unknown (the nearest is told) or a value does not fit.
        """
        try:
            return cls(**values)
        except ValidationError as error:
            words = [_explain(item, values) for item in error.errors(include_url=False)]
            raise SettingInvalid(f"{source}: " + "; ".join(words)) from None

    def but(self, source: str, values: Mapping[str, Any]) -> Self:
        """Give these settings with some values changed."""
        return self.of(source, {**self.model_dump(exclude_unset=True), **values})


def _explain(item: Any, values: Mapping[str, Any]) -> str:
    name = str(item["loc"][0])
    if item["type"] == "extra_forbidden":
        close = nearest(name, Settings.model_fields)
        hint = f"did you mean {close!r}?" if close else f"known: {', '.join(Settings.model_fields)}"
        return f"unknown setting {name!r}; {hint}"
    return f"{name} = {values.get(name)!r}: {item['msg']}"
