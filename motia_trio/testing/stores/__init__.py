"""The conformance suite for stores."""

from motia_trio.testing.stores.conformance import StoreConformance

__all__ = ["StoreConformance"]
