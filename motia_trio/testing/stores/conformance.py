"""The duties of :class:`motia_trio.store.Store` as tests that every store passes."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, ClassVar

try:
    import pytest
    from hypothesis import HealthCheck, settings
    from hypothesis.stateful import run_state_machine_as_test
except ImportError as error:
    raise ImportError(
        f"{__name__} needs pytest and hypothesis: pip install 'motia-trio[testing]'"
    ) from error

# before they are imported: their asserts tell what was compared
pytest.register_assert_rewrite(
    *(
        f"motia_trio.testing.stores.{name}"
        for name in (
            "cancelling", "commits", "comparing", "deliveries", "following", "groups", "items",
            "lanes", "letters", "machine", "model", "probe", "streams", "survival", "tasks",
        )
    )
)  # fmt: skip

from motia_trio.testing.stores.cancelling import CancellingDuties  # noqa: E402
from motia_trio.testing.stores.commits import CommitDuties  # noqa: E402
from motia_trio.testing.stores.deliveries import DeliveryDuties  # noqa: E402
from motia_trio.testing.stores.following import FollowDuties  # noqa: E402
from motia_trio.testing.stores.groups import GroupDuties  # noqa: E402
from motia_trio.testing.stores.items import ItemDuties  # noqa: E402
from motia_trio.testing.stores.lanes import LaneDuties  # noqa: E402
from motia_trio.testing.stores.letters import LetterDuties  # noqa: E402
from motia_trio.testing.stores.machine import StoreMachine  # noqa: E402
from motia_trio.testing.stores.streams import StreamDuties  # noqa: E402
from motia_trio.testing.stores.survival import SurvivalDuties  # noqa: E402
from motia_trio.testing.stores.tasks import TaskDuties  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

    from motia_trio.store import Store

__all__ = ["StoreConformance"]


class StoreConformance(
    DeliveryDuties,
    GroupDuties,
    LaneDuties,
    LetterDuties,
    ItemDuties,
    CommitDuties,
    StreamDuties,
    FollowDuties,
    TaskDuties,
    CancellingDuties,
    SurvivalDuties,
):
    """The suite that every store passes: derive a test class from it, and make your store.

    .. code-block:: python

        from pathlib import Path

        from motia_trio.store import Store
        from motia_trio.testing import StoreConformance
        from my_package import MyStore


        class TestMyStore(StoreConformance):
            durable = True

            def make_store(self, folder: Path) -> Store:
                return MyStore(folder / "my.db")

    It runs with pytest, and needs no plugin: every test opens the store in a Trio run of its own,
    with a wall time that stands still unless the test moves it. Nothing sleeps.

    ``durable`` says that what was kept outlives the store's scope and its process: then stores are
    opened again, and processes killed. Each of those processes imports the file that has the test
    class, so the class is at its top, and :meth:`make_store` finds all that it needs in the folder.

    ``examples`` is how many random stories are told to the store and to a plain model of the
    contract, and ``steps`` how long they are at the most.
    """

    durable: ClassVar[bool] = False
    examples: ClassVar[int] = 40
    steps: ClassVar[int] = 30

    def make_store(self, folder: Path) -> Store:
        """Give a store, not opened.

        What a durable one keeps lies in ``folder``, which is empty at first: another store that is
        made for the same folder, here or in another process, finds it there. It remembers at least
        5,000 changes of streams.
        """
        return super().make_store(folder)

    def test_the_store_agrees_with_the_model(self, tmp_path: Path) -> None:
        """Random stories, in which everything that can be seen is as the contract says."""
        numbers, make, reopens = itertools.count(), self.make_store, self.durable

        class Machine(StoreMachine):
            def __init__(self) -> None:
                folder = tmp_path / str(next(numbers))
                folder.mkdir()
                super().__init__(lambda: make(folder), reopens=reopens)

        run_state_machine_as_test(
            Machine,
            settings=settings(
                deadline=None,
                max_examples=self.examples,
                stateful_step_count=self.steps,
                suppress_health_check=list(HealthCheck),  # pyright: ignore[reportArgumentType]
            ),
        )
