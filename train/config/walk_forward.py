"""Flags of `python -m train.walk_forward` beside those of `train.ppo`: blocks, windows, placebos. Light: no jax."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from himari_jax.command import auto, require
from himari_jax.errors import InputError
from himari_jax.times import parse_moment
from train.config.ppo import Config

PERIOD = re.compile(r"([1-9]\d{0,3})(y|mo|w|d|h)")
PERIODS = "a number and y, mo, w, d or h, such as 1y, 3mo, 90d"


@dataclass(frozen=True)
class WalkForwardConfig:
    """Test blocks, and the candles that the policy of each is trained on."""

    first_test: Annotated[str | None, auto("the day in the middle of the candles")] = None
    """First day of the first test block, such as 2018-01-01 (UTC)."""
    test: str = "1y"
    """Length of a test block: a policy is retrained before each. y, mo, w, d or h."""
    window: str = "expanding"
    """Candles that a policy is trained on: expanding (all that lie before its validation), or the last 3y of them."""
    validation: str = "1y"
    """Length of the validation span, which lies before the test block: it chooses the update and, with best, the
    seed."""
    ensemble: Literal["mean", "best"] = "mean"
    """Policy of several seeds: the mean of their actions, or in each block the best on its validation span."""
    placebo: tuple[str, ...] = ("1y",)
    """Delays of placebos, the same test with inputs so late that nothing can be found: 1y 2y 3y; none leaves them
    out."""
    batch_size: Annotated[int | None, auto("as many as fit the memory")] = None
    """Policies that train side by side in one program; what a killed run loses at most."""

    def __post_init__(self):
        if self.first_test is not None:
            parse_moment(self.first_test, "--first-test")
        for name in ("test", "validation"):
            value = getattr(self, name)
            require(PERIOD.fullmatch(value) is not None, f"--{name}", value, PERIODS)
        fits = self.window == "expanding" or PERIOD.fullmatch(self.window) is not None
        require(fits, "--window", self.window, f"expanding, or {PERIODS}")
        for shift in self.shifts:
            require(PERIOD.fullmatch(shift) is not None, "--placebo", shift, f"none, or {PERIODS}")
        require(len(set(self.placebo)) == len(self.placebo), "--placebo", " ".join(self.placebo), "named once each")
        size = self.batch_size
        require(size is None or 1 <= size <= 2**16, "--batch-size", size, "1 to 65536")

    @property
    def shifts(self) -> tuple[str, ...]:
        """Delays of the placebos' inputs."""
        return () if self.placebo == ("none",) else self.placebo

    def check(self, base: Config) -> None:
        """Raises InputError where the flags of `train.ppo` do not fit.

        Args:
            base: flags of `train.ppo`.
        """
        if base.data.env is not None:
            raise InputError(f"--env {base.data.env}: a walk-forward test is on candles; give it to train.ppo")
        if base.data.split != (0.6, 0.8):
            split = " ".join(map(str, base.data.split))
            raise InputError(f"--split {split}: blocks are cut by --first-test, --test and --validation; leave it out")
        if base.data.embargo == "lookback":
            raise InputError("--embargo lookback: test blocks follow each other without a gap; give a time such as 10d")
        run = base.run
        if run.address is not None:
            raise InputError(f"--run-dir {run.address}: a walk-forward test keeps its folder here; name a folder")
        for name, value in (("coordinator", run.coordinator), ("num-processes", run.num_processes)):
            if value is not None:
                raise InputError(f"--{name} {value}: a walk-forward test trains in one process; see --devices")
