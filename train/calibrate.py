"""`python -m train.calibrate`: whether the verdict's statistics hold what they promise, where the truth is known.

Shares of pure noise that PSR and DSR let pass, and of intervals that hold the truth, each beside its nominal value.
"""

import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

import numpy as np
from scipy.signal import lfilter
from scipy.special import ndtr, ndtri

from himari_jax.cli import invocation
from himari_jax.command import parse, run_command
from himari_jax.errors import InputError
from himari_jax.statistics.bootstrap import interval, stationary_bootstrap_sharpe
from himari_jax.statistics.significance import deflated_sharpe, probabilistic_sharpe

if TYPE_CHECKING:
    from train.evaluation.verdict_calibration import Skill

PROG = invocation("train.calibrate")
BARS_PER_YEAR = 8760
WIDTH = 68  # of a figure's name
TAILS = 4  # degrees of freedom of the Student series: its kurtosis is infinite
MEMORY = 0.1  # correlation of the autocorrelated series with the bar before
ALIKE = 0.5  # correlation of strategies that were tried on one market
SHARPES = (1.5, 0.5)  # annual, of the policy and its baseline; truth of the intervals
PAIRED = 0.8  # correlation of the two
CLUSTERED = {"garch": "GARCH with t shocks"}
FEW = 600  # bars
SLOW = 1460.0  # bars of a year, of six hours, on which the whole verdict is reached
CONFIGURATIONS, SEEDS = 5, 20  # that a user tries
KINDS = {"normal": "normal", "t": f"Student t({TAILS})", "ar": f"autocorrelation {MEMORY}"}
INDEPENDENT = float(ndtr(ndtri(0.05) * math.sqrt((1 - MEMORY) / (1 + MEMORY))))  # what PSR passes of AR noise in theory


@dataclass(frozen=True)
class CalibrateConfig:
    """Measure the statistics of the verdict on series whose truth is known; exit 1 where one misses its bounds."""

    series: int = 10_000
    """Pure-noise series for the probabilistic Sharpe ratio, of each kind."""
    bars: int = 8760
    """Their bars."""
    repeats: int = 500
    """Searches for the deflated Sharpe ratio, of each kind."""
    strategies: int = 100
    """Noise strategies of a search, of which the best is tested."""
    trials: int = 1600
    """Intervals, of each kind."""
    trial_bars: int = 2000
    """Bars of a strategy and of an interval."""
    samples: int = 1000
    """Resamples of an interval."""
    markets: int = 500
    """Markets on which the whole verdict is reached, for each figure of the word EDGE."""
    seed: int = 0
    """Seed of all series."""
    processes: int = 2
    """Processes that share the work."""
    debug: bool = False
    """Show the traceback of an error."""
    quick: bool = False
    """Some 20 seconds: fewer and shorter series, bounds widened by two standard errors of the measurement."""


class Figure(NamedTuple):
    """A share that was measured, and where it should lie."""

    name: str
    value: float
    error: float  # standard error of the measurement
    nominal: str
    low: float
    high: float
    remark: str = ""


def main(args: Sequence[str]) -> int:
    """Prints a line for each figure; 1 where one lies outside its bounds."""
    config = check(parse(CalibrateConfig, args, PROG))
    print(f"{'figure':{WIDTH}} {'value':>8} {'+-':>6}  {'nominal':10} {'bounds':16} result")
    missed = 0
    for figure in figures(config):
        allowance = 2 * figure.error if config.quick else 0.0
        within = figure.low - allowance <= figure.value <= figure.high + allowance
        missed += not within
        print(line(figure, within), flush=True)
    print("all within bounds" if not missed else f"{missed} outside their bounds")
    return int(missed > 0)


def check(config: CalibrateConfig) -> CalibrateConfig:
    """Checks the settings and cuts them down where `quick`.

    Raises:
        InputError: a number is too small to measure with.
    """
    least = {
        "series": 10,
        "bars": 10,
        "repeats": 10,
        "strategies": 2,
        "trials": 10,
        "trial_bars": 10,
        "samples": 40,
        "markets": 10,
    }
    for name, bound in {**least, "seed": 0, "processes": 1}.items():
        if (value := getattr(config, name)) < bound:
            raise InputError(f"--{name.replace('_', '-')} {value}: at least {bound}")
    if not config.quick:
        return config
    cut = {
        "series": 4000,
        "bars": 2000,
        "repeats": 200,
        "trials": 250,
        "trial_bars": 1000,
        "samples": 400,
        "markets": 60,
    }
    return replace(config, **{name: min(getattr(config, name), most) for name, most in cut.items()})


def figures(config: CalibrateConfig) -> Iterator[Figure]:
    """Yields every figure as soon as it is measured."""
    with workers(config.processes) as every:
        for kind in KINDS:
            yield psr_figure(kind, run_trials(every, psr_passes, kind, config.series, config))
        for kind, common in (("normal", 0.0), ("t", 0.0), ("normal", ALIKE)):
            below = run_trials(every, dsr_stays_below, (kind, common), config.repeats, config)
            name = f"DSR of best of {config.strategies} < 0.95: {KINDS[kind]}, correlation {common:g}"
            yield Figure(name, *share(below, 0.95), ">= 95 %", 0.95, 1.0)
        for kind, bars in (*((kind, config.trial_bars) for kind in KINDS), ("garch", config.trial_bars), ("t", FEW)):
            held = run_trials(every, intervals_hold, (kind, bars), config.trials, config)
            for name, column in zip(("Sharpe", "paired difference"), held.T, strict=True):
                info = f"95 % interval of the {name} holds it: {(KINDS | CLUSTERED)[kind]}"
                info += f", {bars} bars" if bars == FEW else ""
                yield Figure(info, *share(column, 0.95), "95 % +- 2", 0.93, 0.97)
        yield from verdict_figures(every, config)


def verdict_figures(every: Callable, config: CalibrateConfig) -> Iterator[Figure]:
    """Shares of markets with the verdict EDGE: on noise, and where the multiplier has a true skill."""
    from train.evaluation.verdict_calibration import Skill, expected_power  # with jax, after the flags are read

    for years in (1, 3):
        hits = run_trials(every, finds_edge, Skill(SLOW, years, None), config.markets, config)
        yield Figure(f"EDGE on noise that pays its costs, {years} y", *share(hits, 0.05), "<= 5 %", 0.0, 0.05)
    tried = run_trials(every, is_fooled, Skill(SLOW, 1, None), config.markets, config)
    name = f"EDGE in any of {CONFIGURATIONS} configurations of {SEEDS} seeds, noise, one ledger"
    yield Figure(name, *share(tried, 0.05), "<= 5 %", 0.0, 0.05)
    for difference, years in ((0.25, 1), (0.25, 3), (0.25, 8), (0.5, 1), (0.5, 3), (0.5, 8), (1, 1), (1, 3), (2, 1)):
        skill = Skill(SLOW, years, difference)
        hits = run_trials(every, finds_edge, skill, config.markets, config)
        theory = expected_power(skill)
        name = f"EDGE where the multiplier truly adds {difference:g} Sharpe, {years} y"
        promised = {(1.0, 3): 0.8, (1.0, 1): 0.5}
        low = promised.get((float(difference), years), max(theory - 0.15, 0.0))
        yield Figure(name, *share(hits, theory), f"{theory:.0%}", low, min(theory + 0.15, 1.0))


def psr_figure(kind: str, passes: np.ndarray) -> Figure:
    """Share of pure noise that PSR(0) > 0.95 lets pass; of noise with memory it is held against theory."""
    name = f"PSR(0) > 0.95 passes noise: {KINDS[kind]}"
    if kind != "ar":
        return Figure(name, *share(passes, 0.05), "5 % +- 1", 0.04, 0.06)
    remark = f"not the nominal 5 %: PSR takes bars as independent, with this memory theory says {INDEPENDENT:.1%}"
    low, high = INDEPENDENT - 0.01, INDEPENDENT + 0.01
    return Figure(name, *share(passes, INDEPENDENT), "5 % +- 1", low, high, remark)


def line(figure: Figure, within: bool) -> str:
    """Formats a figure as a line of the table."""
    bounds = f"{figure.low:.1%} to {figure.high:.1%}"
    result = "OUTSIDE" if not within else f"known: {figure.remark}" if figure.remark else "ok"
    return f"{figure.name:{WIDTH}} {figure.value:8.2%} {figure.error:6.2%}  {figure.nominal:10} {bounds:16} {result}"


def share(hits: np.ndarray, promised: float) -> tuple[float, float]:
    """Share of hits, (n,) bool, and its standard error where the promised share p is true, `sqrt(p (1 - p) / n)`."""
    return float(np.mean(hits)), math.sqrt(promised * (1 - promised) / len(hits))


def finds_edge(skill: "Skill", key: Sequence[int], config: CalibrateConfig) -> bool:
    """Whether the verdict on one policy on one market is EDGE."""
    from train.evaluation.verdict_calibration import word_of

    return word_of(skill, tuple(key), samples=config.samples) == "EDGE"


def is_fooled(skill: "Skill", key: Sequence[int], config: CalibrateConfig) -> bool:
    """Whether one of several configurations of noise gets the verdict EDGE."""
    from train.evaluation.verdict_calibration import any_edge

    return any_edge(skill, tuple(key), CONFIGURATIONS, SEEDS, config.samples)


def noise(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Bars of mean 0 and deviation 1, time first: `normal`, `t`, `ar` or `garch`, stationary from the first bar on."""
    if kind == "garch":
        from train.evaluation.verdict_calibration import clustered

        return np.stack([np.multiply(*clustered(shape[0], rng)) for _ in range(shape[1])], 1)
    if kind == "t":
        return rng.standard_t(TAILS, shape) / math.sqrt(TAILS / (TAILS - 2))
    e = rng.standard_normal(shape)
    if kind == "normal":
        return e
    before = MEMORY * rng.standard_normal((1, *shape[1:]))
    return lfilter([math.sqrt(1 - MEMORY**2)], [1, -MEMORY], e, axis=0, zi=before)[0]


def psr_passes(kind: str, key: Sequence[int], config: CalibrateConfig) -> bool:
    """Whether one series of pure noise passes."""
    return probabilistic_sharpe(noise(kind, (config.bars,), np.random.default_rng(key))) > 0.95


def dsr_stays_below(market: tuple[str, float], key: Sequence[int], config: CalibrateConfig) -> bool:
    """Whether the best of many noise strategies, equally correlated with each other, fails."""
    (kind, common), rng, shape = market, np.random.default_rng(key), (config.trial_bars, config.strategies)
    r = noise(kind, shape, rng)
    if common:
        r = math.sqrt(1 - common) * r + math.sqrt(common) * noise(kind, (config.trial_bars, 1), rng)
    sharpes = r.mean(axis=0) / r.std(axis=0, ddof=1)
    return not deflated_sharpe(r[:, np.argmax(sharpes)], sharpes) > 0.95


def intervals_hold(subject: tuple[str, int], key: Sequence[int], config: CalibrateConfig) -> tuple[bool, bool]:
    """Whether the intervals of a Sharpe ratio and of its paired difference to a baseline hold the truth."""
    (kind, bars), rng = subject, np.random.default_rng(key)
    e = noise(kind, (bars, 2), rng)
    policy = PAIRED * e[:, 1] + math.sqrt(1 - PAIRED**2) * e[:, 0]
    r = np.stack([policy, e[:, 1]], axis=1) + np.array(SHARPES) / math.sqrt(BARS_PER_YEAR)
    samples = stationary_bootstrap_sharpe(r, BARS_PER_YEAR, config.samples, seed=key[-1])
    low, high = interval(samples[:, 0])
    low_difference, high_difference = interval(samples[:, 0] - samples[:, 1])
    return low < SHARPES[0] < high, low_difference < SHARPES[0] - SHARPES[1] < high_difference


@contextmanager
def workers(processes: int) -> Iterator[Callable]:
    """Yields a `map` that is spread over so many processes."""
    if processes == 1:
        yield map
        return
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the processes fill the cores; they inherit it
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield partial(pool.map, chunksize=20)


def run_trials(every: Callable, trial: Callable, subject: object, count: int, config: CalibrateConfig) -> np.ndarray:
    """Runs `count` trials on a subject, each with a random key of its own; their results, (count, ...)."""
    stream = crc32(f"{trial.__name__} {subject}".encode())  # figures share no random numbers
    return np.array(list(every(partial(run_trial, trial, subject, config, stream), range(count))))


def run_trial(trial: Callable, subject: object, config: CalibrateConfig, stream: int, index: int) -> object:
    """Runs one trial with a key of its own."""
    return trial(subject, (config.seed, stream, index), config)


if __name__ == "__main__":
    sys.exit(run_command(main))
