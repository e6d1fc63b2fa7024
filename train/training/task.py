"""The interface between the training loop and what it trains on: a task."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from train.learning.setup import Setup


class Task(Protocol):
    """The data that a run trains on; scores the policies during training and evaluates them at the end."""

    @property
    def setup(self) -> Setup:
        """Configuration, environment parameters and learner."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names that the default run folder is made of."""

    @property
    def fingerprint(self) -> str:
        """Hash of the market's data."""

    @property
    def base_sha256(self) -> str | None:
        """SHA-256 of the file of own base positions, where there is one."""

    def headline(self) -> list[str]:
        """Describes the training data, in lines for the console."""

    def origin(self) -> dict[str, Any]:
        """Provenance of the run, for `config.json` and every checkpoint."""

    def findings(self) -> dict[str, Any]:
        """Content of `data_report.json`."""

    def score(self, variables: dict) -> np.ndarray:
        """A score of each seed's policy, (K,): the larger, the better."""

    def record(self, scores: np.ndarray) -> dict[str, Any]:
        """Scores as a line of `metrics.jsonl` names them."""

    def text(self, scores: np.ndarray, best: float) -> str:
        """Scores as the progress shows them."""

    def evaluate(self, state: Any, folder: Path, timings: dict[str, Any]) -> dict[str, Any]:
        """Evaluates a finished run and writes its result."""
