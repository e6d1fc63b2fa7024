"""Flags of `python -m train.submit` beside those of `train.ppo`: the machines of the job. Light: no jax."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from himari_jax.command import auto, require

REGION = re.compile(r"[a-z]+-[a-z]+\d+")
PROJECT = re.compile(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,29}")
BOARD = re.compile(r"projects/[^/]+/locations/[^/]+/tensorboards/[^/]+")


@dataclass(frozen=True)
class VertexConfig:
    """The machines of the job."""

    project: str | None = None
    """Project of Google Cloud; must be given."""
    region: str | None = None
    """Such as us-central1; must be given."""
    image: str | None = None
    """Image of export/deploy/Dockerfile.train in Artifact Registry, best by its digest; must be given."""
    display_name: str = "himari-train"
    """Name of the job."""
    machine_type: str = "n1-standard-8"
    """Machine of each process."""
    accelerator: str = "NVIDIA_TESLA_T4"
    """GPU, as Vertex AI calls it; none trains on processors."""
    accelerator_count: int = 1
    """GPUs of each machine."""
    replicas: int = 1
    """Machines that train together."""
    strategy: Literal["spot", "standard"] = "spot"
    """spot: cheaper, and taken away at times; the job goes on at its newest checkpoint."""
    max_hours: float = 168.0
    """Hours after which the service ends the job."""
    service_account: Annotated[str | None, auto("that of Vertex AI")] = None
    """Account that the job runs as."""
    tensorboard: Annotated[str | None, auto("none")] = None
    """projects/P/locations/R/tensorboards/ID that shows the events; needs --service-account."""
    network: Annotated[str | None, auto("none")] = None
    """projects/NUMBER/global/networks/NAME to which the machines are peered."""
    dry_run: bool = False
    """Print the job and send nothing; without credentials that is so anyway."""

    def __post_init__(self):
        for name, form in (("project", PROJECT), ("region", REGION)):
            value = getattr(self, name)
            allowed = "the id of a project" if name == "project" else "a region, such as us-central1"
            require(value is None or form.fullmatch(value) is not None, f"--{name}", value, allowed)
        require(self.image != "", "--image", "''", "the name of an image")
        require(1 <= len(self.display_name) <= 128, "--display-name", self.display_name, "1 to 128 characters")
        require(1 <= self.accelerator_count <= 16, "--accelerator-count", self.accelerator_count, "1 to 16")
        require(1 <= self.replicas <= 1000, "--replicas", self.replicas, "1 to 1000")
        require(0 < self.max_hours <= 720, "--max-hours", self.max_hours, "above 0, up to 720")
        board = self.tensorboard
        allowed = "projects/P/locations/R/tensorboards/ID"
        require(board is None or BOARD.fullmatch(board) is not None, "--tensorboard", board, allowed)
        alone = board is None or self.service_account is not None
        require(alone, "--tensorboard", board, "given with --service-account, which writes there")
