"""Flags of `python -m train.sweep` beside those of `train.ppo`: dimensions and search. Light: no jax."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

from himari_jax.command import auto, require
from himari_jax.errors import InputError
from train.config.ppo import Config
from train.config.vary import Dimension, Range, parse_vary, size

TRIALS = 64  # of random and optuna
LISTED, PROPOSED = 256, 16  # configurations of a batch, of grid and random, and of optuna


@dataclass(frozen=True)
class SweepConfig:
    """Dimensions of the sweep and their search."""

    vary: tuple[str, ...] = ()
    """Flags that differ between configurations, NAME=v1,v2,... each: learning_rate=1e-4,1e-3
    lstm_hidden_dim=32,64; the weight of a reward term as reward.volatility=0.1,0.5; | between lists:
    symbols="BTC ETH|BTC ETH SOL". Of numbers also LOW:HIGH (uniform), LOW:HIGH:STEP, log:LOW:HIGH, for random and
    optuna."""
    search: Literal["grid", "random", "optuna"] = "grid"
    """grid: every combination. random: drawn by --seed, none twice. optuna: proposed by what was found so far (TPE)."""
    num_trials: Annotated[int | None, auto("64; as many as there are where that is fewer")] = None
    """Configurations of random and optuna; of a shared study all machines together."""
    batch_size: Annotated[int | None, auto(f"{LISTED} of grid and random, {PROPOSED} of optuna")] = None
    """Configurations that are begun together: those of one architecture train in one program, and --halving compares
    them. Optuna proposes so many before it hears of any."""
    halving: int | None = None
    """ETA: successive halving in each batch: one of ETA configurations, by mean validation score, goes on to ETA times
    as many updates."""
    storage: Annotated[str | None, auto("journal.log in the run folder")] = None
    """Storage of the study of optuna: a journal file that machines share, or the URL of a database, such as
    postgresql://USER@HOST/NAME."""
    study: str = "sweep"
    """Name of the study in --storage."""

    def __post_init__(self):
        require(self.num_trials is None or 1 <= self.num_trials <= 10**6, "--num-trials", self.num_trials, "1 or more")
        size = self.batch_size
        require(size is None or 1 <= size <= 4096, "--batch-size", size, "1 to 4096")
        require(self.halving is None or 2 <= self.halving <= 64, "--halving", self.halving, "2 to 64")
        fits = self.halving is None or self.halving <= self.at_once
        require(fits, "--halving", self.halving, f"at most --batch-size {self.at_once}")
        require(self.storage != "", "--storage", "''", "a file, or the URL of a database")
        require(bool(self.study.strip()), "--study", "''", "a name")

    @cached_property
    def dimensions(self) -> tuple[Dimension, ...]:
        """Dimensions of --vary."""
        return parse_vary(self.vary)

    @property
    def at_once(self) -> int:
        """Configurations of a batch, their default applied."""
        return self.batch_size or (PROPOSED if self.search == "optuna" else LISTED)

    @property
    def wanted_trials(self) -> int:
        """Configurations: all of a grid, else as many as are asked for, and not more than there are."""
        most = size(self.dimensions)
        if self.search == "grid":
            assert most is not None
            return most
        return min(x for x in (self.num_trials or TRIALS, most) if x is not None)

    def check(self, base: Config) -> None:
        """Raises InputError where flags do not fit each other, or those of `train.ppo`.

        Args:
            base: flags of `train.ppo`.
        """
        if not self.vary:
            raise InputError("--vary: says what differs; name a flag with values, such as --vary gamma=0.9,0.95,0.99")
        for each in self.dimensions:
            if isinstance(each, Range) and self.search == "grid":
                raise InputError(f"--vary {each.name}: a range has no grid; list its values, or --search random")
        if self.search == "grid" and self.num_trials is not None:
            raise InputError(f"--num-trials {self.num_trials}: belongs to random and optuna; a grid is tried whole")
        if self.search != "optuna" and (self.storage is not None or self.study != "sweep"):
            raise InputError(f"--storage, --study: belong to --search optuna, and this is {self.search}")
        if base.data.env is not None:
            raise InputError(f"--env {base.data.env}: a sweep is on candles; train.ppo takes markets with an optimum")
        run = base.run
        if run.address is not None:
            raise InputError(f"--run-dir {run.address}: a sweep keeps its folder on this machine; name a folder")
        if run.devices is not None:
            raise InputError(
                f"--devices {run.devices}: a sweep shares its policies out among all devices; leave it out"
            )
        if run.permutations:
            raise InputError(
                f"--permutations {run.permutations}: a sweep has none; give them to a run of the chosen one"
            )
        for name, value in (("coordinator", run.coordinator), ("num-processes", run.num_processes)):
            if value is not None:
                raise InputError(f"--{name} {value}: a sweep trains in one process; machines share an optuna --storage")


def without_password(storage: str) -> str:
    """Replaces the password in the URL of a storage by ***, for logs and files."""
    return re.sub(r"(://[^/@\s]*?:)[^@/\s]+@", r"\1***@", storage)
