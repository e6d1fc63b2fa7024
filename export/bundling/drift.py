"""The drift table of a bundle: distribution of the market inputs in training."""

from collections.abc import Sequence

import numpy as np

from himari_jax.drift import DriftTable, fit_drift
from himari_jax.features.market import observation_names
from himari_jax.splits import cut_times, decision_rows
from train.data.evaluation_data import EvaluationData
from train.data.spans import evaluation_span
from train.simulation.trained import Agent


def drift_of(agent: Agent, data: EvaluationData, inputs: Sequence[np.ndarray]) -> DriftTable | None:
    """Fits the table on the decisions of the training span; None where the candles hold none of it.

    Args:
        agent: whose features.
        data: candles of the run.
        inputs: (T, N, k) float64, the features of each member.
    """
    parts = []
    for member, values in zip(data.members, inputs, strict=True):
        cuts = data.cuts or cut_times(data.candles.time, data.rules.cuts)
        rows = decision_rows(evaluation_span("train", member.candles, cuts, data.rules))
        if len(rows):
            parts.append(values[rows].reshape(len(rows), -1))
    if not parts:
        return None
    step = agent.config.market.step(data.candles.bar_ms)
    return fit_drift(market_names(agent), parts, step * data.candles.bar_ms)


def market_names(agent: Agent) -> tuple[str, ...]:
    """Returns the names of the market inputs of an observation, symbol by symbol."""
    known = set(agent.features.names)
    return tuple(x for x in observation_names(agent.places, agent.features) if x.rpartition(".")[2] in known)
