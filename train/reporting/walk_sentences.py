"""Sentences of a walk-forward test: its schedule, chance, the rule without parameters; for console and report."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from train.reporting.formats import number, signed

CAUTION = (
    "the symbols were picked knowing that they survived, and the years knowing that they trended: what comes need do "
    "neither"
)
KINDS = {  # of a permutation: what it keeps
    "bars": "bars permuted one by one, volatility clusters broken",
    "blocks": "bars permuted in blocks, volatility clusters kept: the harder null",
}
STATISTIC = "Sharpe minus the constant's"  # S, unless the permutations name another `statistic`


def lines(result: Mapping[str, Any]) -> Iterator[str]:
    """Says what stands beside the table of the blocks, a line each; what was not measured is left out.

    Args:
        result: as result.json, with `walk_forward`.
    """
    walk = result["walk_forward"]
    yield schedule_of(walk)
    yield from filter(
        None,
        (
            symbols(result),
            seeds(walk.get("seeds") or []),
            trend(walk),
            placebo(walk.get("placebo") or []),
            permutations(walk.get("permutations")),
            trials(result),
            caution(result),
        ),
    )


def schedule_of(walk: Mapping[str, Any]) -> str:
    """Words the schedule of retraining, and which seeds are evaluated."""
    number, seeds = len(walk["blocks"]), len(walk.get("seeds") or [])
    best = walk.get("ensemble") == "best"
    several = "in each block the best seed on validation, of" if best else "the mean action of"
    evaluated = f"{several} {seeds} seeds" if seeds > 1 else "one seed"
    bars = walk.get("embargo_bars")
    embargo = "" if bars is None else f", embargo {bars} bar{'' if bars == 1 else 's'}"
    return (
        f"retrained {number} time{'' if number == 1 else 's'}: window {walk['window']}, validation "
        f"{walk['validation']}, test {walk['test']}{embargo}; evaluated: {evaluated}"
    )


def span(result: Mapping[str, Any]) -> str:
    """Words the test blocks and their days; empty where nothing was retrained."""
    blocks = (result.get("walk_forward") or {}).get("blocks")
    if not blocks:
        return ""
    tests = "1 test block" if len(blocks) == 1 else f"{len(blocks)} test blocks, retrained before each"
    return f"{tests}, {blocks[0]['test'][0][:10]} to {blocks[-1]['test'][1][:10]}"


def labels(blocks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names each block shortly, no two alike: the year, the month, the day or the second of its first decision."""
    starts = [str(block["test"][0]) for block in blocks]
    for length in (4, 7, 10):
        names = [start[:length] for start in starts]
        if len(set(names)) == len(names) and (length > 4 or all(start[5:7] == "01" for start in starts)):
            return names
    return [start[:19] for start in starts]


def pooled(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """The difference of the whole track to the constant multiplier of the same mean exposure, as `rivals` holds it."""
    return (result.get("rivals") or {}).get("constant") or {}


def whole_track(result: Mapping[str, Any]) -> dict[str, float | None]:
    """The numbers of a block for all of them as one track."""
    rival, agent = pooled(result), result["agent"]
    return {
        "sharpe": agent.get("sharpe"),
        "base_sharpe": (result["baselines"].get("base") or {}).get("sharpe"),
        "constant_sharpe": rival.get("sharpe"),
        "difference": rival.get("difference"),
        "late_difference": rival.get("late"),
        "turnover": agent.get("turnover"),
    }


def symbols(result: Mapping[str, Any]) -> str:
    """Counts the symbols of a pool that beat their own constant; empty without a pool."""
    values = [block.get("timing_value") for block in (result.get("by_symbol") or {}).values()]
    known = [value for value in values if value is not None]
    return f"symbols: {sum(value > 0 for value in known)} of {len(known)} ahead of their own constant" if known else ""


def seeds(found: Sequence[Mapping[str, Any]]) -> str:
    """Words the difference of each seed alone; empty for a single one."""
    known = [seed["difference"] for seed in found if seed.get("difference") is not None]
    if len(found) < 2 or not known:
        return ""
    return (
        f"seeds: {len(found)}, each alone {min(known):+.2f} to {max(known):+.2f} to its constant, mean "
        f"{sum(known) / len(known):+.2f}"
    )


def trend(walk: Mapping[str, Any]) -> str:
    """Words the policy beside the rule without parameters, and that rule beside its own constant."""
    policy, rule = walk.get("trend"), walk.get("trend_rule")
    said = []
    if policy:
        said.append(
            f"the policy is {signed(policy.get('difference'))} to it (one-sided p {number(policy.get('p'), '.3f')}), "
            f"one bar late {signed(policy.get('late'))}"
        )
    if rule:
        said.append(f"alone it is {signed(rule.get('difference'))} {interval(rule.get('interval'))} to its constant")
    return f"trend rule, no parameters: {'; '.join(said)}" if said else ""


def placebo(found: Sequence[Mapping[str, Any]]) -> str:
    """Words the difference with inputs that are shifted by years; it must be flat."""
    shifts = "; ".join(f"{x['shift']} {signed(x.get('difference'))} {interval(x.get('interval'))}" for x in found)
    return f"placebo, inputs shifted, must be flat: {shifts}" if shifts else ""


def permutations(found: Mapping[str, Any] | None) -> str:
    """Words the permutation test; empty where there was none."""
    if not found:
        return ""
    known = [x for x in found.get("null") or [] if x is not None]
    highest = f", the best of them {max(known):+.2f}" if known else ""
    return (
        f"permutations, retrained: p {number(found.get('p'), '.3f')}; S {signed(found.get('value'))} "
        f"({statistic(found)}) against {found['number']} markets of permuted {found['kind']}{highest}"
    )


def statistic(found: Mapping[str, Any]) -> str:
    """Names the statistic S of the permutations."""
    return str(found.get("statistic", STATISTIC))


def trials(result: Mapping[str, Any]) -> str:
    """Words the number of trials on this span, and the deflated Sharpe ratio."""
    if result.get("trials") is None:
        return ""
    deflated = number(result.get("deflated_sharpe"), ".3f")
    return f"trials on this span: {result['trials']}; probability that the Sharpe is above their luck: {deflated}"


def caution(result: Mapping[str, Any]) -> str:
    """Warns of hindsight in a figure of several real symbols; empty for one symbol or a synthetic market."""
    if len(result.get("symbols") or ()) < 2 or result.get("synthetic"):
        return ""
    return f"caution: {CAUTION}"


def interval(ends: Sequence[float | None] | None) -> str:
    """Formats an interval of differences in brackets."""
    return f"[{', '.join(signed(x) for x in ends)}]" if ends else "[-]"
