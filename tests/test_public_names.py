"""Every public module says what is public, all of it, in order; and importing costs little."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import motia_trio

MODULES = sorted(
    name
    for _, name, _ in pkgutil.walk_packages(motia_trio.__path__, "motia_trio.")
    if not any(part.startswith("_") for part in name.split("."))
)
PACKAGES = [name for name in MODULES if hasattr(importlib.import_module(name), "__path__")]


def test_the_modules_are_found() -> None:
    assert {"motia_trio.app", "motia_trio.actors.mailbox", "motia_trio.store"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_every_module_has_a_list_of_public_names_that_exist(name: str) -> None:
    """Each once; that they are in order is ruff's to check."""
    module = importlib.import_module(name)
    listed = module.__all__
    assert len(listed) == len(set(listed))
    assert [each for each in listed if not hasattr(module, each)] == []
    assert [each for each in listed if each.startswith("_")] == []


def defined(module: ModuleType) -> set[str]:
    """The public classes and functions whose code is in this module."""
    assert module.__file__ is not None
    tree = ast.parse(Path(module.__file__).read_text("utf-8"))
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return {
        node.name for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")
    }


# used inside their room only, or reached by other means than their name
OF_THE_ROOM = {
    "motia_trio.cli.main": {"run"},
    "motia_trio.actors.supervisor": {"SupervisorListener"},
    "motia_trio.steps.raw": {
        "Raw",
        "RawHandlerLimits",
        "RawInfrastructure",
        "RawQueueLimits",
        "RawTopic",
        "RawTriggerBase",
        "RawTriggerConfig",
    },
}


@pytest.mark.parametrize("name", MODULES)
def test_every_public_class_and_function_of_a_module_is_listed(name: str) -> None:
    module = importlib.import_module(name)
    assert defined(module) - set(module.__all__) <= OF_THE_ROOM.get(name, set())


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_lists_all_that_it_gives_from_its_modules(name: str) -> None:
    package = importlib.import_module(name)
    assert package.__file__ is not None
    tree = ast.parse(Path(package.__file__).read_text("utf-8"))
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module != "__future__"
        for alias in node.names
    }
    assert imported == set(package.__all__)


# the package itself, whose names are imported when they are first used


def test_every_name_of_the_package_can_be_imported() -> None:
    assert list(motia_trio.__all__) == sorted(set(motia_trio.__all__))
    for name in motia_trio.__all__:
        value = getattr(motia_trio, name)
        home = getattr(value, "__module__", "motia_trio")
        assert home.startswith(("motia_trio", "typing")), f"{name} is from {home}"


def test_the_names_for_type_checkers_are_those_at_run_time() -> None:
    assert motia_trio.__file__ is not None
    tree = ast.parse(Path(motia_trio.__file__).read_text("utf-8"))
    (checked,) = (
        node.body
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    homes = {
        alias.name: node.module
        for node in checked
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert set(homes) == set(motia_trio.__all__)
    for name, home in homes.items():
        assert home is not None
        assert getattr(importlib.import_module(home), name) is getattr(motia_trio, name)


def test_dir_tells_the_names_before_they_are_used() -> None:
    assert set(motia_trio.__all__) <= set(dir(motia_trio))


def test_a_name_that_is_not_there_is_told() -> None:
    with pytest.raises(AttributeError, match="module 'motia_trio' has no attribute 'nothing'"):
        motia_trio.nothing  # noqa: B018


def test_the_version_is_that_of_the_distribution() -> None:
    assert motia_trio.__version__[0].isdigit()


def loaded_by(program: str) -> set[str]:
    """The packages that are imported when a program has run."""
    program += "\nimport sys\nprint(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_the_package_imports_none_of_its_libraries() -> None:
    heavy = {"trio", "hypercorn", "pydantic", "msgspec", "attrs", "click", "h11"}
    assert not loaded_by("import motia_trio") & heavy


def test_the_core_does_not_import_the_edges() -> None:
    assert not loaded_by("import motia_trio.runtime") & {"hypercorn", "click", "h11"}


def test_the_vocabulary_does_not_import_trio() -> None:
    rooms = ["errors", "steps", "messages", "policies", "events", "codec", "data", "failures"]
    program = "\n".join(f"import motia_trio.{room}" for room in rooms)
    assert not loaded_by(program) & {"trio", "hypercorn", "click"}


def test_the_command_line_is_quick_to_load() -> None:
    assert not loaded_by("import motia_trio.cli") & {"trio", "hypercorn", "pydantic"}
