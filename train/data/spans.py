"""Decision rows: the spans of a run, and the span that policies are evaluated on."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from himari_jax.candles import Candles, DataReport
from himari_jax.errors import InputError
from himari_jax.features.market import Features
from himari_jax.splits import (
    SPANS,
    Split,
    SplitRules,
    Stretches,
    count_rows,
    cut_times,
    default_embargo,
    find_span,
    from_row,
    possible_split,
    split_rows,
    stretches,
)
from himari_jax.times import iso_second, parse_duration
from train.config.backtest import NAMED, parse_span
from train.config.market import DataConfig, MarketConfig
from train.data.members import Member, join_candles


def split_rules(data: DataConfig, market: MarketConfig, features: Features, bar_ms: int) -> SplitRules:
    """Returns the split rules that the flags ask for.

    Raises:
        InputError: the decision interval is no whole number of bars.
    """
    step = market.step(bar_ms)
    if data.embargo == "lookback":
        embargo = None
    elif data.embargo is None:
        embargo = default_embargo(bar_ms, step, market.delay)
    else:
        embargo = -(-parse_duration(data.embargo, "--embargo") // bar_ms)
    return SplitRules(data.cuts, embargo, step, market.phase_ms, features.lookback(bar_ms))


def split_members(parts: Sequence[Candles], rules: SplitRules, pool: bool, skip_short: bool) -> list[Split | None]:
    """Splits each part of the candles; in a pool the cuts are common, and a symbol may lack decisions in a span.

    Args:
        parts: all symbols together, or the symbols of a pool.
        rules: of all parts.
        pool: whether they are those of a pool.
        skip_short: whether a symbol of a pool without any decision is None instead of refused.

    Raises:
        InputError: a span without decisions, or a symbol without any.
    """
    if not pool:
        return [split_rows(parts[0], rules)]
    cuts = cut_times(join_candles(parts).time, rules.cuts)
    common = replace(rules, cuts=cuts)
    splits = [possible_split(each, common) for each in parts]
    found = [split if any(split.spans.values()) else None for split in splits]
    if not skip_short:
        refuse_short(parts, found, rules)
    for name in SPANS:
        if not any(split.spans[name] for split in splits):
            raise InputError(
                f"--pool: no symbol has a decision in the {name} span; cuts are at {iso_second(cuts[0])} and "
                f"{iso_second(cuts[1])} and look-backs need {rules.warm_up} bars: give more candles or other cuts "
                "(--split)"
            )
    return found


def refuse_short(parts: Sequence[Candles], splits: Sequence[Split | None], rules: SplitRules) -> None:
    """Refuses symbols of a pool without any decision.

    Raises:
        InputError: names them.
    """
    short = [each.symbols[0] for each, split in zip(parts, splits, strict=True) if split is None]
    if short:
        raise InputError(
            f"--pool: {', '.join(short)}: no decision in any span: a look-back of {rules.warm_up} bars"
            f"{f' and an embargo of {rules.embargo}' if rules.embargo else ''} leave none; give more candles, or leave "
            "such symbols out with --skip-short"
        )


def note_short_stretches(span: Stretches, episode_steps: int, candles: Candles, report: DataReport) -> None:
    """Reports the stretches of a training span that are shorter than an episode: nothing is learned there.

    Args:
        span: decision rows as episodes are drawn from them.
        episode_steps: decisions of an episode.
        candles: of the span.
        report: is added to.
    """
    lengths = [len(each) for each in span if len(each) < episode_steps]
    if not lengths:
        return
    lost, every = sum(lengths), count_rows(span)
    first = next(each for each in span if len(each) < episode_steps)
    begin = iso_second(candles.time[first.start] + candles.bar_ms)
    detail = (
        f"stretches of the training span are shorter than an episode of {episode_steps} decisions, the first begins at "
        f"{begin}: {lost:,} of {every:,} decisions are not trained on; the longest of them has {max(lengths)}: "
        f"--episode-steps {max(lengths)} would use it"
    )
    if min(lengths) < max(lengths):
        detail += f", --episode-steps {min(lengths)} all"
    report.add("short stretches", ", ".join(candles.symbols), len(lengths), detail)


def evaluation_span(name: str, candles: Candles, cuts: tuple[int, int], rules: SplitRules) -> Stretches:
    """Finds the decision rows of a span after the look-back of the features; it may be empty.

    Args:
        name: train, val, test, all, or FROM:TO.
        candles: of one account.
        cuts: first bars of validation and test, epoch milliseconds.
        rules: of the run.
    """
    if name in NAMED:
        return find_span(candles, rules, cuts, name)
    begin, end = parse_span(name)
    closes = candles.time + candles.bar_ms
    inside = np.flatnonzero((closes >= begin) & (closes <= end))
    if not len(inside):
        return ()
    first, last = int(inside[0]), int(inside[-1])
    possible = stretches(candles, 0, len(candles.time), rules.look_back(candles), rules.step, rules.phase_ms)
    cut = (range(each.start, min(each.stop, last + 1), each.step) for each in from_row(possible, first))
    return tuple(each for each in cut if each)


def refuse_empty(members: Sequence[Member], name: str, cuts: tuple[int, int] | None, rules: SplitRules) -> None:
    """Refuses a span without two decisions.

    Raises:
        InputError: names begin and end of the candles.
    """
    if sum(count_rows(each.span) for each in members) >= 2:
        return
    hint = ""
    if name in NAMED and cuts is not None and name != "all":
        hint = f" (the run was cut at {iso_second(cuts[0])} and {iso_second(cuts[1])})"
    first = min(each.candles.time[0] for each in members)
    last = max(each.candles.time[-1] + each.candles.bar_ms for each in members)
    raise InputError(
        f"--span {name}: no two decisions lie there{hint}; the candles go from {iso_second(first)} to "
        f"{iso_second(last)} and the first {rules.look_back(members[0].candles)} bars are look-back; use --span all or "
        "FROM:TO"
    )
