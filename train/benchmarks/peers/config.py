"""Flags of `python -m train.bench_peers`."""

from dataclasses import dataclass, replace
from typing import Literal

from himari_jax.command import require


@dataclass(frozen=True)
class PeersConfig:
    """Measure steps per second, seconds to a share of the optimum and memory, beside rejax, stable-baselines3 and
    sb3-contrib, each at its best of several numbers of environments and learning rates."""

    out: str = "runs/bench-peers"
    """Folder of results.jsonl, table.txt, plot.html and plot.svg; measurements found there are not made again."""
    data: tuple[str, ...] = ()
    """Candles of one symbol for the speed table; else the embedded sample."""
    parts: tuple[Literal["speed", "race"], ...] = ("speed", "race")
    """speed: steps per second on candles; race: seconds to the goal on markets with a known optimum."""
    peers: tuple[Literal["rejax", "sb3", "sb3-recurrent"], ...] = ("rejax", "sb3", "sb3-recurrent")
    """Beside whom; those that are not installed are left out and named."""
    num_envs: tuple[int, ...] = (1, 8, 64, 512)
    """Parallel environments among which the best is found."""
    learning_rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3)
    """Learning rates among which each peer's best is found."""
    seeds: int = 3
    """Runs of each row."""
    budget: float = 120.0
    """Seconds of training in which the goal must be reached."""
    search: float = 30.0
    """Seconds of training of each combination in the search."""
    speed: float = 5.0
    """Seconds of training over which speed is measured."""
    goal: float = 0.9
    """Share of the optimum."""
    num_seeds: int = 1
    """Policies that this project trains side by side in the speed table."""
    peak_tflops: float = 0.0
    """The device's largest rate of float32, for the share of the roofline (--device cuda)."""
    peak_gbs: float = 0.0
    """The device's memory bandwidth, GB/s, likewise."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to compute."""
    clock: Literal["wall", "cpu"] = "wall"
    """wall: what a user waits for, on a machine that does nothing else; cpu: seconds of the processor, over all
    threads, for a machine that is shared."""
    quick: bool = False
    """One seed, few combinations, short budgets: minutes, and no verdict."""
    debug: bool = False
    """Show the traceback of an error."""

    def __post_init__(self):
        for name in ("budget", "search", "speed"):
            require(getattr(self, name) > 0, f"--{name}", getattr(self, name), "above 0")
        require(self.seeds >= 1, "--seeds", self.seeds, "1 or more")
        require(0 < self.goal < 1, "--goal", self.goal, "between 0 and 1")
        require(all(n >= 1 for n in self.num_envs), "--num-envs", self.num_envs, "1 or more")

    def shortened(self) -> "PeersConfig":
        """Returns these flags, or with `--quick` the short version."""
        if not self.quick:
            return self
        return replace(
            self,
            seeds=1,
            num_envs=(8, 512),
            learning_rates=(1e-3,),
            budget=min(self.budget, 30.0),
            search=min(self.search, 5.0),
            speed=min(self.speed, 2.0),
        )
