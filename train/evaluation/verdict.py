"""One of three words, and why: is the learned multiplier better than the position that it multiplies?"""

from typing import Any, NamedTuple

from himari_jax.statistics.power import family_level
from train.evaluation.rivals import Rival
from train.reporting.subjects import POLICY, Subject

CONSTANT_BELOW = 0.01  # deviation over bars of every multiplier, below which a policy counts as constant
WORTHWHILE = 0.1  # annual Sharpe, a difference below which is not worth having


class Evidence(NamedTuple):
    """The statistics that the verdict is derived from; Sharpe ratios are annual."""

    sharpe: float  # of the agent
    rival: Rival  # the one that it is hardest to be ahead of
    rivals: tuple[Rival, ...]  # all that must be beaten
    trials: int  # independent trials on this span, this one included
    late_sharpe: float  # of the agent, one bar later
    late_interval: tuple[float, float]  # of (one bar later) minus (on time)
    spread: float  # largest deviation over bars of a multiplier
    worthwhile: float = WORTHWHILE
    doubts: tuple[str, ...] = ()  # further reasons against an edge
    subject: Subject = POLICY

    @property
    def level(self) -> float:
        """Level of the one-sided test, which several trials share."""
        return family_level(self.trials)

    @property
    def high(self) -> float:
        """One-sided upper bound of the difference to the hardest rival."""
        return min(rival.high for rival in self.rivals)

    @property
    def late(self) -> float:
        """Smallest difference to a rival, one bar later."""
        return min(rival.late for rival in self.rivals)


def verdict(e: Evidence) -> dict[str, Any]:
    """Decides EDGE, NO EDGE or INCONCLUSIVE, with the reason, and where it leans.

    Returns:
        {"word", "reason", "leans": to | against | None, "probability": that the true difference is above 0}
    """
    rival = e.rival
    ahead = f"{rival.difference:+.2f} Sharpe against {rival.name} (one-sided p {rival.p:.3f})"
    if e.spread < CONSTANT_BELOW:
        constant = f"{e.subject.does('stay')} constant: a deviation of no more than {e.spread:.4f} over the bars"
        return word("NO EDGE", constant)
    if depends_on_delay_0(e):
        return word(
            "NO EDGE",
            f"it depends on delay 0: one bar later its Sharpe falls from {e.sharpe:.2f} to {e.late_sharpe:.2f}, "
            f"not above {rival.name}'s {rival.sharpe:.2f}",
        )
    if e.high < e.worthwhile:
        return word(
            "NO EDGE",
            f"{ahead}; with 95 % confidence it is not ahead by {e.worthwhile:g} (at most {e.high:+.2f})",
        )
    against = list(e.doubts)
    if rival.p > e.level:
        shared = f", 5 % shared by {e.trials} trials" if e.trials > 1 else ""
        against.append(f"{ahead}; an edge needs {e.level:.3f} or less{shared}")
    if not e.late > 0:
        against.append(f"one bar later it is not ahead ({e.late:+.2f})")
    probability = 1 - rival.p
    if not against:
        return word("EDGE", f"{ahead}, and one bar later {e.late:+.2f}", "to", probability)
    leans = "to" if probability >= 0.5 else "against"
    return word("INCONCLUSIVE", "; ".join(against), leans, probability)


def depends_on_delay_0(e: Evidence) -> bool:
    """Whether the gain vanishes one bar later: a leak, or an edge that cannot be traded."""
    ahead = e.sharpe > 0 and e.rival.difference > 0
    return ahead and e.late_interval[1] < 0 and e.late_sharpe <= e.rival.sharpe


def word(text: str, reason: str, leans: str | None = None, probability: float | None = None) -> dict[str, Any]:
    """Formats a verdict as result.json holds it."""
    return {"word": text, "reason": reason, "leans": leans, "probability": probability}
