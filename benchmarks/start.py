"""How fast the command is there: ``--help``, and from start to ready with 50 steps.

    python benchmarks/start.py [--rounds N]

The reference is an interpreter that imports what no Trio program with pydantic can do without.
"""

from __future__ import annotations

import sys
from pathlib import Path

# run as a script, this folder must not be searched: its http.py would hide the library's
sys.path[0] = str(Path(__file__).parents[1])

import argparse
import os
import subprocess
import tempfile
import time

from benchmarks.table import print_table, spread

STEP = """
config = {{
    "name": "Step{n}",
    "triggers": [
        {{"type": "http", "method": "GET", "path": "/step/{n}/:id"}},
        {{"type": "queue", "topic": "topic.{n}"}},
    ],
    "enqueues": ["topic.{n}"],
}}

async def handler(input, ctx):
    return {{"status": 200, "body": {{}}}}
"""


# an installed package has its bytecode; a machine may forbid to write that of a checkout
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def seconds(arguments: list[str]) -> float:
    """How long a command takes to its end."""
    began = time.perf_counter()
    subprocess.run(arguments, check=True, capture_output=True, env=ENVIRONMENT)
    return time.perf_counter() - began


def seconds_to_ready(project: str) -> float:
    """From start to the ready line; the command is ended then."""
    began = time.perf_counter()
    arguments = [sys.executable, "-m", "motia_trio", "run", project, "--port", "0"]
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=ENVIRONMENT
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    took = time.perf_counter() - began
    process.terminate()
    process.wait()
    assert line.startswith(b"ready ")
    return took


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    bare, imports, helps, ready = [], [], [], []
    with tempfile.TemporaryDirectory() as project:
        steps = Path(project, "steps")
        steps.mkdir()
        for number in range(50):
            (steps / f"s{number}_step.py").write_text(STEP.format(n=number))
        seconds_to_ready(project)  # once, so that the bytecode is there
        seconds([sys.executable, "-m", "motia_trio", "--help"])
        for _ in range(rounds):
            bare.append(seconds([sys.executable, "-c", "pass"]))
            imports.append(seconds([sys.executable, "-c", "import trio, hypercorn.trio, pydantic"]))
            helps.append(seconds([sys.executable, "-m", "motia_trio", "--help"]))
            ready.append(seconds_to_ready(project))
    print_table(
        [
            ("seconds", "median (range)"),
            ("an interpreter that does nothing", spread(bare, 3)),
            ("imports trio, hypercorn, pydantic", spread(imports, 3)),
            ("motia-trio --help", spread(helps, 3)),
            ("start to ready, 50 steps", spread(ready, 3)),
        ]
    )


if __name__ == "__main__":
    main()
