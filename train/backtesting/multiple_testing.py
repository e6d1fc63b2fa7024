"""Many policies on the same bars: SPA, StepM and the model confidence set of a backtest."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from himari_jax.statistics import metrics
from himari_jax.statistics.comparison import model_confidence_set, spa_pvalue, stepm_superior
from train.backtesting.entries import Entry
from train.backtesting.grid import Windows
from train.evaluation.summary import BY_CHANCE
from train.simulation.play import SpanHistories

MOST_IN_SET = 64  # policies of a model confidence set: it compares all pairs


class Evaluation(NamedTuple):
    """The evaluation of one entry: histories, result, samples, windows."""

    entry: Entry
    played: SpanHistories  # on the whole span, at its own cost and delay
    result: dict[str, Any]  # as result.json holds it
    samples: np.ndarray  # (n,) of the difference to the hardest rival
    windows: Windows
    rows: list[dict[str, Any]]  # of backtest.parquet, before those of several entries are joined


def compare_all(evaluations: Sequence[Evaluation]) -> dict[str, Any] | None:
    """Tests all policies at once, on the same bars: SPA, StepM, model confidence set; None for a single policy.

    Returns over their deviation are compared, so that a mean is a Sharpe ratio.
    """
    columns: dict[str, np.ndarray] = {}
    for entry, played, *_ in evaluations:
        for seed, history in zip(entry.seeds, played.agents, strict=True):
            columns[entry.name if seed is None else f"{entry.name} seed {seed}"] = history.returns
    lead = evaluations[0]
    spans = {(entry.fingerprint, entry.data.span) for entry, *_ in evaluations}
    if len(columns) < 2 or len(spans) > 1:
        return None
    benchmark = lead.result["agent"]["sharpe_difference"]["baseline"]
    models = np.stack([scaled(r) for r in columns.values()], 1)
    baselines = lead.played.baselines
    against = scaled(baselines[benchmark].returns)
    names = list(columns)
    found: dict[str, Any] = {
        "policies": len(names),
        "benchmark": benchmark,
        "spa_pvalue": spa_pvalue(against, models),
        "superior": [names[k] for k in stepm_superior(against, models)],
    }
    others = {k: scaled(v.returns) for k, v in baselines.items() if k not in BY_CHANCE and k != "cash"}
    if len(names) + len(others) <= MOST_IN_SET:
        both = np.concatenate([models, np.stack(list(others.values()), 1)], 1)
        kept = model_confidence_set(both).included
        found["confidence_set"] = [(names + list(others))[k] for k in kept]
    return found


def scaled(returns: np.ndarray) -> np.ndarray:
    """Returns over their deviation, (S,); 0 where they do not move."""
    sd = metrics.deviation(returns)
    return returns / sd if sd > 0 else np.zeros_like(returns)


def print_multiple_testing(many: dict[str, Any] | None) -> None:
    """Prints the tests of all policies together: SPA, StepM, model confidence set; nothing for a single policy."""
    if many is None:
        return
    best = ", ".join(many["superior"]) or "none"
    print(
        f"{many['policies']} policies against {many['benchmark']}: SPA p {many['spa_pvalue']:.3f}; "
        f"superior (StepM): {best}"
    )
    if "confidence_set" in many:
        print(f"the best one is, at 95 %, among: {', '.join(many['confidence_set'])} (model confidence set)")
