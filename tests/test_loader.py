"""From a folder to steps."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from motia_trio.app import App
from motia_trio.errors import LoadFailed
from motia_trio.loader import find_step_files, load_steps

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GOOD = """
config = {{"name": "{name}", "triggers": [{{"type": "queue", "topic": "t"}}]}}
async def handler(input, ctx): return "{name}"
"""


@pytest.fixture(autouse=True)
def import_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Loading makes a project importable; no other test is to see that."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("motia_step_") or name.partition(".")[0] in {"src", "lib", "broken"}:
            del sys.modules[name]


@pytest.fixture(name="root")
def project(tmp_path: Path) -> Path:
    return tmp_path


def write(root: Path, name: str, text: str = "") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def problems(root: Path) -> list[str]:
    with pytest.raises(LoadFailed) as failed:
        load_steps(root)
    return [str(problem) for problem in failed.value.problems]


def only_problem(root: Path) -> str:
    (told,) = problems(root)
    return told


# which files


@pytest.mark.parametrize(
    "name",
    [
        "steps/a_step.py",
        "src/a_step.py",
        "src/a.step.py",
        "src/a-step.py",
        "src/01-order/02-ship-order_step.py",
        "steps/deep/er/and/deeper/a.step.py",
        "src/with spaces/a b_step.py",
        "src/_step.py",
    ],
)
def test_step_files_are_found_at_any_depth(root: Path, name: str) -> None:
    path = write(root, name)
    assert list(find_step_files(root)) == [path]


@pytest.mark.parametrize(
    "name",
    [
        "a_step.py",
        "lib/a_step.py",
        "src/a_step.txt",
        "src/step.py",
        "src/astep.py",
        "src/a_stream.py",
        "src/a.step.test.py",
        "src/test_a_step.py",
        "src/__init__.py",
        "src/.hidden_step.py",
        "src/.hidden/a_step.py",
        "src/node_modules/a_step.py",
        "src/.venv/a_step.py",
        "src/venv/lib/a_step.py",
        "src/python_modules/a_step.py",
        "src/__pycache__/a_step.py",
    ],
)
def test_other_files_are_not_steps(root: Path, name: str) -> None:
    write(root, name)
    assert list(find_step_files(root)) == []


def test_files_come_in_the_order_of_folders_and_names(root: Path) -> None:
    names = [
        "src/b/a_step.py",
        "src/a/b_step.py",
        "src/a/a_step.py",
        "src/z_step.py",
        "steps/a_step.py",
    ]
    for name in names:
        write(root, name)
    found = [path.relative_to(root).as_posix() for path in find_step_files(root)]
    assert found == [names[3], names[2], names[1], names[0], names[4]]


def test_other_folders_may_be_given(root: Path) -> None:
    write(root, "src/a_step.py", GOOD.format(name="A"))
    write(root, "app/b_step.py", GOOD.format(name="B"))
    assert [step.name for step in load_steps(root, ["app"])] == ["B"]


# loading


async def test_a_step_file_becomes_a_step(root: Path) -> None:
    write(root, "steps/ship order/01-ship_step.py", GOOD.format(name="Ship Order"))
    (step,) = load_steps(root)
    assert step.name == "Ship Order"
    assert step.source == "steps/ship order/01-ship_step.py"
    assert step.handler is not None
    assert await step.handler.function(None, None) == "Ship Order"


def test_files_of_one_name_in_two_folders_are_two_modules(root: Path) -> None:
    for name in ("A", "B"):
        write(root, f"src/{name}/same_step.py", f"MINE = {name!r}\n" + GOOD.format(name=name))
    first, second = load_steps(root)
    assert first.handler is not None
    assert second.handler is not None
    assert first.handler.function.__globals__["MINE"] == "A"
    assert second.handler.function.__globals__["MINE"] == "B"


def test_a_relative_root_is_as_good(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(root, "src/a_step.py", GOOD.format(name="A"))
    monkeypatch.chdir(root.parent)
    (step,) = load_steps(type(root)(root.name))
    assert step.source == "src/a_step.py"


def test_a_step_file_may_use_the_decorator(root: Path) -> None:
    text = "from motia_trio import queue, step\n@step(queue('t'), name='A')\ndef a(x): ...\n"
    write(root, "src/a_step.py", text)
    (step,) = load_steps(root)
    assert (step.name, step.source) == ("A", "src/a_step.py")


def test_a_config_and_a_decorated_handler_go_together(root: Path) -> None:
    text = (
        "from motia_trio import step\n"
        "config = {'name': 'A', 'subscribes': ['t']}\n"
        "def run(x): ...\n"
        "handler = step(config, run)\n"
    )
    write(root, "src/a_step.py", text)
    (step,) = load_steps(root)
    assert (step.name, step.source) == ("A", "src/a_step.py")


def test_two_decorated_steps_in_one_file_are_refused(root: Path) -> None:
    text = (
        "from motia_trio import queue, step\n"
        "@step(queue('t'))\ndef first(x): ...\n"
        "@step(queue('t'))\ndef second(x): ...\n"
    )
    write(root, "src/a_step.py", text)
    assert only_problem(root) == "src/a_step.py: a step file holds one step, not first, second"


def test_one_decorated_step_may_have_two_names(root: Path) -> None:
    text = "from motia_trio import queue, step\n@step(queue('t'))\ndef a(x): ...\nhandler = a\n"
    write(root, "src/a_step.py", text)
    assert [step.name for step in load_steps(root)] == ["a"]


def test_a_lifespan_beside_the_config_goes_with_the_step(root: Path) -> None:
    write(root, "src/a_step.py", GOOD.format(name="A") + "def lifespan(ctx): ...\n")
    (step,) = load_steps(root)
    assert step.lifespan is not None


@pytest.mark.parametrize("line", ["from lib.greet import WORD", "from src.lib.greet import WORD"])
def test_the_project_and_its_src_are_importable(root: Path, line: str) -> None:
    write(root, "src/lib/greet.py", "WORD = 'hello'")
    write(root, "src/a_step.py", f"{line}\n" + GOOD.format(name="A"))
    (step,) = load_steps(root)
    assert step.handler is not None
    assert step.handler.function.__globals__["WORD"] == "hello"


def test_what_a_step_defines_can_be_found_again_by_its_module(root: Path) -> None:
    text = "import pickle\nclass Order: ...\nCOPY = pickle.loads(pickle.dumps(Order()))\n"
    write(root, "src/a_step.py", text + GOOD.format(name="A"))
    (step,) = load_steps(root)
    assert step.handler is not None
    assert step.handler.function.__module__ in sys.modules


# what does not load


def test_a_folder_that_is_not_there_is_told(root: Path) -> None:
    assert only_problem(root / "nowhere") == f"{root / 'nowhere'}: no such folder"
    path = write(root, "file")
    assert only_problem(path) == f"{path}: is not a folder"


def test_a_project_without_steps_is_told_where_was_looked(root: Path) -> None:
    told = only_problem(root)
    assert told.startswith(f"{root}: no steps found: looked below src/ and steps/")
    assert "*_step.py" in told


def test_a_file_without_a_config_is_told(root: Path) -> None:
    write(root, "src/a_step.py", "x = 1")
    assert only_problem(root).startswith("src/a_step.py: has no config; a step file defines")


def test_a_syntax_error_is_told_with_its_line(root: Path) -> None:
    write(root, "src/a_step.py", "x = 1\nconfig = {\n")
    assert only_problem(root) == "src/a_step.py:2: SyntaxError: '{' was never closed"


def test_a_syntax_error_in_an_imported_file_is_told_with_that_file(root: Path) -> None:
    path = write(root, "src/broken.py", "x =")
    write(root, "src/a_step.py", "import broken")
    assert only_problem(root).startswith(f"{path}:1: SyntaxError")


def test_a_file_that_raises_is_told_with_the_error_and_its_last_frame(root: Path) -> None:
    write(root, "src/lib.py", "def fail():\n    raise KeyError('no such')\n")
    write(root, "src/a_step.py", "import lib\nlib.fail()\n")
    assert only_problem(root) == (
        "src/a_step.py: could not be imported: KeyError: 'no such' (src/lib.py:2 in fail)"
    )


def test_a_file_that_exits_is_a_problem_and_not_the_end(root: Path) -> None:
    write(root, "src/a_step.py", "raise SystemExit(3)")
    assert "could not be imported: SystemExit: 3 (src/a_step.py:1" in only_problem(root)


def test_a_missing_module_is_told_by_its_name(root: Path) -> None:
    write(root, "src/a_step.py", "import no_such_module_anywhere")
    assert "ModuleNotFoundError: No module named 'no_such_module_anywhere'" in only_problem(root)


def test_a_file_that_failed_leaves_no_module_behind(root: Path) -> None:
    write(root, "src/a_step.py", "raise ValueError")
    before = set(sys.modules)
    problems(root)
    assert not [name for name in set(sys.modules) - before if name.startswith("motia_step_")]


def test_every_problem_of_every_file_is_reported(root: Path) -> None:
    write(root, "src/a_step.py", "import no_such_module_anywhere")
    write(root, "src/b_step.py", "config = {'triggers': [{'type': 'queue'}]}")
    write(root, "src/c_step.py", GOOD.format(name="C"))
    write(root, "src/d_step.py", "x = (")
    told = problems(root)
    assert [line.split(": ")[0] for line in told] == [
        "src/a_step.py",
        "src/b_step.py",
        "src/b_step.py",
        "src/d_step.py:1",
    ]


def test_an_interrupt_while_loading_passes(root: Path) -> None:
    write(root, "src/a_step.py", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load_steps(root)


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs symlinks")
def test_a_loop_of_links_ends(root: Path) -> None:
    write(root, "src/a_step.py", GOOD.format(name="A"))
    (root / "src" / "again").symlink_to(root / "src")
    assert [step.name for step in load_steps(root)] == ["A"]


def test_a_file_that_is_a_step_inside_and_not_by_its_name_is_warned_of(tmp_path: Path) -> None:
    files = {
        "steps/a_step.py": 'config = {"name": "A", "type": "noop"}\n',
        "steps/deep/shipping.py": "config: dict = {}\nasync def handler(input, ctx):\n    pass\n",
        "steps/helpers.py": "config = {}\n\nclass A:\n    def handler(self): ...\n",
        "steps/test_a.py": "config = {}\ndef handler(): ...\n",
        "steps/a.step.test.py": "config = {}\ndef handler(): ...\n",
        "steps/odd.py": "\xff",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "latin-1")
    (told,) = App.from_directory(tmp_path).warnings
    assert told.startswith("steps/deep/shipping.py: has a config and a handler, and is not loaded")


def test_a_stream_file_that_ends_in_streams_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a_step.py").write_text('config = {"name": "A", "type": "noop"}\n')
    (tmp_path / "src" / "bids_streams.py").write_text('config = {"name": "bids"}\n')
    (tmp_path / "src" / "other_streams.py").write_text("def of(name): ...\n")
    app = App.from_directory(tmp_path)
    assert app.warnings == (
        "src/bids_streams.py: has a config, and is not loaded: its name does not end in _stream.py",
    )
    assert not app.streams
