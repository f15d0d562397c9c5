"""Task queues that one would take instead, measured in the same terms as ours.

    python -m benchmarks.peers [--seconds S] [--publishers N ...] [--rounds N]

A cycle is: one process sends a message of 1 kB, another one - the product's own worker, started
by its own command - runs a task that does nothing, and acknowledges it. The task tells the
publisher through a named pipe (`channel`), which costs less than any result backend. It does so
before it returns, so the latency has the way to the task in it, but not the acknowledgement.

Two figures are taken (`load`, `blocking`, `concurrent`) and the better one is the peer's: the
closed loop keeps as many messages outstanding as there are publishers; the open batch is sent
without waiting for any to be done. Of the settings that were tried each peer has the fastest,
or its documentation's where the difference was within the noise: they are in `PEERS`, and in the
module of each.

What "acknowledged" is worth differs, and a comparison must say so. Ours and huey's are one fsync
at each commit. Redis answers first and writes its log to the disk once a second: a second of
messages and acknowledgements may go with the power. huey takes a message out of its file before
the task runs: what was running when a process dies is lost.

What is not installed is left out: `Peer.available` says what to install.
"""

from benchmarks.peers.load import Figures
from benchmarks.peers.peer import Peer
from benchmarks.peers.processes import REDIS_SETTINGS

__all__ = ["PEERS", "REDIS_SETTINGS", "Figures", "Peer"]

PEERS = (
    Peer(
        name="huey, SQLite",
        module="on_huey",
        packages=("huey",),
        # It polls. With its defaults, 0.1 s and growing, one publisher gets 9 cycles a second.
        worker=(
            *("-m", "huey.bin.huey_consumer", "benchmarks.peers.on_huey.huey"),
            *("--workers", "1", "--delay", "0.001", "--max-delay", "0.005"),
            *("--no-periodic", "--disable-health-check", "--quiet"),
        ),
        settings="fsync=True, WAL; removed before it runs; 1 thread that polls each 1 to 5 ms",
        redis=False,
    ),
    Peer(
        name="Celery, Redis",
        module="on_celery",
        packages=("celery", "redis"),
        worker=(
            *("-m", "celery", "-A", "benchmarks.peers.on_celery", "worker"),
            *("--pool", "solo", "--loglevel", "WARNING"),
            *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        ),
        settings="solo pool (faster here than prefork and threads), acks_late, prefetch 128",
    ),
    Peer(
        name="dramatiq, Redis",
        module="on_dramatiq",
        packages=("dramatiq", "redis"),
        worker=(
            *("-m", "dramatiq", "benchmarks.peers.on_dramatiq"),
            *("--processes", "2", "--threads", "2"),
        ),
        settings="2 processes of 2 threads, prefetch 100, polls each 5 ms",
        # It sleeps 5 ms or more whenever as many as it may prefetch are out. With its defaults, 8
        # threads and so 16 messages, it came to 4,000 cycles a second and no more.
        environment=(("dramatiq_queue_prefetch", "100"), ("dramatiq_worker_timeout", "5")),
    ),
    Peer(
        name="taskiq, Redis",
        module="on_taskiq",
        packages=("taskiq", "taskiq_redis"),
        worker=(
            *("-m", "taskiq", "worker", "benchmarks.peers.on_taskiq:broker"),
            *("--workers", "2", "--log-level", "WARNING"),
        ),
        settings="RedisStreamBroker, 2 processes of 100 tasks, uvloop if installed",
    ),
    Peer(
        name="streaQ, Redis",
        module="on_streaq",
        packages=("streaq",),
        worker=("-m", "streaq", "run", "benchmarks.peers.on_streaq:worker", "--workers", "2"),
        settings="2 processes of 32 tasks, uvloop if installed; the batch is sent by 100",
    ),
)
