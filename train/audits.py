"""Audits that run by themselves in every backtest: causality, lag, null market, collapse, timing value.

The audit of causality runs the whole way again, from raw candles to equity, with another future after some bar: what
was known, decided or earned before it has to stay, bit for bit.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from envs.market import Market, build_market, late, to_device
from himari_jax.candles import Candles, RawCandles
from himari_jax.policies.policy import CLIP, Policy, fit_scaling
from himari_jax.splits import Stretches, decision_rows
from train.agents import Agent, Strategy, market_of
from train.evaluate import Course, Limits, courses, make_lanes, make_tape, run_policy
from train.futures import another_future, between, no_future
from train.ground import Ground
from train.loading import checked
from train.market_config import DataConfig, MarketConfig
from train.session import sizing_rules

TRAIL = 1000  # decisions that a policy plays up to the bar after which the future changes
NULL_ROWS = 12_400  # of the market without drift, look-back included
NULL_BEFORE_MS = 7 * 365 * 24 * 3_600_000  # whole weeks
NULL_SIGMAS = 4.0  # deviations of the mean P&L on it that chance does not explain
NEAR = 1e-6  # relative; what the missing of later rows may change by rounding
FITTED_NEAR = 1e-4  # relative; the same constants, fitted by other versions of the libraries

Known = tuple[np.ndarray, int]  # values with time first; rows that may not change, counted from the changed row t
Derive = Callable[[Candles, int], Mapping[str, Known]]


@dataclass(frozen=True)
class Finding:
    """What an audit found."""

    name: str
    passed: bool | None  # None: told, not judged
    detail: str

    def to_json(self) -> dict[str, Any]:
        """As result.json holds it."""
        return asdict(self)


class Audited(NamedTuple):
    """What the audit of causality found."""

    leaks: set[str]  # names of what knows later candles
    reacted: bool  # whether any later row followed the candles that changed


def audit_causality(
    raws: Sequence[RawCandles],
    config: DataConfig,
    derive: Derive,
    rows: Sequence[int],
    tolerance: float = 0.0,
    around: tuple[int, int] | None = None,
) -> Audited:
    """What knows later candles; no leak if nothing does.

    At each of the rows t the candles after t go up, go down, or are missing. `derive(candles, t)` says what follows
    from candles: values whose first `t + known` rows may not change; where candles are missing, but by rounding.

    Args:
        raws: as the source read them.
        config: how they are checked.
        derive: the way that is audited.
        rows: t, with real candles at t + 1.
        tolerance: relative, of numbers that have to be the same; 0: to the bit.
        around: bars before and after t that are looked at; None: all.
    """
    candles, _ = checked(raws, config)
    found, reacted = set[str](), False
    for t in rows:
        part, now = raws, int(candles.time[t])
        if around is not None:
            ends = candles.time[[max(0, t - around[0]), min(len(candles.time) - 1, t + around[1])]]
            part = between(raws, *(int(x) for x in ends))
        own, _ = checked(part, config)
        at = int(np.searchsorted(own.time, now))
        ours = derive(own, at)
        # The bar after t stays where candles go missing: it fills and marks what was decided at t.
        others = [another_future(part, now, sign, seed=t) for sign in (1, -1)]
        others.append(no_future(part, int(own.time[at + 1])))
        for other, near in zip(others, (tolerance, tolerance, max(tolerance, NEAR)), strict=True):
            theirs = derive(checked(other, config)[0], at)
            found |= {name for name, known in ours.items() if not same(known, theirs[name], at, near)}
            reacted |= any(differs_later(known, theirs[name], at) for name, known in ours.items())
    return Audited(found, reacted)


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
class AgentWay:
    """From candles to the equity of a policy, as a run goes it; `build` and `fit` can be replaced by faulty ones."""

    policy: Policy
    variables: dict  # of one seed, without a leading axis
    market: MarketConfig
    train: Stretches | None  # training span, where the candles are those of the run
    rate: float
    build: Callable[..., Market] = build_market
    fit: Callable[..., Any] = fit_scaling

    def __call__(self, candles: Candles, t: int) -> dict[str, Known]:
        """Everything that follows from the candles, played over the last decisions up to t."""
        config = self.market
        market = self.build(candles, config.base_sizing, sizing_rules(config), config.fill, config.delay)
        course, begin = self.play(market, candles, t)
        lead = np.zeros((begin, len(candles.symbols)))
        known: dict[str, Known] = {
            "candles": (np.stack([candles.open, candles.high, candles.low, candles.close, candles.volume], 1), 1),
            "features": (market.features, 1),
            "correlations": (market.corr, 1),
            "base positions": (market.base, 1),
            "actions": (np.concatenate([lead, course.multiplier]), 1),
            "equity": (np.concatenate([lead[:, 0], course.equity[:-1]]), 0),
        }
        if self.train is not None and t >= self.train[-1][1] - 1:
            scaling = self.fit(market.features, market.corr, decision_rows(self.train))
            known["normaliser"] = (np.concatenate(scaling)[None], 1)
        return known

    def play(self, market: Market, candles: Candles, t: int) -> tuple[Course, int]:
        """The policy over the decisions up to t in t's segment; its course and first row."""
        first = int(np.argmax(candles.segment == candles.segment[t]))
        begin = max(first, t + 1 - TRAIL)
        tape = make_tape(to_device(market), ((begin, t + 1),))
        limits = Limits.of(self.market)
        lanes = make_lanes([0], [0], [self.rate])
        variables = jax.tree.map(lambda x: x[None], self.variables)
        path = run_policy(self.policy, t + 1 - begin, variables, tape, lanes, limits)
        one = jax.tree.map(lambda x: np.asarray(x[0]), path)
        return next(courses(one, tape, np.zeros(1, int), np.asarray([self.rate]))), begin


def agent_way(agent: Agent, train: Stretches | None) -> AgentWay:
    """The way of a run's chosen seed."""
    variables = jax.tree.map(lambda x: x[agent.chosen], agent.variables)
    config = agent.config.market
    return AgentWay(agent.policy, variables, config, train, config.cost)


def strategy_way(strategy: Strategy, config: MarketConfig, delay: int) -> Derive:
    """What a strategy wants, `delay` rows late."""

    def derive(candles: Candles, t: int) -> dict[str, Known]:
        weights = strategy.weights(candles, market_of(candles, config))
        return {"weights": (late(weights, candles, delay), 1)}

    return derive


def fitted_elsewhere(way: AgentWay, candles: Candles) -> bool:
    """Whether the constants inside the policy are not those of the training span."""
    if way.train is None:
        return False
    config = way.market
    market = build_market(candles, config.base_sizing, sizing_rules(config), config.fill, config.delay)
    wanted = fit_scaling(market.features, market.corr, decision_rows(way.train))
    stored = way.variables["constants"]["normaliser"]
    scale = np.where(np.isfinite(wanted.limit), wanted.std, 1.0)
    drift = np.abs(np.asarray(stored["mean"]) - wanted.mean) / scale
    return bool((drift > FITTED_NEAR * CLIP).any() or not np.allclose(stored["std"], wanted.std, rtol=10 * FITTED_NEAR))


def causality(found: set[str], rows: int) -> Finding:
    """The finding of `audit_causality`."""
    if found:
        return Finding("causality", False, f"knows later candles: {', '.join(sorted(found))}")
    detail = f"another future after {rows} bars (up, down, none) changed nothing that was known or done before"
    return Finding("causality", True, detail)


def audit_rows(ground: Ground, train: Stretches | None, number: int) -> list[int]:
    """Rows after which the future changes, the whole way each: some inside the span, its last, the end of training."""
    rows = decision_rows(ground.span)
    inside = [int(rows[len(rows) * (k + 1) // (number + 1)]) for k in range(number)]
    ends = [train[-1][1] - 1] if train else []
    return real_rows(ground, [*inside, int(rows[-1]), *ends])


def close_rows(ground: Ground, weights: np.ndarray, number: int) -> list[int]:
    """Rows for a closer look at a rule: evenly spread over the span and the hours, and where its weights change."""
    rows, rng = decision_rows(ground.span), np.random.default_rng(0)
    even = [int(rows[min(len(rows) - 1, len(rows) * k // number + k % 24)]) for k in range(number)]
    changes = rows[1:][np.any(weights[rows[1:]] != weights[rows[1:] - 1], axis=1)]
    picked = rng.choice(changes, min(number, len(changes)), replace=False).tolist() if len(changes) else []
    return real_rows(ground, even + [int(row) for row in picked])


def real_rows(ground: Ground, rows: Sequence[int]) -> list[int]:
    """The rows, moved back to where every symbol has a candle at t and at t + 1."""
    time = ground.candles.time
    real = np.all([np.isin(time, raw.time) for raw in ground.raws], axis=0)
    usable = np.flatnonzero(real[:-1] & real[1:])
    at = np.searchsorted(usable, rows, side="right") - 1
    return sorted({int(usable[k]) for k in at if k >= 0})


def null_market(candles: Candles, seed: int = 0) -> Candles:
    """Candles of the same bar without any drift: simple returns are normal, independent, with mean 0."""
    rng = np.random.default_rng(seed)
    shape = (NULL_ROWS, len(candles.symbols))
    sigma = np.clip(np.std(candles.close[1:] / candles.close[:-1] - 1, axis=0), 1e-5, 0.05)
    close = 100 * np.cumprod(1 + np.clip(rng.normal(0, 1, shape), -6, 6) * sigma, axis=0)
    opens = np.vstack([np.full((1, shape[1]), 100.0), close[:-1]])
    wick = np.exp(np.abs(rng.normal(0, 1, (2, *shape))) * sigma / 2)
    return Candles(
        symbols=candles.symbols,
        bar_ms=candles.bar_ms,
        calendar="continuous",
        # Long before the candles: what a rule knows by the clock of those does not help it here.
        time=candles.time[0] - NULL_BEFORE_MS + candles.bar_ms * np.arange(NULL_ROWS, dtype=np.int64),
        open=opens,
        high=np.maximum(opens, close) * wick[0],
        low=np.minimum(opens, close) / wick[1],
        close=close,
        volume=rng.lognormal(5, 1, shape),
        tradable=np.ones(shape, bool),
        segment=np.zeros(NULL_ROWS, np.int32),
        synthetic=True,
    )


def null_finding(course: Course) -> Finding:
    """Whether the mean P&L on a market without drift is minus the cost."""
    gross = course.returns + course.cost
    error = gross.std(ddof=1) / math.sqrt(len(gross))
    z = gross.mean() / error if error > 0 else 0.0
    detail = (
        f"on a market without drift {1e4 * gross.mean():+.3f} bp a bar before costs ({z:+.1f} standard errors), "
        f"costs {1e4 * course.cost.mean():.3f} bp"
    )
    return Finding("null market", bool(abs(z) < NULL_SIGMAS), detail)
