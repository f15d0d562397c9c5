"""Every check of the project. `nox` runs them all, `nox -s lint` one, `nox -l` lists them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import nox
from packaging.specifiers import SpecifierSet
from packaging.version import Version

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"  # what is checked is what is on this machine

PYPROJECT = nox.project.load_toml("pyproject.toml")
SUPPORTED = SpecifierSet(PYPROJECT["project"]["requires-python"])
CHECKED_FOLDERS = ("motia_trio", "tests", "examples", "benchmarks")

PROBE = """
import json, platform, sys, sysconfig
print(json.dumps({
    "path": sys.executable,
    "version": platform.python_version(),
    "usable": platform.python_implementation() == "CPython"
              and sys.version_info.releaselevel == "final"
              and not sysconfig.get_config_var("Py_GIL_DISABLED"),
}))
"""


class Interpreter(NamedTuple):
    """A CPython that has answered: its version and where it is."""

    version: Version
    path: str

    @property
    def minor(self) -> str:
        """What a session is named for: 3.12."""
        return f"{self.version.major}.{self.version.minor}"


def find_interpreters() -> list[Interpreter]:
    """Give the newest patch of each supported CPython that runs on this machine, oldest first.

    Looked for: the running one, `python3.N` on PATH, and pyenv's versions. Each is asked for its
    version, for a version manager's shim can be on PATH and start nothing.
    """
    newest: dict[str, Interpreter] = {}
    for path in _interpreter_paths():
        found = _probe(path)
        if found is None or found.version not in SUPPORTED:
            continue
        known = newest.get(found.minor)
        if known is None or found.version > known.version:
            newest[found.minor] = found
    return sorted(newest.values())


def _interpreter_paths() -> list[str]:
    paths = [Path(sys.executable)]
    for folder in os.get_exec_path():
        paths += [path for path in sorted(Path(folder).glob("python3.*")) if _is_promising(path)]
    managers = [Path(os.environ.get("PYENV_ROOT", "~/.pyenv")), Path("~/.pyenv")]
    for manager in managers:
        paths += sorted(manager.expanduser().glob("versions/*/bin/python3"))
    return list(dict.fromkeys(map(os.fspath, paths)))


def _is_promising(path: Path) -> bool:
    """Tell whether the name is that of a supported Python: not python3.9, not python3.11-config."""
    version = path.name.removeprefix("python")
    return re.fullmatch(r"3\.\d+", version) is not None and version in SUPPORTED


def _probe(path: str) -> Interpreter | None:
    """Ask the program at `path` what it is; None if it is no CPython release or does not run."""
    try:
        ran = subprocess.run(
            [path, "-I", "-c", PROBE], capture_output=True, check=True, timeout=20, text=True
        )
        answer = json.loads(ran.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    if not answer["usable"]:
        return None
    return Interpreter(Version(answer["version"]), answer["path"])


INTERPRETERS = find_interpreters()
if not INTERPRETERS:
    message = f"no CPython {SUPPORTED} runs on this machine; install one and put it on PATH"
    raise SystemExit(message)
OLDEST, NEWEST = INTERPRETERS[0], INTERPRETERS[-1]


def _install_with(session: nox.Session, *groups: str) -> None:
    """Install the package, editable, and what the named dependency groups list."""
    session.install("-e", ".", *nox.project.dependency_groups(PYPROJECT, *groups))


def _junit(session: nox.Session) -> list[str]:
    """Ask pytest for a JUnit file if JUNIT_DIR names a folder for it; .ci/run sums them."""
    folder = os.environ.get("JUNIT_DIR")
    return [f"--junit-xml={Path(folder) / session.name}.xml"] if folder else []


def _run_tests(session: nox.Session, *options: str) -> None:
    """Run the tests."""
    _install_with(session, "test")
    arguments = ["-n", "logical", *options, *_junit(session), *session.posargs]  # all cores
    session.run("pytest", *arguments)


# `nox` runs the tests on the oldest and the newest; what passes on both has not failed between yet
for interpreter in INTERPRETERS:
    nox.session(
        name=f"tests-{interpreter.minor}",
        python=interpreter.path,
        default=interpreter in {OLDEST, NEWEST},
    )(_run_tests)


@nox.session(python=False, default=False)
def tests(session: nox.Session) -> None:
    """Run the tests on every interpreter found."""
    for found in INTERPRETERS:
        session.notify(f"tests-{found.minor}", session.posargs)


@nox.session(python=OLDEST.path, default=False)
def coverage(session: nox.Session) -> None:
    """Run the tests and print what they covered, which takes its time."""
    session.env["COVERAGE_FILE"] = os.fspath(Path(session.create_tmp(), "coverage"))
    _run_tests(session, "--cov=motia_trio", "--cov-report=term-missing:skip-covered")


# rules of flake8-async that are not asked, and why
ASYNC_OFF = {
    "ASYNC110": "ruff's ASYNC110 is the same, and knows where it is meant",
    "ASYNC114": "wants a list of every function that nursery.start() may get",
    "ASYNC124": "a handler is async because handlers are, whether it waits or not",
    "ASYNC127": "which HTTP client the tests use",
    "ASYNC128": "does not see that task_status is passed on",
    # off unless asked for; we do not ask that every path of an inner function is a checkpoint
    **dict.fromkeys(("ASYNC900", "ASYNC910", "ASYNC911", "ASYNC912", "ASYNC913"), "optional"),
}
ASYNC_OFF_IN_TESTS = {
    "ASYNC100": "what waits in it is hidden in a fixture or a lifespan's yield",
    "ASYNC102": "a handler's finally that awaits is what is tested",
    "ASYNC103": "handlers that swallow what they must not are what is tested",
    "ASYNC104": "as above",
    "ASYNC111": "a task that outlives the runtime's scope is what is tested",
    "ASYNC112": "a handler's own nursery is what is tested",
    "ASYNC401": "the group is looked at after it was caught",
}


@nox.session(python=OLDEST.path)
def lint(session: nox.Session) -> None:
    """Check style: ruff, and flake8-async for the Trio rules that ruff has not."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    for folder in CHECKED_FOLDERS:
        files = [
            os.fspath(path)
            for path in sorted(Path(folder).rglob("*.py"))
            if "documents" not in path.parts and "steps" not in path.parts[:-1][2:]
        ]
        off = ASYNC_OFF if folder == "motia_trio" else {**ASYNC_OFF, **ASYNC_OFF_IN_TESTS}
        session.run("flake8-async", f"--disable={','.join(off)}", *files)


@nox.session(python=OLDEST.path)
def types(session: nox.Session) -> None:
    """Check types: mypy strictly, pyright for a second opinion."""
    _install_with(session, "types")
    session.run("mypy", "--strict", "motia_trio", "tests")
    session.run("pyright", "motia_trio")


@nox.session(python=OLDEST.path)
def layers(session: nox.Session) -> None:
    """Check that imports point down the floors of the house."""
    _install_with(session, "layers")
    session.run("lint-imports")


@nox.session(python=NEWEST.path)
def examples(session: nox.Session) -> None:
    """Start each example as its reader would, and speak to it."""
    _install_with(session, "test")
    session.run("pytest", "examples", *_junit(session), *session.posargs)


@nox.session(python=OLDEST.path)
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning is an error."""
    _install_with(session, "docs")
    options = ["-W", "-n", "--keep-going", "-b", "html"]
    session.run("sphinx-build", *options, "docs", "docs/_build/html")


@nox.session(python=NEWEST.path)
def package(session: nox.Session) -> None:
    """Build sdist and wheel, install the wheel alone, and serve an example with it."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "package"))
    work = Path(session.create_tmp()).resolve()
    dist, alone = work / "dist", work / "alone"
    shutil.rmtree(dist, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", os.fspath(dist))  # the wheel from the sdist
    (wheel,) = map(os.fspath, dist.glob("*.whl"))
    session.run("python", "-m", "venv", "--clear", os.fspath(alone))
    python = os.fspath(alone / "bin" / "python")
    session.run(python, "-m", "pip", "install", "--quiet", wheel, external=True)
    serve = ["tests/package/serve_example.py", wheel, "examples/messages"]
    session.run(python, *serve, external=True)
