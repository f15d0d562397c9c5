"""``Stream("chat")``: a stream of the third dialect, declared in the file of a step and used there.

Source: motia-contract §5, the names that act on the invocation that is running.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve

from motia_trio import items
from motia_trio.context import RUNNING
from motia_trio.data import alias
from motia_trio.steps import parse_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from motia_trio.steps import Step, StreamDeclaration

__all__ = ["Stream", "streams_beside", "streams_in"]

_METHODS = [name for name in dir(items.Stream) if not name.startswith("_")]


class Stream:
    """A stream by its name, or with what a stream file's ``config`` may say, also as keywords.

    At the outermost level of a file of steps or streams, or beside a handler, it declares the
    stream. It has the methods of ``ctx.streams.chat``, and acts on the invocation that is running.

    Raises:
        LoadFailed: something in the config is wrong.
    """

    def __init__(self, config: str | Mapping[str, Any], **more: Any) -> None:
        frame = sys._getframe(1)  # noqa: SLF001 - where it is written is where it is declared
        self._file, self._line = Path(frame.f_code.co_filename), frame.f_lineno
        given: object = {"name": config} if isinstance(config, str) else config
        if more and isinstance(given, Mapping):
            given = {**given, **more}
        declared = parse_stream(given, source=f"{self._file.name}:{self._line}")
        self._declared = evolve(declared, is_object=True)

    @property
    def name(self) -> str:
        """The stream's name."""
        return self._declared.name

    def declared_below(self, root: str) -> StreamDeclaration:
        """Give what it declares, with the file as it is called in a project. The runtime's."""
        file = self._file
        if file.is_relative_to(root):
            file = file.relative_to(root)
        return self._declared.placed_at(f"{file.as_posix()}:{self._line}")

    def __repr__(self) -> str:
        return f"<Stream {self.name!r}>"

    def __dir__(self) -> Iterable[str]:
        return [*super().__dir__(), *_METHODS]

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):  # what Python itself asks for
            raise AttributeError(name)
        if name not in _METHODS and alias(name) not in _METHODS:
            raise AttributeError(
                f"Stream({self.name!r}) has no {name!r}; it has {', '.join(_METHODS)}",
                name=name,
                obj=self,
            )

        def call(*args: Any, **kwargs: Any) -> Any:
            ctx = RUNNING.get(None)
            if ctx is None:
                raise RuntimeError(
                    f"Stream({self.name!r}).{name}: no handler is running here; a program that "
                    f"opened the runtime uses rt.streams[{self.name!r}]"
                )
            return getattr(ctx.streams[self.name], name)(*args, **kwargs)

        return call


def streams_in(named: Mapping[str, object], root: str) -> Iterator[StreamDeclaration]:
    """Give what the streams among the globals of a module declare, each once, in their order."""
    # by their types: a value may raise when it is asked for its class
    found: list[Any] = [value for value in named.values() if issubclass(type(value), Stream)]
    for each in {id(stream): stream for stream in found}.values():
        yield each.declared_below(root)


def streams_beside(step: Step, root: str) -> Iterator[StreamDeclaration]:
    """Give what the streams among the globals of a step's handlers declare."""
    for handler in (step.handler, *step.handlers.values()):
        if handler is not None:
            function = inspect.unwrap(handler.function)
            function = getattr(function, "func", function)  # of a partial
            function = getattr(function, "__func__", function)  # of a method
            yield from streams_in(getattr(function, "__globals__", {}), root)
