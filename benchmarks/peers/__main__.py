"""The figures of the peers alone, as a table."""

from __future__ import annotations

import argparse
import signal
import sys

from benchmarks.peers import PEERS, REDIS_SETTINGS, Figures
from benchmarks.table import print_table, spread


def main() -> None:
    """Run and print."""
    for number in (signal.SIGTERM, signal.SIGHUP):  # leave by the way that stops the processes
        signal.signal(number, lambda *_: sys.exit("stopped"))
    parser = argparse.ArgumentParser(prog="benchmarks.peers", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each closed loop")
    parser.add_argument("--publishers", type=int, nargs="+", default=[1, 16, 64, 256])
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    reasons = {peer.name: peer.available() for peer in PEERS}
    peers = [peer for peer in PEERS if reasons[peer.name] is None]
    rows = [("peer", "publishers", "closed loop", "open batch", "better", "p50 ms", "p99 ms")]
    for publishers in options.publishers:
        figures: dict[str, list[Figures]] = {peer.name: [] for peer in peers}
        for _ in range(options.rounds):
            for peer in peers:
                figures[peer.name].append(peer.measure(publishers, options.seconds))
        rows += [
            (
                name,
                str(publishers),
                spread([one.closed_loop for one in of_peer]),
                spread([one.open_batch for one in of_peer]),
                spread([one.cycles_per_second for one in of_peer]),
                spread([one.p50_ms for one in of_peer], 1),
                spread([one.p99_ms for one in of_peer], 1),
            )
            for name, of_peer in figures.items()
        ]
    print("cycles a second, and milliseconds in the closed loop, median (range if more rounds)\n")
    print_table(rows)
    print(f"\nRedis: {REDIS_SETTINGS}, on a Unix socket")
    for peer in PEERS:
        print(f"{peer.name}: {reasons[peer.name] or peer.settings}")


if __name__ == "__main__":
    main()
