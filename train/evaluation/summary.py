"""From account histories on a span to the numbers of result.json."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from himari_jax.candles import Candles
from himari_jax.splits import Stretches, decision_rows
from himari_jax.statistics import metrics
from himari_jax.statistics.bootstrap import interval, metric_intervals, stationary_bootstrap_sharpe
from himari_jax.statistics.metric_table import AccountSeries, measure
from himari_jax.statistics.metrics import zero_if_nan
from himari_jax.statistics.significance import (
    deflated_sharpe,
    interquartile_mean,
    minimum_track_record,
    probabilistic_sharpe,
    seed_correlation,
)
from train.evaluation.chance import among_draws
from train.evaluation.rivals import NO_RULES, RIVALS, Rival, hardest, measure_all, power_block, rules_block
from train.evaluation.verdict import WORTHWHILE, Evidence, depends_on_delay_0, verdict
from train.reporting.subjects import POLICY, Subject
from train.simulation.history import AccountHistory
from train.simulation.play import SpanHistories

COLLAPSE_ABOVE = 0.99  # correlation of multipliers between seeds, above which they count as one policy
BY_CHANCE = ("random",)  # one draw of chance is shown beside the others, but beating it proves nothing
BAR_TOP_CORRELATION = 0.9  # above which assets are hardly different ones


def account_metrics(history: AccountHistory, liquidated: np.ndarray, bars_per_year: float) -> dict[str, Any]:
    """Measures every metric of one account, nan where undefined; liquidated: (S,) bool, all is sold after the bar."""
    held, pnl = np.asarray(history.held, np.float64), np.asarray(history.pnl, np.float64)
    series = AccountSeries.of(history.returns, held, history.traded, history.cost, bars_per_year, history.inside)
    return measure(replace(series, win_rate_trip=metrics.win_rate_trip(held, pnl, liquidated)))


def counted_metrics(history: AccountHistory, played: SpanHistories) -> dict[str, Any]:
    """Measures every metric of one account of a span, and the number of its round trips."""
    held, pnl = np.asarray(history.held, np.float64), np.asarray(history.pnl, np.float64)
    trips = len(metrics.trip_profits(held, pnl, played.liquidated))
    return account_metrics(history, played.liquidated, played.bars_per_year) | {"trips": trips}


def summarize(
    played: SpanHistories,
    chosen: int,
    seeds: list[int],
    trials: np.ndarray,
    num_samples: int = 1000,
    doubts: Sequence[str] = (),
    worthwhile: float = WORTHWHILE,
    rule: str | None = None,
    subject: Subject = POLICY,
) -> tuple[dict[str, Any], np.ndarray]:
    """Summarizes a span: the block of result.json, and samples (n,) of the chosen Sharpe minus the hardest rival's.

    Args:
        played: account histories on the test span.
        chosen: index of the seed that validation chose.
        seeds: their numbers.
        trials: Sharpe ratios per bar of everything that was ever tried on this span, these seeds included, (n,).
        num_samples: of the stationary bootstrap.
        doubts: reasons that rule out an EDGE here, whatever the numbers are.
        worthwhile: annual Sharpe, a difference below which is not worth having.
        rule: the simple rule that did best on validation; None: unknown.
        subject: words for what is evaluated.
    """
    samples = resample(played, chosen, num_samples)
    baselines = baseline_blocks(played, samples)
    own = samples.agents[chosen]
    rivals = measure_all(played, chosen, own, samples.baselines, RIVALS)
    rules = [name for name in played.baselines if name not in NO_RULES]
    strongest = hardest(rivals)
    agents = agent_blocks(played, seeds, samples, strongest.name)
    agents[chosen] |= intervals_of(played.agents[chosen], played.bars_per_year)
    across = across_seeds(agents, played.agents)
    power = power_block(strongest, len(played.liquidated), played.bars_per_year, len(trials))
    evidence = collect_evidence(played, chosen, rivals, samples, trials)._replace(
        doubts=tuple(doubts), worthwhile=worthwhile, subject=subject
    )
    result = {
        "verdict": verdict(evidence),
        "chosen_seed": seeds[chosen],
        "seeds": agents,
        "agent": agents[chosen],
        "baselines": baselines,
        "rivals": {name: rival._asdict() for name, rival in rivals.items()},
        "power": power | {"worthwhile": worthwhile},
        "rules": rules_block(measure_all(played, chosen, own, samples.baselines, rules), rule),
        "minimum_detectable_sharpe": power["four_in_five"],
        "delay": delay_block(evidence),
        "multiplier_deviation": evidence.spread,
        "timing_value": timing_value(agents[chosen], baselines, samples, chosen),
        "random_draws": among_draws(played, agents[chosen]["sharpe"]),
        **luck_block(played.agents[chosen].returns, trials),
        "across_seeds": across,
        "advice": [*advice(played.agents[chosen]), *seed_advice(across)],
    }
    return result, own - samples.baselines[strongest.name]


def baseline_blocks(played: SpanHistories, samples: "Samples") -> dict[str, dict[str, Any]]:
    """Metrics of the baselines with the interval of their Sharpe ratio, by name."""
    found: dict[str, dict[str, Any]] = {}
    for name, history in played.baselines.items():
        found[name] = counted_metrics(history, played)
        found[name] |= {"sharpe_interval": list(interval(samples.baselines[name]))}
    return found


def agent_blocks(played: SpanHistories, seeds: Sequence[int], samples: "Samples", rival: str) -> list[dict[str, Any]]:
    """Metrics of every seed with its Sharpe ratio beside that of a rival."""
    theirs = metrics.sharpe_or_zero(played.baselines[rival].returns, played.bars_per_year)
    found = []
    for seed, history, column in zip(seeds, played.agents, samples.agents, strict=True):
        block = counted_metrics(history, played)
        difference = {
            "baseline": rival,
            "value": zero_if_nan(block["sharpe"]) - theirs,
            "interval": list(interval(column - samples.baselines[rival])),
        }
        found.append(
            {"seed": seed, **block, "sharpe_interval": list(interval(column)), "sharpe_difference": difference}
        )
    return found


def luck_block(returns: np.ndarray, trials: np.ndarray) -> dict[str, Any]:
    """Track record length, probabilistic and deflated Sharpe ratio of the chosen seed, for result.json."""
    return {
        "minimum_track_record_bars": minimum_track_record(returns),
        "probabilistic_sharpe": zero_if_nan(probabilistic_sharpe(returns)),
        "deflated_sharpe": zero_if_nan(deflated_sharpe(returns, trials)),
        "trials": len(trials),
    }


def delay_block(evidence: Evidence) -> dict[str, Any]:
    """Sharpe ratio of the chosen seed one bar later, and its difference to the Sharpe ratio without delay."""
    return {
        "sharpe": evidence.late_sharpe,
        "sharpe_difference": evidence.late,
        "interval": list(evidence.late_interval),
        "depends_on_delay_0": depends_on_delay_0(evidence),
    }


def intervals_of(history: AccountHistory, bars_per_year: float) -> dict[str, list[float]]:
    """Returns `METRIC_interval` of everything but the Sharpe ratio, whose interval is paired with the others'."""
    series = history.returns, history.held, history.traded, history.cost
    found = metric_intervals(*series, bars_per_year, inside=history.inside)
    return {f"{name}_interval": list(ends) for name, ends in found.items()}


def timing_value(agent: dict, baselines: dict[str, dict], samples: "Samples", chosen: int) -> dict[str, Any] | None:
    """Sharpe of the agent minus that of the baseline `constant`: what is not disguised beta."""
    if "constant" not in baselines:
        return None
    value = zero_if_nan(agent["sharpe"]) - zero_if_nan(baselines["constant"]["sharpe"])
    return {"value": value, "interval": list(interval(samples.agents[chosen] - samples.baselines["constant"]))}


class Samples(NamedTuple):
    """Annual Sharpe ratios of the same resampled bars, (n,) each: differences are paired."""

    agents: list[np.ndarray]  # (n,) each, by seed
    late: np.ndarray  # (n,) of the chosen seed, one bar later
    baselines: dict[str, np.ndarray]  # (n,) each, by name


def resample(played: SpanHistories, chosen: int, num_samples: int) -> Samples:
    """Resamples everything that was played on one draw of bars, by the stationary bootstrap."""
    # The chosen seed stands first: the block length looks at its differences to the others.
    order = [chosen, *(k for k in range(len(played.agents)) if k != chosen)]
    histories = [*(played.agents[k] for k in order), played.late, *played.baselines.values()]
    returns = np.stack([history.returns for history in histories], 1)
    columns = stationary_bootstrap_sharpe(returns, played.bars_per_year, num_samples).T
    seeds = len(order)
    agents = [columns[order.index(k)] for k in range(seeds)]
    return Samples(agents, columns[seeds], dict(zip(played.baselines, columns[seeds + 1 :], strict=True)))


def collect_evidence(
    played: SpanHistories, chosen: int, rivals: Mapping[str, Rival], samples: Samples, trials: np.ndarray
) -> Evidence:
    """Collects the evidence for the verdict on the chosen seed; trials: (n,) Sharpe ratios per bar."""
    year, history = played.bars_per_year, played.agents[chosen]
    return Evidence(
        sharpe=metrics.sharpe_or_zero(history.returns, year),
        rival=hardest(rivals),
        rivals=tuple(rivals.values()),
        trials=len(trials),
        late_sharpe=metrics.sharpe_or_zero(played.late.returns, year),
        late_interval=interval(samples.late - samples.agents[chosen]),
        spread=float(np.max(np.nanstd(np.asarray(history.decision, np.float64), axis=0))),
    )


def across_seeds(agents: list[dict], histories: list[AccountHistory]) -> dict[str, Any] | None:
    """Mean, inter-quartile mean, spread of the Sharpe and correlation of what is decided; None for one seed.

    Of multipliers, not of positions: a base position that moves by itself would make all seeds agree.
    """
    if len(agents) < 2:
        return None
    sharpes = np.array([zero_if_nan(agent["sharpe"]) for agent in agents])
    decided = np.stack([np.nan_to_num(np.asarray(history.decision, np.float64)) for history in histories])
    correlation = seed_correlation(decided)
    return {
        "sharpe_mean": float(sharpes.mean()),
        "sharpe_iqm": interquartile_mean(sharpes),
        "sharpe_std": float(sharpes.std(ddof=1)),
        "multiplier_correlation": correlation,
        "collapsed": bool(correlation > COLLAPSE_ABOVE),
    }


def seed_advice(across: Mapping[str, Any] | None) -> list[str]:
    """Advises where all seeds decide alike: they count as one, which is no evidence against the policy."""
    if not across or not across["collapsed"]:
        return []
    return ["the seeds decide alike: their number says nothing about luck"]


def advice(history: AccountHistory) -> list[str]:
    """Advises where one asset holds more than 90 % of a portfolio's exposure; else an empty list."""
    held = np.asarray(history.held, np.float64)
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
    """Advises where the assets move as one over a span."""
    if len(candles.symbols) < 2:
        return []
    moves = np.diff(np.log(candles.close), axis=0)[decision_rows(span) - 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        matrix = np.nan_to_num(np.corrcoef(moves.T))
    pairs = [(i, j) for i in range(len(matrix)) for j in range(i) if matrix[i, j] > BAR_TOP_CORRELATION]
    names = [f"{candles.symbols[j]} and {candles.symbols[i]} ({matrix[i, j]:.2f})" for i, j in pairs]
    return [f"hardly different assets: {', '.join(names)}; others would diversify"] if names else []
