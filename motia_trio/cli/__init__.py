"""The command ``motia-trio``."""

from motia_trio.cli.main import main

__all__ = ["main"]
