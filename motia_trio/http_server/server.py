"""The ASGI application on real sockets, by hypercorn."""

from __future__ import annotations

import logging
import socket
import warnings
from typing import TYPE_CHECKING, cast

import trio
from hypercorn.config import Config
from hypercorn.trio import serve

from motia_trio.errors import SettingInvalid

if TYPE_CHECKING:
    from hypercorn.typing import ASGIFramework

    from motia_trio.http_server.asgi import ASGIApp

__all__ = ["listen"]


async def listen(
    app: ASGIApp,
    bind: str,
    *,
    stop: trio.Event,
    drain: float,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve ``app`` on ``"host:port"`` until ``stop``; reports its URL when it listens.

    Port 0 picks a free one. After ``stop`` it accepts nothing more, and requests that are being
    answered have ``drain`` seconds.

    Raises:
        SettingInvalid: ``bind`` is not ``host:port``.
        OSError: the address cannot be had: in use, not this machine's, or not permitted.
    """
    config = Config()
    config.bind = [f"fd://{_bound_socket(bind).detach()}"]
    config.accesslog = None
    config.errorlog = logging.getLogger("motia_trio.hypercorn")
    config.include_server_header = False
    config.graceful_timeout = drain
    async with trio.open_nursery() as nursery:
        urls = cast(
            "list[str]",
            await nursery.start(_serve, cast("ASGIFramework", app), config, stop),
        )
        task_status.started(urls[0])


def _bound_socket(bind: str) -> socket.socket:
    """A socket at ``"host:port"``.

    Ours, and not hypercorn's, which leaves one open that it cannot bind and puts the reason into
    groups.
    """
    host, _, port = bind.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise SettingInvalid(f"http = {bind!r}: expected host:port, such as 127.0.0.1:3111")
    host = host.removeprefix("[").removesuffix("]")
    try:
        family = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, int(port)), family=family)
    except UnicodeError:
        raise SettingInvalid(f"http = {bind!r}: {host!r} is no name of a host") from None
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (while")[0]
        raise type(error)(error.errno, f"cannot listen on {bind}: {reason}") from None


async def _serve(
    app: ASGIFramework,
    config: Config,
    stop: trio.Event,
    task_status: trio.TaskStatus[list[str]],
) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="hypercorn")
        await serve(app, config, shutdown_trigger=stop.wait, mode="asgi", task_status=task_status)
