"""The interface of a search for configurations, and searches whose points are listed from the start."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from train.studies.sweep.flags import Sweep, listed_points
from train.studies.sweep.store import Asked, Finished


class Search(Protocol):
    """Proposes trials in batches, and receives their outcomes."""

    def ask(self) -> list[Asked]:
        """The next batch; none where all were tried."""

    def tell(self, batch: Sequence[Finished]) -> None:
        """Receives the outcomes of a batch that is kept in the folder."""

    def others(self) -> list[Finished]:
        """Trials that other workers have trained."""

    def waiting(self) -> list[str]:
        """Words which workers train the trials that are not finished; none where the search is over."""


class Listed:
    """A grid or a random search: all points are known, and batches are cut by their numbers.

    Args:
        sweep: flags.
        finished: trials that are there, by number.
    """

    def __init__(self, sweep: Sweep, finished: Mapping[int, Finished]):
        points, size = listed_points(sweep), sweep.search.at_once
        trials = [Asked(number, point) for number, point in enumerate(points)]
        batches = [trials[first : first + size] for first in range(0, len(trials), size)]
        # A batch is kept whole or not at all: with halving its trials compete.
        self.left = [batch for batch in batches if not all(each.number in finished for each in batch)]

    def ask(self) -> list[Asked]:
        """The next batch."""
        return self.left[0] if self.left else []

    def tell(self, batch: Sequence[Finished]) -> None:
        """Goes on to the next batch."""
        assert [each.trial for each in batch] == [each.number for each in self.left[0]]
        self.left.pop(0)

    def others(self) -> list[Finished]:
        """Nobody else trains."""
        return []

    def waiting(self) -> list[str]:
        """Nobody else trains."""
        return []
