"""The live verdict: policy minus base, tested at every bar by an interval that holds at all bars at once."""

from typing import NamedTuple

import numpy as np

from himari_jax.statistics.confidence_sequence import WARM_UP_DAYS, bars_to_decide, sequence
from himari_jax.times import DAY_MS, YEAR_MS


class LiveVerdict(NamedTuple):
    """Verdict on the paper account so far."""

    word: str  # EDGE | NO EDGE | INCONCLUSIVE
    sentence: str
    advice: str
    yearly: tuple[float, float, float]  # log growth of policy minus base in a year: mean, low, high; nan, -inf, inf
    years: float  # so far
    years_to_go: float  # at the mean so far; 0 once decided
    path: np.ndarray  # (S, 3) yearly mean, low, high at every bar


def live_verdict(differences: np.ndarray, bars_per_year: float, bar_ms: int) -> LiveVerdict:
    """Tests policy minus base.

    Args:
        differences: (S,) log return of the policy's account minus that of the base's, a bar each.
        bars_per_year: bars of a year.
        bar_ms: length of a bar, milliseconds.
    """
    warm_up, aim = warm_up_and_aim(bars_per_year, bar_ms)
    path = sequence(differences, warm_up, aim) * bars_per_year
    years = len(differences) / bars_per_year
    # Once the interval excluded 0 it was decided: it holds at all looks at once.
    low, high = path[:, 1], path[:, 2]
    better, worse = bool((low > 0).any()), bool((high < 0).any())
    mean, low_now, high_now = (float(x) for x in path[-1]) if len(path) else (np.nan, -np.inf, np.inf)
    if better or worse:
        word = "EDGE" if better else "NO EDGE"
        than = "more" if better else "less"
        sentence = (
            f"the policy earns {than} than the base position: {percent(mean)} a year ({span_of(low_now, high_now)})"
        )
        advice = "go on" if better else "pause: set the multiplier to 1, and look for the cause in the replay"
        return LiveVerdict(word, sentence, advice, (mean, low_now, high_now), years, 0.0, path)
    deviation = float(np.std(differences)) if len(differences) > 1 else 0.0
    effect = abs(mean) / bars_per_year / deviation if deviation > 0 and np.isfinite(low_now) else 0.0
    ahead = bars_to_decide(effect, aim) / bars_per_year - years
    if not differences.any():
        sentence = f"{len(differences):,} bars; the two accounts have not differed yet"
    elif not np.isfinite(low_now):
        differing = len(differences) - int(np.flatnonzero(differences)[0])
        left = max(warm_up - differing, 0) * bar_ms / DAY_MS
        since = "" if differing == len(differences) else f", {differing:,} since the accounts first differed"
        sentence = f"{len(differences):,} bars{since}; the first {WARM_UP_DAYS} days set the scale, {left:.1f} are left"
    else:
        sentence = f"policy minus base {percent(mean)} a year ({span_of(low_now, high_now)})"
    going = f"at this pace it is decided in {duration(max(ahead, 0.0))}" if effect > 0 else "nothing is known yet"
    return LiveVerdict("INCONCLUSIVE", sentence, going, (mean, low_now, high_now), years, max(ahead, 0.0), path)


def warm_up_and_aim(bars_per_year: float, bar_ms: int) -> tuple[int, int]:
    """Returns the bars that set the scale of the interval, and the bars at which it is narrowest, those of a year."""
    return max(int(WARM_UP_DAYS * DAY_MS / bar_ms), 2), max(int(bars_per_year), 2)


def percent(share: float) -> str:
    """Formats a log growth as a signed percentage."""
    return f"{100 * share:+.2f} %"


def span_of(low: float, high: float) -> str:
    """Formats an interval."""
    return f"{percent(low)} to {percent(high)} at every look, 95 %"


def duration(years: float) -> str:
    """Formats a number of years."""
    if not np.isfinite(years) or years > 1000:
        return "more than 1,000 years"
    return f"{years:.1f} years" if years >= 1 else f"{years * YEAR_MS / DAY_MS:.0f} days"
