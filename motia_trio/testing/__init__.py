"""For tests of what is built on motia_trio. Needs ``pip install 'motia-trio[testing]'``."""

from motia_trio.testing.stores import StoreConformance

__all__ = ["StoreConformance"]
