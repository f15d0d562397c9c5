"""Serve an example with the installed wheel and nothing else, as someone who ran pip would.

Run by `nox -s package`: `python serve_example.py WHEEL EXAMPLE`, with the Python of an environment
that holds the wheel alone. Standard library only, for the test tools are not there.
"""

import importlib.util
import json
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from pathlib import Path

PATIENCE = 30.0  # seconds for the program to get ready, to answer, to leave
READY = re.compile(r"ready http=(http://127\.0\.0\.1:\d+)\s*")


def check_wheel(wheel: Path) -> None:
    """Check that the wheel holds the typed package, and only that."""
    names = zipfile.ZipFile(wheel).namelist()
    assert "motia_trio/py.typed" in names, f"{wheel.name} has no motia_trio/py.typed"
    strays = [
        name
        for name in names
        if not re.match(r"motia_trio(-[^/]+\.dist-info)?/", name) or "tests" in name.split("/")
    ]
    assert not strays, f"{wheel.name} has more than the package: {strays}"


def check_installed() -> None:
    """Check that what will run is the installed package, not the checkout beside us."""
    spec = importlib.util.find_spec("motia_trio")
    assert spec is not None, f"motia_trio is not installed in {sys.prefix}"
    assert spec.origin is not None, "motia_trio was imported from a folder without __init__.py"
    assert Path(spec.origin).is_relative_to(sys.prefix), f"motia_trio came from {spec.origin}"


def check_serves(example: Path) -> None:
    """Start `motia-trio run`, wait until it is ready, post to it, stop it."""
    command: list[str | Path] = [Path(sys.prefix, "bin", "motia-trio"), "run", example]
    command += ["--port", "0"]
    program = subprocess.Popen(command, cwd=example.parent, stdout=subprocess.PIPE, text=True)
    with program:
        try:
            answer = post(read_address(program) + "/messages", {"text": "hello"})
            assert answer == (200, {"ok": True}), f"POST /messages was answered {answer}"
            program.send_signal(signal.SIGTERM)
            code = program.wait(PATIENCE)
            assert code == 0, f"after SIGTERM it left with {code}, not 0"
        finally:
            program.kill()  # does nothing to a program that has left


def read_address(program: "subprocess.Popen[str]") -> str:
    """Give the address in the line that says the program is ready."""
    assert program.stdout is not None
    spoke, _, _ = select.select([program.stdout], [], [], PATIENCE)
    assert spoke, f"it printed nothing for {PATIENCE:g} s; expected 'ready http=…'"
    line = program.stdout.readline()
    ready = READY.fullmatch(line)
    assert ready, f"its first line was {line!r}, not 'ready http=http://127.0.0.1:PORT'"
    return ready[1]


def post(url: str, body: object) -> tuple[int, object]:
    """Post `body` as JSON; give the status and the JSON that came back."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        return response.status, json.load(response)


def main() -> None:
    """Check the wheel and what it installs."""
    wheel, example = map(Path, sys.argv[1:])
    check_wheel(wheel)
    check_installed()
    with tempfile.TemporaryDirectory() as folder:  # a copy: what it stores is not for the checkout
        copy = Path(shutil.copytree(example, Path(folder).resolve() / example.name))
        check_serves(copy)
    print(f"{wheel.name}: installs alone, serves {example}, answers, leaves with 0")


if __name__ == "__main__":
    main()
