"""Flags of `python -m export.bundle`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from himari_jax.command import auto, require
from himari_jax.storage import named_address, split_address


@dataclass(frozen=True)
class BundleConfig:
    """Export a run: policy.onnx, golden.npz and manifest.json, verified before they get their name."""

    run: tyro.conf.Positional[Path] = field()
    """Run folder, or gs://BUCKET/PREFIX of one."""
    out: Path = field()
    """Folder of the bundle; it must not exist yet."""
    checkpoint: str = "best"
    """best (on the validation span), latest, or a step."""
    seed_index: Annotated[int | None, auto("the seed that did best on validation")] = None
    """Index of the seed among those of the run, from 0."""
    data: tuple[str, ...] = ()
    """New paths of the run's candles, if they moved."""
    gcs: str | None = None
    """Also write it to gs://BUCKET/PREFIX, the manifest last; nothing may be there yet."""
    bucket_name: str | None = None
    """With --model-dir: --gcs gs://BUCKET_NAME/MODEL_DIR/bundle in other words."""
    model_dir: str | None = None
    """With --bucket-name: the folder in the bucket, such as that of the run."""
    name: Annotated[str | None, auto("that of the run folder")] = None
    """Name of the model."""
    debug: bool = False
    """Show the traceback of an error."""

    def __post_init__(self):
        named = self.checkpoint in ("best", "latest") or self.checkpoint.isdigit()
        require(named, "--checkpoint", self.checkpoint, "best, latest or a step")
        require(self.seed_index is None or self.seed_index >= 0, "--seed-index", self.seed_index, "0 or more")
        require(self.name != "", "--name", "''", "the name of a model")
        both = self.gcs is not None and (self.bucket_name is not None or self.model_dir is not None)
        require(not both, "--gcs and --bucket-name", f"{self.gcs}, {self.bucket_name}", "one of the two")
        if self.target is not None:
            split_address(self.target)

    @property
    def target(self) -> str | None:
        """Address in a bucket that the bundle is also written to; None: nowhere."""
        folder = named_address(self.bucket_name, self.model_dir)
        return self.gcs if folder is None else f"{folder}/bundle"
