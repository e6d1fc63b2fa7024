"""The audit of causality that every backtest runs.

It runs the whole pipeline again, from raw candles to equity, with another future after some bar: what was known,
decided or earned before it must stay, bit for bit.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from envs.market import Market, delayed
from himari_jax.candles import Candles, RawCandles
from himari_jax.policies.policy import CLIP, Policy, fit_scaling
from himari_jax.positions.base_positions import Base, first_known
from himari_jax.splits import Stretches, decision_rows
from train.config.market import DataConfig, MarketConfig
from train.data.evaluation_data import EvaluationData
from train.data.loading import checked
from train.data.market import market_from
from train.evaluation.futures import another_future, between, no_future
from train.evaluation.result import AuditResult
from train.simulation.engine import Limits, lay_out, make_lanes, run_policy
from train.simulation.history import AccountHistory, histories
from train.simulation.placement import place_policies
from train.simulation.rules import Strategy
from train.simulation.trained import Agent

TRAIL = 1000  # decisions that a policy plays up to the bar after which the future changes
NEAR = 1e-6  # relative; what the missing of later rows may change by rounding
FITTED_NEAR = 1e-4  # relative; the same constants, fitted by other versions of the libraries
Known = tuple[np.ndarray, int]  # values with time first; rows that may not change, counted from the changed row t
Derive = Callable[[Candles], Callable[[int], Mapping[str, Known]]]  # candles -> row t -> what follows from them


class Audited(NamedTuple):
    """The result of the causality audit."""

    leaks: set[str]  # names of values that change when only later candles change; empty if causal
    reacted: bool  # whether any later row followed the candles that changed


def audit_causality(
    raws: Sequence[RawCandles],
    config: DataConfig,
    derive: Derive,
    rows: Sequence[int],
    tolerance: float = 0.0,
    around: tuple[int, int] | None = None,
    candles: Candles | None = None,
) -> Audited:
    """Names of values that change when only later candles change; empty if causal.

    At each of the rows t the candles after t go up, go down, or are missing. `derive(candles)(t)` returns what follows
    from candles: values whose first `t + known` rows may not change; where candles are missing, but by rounding.

    Args:
        raws: as the source read them.
        config: how they are checked.
        derive: the pipeline that is audited.
        rows: t, with real candles at t + 1.
        tolerance: relative, of numbers that have to be the same; 0: to the bit.
        around: bars before and after t that are looked at; None: all.
        candles: those of `raws`, where they are checked already.
    """
    candles = candles or checked(raws, config)[0]
    whole = derive(candles) if around is None else None
    found, reacted = set[str](), False
    for t in rows:
        now = int(candles.time[t])
        part = raws if around is None else window_around(raws, candles, t, around)
        own = candles if around is None else checked(part, config)[0]
        at = int(np.searchsorted(own.time, now))
        ours = (whole or derive(own))(at)
        # The bar after t stays where candles go missing: it fills and marks what was decided at t.
        others = [another_future(part, now, sign, seed=t) for sign in (1, -1)]
        others.append(no_future(part, int(own.time[at + 1])))
        for other, near in zip(others, (tolerance, tolerance, max(tolerance, NEAR)), strict=True):
            theirs = derive(checked(other, config)[0])(at)
            found |= {name for name, known in ours.items() if not same(known, theirs[name], at, near)}
            reacted |= any(differs_later(known, theirs[name], at) for name, known in ours.items())
    return Audited(found, reacted)


def window_around(raws: Sequence[RawCandles], candles: Candles, t: int, around: tuple[int, int]) -> list[RawCandles]:
    """Cuts the raw candles from some bars before row t to some after it."""
    last = len(candles.time) - 1
    first_ms, last_ms = candles.time[[max(0, t - around[0]), min(last, t + around[1])]]
    return between(raws, int(first_ms), int(last_ms))


def differs_later(ours: Known, theirs: Known, t: int) -> bool:
    """Whether rows that may change did."""
    a, b = (values[t + known :] for values, known in (ours, theirs))
    return a.shape == b.shape and not np.array_equal(a, b, equal_nan=True)


def same(ours: Known, theirs: Known, t: int, tolerance: float) -> bool:
    """Whether the rows that may not change are equal."""
    a, b = (values[: t + known] for values, known in (ours, theirs))
    if a.shape != b.shape:
        return False
    if tolerance == 0:
        return bool(np.array_equal(a, b, equal_nan=True))
    return bool(np.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True))


@dataclass(frozen=True)
class AgentPipeline:
    """The pipeline of a run from candles to equity; tests replace `build` and `fit` by faulty ones."""

    policy: Policy
    variables: dict  # of one seed, without a leading axis
    market: MarketConfig
    train: Stretches | None  # training span, where the candles are those of the run
    build: Callable[[Candles, MarketConfig, int], Market] = market_from
    fit: Callable[..., Any] = fit_scaling

    def __call__(self, candles: Candles) -> Callable[[int], dict[str, Known]]:
        """Builds the market of the candles; returns a function of row t: everything that follows up to t."""
        return partial(self.follow, candles, self.build(candles, self.market, self.market.delay))

    def follow(self, candles: Candles, market: Market, t: int) -> dict[str, Known]:
        """Derives candles, observations, normalizer, actions and equity, played over the last decisions up to t."""
        history, begin = self.play(candles, market, t)
        lead = np.zeros((begin, len(candles.symbols)))
        known: dict[str, Known] = {
            "candles": (np.stack([candles.open, candles.high, candles.low, candles.close, candles.volume], 1), 1),
            "features": (market.features, 1),
            "correlations": (market.corr, 1),
            "base positions": (market.base, 1),
            "actions": (np.concatenate([lead, history.decision]), 1),
            "equity": (np.concatenate([lead[:, 0], history.equity[:-1]]), 0),
        }
        if self.train is not None and t >= self.train[-1][-1]:
            scaling = self.fit(market.features, market.corr, decision_rows(self.train))
            known["normalizer"] = (np.concatenate(scaling)[None], 1)
        return known

    def play(self, candles: Candles, market: Market, t: int) -> tuple[AccountHistory, int]:
        """Plays the policy over the decisions up to t in t's segment; returns its history and first row.

        Of the market the played rows are cut out: markets of any length need one compiled program.
        """
        first = int(np.argmax(candles.segment == candles.segment[t]))
        begin, step = max(first, first_known(market.base)), self.market.step(candles.bar_ms)
        begin = max(begin + (t - begin) % step, t - (TRAIL - 1) * step)
        rows, rate = np.arange(begin, t + 1, step), self.market.cost
        steps = len(rows)
        tape = lay_out(Market(*(x[rows] for x in market)), (range(steps),))
        variables = jax.tree.map(lambda x: x[None], self.variables)
        lanes, limits = make_lanes([0], [0], [rate]), Limits.of(self.market)
        where = place_policies(variables, steps, 1, 1)
        path = run_policy(self.policy, steps, *where.put((variables, tape)), lanes, limits, form=where.form)
        path = jax.tree.map(np.asarray, path)
        one = jax.tree.map(lambda x: x[0], path)
        return next(histories(one, tape, np.zeros(1, int), np.asarray([rate]))), begin


def agent_pipeline(agent: Agent, train: Stretches | None, base: Base | None = None) -> AgentPipeline:
    """Builds the pipeline of a run's chosen seed; `base` replaces the base sizing of its flags."""
    variables = jax.tree.map(lambda x: x[agent.chosen], agent.variables)
    return AgentPipeline(
        agent.policy, variables, agent.config.market, train, partial(market_from, base=base, features=agent.features)
    )


def strategy_pipeline(strategy: Strategy, config: MarketConfig, delay: int, base: Base | None = None) -> Derive:
    """Builds the function that derives a strategy's target weights, `delay` rows late, from candles."""

    def derive(candles: Candles) -> Callable[[int], dict[str, Known]]:
        weights = delayed(strategy.weights(candles, market_from(candles, config, base=base)), candles, delay)
        return lambda t: {"weights": (weights, 1)}

    return derive


def normalizer_differs(stored: Mapping[str, np.ndarray], features: np.ndarray, corr: np.ndarray) -> bool:
    """Whether the constants of a normalizer are not those of the training span.

    Args:
        stored: mean and std, as the policy has them.
        features: (L, N, k) at the training decisions.
        corr: (L, P) likewise.
    """
    wanted = fit_scaling(features, corr, np.arange(len(features)))
    scale = np.where(np.isfinite(wanted.limit), wanted.std, 1.0)
    drift = np.abs(np.asarray(stored["mean"]) - wanted.mean) / scale
    return bool((drift > FITTED_NEAR * CLIP).any() or not np.allclose(stored["std"], wanted.std, rtol=10 * FITTED_NEAR))


def causality_result(found: set[str], rows: int, seen: int = 0) -> AuditResult:
    """Words the result of `audit_causality` at so many rows; `seen`: bars around each that were looked at, 0: all."""
    if found:
        return AuditResult("causality", False, f"knows later candles: {', '.join(sorted(found))}")
    which = f", looked at with {seen:,} bars around each," if seen else ""
    detail = f"another future after {rows} bars (up, down, none){which} changed nothing that was known or done before"
    return AuditResult("causality", True, detail)


def audit_rows(data: EvaluationData, train: Stretches | None, number: int) -> list[int]:
    """Picks rows after which the future changes: some inside the span, its last, the end of training."""
    rows = decision_rows(data.span)
    inside = [int(rows[len(rows) * (k + 1) // (number + 1)]) for k in range(number)]
    ends = [train[-1][-1]] if train else []
    return real_rows(data, [*inside, int(rows[-1]), *ends])


def close_rows(data: EvaluationData, weights: np.ndarray, number: int) -> list[int]:
    """Picks rows for a closer look at a rule: spread over span and hours, and where its weights (T, N) change."""
    rows, rng = decision_rows(data.span), np.random.default_rng(0)
    even = [int(rows[min(len(rows) - 1, len(rows) * k // number + k % 24)]) for k in range(number)]
    changes = rows[1:][np.any(weights[rows[1:]] != weights[rows[1:] - 1], axis=1)]
    picked = rng.choice(changes, min(number, len(changes)), replace=False).tolist() if len(changes) else []
    return real_rows(data, even + [int(row) for row in picked])


def real_rows(data: EvaluationData, rows: Sequence[int]) -> list[int]:
    """Moves rows back to where every symbol has a candle at t and at t + 1."""
    time = data.candles.time
    real = np.all([np.isin(time, raw.time) for raw in data.raws], axis=0)
    usable = np.flatnonzero(real[:-1] & real[1:])
    at = np.searchsorted(usable, rows, side="right") - 1
    return sorted({int(usable[k]) for k in at if k >= 0})
