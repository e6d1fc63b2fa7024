"""The interface between the training loop and its task: a market with scores and an evaluation."""

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
        """SHA-256 of the file of own base positions; None without one."""

    def headline(self) -> list[str]:
        """Describes the training data, in lines for the console."""

    def origin(self) -> dict[str, Any]:
        """Collects the provenance of the run, for `config.json` and every checkpoint."""

    def findings(self) -> dict[str, Any]:
        """Returns the content of `data_report.json`."""

    def score(self, variables: dict) -> np.ndarray:
        """Scores each seed's policy, (K,): the larger, the better."""

    def record(self, scores: np.ndarray) -> dict[str, Any]:
        """Names scores for a line of `metrics.jsonl`."""

    def text(self, scores: np.ndarray, best: float) -> str:
        """Words scores for the line of progress."""

    def evaluate(self, state: Any, folder: Path, timings: dict[str, Any]) -> dict[str, Any]:
        """Evaluates a finished run and writes its result."""
