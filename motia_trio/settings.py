"""The settings of one runtime: one name each, as keyword, flag, environment variable and key."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)

from motia_trio.errors import SettingInvalid, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Settings"]


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("expected a number")
    return value


def _several(value: object) -> object:
    """A list as a text has it, with commas; or one thing where a list of them is expected."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [value] if callable(value) else value


def _origin(value: str) -> str:
    scheme, _, host = value.rstrip("/").partition("://")
    if value not in {"*", "null"} and (not scheme or not host or "/" in host):
        raise ValueError(f"{value!r} is no origin; expected one such as https://shop.example, or *")
    return value


def _header(value: str) -> str:
    plain = value.replace("-", "").replace("_", "")
    if value != "*" and not (value.isascii() and plain.isalnum()):
        raise ValueError(f"{value!r} is no name of a header")
    return value


def _net(value: str) -> str:
    ip_network(value, strict=False)  # says itself what it is not
    return value


def _place(value: object) -> object:
    """A path, or nothing at all: an empty one stops what would be served there."""
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not value.startswith("/"):
        raise ValueError("expected a path that begins with /, or nothing")
    return value


def _function(value: object) -> object:
    """A function, or where one is to be found; nothing, if it is empty."""
    if value is None or value == "":
        return None
    if not (isinstance(value, str) or callable(value)):
        raise ValueError('expected a function, or its name as "module:function"')
    return value


Number = BeforeValidator(_no_bool)
Count = Annotated[int, Field(ge=1), Number]
Port = Annotated[int, Field(ge=0, le=65535), Number]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False), Number]
Bound = Annotated[float, Field(gt=0, allow_inf_nan=False), Number]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], BeforeValidator(_several)]
Headers = Annotated[tuple[Annotated[str, AfterValidator(_header)], ...], BeforeValidator(_several)]
Nets = Annotated[tuple[Annotated[str, AfterValidator(_net)], ...], BeforeValidator(_several)]
Place = Annotated[str | None, BeforeValidator(_place)]
Function = Annotated[Any, BeforeValidator(_function)]


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
    client_timeout: Bound = 60.0
    max_connections: Count = 10_000
    cors_origins: Origins = ("*",)
    cors_credentials: bool = False
    cors_headers: Headers = ()
    cors_expose: Headers = ()
    cors_max_age: Annotated[int, Field(ge=0), Number] = 600
    trusted_proxies: Nets = ()
    certfile: str | None = None
    keyfile: str | None = None
    openapi_path: Place = "/openapi.json"
    asyncapi_path: Place = "/asyncapi.json"
    strict_responses: bool = False
    request_timeout: Annotated[Seconds, Field(gt=0)] = 30.0
    raise_quarantine: bool = False
    middleware: Annotated[tuple[Any, ...], BeforeValidator(_several)] = ()
    stream_port: Port = 3112
    stream_origins: Origins | None = None
    stream_max_connections: Count = 10_000
    stream_max_connections_per_address: Count | None = None
    stream_max_subscriptions: Count = 200_000
    stream_max_subscriptions_per_address: Count | None = None
    stream_max_subscriptions_per_connection: Count = 1_000
    stream_frame_limit: Count = 64 * 1024
    stream_buffer: Count = 4_096
    stream_buffer_bytes: Count = 4 * 1024 * 1024
    stream_ping_interval: Bound = 20.0
    stream_ping_timeout: Bound = 20.0
    stream_log: Count = 10_000
    authenticate: Function = None
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
        # as they are: a dump would take an object apart that is also a function
        said = {name: getattr(self, name) for name in self.model_fields_set}
        return self.of(source, {**said, **values})

    def agree(self) -> None:
        """Check what must fit together, once all sources have had their say.

        Raises:
            SettingInvalid: two settings contradict each other.
        """
        if self.cors_credentials and "*" in self.cors_origins:
            raise SettingInvalid(
                "cors_credentials needs cors_origins that name each origin: with * any page could "
                "read what belongs to whoever is logged in"
            )
        if self.keyfile is not None and self.certfile is None:
            raise SettingInvalid("keyfile without certfile: name both for TLS")


def _explain(item: Any, values: Mapping[str, Any]) -> str:
    name = str(item["loc"][0])
    if item["type"] == "extra_forbidden":
        close = nearest(name, Settings.model_fields)
        hint = f"did you mean {close!r}?" if close else f"known: {', '.join(Settings.model_fields)}"
        return f"unknown setting {name!r}; {hint}"
    return f"{name} = {values.get(name)!r}: {item['msg']}"
