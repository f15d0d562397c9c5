"""What a program declares: its steps, and the settings that are not the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import unquote

from motia_trio.errors import LoadFailed, Problem, nearest
from motia_trio.loader import (
    FOLDERS,
    MANY_STREAMS,
    find_misnamed,
    load_authenticate,
    load_middleware,
    load_steps,
    load_streams,
)
from motia_trio.settings import Settings
from motia_trio.steps import (
    HttpTrigger,
    QueueTrigger,
    Step,
    StepDefinition,
    StreamDeclaration,
    StreamTrigger,
    parse_stream,
)
from motia_trio.stream_object import Stream, streams_beside

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from motia_trio.steps import Handler

__all__ = ["App"]

T = TypeVar("T")


class App:
    """Steps and settings, checked as a whole. Nothing runs yet: see ``open_runtime``.

    ``steps`` are what :func:`motia_trio.step` makes. Settings are keywords: ``store``,
    ``mailbox``, ``body_limit``, ``message_limit``, ``shutdown_timeout``, ``raise_quarantine``…
    ``mount`` has ASGI applications by the paths below which they answer: ``{"/admin": quart_app}``.
    ``streams`` declares streams, as configs: ``{"name": "chat", "schema": Message}``. So does a
    :class:`motia_trio.Stream` beside the handler of a step.
    ``authenticate`` says who a client of the streams is, or that it is none: a function of its
    handshake, or the function's name as ``"module:function"``.

    Raises:
        LoadFailed: names or routes that are taken, what cannot be given, routes below a mount.
        SettingInvalid: a setting is unknown or does not fit.
    """

    def __init__(
        self,
        steps: Iterable[Step | StepDefinition] = (),
        *,
        root: str | os.PathLike[str] | None = None,
        mount: Mapping[str, Callable[..., Any]] | None = None,
        streams: Iterable[StreamDeclaration | Stream | Mapping[str, Any]] = (),
        **settings: Any,
    ) -> None:
        self.root = str(Path(root if root is not None else ".").absolute())
        self.settings = Settings.of("App", settings)
        if isinstance(steps, (Step, StepDefinition)):
            raise TypeError("App(steps=…) takes a list of steps: App([the_step])")
        self.steps = tuple(_model(item) for item in steps)
        beside = [
            each
            for step in self.steps
            for each in (*step.streams, *streams_beside(step, self.root))
        ]
        declared, wrong = _declared(streams, beside, self.root)
        #: the streams that were declared, by name
        self.streams = {stream.name: stream for stream in declared}
        mounts = dict(mount or {})
        problems = [
            *wrong,
            *_clashes(self.steps),
            *_unmet(self.steps),
            *_mount_problems(self.steps, mounts),
        ]
        for load in (self.middleware_of, self.authenticate_of):
            try:
                load(self.settings)
            except LoadFailed as failed:
                problems += failed.problems
        if problems:
            raise LoadFailed(problems)
        #: what is mounted, by its path: without a slash at the end, so that of the root is empty
        self.mount = {path.rstrip("/"): mounted for path, mounted in mounts.items()}
        #: what should be looked at but does not keep the app from running
        self.warnings = tuple(_warnings(self.steps, declared))

    @staticmethod
    def middleware_of(settings: Settings) -> tuple[Handler, ...]:
        """Give the middleware that the settings put around all routes.

        Raises:
            LoadFailed: with everything that is wrong with it.
        """
        return load_middleware(settings.middleware)

    @staticmethod
    def authenticate_of(settings: Settings) -> Handler | None:
        """Give what tells who a client of the streams is, if the settings have it.

        Raises:
            LoadFailed: with what is wrong with it.
        """
        return load_authenticate(settings.authenticate)

    @classmethod
    def from_directory(
        cls,
        path: str | os.PathLike[str],
        *,
        folders: Sequence[str] = FOLDERS,
        **settings: Any,
    ) -> Self:
        """Make an app of the step and stream files below the ``folders`` of a project.

        Raises:
            LoadFailed: with every problem of every file.
            SettingInvalid: a setting is unknown or does not fit.
        """
        steps, problems = _loaded(load_steps, path, folders)
        streams, wrong = _loaded(load_streams, path, folders)
        try:
            app = cls(steps, root=path, streams=streams, **settings)
        except LoadFailed as failed:
            raise LoadFailed([*problems, *wrong, *failed.problems]) from None
        if problems or wrong:
            raise LoadFailed([*problems, *wrong])
        root = Path(path).absolute()
        app.warnings += tuple(
            f"{each.relative_to(root).as_posix()}: has a config"
            + (
                ", and is not loaded: its name does not end in _stream.py"
                if each.name.endswith(MANY_STREAMS)
                else " and a handler, and is not loaded: its name does not end in _step.py"
            )
            for each in find_misnamed(root, folders)
        )
        return app


def _loaded(
    load: Callable[[Path, Sequence[str]], list[T]],
    path: str | os.PathLike[str],
    folders: Sequence[str],
) -> tuple[list[T], list[Problem]]:
    """What could be loaded of a project's files, and what is wrong with the others."""
    try:
        return load(Path(path), folders), []
    except LoadFailed as failed:
        return list(failed.loaded), list(failed.problems)  # type: ignore[arg-type]


def _model(item: Step | StepDefinition) -> Step:
    if isinstance(item, StepDefinition):
        return item.step
    if isinstance(item, Step):
        return item
    raise TypeError(
        f"App(steps=…) takes what @step(…) makes, not {item!r}; for a folder use "
        "App.from_directory(path)"
    )


def _declared(
    streams: Iterable[StreamDeclaration | Stream | Mapping[str, Any]],
    beside: Sequence[StreamDeclaration],
    root: str,
) -> tuple[list[StreamDeclaration], list[Problem]]:
    """The streams that are declared, on purpose and beside handlers, and what is wrong with them.

    An object that has no more than a name says which stream is meant, and takes none.
    """
    if isinstance(streams, (Mapping, Stream)):
        raise TypeError("App(streams=…) takes a list of streams: App(steps, streams=[{…}])")
    given: list[StreamDeclaration] = []
    wrong: list[Problem] = []
    for index, each in enumerate(streams):
        try:
            if isinstance(each, StreamDeclaration):
                given.append(each)
            elif isinstance(each, Stream):
                given.append(each.declared_below(root))
            else:
                given.append(parse_stream(each, source=f"App(streams[{index}])"))
        except LoadFailed as failed:
            wrong += failed.problems
    once = {(each.name, each.source): each for each in beside}.values()  # found by several ways
    found: dict[str, StreamDeclaration] = {}
    for stream in sorted((*given, *once), key=lambda each: each.is_object):
        other = found.setdefault(stream.name, stream)
        if other is stream or (stream.is_object and stream.source == other.source):
            continue
        if stream.is_object and stream.is_name_only:
            continue
        if other.is_object and other.is_name_only:
            found[stream.name] = stream
            continue
        what = f"stream name {stream.name!r} is taken by {other.source}; names are unique"
        wrong.append(Problem(stream.source, what))
    return list(found.values()), wrong


def _clashes(steps: Sequence[Step]) -> Iterator[Problem]:
    """Two steps of one name, or two routes of one method and path."""
    names: dict[str, Step] = {}
    routes: dict[tuple[str, str], Step] = {}
    for step in steps:
        if (other := names.setdefault(step.name, step)) is not step:
            yield Problem(
                step.source, f"step name {step.name!r} is taken by {other.source}; names are unique"
            )
        for trigger in step.triggers:
            if not isinstance(trigger, HttpTrigger):
                continue
            route = (trigger.method, _shape(trigger.path))
            if (other := routes.setdefault(route, step)) is not step:
                yield Problem(
                    step.source,
                    f"{trigger.method} {trigger.path} is also a route of step {other.name!r} "
                    f"({other.source})",
                )


def _mount_problems(steps: Sequence[Step], mounts: Mapping[str, object]) -> Iterator[Problem]:
    """Mounts that cannot be, and routes that would never be asked because of one."""
    places: set[str] = set()
    for path, mounted in mounts.items():
        where = f"App(mount={{{path!r}: …}})"
        if not path.startswith("/") or set(path) & set(":{}*?#%"):
            yield Problem(where, "expected a path that begins with / and has no parameters")
            continue
        place = path.rstrip("/")
        if place in places:
            yield Problem(where, "something else is mounted there")
        if not callable(mounted):
            yield Problem(where, f"expected an ASGI application, not {mounted!r:.80}")
        places.add(place)
    for step in steps:
        for trigger in step.triggers:
            if not isinstance(trigger, HttpTrigger):
                continue
            route = "/" + trigger.path.strip("/")
            for place in places:
                if route == place or route.startswith(place + "/"):
                    yield Problem(
                        step.source,
                        f"{trigger.method} {trigger.path} is below {place or '/'}, where another "
                        "application is mounted: it would never be asked",
                    )


def _shape(path: str) -> str:
    """A path with the names of its parameters left out: two that match alike are alike."""
    parts = path.strip("/").split("/")
    shapes = [
        ":"
        if part.startswith(":") or (part.startswith("{") and part.endswith("}"))
        else unquote(part)
        for part in parts
    ]
    if parts[-1].startswith("*"):
        shapes[-1] = "*"
    return "/".join(shapes)


def _unmet(steps: Sequence[Step]) -> Iterator[Problem]:
    """What a step asks for and this version does not do.

    It is refused, because without it the step would do something else than it says.
    """
    for step in steps:
        handlers = [step.handler_of(trigger.kind) for trigger in step.triggers]
        is_async = all(handler is None or handler.is_async for handler in handlers)
        fitting = "trio" if is_async else "thread"
        if step.placement not in {None, fitting}:
            yield Problem(
                step.source,
                f"placement {step.placement!r}: not in this version; "
                f"this handler runs in {fitting!r}",
            )


def _warnings(steps: Sequence[Step], streams: Sequence[StreamDeclaration]) -> Iterator[str]:
    for stream in streams:
        for warning in stream.warnings:
            yield f"{stream.source}: {warning}"
    names = {stream.name for stream in streams}
    heard = {t.topic for step in steps for t in step.triggers if isinstance(t, QueueTrigger)}
    for step in steps:
        for warning in step.warnings:
            yield f"{step.source}: {warning}"
        for trigger in step.triggers:
            if isinstance(trigger, StreamTrigger) and trigger.stream_name not in names:
                close = nearest(trigger.stream_name, names)
                yield (
                    f"{step.source}: follows stream {trigger.stream_name!r}, which is not declared"
                    + (f" (did you mean {close!r}?)" if close else "")
                    + ": it will never run for it"
                )
        for topic in step.topics:
            if topic not in heard:
                yield (
                    f"{step.source}: publishes to {topic!r}, which no step listens to: "
                    "nothing will be stored"
                )
