"""What a training run is for."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from train.learning.setup import Setup


class Task(Protocol):
    """What a course is for: says what runs, scores policies on the way, judges at the end."""

    @property
    def setup(self) -> Setup:
        """What learning needs."""

    @property
    def names(self) -> tuple[str, ...]:
        """What the run folder is named after."""

    @property
    def fingerprint(self) -> str:
        """Hash of the market's data."""

    @property
    def base_sha256(self) -> str | None:
        """SHA-256 of the file of own base positions, where there is one."""

    def headline(self) -> list[str]:
        """What is trained on, in lines."""

    def origin(self) -> dict[str, Any]:
        """What made the run, for `config.json` and every checkpoint."""

    def findings(self) -> dict[str, Any]:
        """What `data_report.json` holds."""

    def score(self, variables: dict) -> np.ndarray:
        """A score of each seed's policy, (K,): the larger, the better."""

    def record(self, scores: np.ndarray) -> dict[str, Any]:
        """Scores as a line of `metrics.jsonl` names them."""

    def text(self, scores: np.ndarray, best: float) -> str:
        """Scores as the progress shows them."""

    def evaluate(self, state: Any, folder: Path, timings: dict[str, Any]) -> dict[str, Any]:
        """Judges a finished run and writes its result."""
