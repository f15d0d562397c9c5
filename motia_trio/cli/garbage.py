"""How often Python looks for garbage, in a process that is ours alone."""

from __future__ import annotations

import gc

__all__ = ["collect_rarely"]


def collect_rarely() -> None:
    """Collect now, leave what is loaded alone from then on, and look at the rest less often.

    A look at everything takes 0.1 s with 1,000 clients, in which nobody is served; and where
    clients come and go Python takes one every few seconds. What they leave is no garbage: nothing
    here goes in circles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
