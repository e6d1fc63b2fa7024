"""Walk-forward tests in this process: tiny flags, candles that are changed on purpose, comparisons to the last bit."""

from dataclasses import replace

import jax
import numpy as np

from himari_jax.candles import Candles
from himari_jax.command import run_command
from train.studies.walk_forward.flags import read_flags
from train.studies.walk_forward.run import walk_forward
from train.studies.walk_forward.track import Walk, make_walk
from train.training.population import train_population
from train.training.session import Prepared, prepare

TINY = (
    "--num-envs 16 --rollout-steps 8 --num-minibatches 2 --episode-steps 50 --total-steps 1280 --hidden-dim 8 "
    "--lstm-hidden-dim 8 --eval-interval 4 --device cpu --placebo none"
).split()
SYNTHETIC = "--source synthetic --symbols SYN1 --synthetic.num-bars 3000".split()  # 125 days of hours
BLOCKS = "--first-test 2000-03-01 --test 30d --validation 20d".split()  # three of them, the last one of five days
# One program for many tests: what is compiled for the first serves all. Without an embargo nothing hides a leak.
COMMON = [*SYNTHETIC, *TINY, *BLOCKS, *"--embargo 0h --reward log_return volatility=auto".split()]


def walk_command(*args: str) -> int:
    """Runs the command on the devices that jax has here: the exit code."""
    return run_command(lambda words: walk_forward(*read_flags(words)), args)


def prepared_for(*args: str) -> Prepared:
    """The candles that flags ask for."""
    return prepare(read_flags(args)[0].base)


def walk_on(prepared: Prepared, *args: str) -> Walk:
    """The test that flags ask for on candles that are there."""
    return make_walk(read_flags(args)[0], prepared)


def on_candles(prepared: Prepared, parts: tuple[Candles, ...]) -> Prepared:
    """The same with other candles."""
    return Prepared(parts, prepared.report, prepared.features)


def moved(candles: Candles, rows: np.ndarray, seed: int = 7) -> Candles:
    """Candles of which every price and volume of some rows is another, by up to a half."""
    rng = np.random.default_rng(seed)
    by = np.where(rows[:, None], rng.uniform(0.5, 1.5, candles.close.shape), 1.0)
    names = ("open", "high", "low", "close", "volume")
    return replace(candles, **{name: getattr(candles, name) * by for name in names})


def policies(walk: Walk) -> list:
    """Trains the members of a walk."""
    return train_population(walk.members)


def same(one, other) -> bool:
    """Whether two trees are equal to the last bit."""
    return jax.tree.all(jax.tree.map(lambda a, b: np.array_equal(np.asarray(a), np.asarray(b)), one, other))


def listed_later(candles: Candles, rows: int) -> Candles:
    """The candles of a symbol without their first rows."""
    names = ("time", "open", "high", "low", "close", "volume", "tradable", "segment")
    return replace(candles, **{name: getattr(candles, name)[rows:] for name in names})
