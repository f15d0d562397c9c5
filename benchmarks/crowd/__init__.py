"""Servers that tell a crowd of web sockets the same, and the crowd: for `benchmarks/streams.py`.

* `messages`: what is sent. Every side sends the same text for a change.
* `load`: the crowd, in a process of its own.
* `control`: how a server is told to publish, and what it says of itself.
* `ours`: a stream of ours. `on_trio_websocket`, `on_websockets`, `on_quart`: the others, which keep
  nothing. `bare`: a loop over sockets that knows no protocol, which bounds what a server can reach.
* `sides`: which processes each side needs, whether it can be had here, and its turn.
"""
