"""The control socket: how the command looks at a running service and changes it.

A client must not load what the server needs, so each imports the module that it means:
``client`` and ``server`` are the two ends, ``protocol`` and ``place`` what they share.
"""

__all__: list[str] = []
