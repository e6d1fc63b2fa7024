"""From courses on a span to the numbers of result.json."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from himari_jax import metrics
from himari_jax.bootstrap import interval, metric_intervals, stationary_bootstrap_sharpe
from himari_jax.candles import Candles
from himari_jax.metrics import zero_if_nan
from himari_jax.splits import Stretches, decision_rows
from himari_jax.statistics import (
    deflated_sharpe,
    interquartile_mean,
    minimum_detectable_sharpe,
    minimum_track_record,
    probabilistic_sharpe,
    seed_correlation,
)
from train.evaluation.verdict import Evidence, depends_on_delay_0, verdict
from train.simulation.engine import AccountHistory
from train.simulation.simulator import SpanHistories

COLLAPSE_ABOVE = 0.99  # correlation of positions between seeds, above which they count as one policy
BY_CHANCE = ("random",)  # one draw of chance is shown beside the others, but to beat its luck, or not to, says nothing
BAR_TOP_CORRELATION = 0.9  # above which assets are hardly different ones


def account_metrics(path: AccountHistory, liquidated: np.ndarray, bars_per_year: float) -> dict[str, Any]:
    """Every metric of one account; undefined ones are nan."""
    r, held = path.returns, np.asarray(path.held, np.float64)
    growth, fall = metrics.cagr(r, bars_per_year), metrics.max_drawdown(r)
    concentration = metrics.herfindahl(held)
    return {
        "sharpe": metrics.sharpe(r, bars_per_year),
        "sortino": metrics.sortino(r, bars_per_year),
        "cagr": growth,
        "calmar": metrics.calmar_of(growth, fall),
        "max_drawdown": fall,
        "cvar_5": metrics.cvar_5(r),
        "win_rate_bar": metrics.win_rate_bar(r, held),
        "win_rate_trip": metrics.win_rate_trip(held, np.asarray(path.pnl, np.float64), liquidated),
        "turnover": metrics.turnover(traded(path), bars_per_year),
        "cost_drag": metrics.cost_drag(np.asarray(path.cost, np.float64), bars_per_year),
        "exposure": metrics.exposure(held),
        "herfindahl": concentration,
        "diversification": 1 - concentration,
        "final_equity": float(np.prod(1 + r)),
    }


def traded(path: AccountHistory) -> np.ndarray:
    """Share of equity that was traded in each bar, (S,)."""
    return np.abs(np.asarray(path.delta, np.float64)) @ np.ones(path.delta.shape[1])


def summarize(
    played: SpanHistories,
    chosen: int,
    seeds: list[int],
    trials: np.ndarray,
    num_samples: int = 1000,
    doubts: Sequence[str] = (),
) -> tuple[dict[str, Any], np.ndarray]:
    """Blocks of agents and baselines, paired bootstrap, verdict: the judging part of result.json.

    With it come the bootstrap samples of the chosen seed's Sharpe difference to the best baseline, (num_samples,).

    Args:
        played: paths on the test span.
        chosen: index of the seed that validation chose.
        seeds: their numbers.
        trials: Sharpe ratios per bar of everything that was ever tried on this span, these seeds included, (n,).
        num_samples: of the stationary bootstrap.
        doubts: reasons why there can be no EDGE here, whatever the numbers say.
    """
    year = played.bars_per_year
    baselines = {name: account_metrics(path, played.liquidated, year) for name, path in played.baselines.items()}
    agents = [
        {"seed": seed, **account_metrics(path, played.liquidated, year)}
        for seed, path in zip(seeds, played.agents, strict=True)
    ]
    rivals = [name for name in baselines if name not in BY_CHANCE]
    best = max(rivals, key=lambda name: zero_if_nan(baselines[name]["sharpe"]))
    samples = resample(played, chosen, num_samples)
    for name, column in samples.baselines.items():
        baselines[name]["sharpe_interval"] = list(interval(column))
    for agent, column in zip(agents, samples.agents, strict=True):
        agent["sharpe_interval"] = list(interval(column))
        agent["sharpe_difference"] = {
            "baseline": best,
            "value": zero_if_nan(agent["sharpe"]) - zero_if_nan(baselines[best]["sharpe"]),
            "interval": list(interval(column - samples.baselines[best])),
        }
    agents[chosen] |= intervals_of(played.agents[chosen], year)
    late_interval = interval(samples.late - samples.agents[chosen])
    evidence = gather(played, chosen, agents[chosen], zero_if_nan(baselines[best]["sharpe"]), late_interval, trials)
    across = across_seeds(agents, played.agents)
    collapsed = ["the seeds are one policy"] if across and across["collapsed"] else []
    evidence = evidence._replace(doubts=(*doubts, *collapsed))
    result = {
        "verdict": verdict(evidence),
        "chosen_seed": seeds[chosen],
        "seeds": agents,
        "agent": agents[chosen],
        "baselines": baselines,
        "minimum_detectable_sharpe": evidence.detectable,
        "delay": {
            "sharpe": evidence.late_sharpe,
            "sharpe_difference": evidence.late_difference,
            "interval": list(late_interval),
            "depends_on_delay_0": depends_on_delay_0(evidence),
        },
        "multiplier_deviation": evidence.spread,
        "timing_value": timing_value(agents[chosen], baselines, samples, chosen),
        "minimum_track_record_bars": minimum_track_record(played.agents[chosen].returns),
        "probabilistic_sharpe": zero_if_nan(probabilistic_sharpe(played.agents[chosen].returns)),
        "deflated_sharpe": evidence.deflated_sharpe,
        "trials": evidence.trials,
        "across_seeds": across,
        "advice": advice(played.agents[chosen]),
    }
    return result, samples.agents[chosen] - samples.baselines[best]


def intervals_of(path: AccountHistory, bars_per_year: float) -> dict[str, list[float]]:
    """`METRIC_interval` of everything but the Sharpe ratio, whose interval is paired with the others'."""
    found = metric_intervals(path.returns, path.held, traded(path), path.cost, bars_per_year)
    return {f"{name}_interval": list(ends) for name, ends in found.items()}


def timing_value(agent: dict, baselines: dict[str, dict], samples: "Samples", chosen: int) -> dict[str, Any] | None:
    """Sharpe of the agent minus that of the constant policy with its mean weights: what is not disguised beta."""
    if "constant" not in baselines:
        return None
    value = zero_if_nan(agent["sharpe"]) - zero_if_nan(baselines["constant"]["sharpe"])
    return {"value": value, "interval": list(interval(samples.agents[chosen] - samples.baselines["constant"]))}


class Samples(NamedTuple):
    """Annual Sharpe ratios of the same resampled bars, (num_samples,) each: differences are paired."""

    agents: list[np.ndarray]  # by seed
    late: np.ndarray
    baselines: dict[str, np.ndarray]


def resample(played: SpanHistories, chosen: int, num_samples: int) -> Samples:
    """Stationary bootstrap of everything that was played, on one draw of bars."""
    # The chosen seed stands first: the block length looks at its differences to the others.
    order = [chosen, *(k for k in range(len(played.agents)) if k != chosen)]
    paths = [*(played.agents[k] for k in order), played.late, *played.baselines.values()]
    columns = stationary_bootstrap_sharpe(np.stack([p.returns for p in paths], 1), played.bars_per_year, num_samples).T
    seeds = len(order)
    agents = [columns[order.index(k)] for k in range(seeds)]
    return Samples(agents, columns[seeds], dict(zip(played.baselines, columns[seeds + 1 :], strict=True)))


def gather(
    played: SpanHistories,
    chosen: int,
    agent: dict[str, Any],
    baseline_sharpe: float,
    late_interval: tuple[float, float],
    trials: np.ndarray,
) -> Evidence:
    """What the verdict on the chosen seed rests on."""
    year, best = played.bars_per_year, agent["sharpe_difference"]["baseline"]
    late_sharpe = zero_if_nan(metrics.sharpe(played.late.returns, year))
    low, high = agent["sharpe_difference"]["interval"]
    return Evidence(
        sharpe=zero_if_nan(agent["sharpe"]),
        baseline=best,
        baseline_sharpe=baseline_sharpe,
        difference=agent["sharpe_difference"]["value"],
        difference_interval=(low, high),
        deflated_sharpe=zero_if_nan(deflated_sharpe(played.agents[chosen].returns, trials)),
        trials=len(trials),
        late_sharpe=late_sharpe,
        late_difference=late_sharpe - zero_if_nan(metrics.sharpe(played.late_baselines[best].returns, year)),
        late_interval=late_interval,
        spread=float(np.asarray(played.agents[chosen].decision, np.float64).std(0).max()),
        detectable=minimum_detectable_sharpe(len(played.liquidated), year),
    )


def across_seeds(agents: list[dict], paths: list[AccountHistory]) -> dict[str, Any] | None:
    """Mean, inter-quartile mean, spread of the Sharpe and correlation of positions; None for one seed."""
    if len(agents) < 2:
        return None
    sharpes = np.array([zero_if_nan(agent["sharpe"]) for agent in agents])
    correlation = seed_correlation(np.stack([np.asarray(path.held, np.float64) for path in paths]))
    return {
        "sharpe_mean": float(sharpes.mean()),
        "sharpe_iqm": interquartile_mean(sharpes),
        "sharpe_std": float(sharpes.std(ddof=1)),
        "position_correlation": correlation,
        "collapsed": bool(correlation > COLLAPSE_ABOVE),
    }


def advice(path: AccountHistory) -> list[str]:
    """What to try where a portfolio is one asset in disguise."""
    held = np.asarray(path.held, np.float64)
    exposure = held.mean(0)
    if held.shape[1] < 2 or exposure.sum() <= 0:
        return []
    share = exposure.max() / exposure.sum()
    if share <= 0.9:
        return []
    return [
        f"{share:.0%} of the exposure lies in one asset: try more episodes, --reward log_return diversity=1e-5 "
        "or concentration=1e-5, or other assets"
    ]


def correlation_advice(candles: Candles, span: Stretches) -> list[str]:
    """A line where the assets move as one over a span."""
    if len(candles.symbols) < 2:
        return []
    moves = np.diff(np.log(candles.close), axis=0)[decision_rows(span) - 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        matrix = np.nan_to_num(np.corrcoef(moves.T))
    pairs = [(i, j) for i in range(len(matrix)) for j in range(i) if matrix[i, j] > BAR_TOP_CORRELATION]
    names = [f"{candles.symbols[j]} and {candles.symbols[i]} ({matrix[i, j]:.2f})" for i, j in pairs]
    return [f"hardly different assets: {', '.join(names)}; others would diversify"] if names else []
