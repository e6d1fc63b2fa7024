"""Measures how often the verdict is EDGE where the truth is known: fat-tailed clustered returns, policies of a skill.

The market's return of a bar is `r = sigma_t (k s_t + e_t)`: sigma_t a GARCH(1, 1), e_t Student t, s_t what the
policy knows, an AR(1) of unit variance. It holds `w_t = B (1 + D s_t)` and pays for what it trades; the position
that it multiplies is B. k is chosen for a true difference of annual Sharpe ratios, costs included; k = 0 is no skill.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.signal import lfilter
from scipy.special import ndtr, ndtri

from himari_jax.statistics import metrics
from train.evaluation.rivals import RIVALS, measure_all
from train.evaluation.summary import collect_evidence, resample
from train.evaluation.verdict import verdict
from train.simulation.history import AccountHistory
from train.simulation.play import SpanHistories

BASE = 0.25  # B
SPREAD = 0.5  # D, deviation of the multiplier
MEMORY = 0.98  # of s_t, bar to bar
COST = 0.001  # share of the traded value
TAILS = 5  # degrees of freedom of e_t
ARCH, GARCH = 0.08, 0.9  # of sigma_t^2
VOLATILITY = 0.6  # annual
BURN_IN = 500


class Skill(NamedTuple):
    """A market and a policy on it."""

    bars_per_year: float
    years: float
    difference: float | None  # true annual Sharpe that the multiplier adds; None: no skill, and costs

    @property
    def bars(self) -> int:
        """T, bars of the market."""
        return round(self.bars_per_year * self.years)


def draw_account(skill: Skill, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draws the signal that a policy knows, (T,), and the market's returns, (T,)."""
    known = ar_noise(skill.bars, rng)
    sigma, shocks = clustered(skill.bars, rng)
    drift = 0.0 if skill.difference is None else strength(skill)
    scale = VOLATILITY / math.sqrt(skill.bars_per_year)
    return known, scale * sigma * (drift * known + shocks)


def ar_noise(bars: int, rng: np.random.Generator) -> np.ndarray:
    """Draws an AR(1) of mean 0 and deviation 1, stationary from the first bar on, (T,)."""
    start = MEMORY * rng.standard_normal(1)
    return lfilter([math.sqrt(1 - MEMORY**2)], [1, -MEMORY], rng.standard_normal(bars), zi=start)[0]


def clustered(bars: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Deviations with a mean square of 1 that cluster, and Student t shocks of deviation 1, (T,) each."""
    shocks = rng.standard_t(TAILS, bars + BURN_IN) / math.sqrt(TAILS / (TAILS - 2))
    square, squares = 1.0, []
    for shock in shocks.tolist():
        squares.append(square)
        square = (1 - ARCH - GARCH) + (ARCH * shock * shock + GARCH) * square
    return np.sqrt(squares[BURN_IN:]), shocks[BURN_IN:]


def strength(skill: Skill) -> float:
    """Solves k for a true difference: `sqrt(A) (k D c - cost) / sqrt(1 + D^2) = difference`, c the mean of sigma."""
    assert skill.difference is not None
    annual = math.sqrt(skill.bars_per_year)
    wanted = skill.difference * math.sqrt(1 + SPREAD**2) / annual
    return (wanted + cost_per_bar(skill)) / (SPREAD * MEAN_SIGMA)


def cost_per_bar(skill: Skill) -> float:
    """Mean cost of a bar in deviations of the base's return: `cost E|s_t - s_(t-1)| D / sigma`."""
    step = math.sqrt(2 * (1 - MEMORY)) * math.sqrt(2 / math.pi)
    return COST * SPREAD * step * math.sqrt(skill.bars_per_year) / VOLATILITY


MEAN_SIGMA = float(clustered(400_000, np.random.default_rng(0))[0].mean())  # c: the mean square is 1


def play(known: np.ndarray, market: np.ndarray) -> SpanHistories:
    """Plays a policy by its signal (T,), the same one bar later, and its rivals."""
    multiplier = 1 + SPREAD * known
    late = np.concatenate([multiplier[:1], multiplier[:-1]])
    agent, behind = account(multiplier, market), account(late, market)
    still = {
        name: account(np.full_like(multiplier, m), market)
        for name, m in zip(RIVALS, (1, multiplier.mean()), strict=True)
    }
    end = np.zeros(len(market), bool)
    return SpanHistories([agent], behind, still, still, end, 1.0)


def account(multiplier: np.ndarray, market: np.ndarray) -> AccountHistory:
    """Plays a multiplier (T,) on the base position; the change of the weight is traded."""
    weight = BASE * multiplier
    traded = np.diff(weight, prepend=weight[:1])
    cost = COST * np.abs(traded)
    returns = weight * market - cost
    column = (multiplier[:, None], weight[:, None], traded[:, None])
    return AccountHistory(*column, cost, returns[:, None], returns)


def word_of(skill: Skill, key: tuple[int, ...], trials: int = 1, samples: int = 400) -> str:
    """Reaches the verdict on one policy on one market."""
    known, market = draw_account(skill, np.random.default_rng(key))
    return verdict_word(play(known, market)._replace(bars_per_year=skill.bars_per_year), trials, samples)


def verdict_word(played: SpanHistories, trials: int, samples: int) -> str:
    """Reaches the verdict on the only policy of some histories."""
    drawn = resample(played, 0, samples)
    rivals = measure_all(played, 0, drawn.agents[0], drawn.baselines, RIVALS)
    return str(verdict(collect_evidence(played, 0, rivals, drawn, np.zeros(trials)))["word"])


def expected_power(skill: Skill) -> float:
    """Computes the power of a one-sided test at 5 %, from the error of two correlated Sharpe ratios.

    `Phi(difference sqrt(years / (2 (1 - c))) - 1.645)`, c = 1 / sqrt(1 + D^2) the correlation of policy and base.
    """
    error = math.sqrt(2 * (1 - 1 / math.sqrt(1 + SPREAD**2)) / skill.years)
    return float(ndtr((skill.difference or 0.0) / error - ndtri(0.95)))


def any_edge(skill: Skill, key: tuple[int, ...], configurations: int, seeds: int, samples: int = 400) -> bool:
    """Whether several configurations of several seeds on one market, all noise, yield one verdict EDGE.

    Validation chooses the seed of each; the trial ledger counts the configurations.
    """
    rng = np.random.default_rng(key)
    sigma, shocks = clustered(2 * skill.bars, rng)
    market = VOLATILITY / math.sqrt(skill.bars_per_year) * sigma * shocks
    half = skill.bars
    for n in range(configurations):
        policies = [ar_noise(2 * half, rng) for _ in range(seeds)]
        scores = [metrics.sharpe(account(1 + SPREAD * s[:half], market[:half]).returns, 1.0) for s in policies]
        best = policies[int(np.argmax(scores))]
        played = play(best[half:], market[half:])._replace(bars_per_year=skill.bars_per_year)
        if verdict_word(played, n + 1, samples) == "EDGE":
            return True
    return False
