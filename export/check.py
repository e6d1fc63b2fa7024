"""`python -m export.check BUNDLE`: loads a bundle as a server would, within its limits; exit 0 if it holds."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from himari_jax.cli import invocation
from himari_jax.command import parse, require, run_command

if TYPE_CHECKING:
    from export.runtime import Model

PROG = invocation("export.check")


@dataclass(frozen=True)
class CheckConfig:
    """Verify a bundle: hashes, signature, golden numbers."""

    bundle: tyro.conf.Positional[Path] = field()
    """Folder of the bundle."""
    probe: Path | None = None
    """More observations with the outputs that they must give, .npz."""
    allow_features_code: bool = False
    """Run the code for features that the bundle carries."""
    candidate_mb: int = 512
    """Most memory that verifying it may take, MB, as the server's flag of that name."""
    debug: bool = False
    """Show the traceback of an error."""

    def __post_init__(self):
        require(64 <= self.candidate_mb <= 2**20, "--candidate-mb", self.candidate_mb, "64 to 1048576")


def main(args: Sequence[str]) -> int:
    """Verifies a bundle and prints its name."""
    config = parse(CheckConfig, args, PROG)
    from export.contents.files import refuse_run
    from export.serving.models.candidate_process import limit_resources
    from export.serving.models.candidates import Candidates, Limits

    refuse_run(config.bundle)  # here, where the name of the exporting command is known
    if config.probe is None:
        limits = Limits(memory_mb=config.candidate_mb)
        model = Candidates(config.allow_features_code, limits=limits).load(config.bundle, (), lambda: False)
    else:
        limit_resources(config.candidate_mb)
        model = load_with_probe(config.bundle, config.probe, config.allow_features_code)
    symbols = ("one of " if model.is_pool else "") + " ".join(model.symbols)
    print(f"{config.bundle}: {model.name} {model.version}, {symbols}: verified")
    return 0


def load_with_probe(bundle: Path, probe: Path, allow_code: bool) -> "Model":
    """Loads a bundle and compares its outputs for further observations.

    Raises:
        InputError: it does not hold, or answers otherwise.
    """
    import numpy as np

    from export.loading import compare, load

    model = load(bundle, allow_code)
    with np.load(probe, allow_pickle=False) as wanted:
        carry = tuple(wanted[f"carry_{i}"] for i in range(len(model.carry_shapes)))
        found = model.predict(wanted["observation"], carry)
        for name in ("multiplier", "value"):
            compare(probe, name, getattr(found, name), wanted[name])
        for i, leaf in enumerate(found.carry):
            compare(probe, f"next_carry_{i}", leaf, wanted[f"next_carry_{i}"])
    return model


if __name__ == "__main__":
    sys.exit(run_command(main))
