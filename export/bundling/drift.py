"""The drift table of a bundle: distribution of the market inputs in training."""

from himari_jax.drift import DriftTable, fit_drift
from himari_jax.features.market import market_features, observation_names
from himari_jax.splits import cut_times, decision_rows
from train.data.evaluation_data import EvaluationData
from train.data.spans import evaluation_span
from train.simulation.trained import Agent


def drift_of(agent: Agent, ground: EvaluationData) -> DriftTable | None:
    """The table of the decisions of the training span; None where the candles hold none of it.

    Args:
        agent: whose features.
        ground: candles of the run.
    """
    parts = []
    for member in ground.members:
        cuts = ground.cuts or cut_times(ground.candles.time, ground.rules.cuts)
        rows = decision_rows(evaluation_span("train", member.candles, cuts, ground.rules))
        if len(rows):
            values, _ = market_features(member.candles, agent.features)
            parts.append(values[rows].reshape(len(rows), -1))
    if not parts:
        return None
    step = agent.config.market.step(ground.candles.bar_ms)
    return fit_drift(market_names(agent), parts, step * ground.candles.bar_ms)


def market_names(agent: Agent) -> tuple[str, ...]:
    """Names of the market inputs of an observation, symbol by symbol."""
    known = set(agent.features.names)
    return tuple(x for x in observation_names(agent.places, agent.features) if x.rpartition(".")[2] in known)
