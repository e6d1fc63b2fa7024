"""`python -m export.check BUNDLE`: loads a bundle as a server would, in a process without jax; exit 0 if it holds."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from himari_jax.cli import invocation
from himari_jax.command import parse, run_command

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
    debug: bool = False
    """Show the traceback of an error."""


def main(args: Sequence[str]) -> int:
    """Loads, compares and says what it found."""
    config = parse(CheckConfig, args, PROG)
    import numpy as np

    from export.loading import compare, load

    model = load(config.bundle, config.allow_features_code)
    if config.probe is not None:
        with np.load(config.probe, allow_pickle=False) as probe:
            carry = tuple(probe[f"carry_{i}"] for i in range(len(model.carry_shapes)))
            found = model.predict(probe["observation"], carry)
            for name in ("multiplier", "value"):
                compare(config.probe, name, getattr(found, name), probe[name])
            for i, leaf in enumerate(found.carry):
                compare(config.probe, f"next_carry_{i}", leaf, probe[f"next_carry_{i}"])
    symbols = ("one of " if model.is_pool else "") + " ".join(model.symbols)
    print(f"{config.bundle}: {model.name} {model.version}, {symbols}: verified")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
