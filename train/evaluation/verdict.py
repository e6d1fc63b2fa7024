"""One of three words, and why."""

from typing import NamedTuple

CONSTANT_BELOW = 0.01  # deviation over bars of every multiplier, below which a policy counts as constant
CONFIDENCE = 0.95


class Evidence(NamedTuple):
    """The statistics that the verdict is derived from; Sharpe ratios are annual."""

    sharpe: float  # of the agent
    baseline: str  # the one with the highest Sharpe on the test span
    baseline_sharpe: float
    difference: float  # agent minus baseline
    difference_interval: tuple[float, float]
    deflated_sharpe: float  # probability that the Sharpe is above what the best of so many trials reaches by luck
    trials: int  # everything that was ever tried on this span
    late_sharpe: float  # of the agent, one bar later
    late_difference: float  # one bar later, to the same baseline
    late_interval: tuple[float, float]  # of (one bar later) minus (on time)
    spread: float  # largest deviation over bars of a multiplier
    detectable: float  # the smallest Sharpe that this sample could confirm
    doubts: tuple[str, ...] = ()  # whatever else speaks against an edge


def verdict(e: Evidence) -> dict[str, str]:
    """EDGE, NO EDGE or INCONCLUSIVE with the reason, `{"word": ..., "reason": ...}`."""
    low, high = e.difference_interval
    between = f"{e.difference:+.2f} (95 % interval {low:+.2f} to {high:+.2f})"
    if e.spread < CONSTANT_BELOW:
        return word(
            "NO EDGE", f"the policy is constant: nothing that it says varies by more than {e.spread:.4f} over the bars"
        )
    if depends_on_delay_0(e):
        return word(
            "NO EDGE",
            f"it depends on delay 0: one bar later its Sharpe falls from {e.sharpe:.2f} to {e.late_sharpe:.2f}, "
            f"not above {e.baseline}'s {e.baseline_sharpe:.2f}",
        )
    if high < 0:
        return word("NO EDGE", f"its Sharpe differs from {e.baseline}'s by {between}, which lies below 0")
    doubts = list(e.doubts)
    if not low > 0:
        doubts.append(f"its Sharpe differs from {e.baseline}'s by {between}, which does not exclude 0")
    if not e.deflated_sharpe > CONFIDENCE:
        doubts.append(f"its deflated Sharpe ({count_trials(e)}) is {e.deflated_sharpe:.2f}, not above 0.95")
    if not e.late_difference > 0:
        doubts.append(f"one bar later it is not ahead of {e.baseline} ({e.late_difference:+.2f})")
    if doubts:
        sample = f"; the smallest Sharpe that this sample could confirm is {e.detectable:.2f}"
        return word("INCONCLUSIVE", "; ".join(doubts) + sample)
    return word(
        "EDGE",
        f"its Sharpe exceeds {e.baseline}'s by {between}, its deflated Sharpe ({count_trials(e)}) is "
        f"{e.deflated_sharpe:.3f}, and one bar later it is still ahead ({e.late_difference:+.2f})",
    )


def depends_on_delay_0(e: Evidence) -> bool:
    """Whether what puts it ahead is gone one bar later: a leak, or an edge that nobody can trade."""
    ahead = e.sharpe > 0 and e.sharpe > e.baseline_sharpe
    return ahead and e.late_interval[1] < 0 and e.late_sharpe <= e.baseline_sharpe


def count_trials(e: Evidence) -> str:
    """How many trials the deflated Sharpe ratio allows for."""
    return "1 trial" if e.trials == 1 else f"{e.trials} trials"


def word(text: str, reason: str) -> dict[str, str]:
    """The form of a verdict in result.json."""
    return {"word": text, "reason": reason}
