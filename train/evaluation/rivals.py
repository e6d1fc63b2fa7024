"""Rivals that a policy is compared with: the position that it multiplies, and the simple rules."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from himari_jax.statistics import metrics
from himari_jax.statistics.power import LEVEL, OFTEN, family_level, smallest_found, years_to_find
from train.simulation.history import AccountHistory
from train.simulation.play import SpanHistories

RIVALS = ("base", "constant")  # the first question's, named before the test: multiplier 1, and the own mean exposure
NO_RULES = (*RIVALS, "random", "equal_weight")  # a draw of chance, and a second buy and hold, are no rules of their own


class Rival(NamedTuple):
    """The paired difference of annual Sharpe ratios between a policy and one rival, on the same bars."""

    name: str
    sharpe: float  # of the rival
    difference: float  # of the policy: its Sharpe minus the rival's
    p: float  # one-sided: share of the resamples in which the policy is not ahead
    low: float  # 5 % quantile of the resamples: one-sided lower bound
    high: float  # 95 % quantile: one-sided upper bound
    error: float  # deviation of the resamples
    late: float  # difference one bar later


def measure(
    name: str, agent: AccountHistory, rival: AccountHistory, late: float, samples: np.ndarray, bars_per_year: float
) -> Rival:
    """Measures a policy against a rival.

    Args:
        name: of the rival.
        agent: history of the policy.
        rival: history of the rival.
        late: difference one bar later.
        samples: resampled differences, (n,).
        bars_per_year: A.
    """
    ours, theirs = (metrics.sharpe_or_zero(each.returns, bars_per_year) for each in (agent, rival))
    known = samples[np.isfinite(samples)]
    if not len(known):
        return Rival(name, theirs, ours - theirs, 1.0, -math.inf, math.inf, math.nan, late)
    low, high = np.quantile(known, [LEVEL, 1 - LEVEL])
    p = (1 + int((known <= 0).sum())) / (1 + len(known))
    return Rival(name, theirs, ours - theirs, p, float(low), float(high), float(known.std(ddof=1)), late)


def measure_all(
    played: SpanHistories, chosen: int, samples: np.ndarray, beside: Mapping[str, np.ndarray], names: Sequence[str]
) -> dict[str, Rival]:
    """Measures the chosen policy against some baselines.

    Args:
        played: histories.
        chosen: index of the policy.
        samples: its resampled Sharpe ratios, (n,).
        beside: those of the baselines, on the same draws.
        names: which; those that were not played are left out.
    """
    year, agent = played.bars_per_year, played.agents[chosen]
    late = metrics.sharpe_or_zero(played.late.returns, year)
    found = {}
    for name in names:
        if name not in played.baselines:
            continue
        behind = late - metrics.sharpe_or_zero(played.late_baselines[name].returns, year)
        found[name] = measure(name, agent, played.baselines[name], behind, samples - beside[name], year)
    return found


def best_rule(histories: Mapping[str, AccountHistory], bars_per_year: float) -> str:
    """Picks the simple rule with the highest Sharpe ratio on a span: validation chooses the test's rival."""
    rules = {name: each for name, each in histories.items() if name not in NO_RULES}
    return max(rules, key=lambda name: metrics.sharpe_or_zero(rules[name].returns, bars_per_year))


def hardest(rivals: Mapping[str, Rival]) -> Rival:
    """Picks the rival that is hardest to beat: both have to be beaten, so that its p is that of the whole claim.

    Source: Berger, "Multiparameter Hypothesis Testing and Acceptance Sampling", Technometrics, 1982
    (intersection-union test).
    """
    return max(rivals.values(), key=lambda rival: (rival.p, -rival.difference))


def power_block(rival: Rival, bars: int, bars_per_year: float, trials: int) -> dict[str, Any]:
    """Computes the smallest true difference that this sample finds, and the years that one of this size needs.

    Args:
        rival: the hardest.
        bars: T.
        bars_per_year: A.
        trials: independent ones that share the level of the test.
    """
    years, level = bars / bars_per_year, family_level(trials)
    needed = years_to_find(rival.difference, rival.error, years, level=level)
    return {
        "years": years,
        "standard_error": rival.error,
        "level": level,
        "even_odds": smallest_found(rival.error, 0.5, level),
        "four_in_five": smallest_found(rival.error, OFTEN, level),
        "years_needed": needed if math.isfinite(needed) else None,
    }


def rules_block(rivals: Mapping[str, Rival], named: str | None) -> dict[str, Any]:
    """Answers the second question: whether the policy is ahead of the simple rules.

    Args:
        rivals: measured, by name of the rule.
        named: the best rule on the validation span; None: the best on this span, in hindsight.
    """
    if not rivals:
        return {}
    known = named is not None and named in rivals
    best = str(named) if known else max(rivals, key=lambda name: rivals[name].sharpe)
    return {
        "rule": best,
        "chosen_on": "validation" if known else "this span",
        **rivals[best]._asdict(),
        "all_p": max(rival.p for rival in rivals.values()),
        "by_rule": {name: rival._asdict() for name, rival in rivals.items()},
    }
