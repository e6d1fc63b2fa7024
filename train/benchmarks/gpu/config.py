"""Flags of `python -m train.bench_gpu`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from himari_jax.command import require


@dataclass(frozen=True)
class GPUConfig:
    """Time training, backtests, peers and retrainings on this device within some minutes: programs are compiled side
    by side, then timed one after the other, each row printed and kept as it comes. Needs no network."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; on a CPU the sizes are small."""
    minutes: float = 5.0
    """Time for all of it; rows that were not reached are named."""
    only: tuple[str, ...] = ()
    """Rows whose name begins so: mlp, lstm, pathwise, multi, rejax, account, loop, retrainings; all of them if not
    given."""
    threads: int = 0
    """Programs that compile side by side; 0: as many as there are cores, 12 at most."""
    out: Path = Path("runs/bench-gpu.json")
    """FILE.json that keeps the rows."""
    debug: bool = False
    """Show the traceback of an error."""

    def __post_init__(self):
        require(0 < self.minutes <= 600, "--minutes", self.minutes, "above 0, up to 600")
        require(0 <= self.threads <= 64, "--threads", self.threads, "0 to 64")
