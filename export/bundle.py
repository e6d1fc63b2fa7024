"""`python -m export.bundle`: a trained run as a folder that a server without jax can verify and run."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from himari_jax.errors import InputError
from himari_jax.storage import list_files, split_address, upload_folder
from train.cli import exit_at_signals, parse, run_command
from train.flags import auto, require
from train.ppo import choose_device

PROG = "python -m export.bundle"


@dataclass(frozen=True)
class BundleConfig:
    """Export a run: policy.onnx, golden.npz and manifest.json, verified before they get their name."""

    run: tyro.conf.Positional[Path] = field()
    """Run folder."""
    out: Path = field()
    """Folder of the bundle; it must not exist yet."""
    checkpoint: str = "best"
    """best (on the validation span), latest, or a step."""
    seed_index: Annotated[int | None, auto("the seed that did best on validation")] = None
    """Which of the run's seeds, from 0."""
    data: tuple[str, ...] = ()
    """Where the run's candles are now, if they moved."""
    gcs: str | None = None
    """Also write it to gs://BUCKET/PREFIX, the manifest last; nothing may be there yet."""
    name: Annotated[str | None, auto("that of the run folder")] = None
    """Name of the model."""
    debug: bool = False
    """Show the traceback of an error."""

    def __post_init__(self):
        named = self.checkpoint in ("best", "latest") or self.checkpoint.isdigit()
        require(named, "--checkpoint", self.checkpoint, "best, latest or a step")
        require(self.seed_index is None or self.seed_index >= 0, "--seed-index", self.seed_index, "0 or more")
        require(self.name != "", "--name", "''", "the name of a model")
        if self.gcs is not None:
            split_address(self.gcs)


def main(args: Sequence[str]) -> int:
    """Exports and says where."""
    config = parse(BundleConfig, args, PROG)
    exit_at_signals("stopped; nothing was written")
    choose_device("cpu")
    # Everything heavy is imported here, after the flags are known to be good.
    from export.bundling import write_bundle

    if config.gcs is not None and (found := list_files(config.gcs)):
        raise InputError(f"--gcs {config.gcs}: {next(iter(found))} is there already; choose another prefix")
    code = write_bundle(config)
    if config.gcs is not None:
        exit_at_signals(f"stopped; {config.out} is whole, {config.gcs} is not")
        written = upload_folder(config.out, config.gcs, last=["manifest.json"])
        print(f"{config.gcs}: {', '.join(written)}")
    return code


if __name__ == "__main__":
    sys.exit(run_command(main))
