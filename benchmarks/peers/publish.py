"""The publishing process of a peer; it prints its figures as JSON.

    python -m benchmarks.peers.publish MODULE PUBLISHERS SECONDS

`Peer.measure` starts it. It is a process of its own so that it can be killed when a library
hangs, and so that two libraries never share one.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import sys

from attrs import asdict

from benchmarks.peers.load import Load


def main() -> None:
    """Measure the peer of a module."""
    module, publishers, seconds = sys.argv[1:]
    publish = importlib.import_module(f"benchmarks.peers.{module}").publish
    figures = publish(Load(int(publishers), float(seconds)))
    if inspect.iscoroutine(figures):
        try:
            from uvloop import new_event_loop
        except ImportError:
            new_event_loop = asyncio.new_event_loop
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            figures = runner.run(figures)
    print(json.dumps(asdict(figures)))


if __name__ == "__main__":
    main()
