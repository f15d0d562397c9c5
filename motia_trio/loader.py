"""From a folder to steps: which files are steps, and what is in them."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import evolve

from motia_trio.errors import LoadFailed, Problem
from motia_trio.failures import tell_error
from motia_trio.steps import (
    Step,
    StepDefinition,
    StreamDeclaration,
    inspect_authenticate,
    inspect_middleware,
    parse_step,
    parse_stream,
)
from motia_trio.stream_object import streams_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import ModuleType

    from motia_trio.steps import Handler

__all__ = [
    "FOLDERS",
    "MANY_STREAMS",
    "find_misnamed",
    "find_step_files",
    "find_stream_files",
    "load_authenticate",
    "load_middleware",
    "load_steps",
    "load_streams",
]

T = TypeVar("T")

# motia-contract §2
FOLDERS = ("src", "steps")
ENDINGS = ("_step.py", ".step.py", "-step.py")
STREAM_ENDINGS = ("_stream.py", ".stream.py", "-stream.py")
# what people write who mean that
MANY_STREAMS = ("_streams.py", ".streams.py", "-streams.py")
# what a step file has at its outermost level
_CONFIG = re.compile(r"^config\s*(:[^=]*)?=", re.MULTILINE)
_HANDLER = re.compile(r"^((async\s+)?def\s+handler\b|handler\s*=)", re.MULTILINE)
PASSED_OVER = frozenset({"node_modules", "venv", "python_modules", "__pycache__"})


def load_steps(root: Path, folders: Sequence[str] = FOLDERS) -> list[Step]:
    """Load every step file below the ``folders`` of a project.

    ``root`` and ``root/src`` become importable, for the steps' own imports.

    Raises:
        LoadFailed: the folder is not there, holds no steps, or some file does not load; then with
            every problem of every file.
    """
    root = root.absolute()
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "no such folder"
        raise LoadFailed([Problem(str(root), what)])
    files = list(find_step_files(root, folders))
    if not files:
        below = " and ".join(f"{folder}/" for folder in folders)
        near = _near_miss(root, folders)
        raise LoadFailed(
            [
                Problem(
                    str(root),
                    f"no steps found: looked below {below} for files named *_step.py, *.step.py "
                    f"or *-step.py{near}",
                )
            ]
        )
    return _each(files, _load, root)


def load_streams(root: Path, folders: Sequence[str] = FOLDERS) -> list[StreamDeclaration]:
    """Load every stream file below the ``folders`` of a project.

    Raises:
        LoadFailed: some file does not load; with every problem of every file.
    """
    root = root.absolute()
    files = find_stream_files(root, folders)
    streams: list[StreamDeclaration] = []

    def load(path: Path, root: Path) -> None:
        streams.extend(_load_streams(path, root))

    try:
        _each(files, load, root)
    except LoadFailed as failed:
        raise LoadFailed(failed.problems, streams) from None
    return streams


def _each(files: Iterable[Path], load: Callable[[Path, Path], T], root: Path) -> list[T]:
    """Load files, and raise what is wrong with any of them together."""
    _make_importable(root)
    loaded: list[T] = []
    problems: list[Problem] = []
    for path in files:
        try:
            loaded.append(load(path, root))
        except LoadFailed as failed:
            problems.extend(failed.problems)
    if problems:
        raise LoadFailed(problems, loaded)
    return loaded


def load_middleware(given: Sequence[Any]) -> tuple[Handler, ...]:
    """Give middleware, each a function or ``"module:function"``.

    Raises:
        LoadFailed: with everything that is wrong with it.
    """
    found: list[Handler] = []
    problems: list[Problem] = []
    for index, item in enumerate(given):
        try:
            found.append(_function(item, inspect_middleware, f"middleware[{index}]"))
        except LoadFailed as failed:
            problems += failed.problems
    if problems:
        raise LoadFailed(problems)
    return tuple(found)


def load_authenticate(given: Any) -> Handler | None:
    """Give what tells who a client of the streams is: a function or ``"module:function"``, or None.

    Raises:
        LoadFailed: with what is wrong with it.
    """
    return None if given is None else _function(given, inspect_authenticate, "authenticate")


def _function(item: Any, inspect: Callable[[object], Handler], where: str) -> Handler:
    """Give a function that the settings have, or name."""
    try:
        return inspect(_named(item) if isinstance(item, str) else item)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - to import it runs its code
        words = str(error) if isinstance(error, (TypeError, ValueError)) else None
        told = words or tell_error(error).error
        problem = Problem(where, f"{item!r:.80}: {told}")
        raise LoadFailed([problem]) from None  # noqa: ASYNC104 - nothing is cancelled by it


def _named(name: str) -> object:
    """Give what ``"module:function"`` names."""
    module, _, path = name.partition(":")
    if not module or not path:
        raise ValueError('expected "module:function"')
    found: object = importlib.import_module(module)
    for part in path.split("."):
        if not hasattr(found, part):
            raise ValueError(f"module {module!r} has no {path!r}")
        found = getattr(found, part)
    return found


def _near_miss(root: Path, folders: Sequence[str]) -> str:
    """What is there that may have been meant."""
    if root.name in folders:
        return f"; this is a {root.name}/ itself: give the folder above it"
    misplaced = [path for path in sorted(root.glob("*.py")) if path.name.endswith(ENDINGS)]
    if misplaced:
        return f"; {misplaced[0].name} is there, but not below {' or '.join(folders)}"
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            return f"; {path.relative_to(root)} is there, but is not named so"
    return ""


def find_step_files(root: Path, folders: Sequence[str] = FOLDERS) -> Iterator[Path]:
    """Give the step files below the folders, at any depth, in the order of their names."""
    return _find(root, folders, ENDINGS)


def find_stream_files(root: Path, folders: Sequence[str] = FOLDERS) -> Iterator[Path]:
    """Give the stream files below the folders, at any depth, in the order of their names."""
    return _find(root, folders, STREAM_ENDINGS)


def find_misnamed(root: Path, folders: Sequence[str] = FOLDERS) -> Iterator[Path]:
    """Give the files below the folders that look like steps or streams, and are not named so."""
    for path in _find(root, folders, (".py",)):
        if not path.name.endswith((*ENDINGS, *STREAM_ENDINGS, ".test.py")):
            try:
                text = path.read_text("utf-8")
            except (OSError, UnicodeDecodeError):
                continue
            is_step = _HANDLER.search(text) is not None
            if _CONFIG.search(text) and (is_step or path.name.endswith(MANY_STREAMS)):
                yield path


def _find(root: Path, folders: Sequence[str], endings: tuple[str, ...]) -> Iterator[Path]:
    for folder in folders:
        for directory, names, files in os.walk(root / folder):
            names[:] = sorted(n for n in names if n not in PASSED_OVER and not n.startswith("."))
            for name in sorted(files):
                if name.endswith(endings) and not name.startswith(("test_", ".")):
                    yield Path(directory) / name


def _load(path: Path, root: Path) -> Step:
    source = path.relative_to(root).as_posix()
    module = _import(path, source, root)
    step = _step_of(module, source, root)
    return evolve(step, streams=tuple(streams_in(vars(module), str(root))))


def _step_of(module: ModuleType, source: str, root: Path) -> Step:
    values = vars(module).values()  # by their types: one may raise when asked for its class
    found: list[StepDefinition] = [v for v in values if issubclass(type(v), StepDefinition)]
    made = list({id(definition): definition for definition in found}.values())
    named = vars(module)
    if made and ("config" not in named or "handler" not in named):
        if len(made) > 1:
            names = ", ".join(definition.step.name for definition in made)
            raise LoadFailed([Problem(source, f"a step file holds one step, not {names}")])
        return made[0].step.placed_at(source)
    if "config" not in named:
        raise LoadFailed(
            [
                Problem(
                    source,
                    "has no config; a step file defines config = {…} and handler(input, ctx)",
                )
            ]
        )
    handler: Any = named.get("handler")
    if isinstance(handler, StepDefinition):
        return handler.step.placed_at(source)
    lifespan = named.get("lifespan")
    with _reading(source, root):
        return parse_step(named["config"], handler, source=source, lifespan=lifespan)


def _load_streams(path: Path, root: Path) -> list[StreamDeclaration]:
    source = path.relative_to(root).as_posix()
    named = vars(_import(path, source, root))
    objects = list(streams_in(named, str(root)))
    if "config" not in named and not objects:
        what = 'has no config; a stream file defines config = {"name": …, "schema": …}'
        raise LoadFailed([Problem(source, what)])
    if "config" not in named:
        return objects
    with _reading(source, root):
        return [parse_stream(named["config"], source=source), *objects]


@contextmanager
def _reading(source: str, root: Path) -> Iterator[None]:
    """To look at a config may run code of the file, and that may raise anything."""
    try:
        yield
    except LoadFailed:
        raise
    except Exception as error:
        told = tell_error(error, str(root))
        raise LoadFailed([Problem(source, f"config cannot be read: {told.error}")]) from error


def _import(path: Path, source: str, root: Path) -> ModuleType:
    """Import one file under a name of its own: names of step files need not be identifiers."""
    digest = hashlib.sha1(os.fsencode(path), usedforsecurity=False).hexdigest()[:10]
    stem = "".join(char if char.isalnum() else "_" for char in path.name.removesuffix(".py"))
    name = f"motia_step_{stem}_{digest}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise LoadFailed([Problem(source, "is not a Python file")])
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except LoadFailed as failed:  # a builder in the file says what is wrong with its arguments
        sys.modules.pop(name, None)
        raise LoadFailed([_placed(problem, path, source) for problem in failed.problems]) from None
    except SyntaxError as error:
        sys.modules.pop(name, None)
        other = error.filename is not None and error.filename != str(path)
        where = str(error.filename) if other else source
        where += f":{error.lineno}" if error.lineno else ""
        raise LoadFailed([Problem(where, f"{type(error).__name__}: {error.msg}")]) from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        sys.modules.pop(name, None)
        if isinstance(error, ModuleNotFoundError) and error.name == "motia":
            error.add_note("in this version import the same names from motia_trio")
        told = tell_error(error, str(root))
        problem = Problem(source, f"could not be imported: {told.error} ({told.where})")
        raise LoadFailed([problem]) from error  # noqa: ASYNC104 - nothing is cancelled by it
    return module


def _placed(problem: Problem, path: Path, source: str) -> Problem:
    """A problem that a builder found, told of the file in which it stands."""
    if problem.where.startswith(f"{path.name}:"):
        return Problem(source + problem.where.removeprefix(path.name), problem.what)
    return Problem(source, str(problem))


def _make_importable(root: Path) -> None:
    for path in (str(root / "src"), str(root)):
        if path not in sys.path:
            sys.path.insert(0, path)
