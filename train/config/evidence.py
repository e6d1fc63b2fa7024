"""Flags of `python -m train.evidence`, and the walk-forward tests that it runs. Light: no jax."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from himari_jax.command import auto, flag, require, split_words
from himari_jax.spelling import once_each
from himari_jax.times import parse_moment


class Explored(NamedTuple):
    """Results of the exploration that came before this test; quoted, since it cannot be run again."""

    difference: float  # Sharpe minus that of the constant
    interval: tuple[float, float]  # 95 %
    late: float  # difference one day late
    turnover: float  # a year


class Row(NamedTuple):
    """A walk-forward test of the evidence."""

    inputs: str  # heads its column, with the algorithm
    algorithm: Literal["pathwise", "ppo"]
    flags: str  # of train.walk_forward, all but those that every row has
    explored: Explored | None = None
    beside: bool = False  # stands beside the exploration alone, and not in table and picture

    @property
    def title(self) -> str:
        """Name in words."""
        return f"{self.inputs}, {self.algorithm}"


TWELVE = (
    "--pool --reward log_return volatility=auto --hidden-dim 32 --episode-steps 100 --num-envs 256 "
    "--total-steps 400000 --decide-every 1d --fill same-close"
)
BEFORE = "--initial-log-std -2 --learning-rate 2e-3"  # PPO's defaults on candles when the exploration was made
ROWS = {
    "trend-pathwise": Row("trend", "pathwise", "--preset trend"),
    "trend-ppo": Row("trend", "ppo", "--preset trend"),
    "twelve-pathwise": Row("twelve inputs", "pathwise", TWELVE, Explored(0.44, (0.13, 0.76), 0.33, 17)),
    "twelve-ppo": Row("twelve inputs", "ppo", TWELVE, Explored(0.15, (0.06, 0.24), 0.08, 8)),
    "twelve-ppo-before": Row("twelve inputs, defaults of then", "ppo", f"{TWELVE} {BEFORE}", beside=True),
}
EVERY = "--embargo 10d --placebo 1y 2y 3y"  # flags of every row
EXPLORED_TRIALS = (82, 105)  # configurations that the exploration tried: daily, hourly
# Flags of train.walk_forward that are set here, or with which the rows would not be one table of one ledger.
TAKEN = (
    *("--data", "--algorithm", "--first-test", "--num-seeds", "--permutations", "--permute", "--device"),
    *("--run-dir", "--bucket-name", "--model-dir", "--ledger", "--resume", "--fresh", "--config"),
)


@dataclass(frozen=True)
class EvidenceConfig:
    """Is there something to learn? Retrain yearly on many daily coins, evaluate all years as one track, put late inputs
    and permuted bars beside it; resumes where it stopped."""

    data: Path | None = None
    """Folder of daily candles, one file per coin; needed unless --render."""
    run_dir: Path = Path("runs/evidence")
    """Folder of the tests, a folder each, and of their trial ledger; a test that is finished there is not run again."""
    rows: tuple[str, ...] = tuple(ROWS)
    """Names of tests: trend-pathwise, trend-ppo, twelve-pathwise, twelve-ppo, twelve-ppo-before."""
    first_test: str = "2018-01-01"
    """First day of the first test year (UTC)."""
    num_seeds: int = 4
    """Policies of each year, whose mean action is evaluated."""
    permutations: int = 200
    """Null markets, permuted candles on which everything is trained anew; 0: none."""
    permuted: tuple[str, ...] = ("trend-pathwise", "trend-ppo")
    """The tests that get --permutations."""
    permute: Literal["bars", "blocks"] = "bars"
    """bars: one by one. blocks: a month of bars together, which keeps clusters of volatility: the harder test."""
    flags: str = ""
    """Further flags of train.walk_forward for every test, as one word: --flags="--total-steps 100000"."""
    out: Annotated[Path | None, auto("evidence.md in --run-dir")] = None
    """FILE.md to write the tables to, as Markdown."""
    picture: Annotated[Path | None, auto("walk-forward.svg in --run-dir")] = None
    """FILE.svg to draw the tracks and the years to."""
    render: bool = False
    """Run nothing: tables and picture of what is finished under --run-dir."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device to compute on."""
    debug: bool = False
    """Show the traceback of an error."""

    def __post_init__(self):
        require(self.data is not None or self.render, "--data", "(not given)", "a folder of daily candles")
        for name in ("rows", "permuted"):
            value = getattr(self, name)
            known = set(value) <= set(ROWS) and len(set(value)) == len(value)
            require(known, flag(name), " ".join(value), once_each(value, ROWS))
        require(len(self.rows) > 0, "--rows", "(none)", f"one or more of {', '.join(ROWS)}")
        parse_moment(self.first_test, "--first-test")
        require(1 <= self.num_seeds <= 4096, "--num-seeds", self.num_seeds, "1 to 4096")
        require(0 <= self.permutations <= 100_000, "--permutations", self.permutations, "0 to 100000")
        for word in self.words:
            name = word.partition("=")[0].replace("_", "-")
            require(name not in TAKEN, "--flags", name, "any other flag of train.walk_forward")

    @property
    def words(self) -> list[str]:
        """The words of --flags."""
        return split_words("--flags", self.flags)

    @property
    def page(self) -> Path:
        """File of the tables."""
        return self.out or self.run_dir / "evidence.md"

    @property
    def drawing(self) -> Path:
        """File of the picture."""
        return self.picture or self.run_dir / "walk-forward.svg"

    def folder(self, name: str) -> Path:
        """Returns the run folder of a row."""
        return self.run_dir / name

    def draws(self, name: str) -> int:
        """Returns the number of permutations of a row."""
        return self.permutations if name in self.permuted else 0

    def flags_of(self, name: str) -> list[str]:
        """Returns the flags of train.walk_forward that run a row; --flags come last and win."""
        own = ROWS[name]
        return [
            *("--data", str(self.data), *own.flags.split(), "--algorithm", own.algorithm),
            *("--first-test", self.first_test, *EVERY.split(), "--num-seeds", str(self.num_seeds)),
            *("--permutations", str(self.draws(name)), "--permute", self.permute),
            *("--device", self.device, "--run-dir", str(self.folder(name)), *self.words),
        ]
