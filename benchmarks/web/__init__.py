"""Servers that do the same work, and the load on them: what `benchmarks/http.py` runs.

* `exchanges`: the requests, and the answers that are right. All sides are asked the same.
* `load`: the clients, in a process of their own.
* `ours`, `direct`: our steps, on a socket and without one. `bare`: a function on our socket.
* `on_fastapi`: FastAPI without a queue. `with_celery` and `with_taskiq`: with one, and
  `celery_tasks` and `taskiq_tasks` what the workers run.
* `stacks`: which processes each side needs, and whether it can be had here. `turns`: the rounds.
"""
