"""Blocks of a walk-forward test: spans of training, validation and test."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

from himari_jax.candles import Candles
from himari_jax.errors import InputError
from himari_jax.splits import Split, SplitRules, Stretches, decision_rows, from_row, possible_split
from himari_jax.times import iso_minute, iso_second, parse_moment
from train.config.walk_forward import PERIOD, WalkForwardConfig
from train.data.members import join_candles


class Block(NamedTuple):
    """A test block with the spans before it; times are the first bars of their spans, epoch milliseconds."""

    train: int | None  # None: from the first candle on
    val: int
    test: int
    end: int  # of the test block; the first bar of the next one
    cuts: tuple[int, int]  # by which `train.ppo --split` makes the same training and validation spans


def plan_blocks(walk: WalkForwardConfig, parts: Sequence[Candles], embargo: int) -> list[Block]:
    """Plans the test blocks, from the first one to the end of the candles; the last one may be shorter.

    The embargo lies at the end of the earlier of two spans, so that test blocks follow each other without a gap: every
    cut lies `embargo` bars before the span that begins after it.

    Args:
        walk: flags.
        parts: the candles.
        embargo: bars.

    Raises:
        InputError: no block, or nothing to train on before the first one.
    """
    time = join_candles(parts).time
    bar = parts[0].bar_ms
    first = middle_day(time) if walk.first_test is None else parse_moment(walk.first_test, "--first-test")
    span = f"the candles go from {iso_minute(time[0])} to {iso_minute(time[-1] + bar)}"
    if not time[0] < first <= time[-1]:
        raise InputError(f"--first-test {walk.first_test or iso_minute(first)}: {span}")
    blocks, number = [], 0
    while (begin := later(first, walk.test, number)) <= time[-1]:
        number += 1
        val = later(begin, walk.validation, -1)
        train = None if walk.window == "expanding" else later(val, walk.window, -1)
        rows = np.searchsorted(time, (val, begin))
        if rows[0] - embargo <= 0:
            raise InputError(
                f"--first-test {iso_minute(first)}: nothing is left to train on before the validation span from "
                f"{iso_minute(val)} on; {span}: test later, or validate for less than {walk.validation}"
            )
        cuts = tuple(int(time[row - embargo]) for row in rows)
        blocks.append(Block(train, val, begin, later(first, walk.test, number), (cuts[0], cuts[1])))
    return blocks


def with_decisions(blocks: Sequence[Block], parts: Sequence[Candles], rules: SplitRules) -> list[Block]:
    """Keeps the blocks that have decisions: not one that the candles only just reach, or that lies in a gap.

    Raises:
        InputError: there is none.
    """
    common = replace(rules, cuts=blocks[0].cuts)
    tests = [possible_split(candles, common).test for candles in parts]
    times = np.concatenate([candles.time[decision_rows(span)] for candles, span in zip(parts, tests, strict=True)])
    if found := [block for block in blocks if ((times >= block.test) & (times < block.end)).any()]:
        return found
    raise InputError(
        f"--first-test {iso_minute(blocks[0].test)}: nothing is decided from then on; a look-back of {rules.warm_up} "
        f"bars lies before the first decision, and {rules.step} bars behind the last one: test earlier"
    )


def middle_day(time: np.ndarray) -> int:
    """Returns the midnight, UTC, before the middle of (T,) times, epoch milliseconds."""
    day = 86_400_000
    return int((int(time[0]) + int(time[-1])) // 2 // day * day)


def later(moment: int, period: str, number: int) -> int:
    """Adds periods of the calendar to a time, epoch milliseconds; 1y after a leap day is the last of February."""
    import polars as pl

    found = PERIOD.fullmatch(period)
    assert found is not None, period
    when = pl.Series([datetime.fromtimestamp(moment / 1000, UTC)], dtype=pl.Datetime("ms", "UTC"))
    return int(when.dt.offset_by(f"{number * int(found[1])}{found[2]}").dt.epoch("ms")[0])


def split_block(block: Block, parts: Sequence[Candles], rules: SplitRules, whole: bool = False) -> list[Split | None]:
    """Finds the decision rows of each part in a block's spans; None where it has none in any of them.

    Args:
        block: with its spans.
        parts: all symbols together, or the symbols of a pool.
        rules: of the run; their cuts are not looked at.
        whole: whether the test span goes on to the end of the candles.

    Raises:
        InputError: no part has a decision in a span.
    """
    common, found = replace(rules, cuts=block.cuts), []
    for candles in parts:
        split = possible_split(candles, common)
        train = split.train if block.train is None else from_time(split.train, candles, block.train)
        test = split.test if whole else before(split.test, candles, block.end)
        found.append(replace(split, train=train, test=test))
    for name in ("train", "val", "test"):
        if not any(split.spans[name] for split in found):
            raise InputError(
                f"test block from {iso_second(block.test)} on: no decision lies in its {name} span; a look-back of "
                f"{rules.warm_up} bars lies before the first one: give more candles, a later --first-test or longer "
                "spans"
            )
    return [split if any(split.spans.values()) else None for split in found]


def from_time(span: Stretches, candles: Candles, moment: int) -> Stretches:
    """Keeps the decision rows whose bars begin at or after a time."""
    return from_row(span, int(np.searchsorted(candles.time, moment)))


def before(span: Stretches, candles: Candles, moment: int) -> Stretches:
    """Keeps the decision rows whose bars begin before a time."""
    stop = int(np.searchsorted(candles.time, moment))
    cut = (range(each.start, min(each.stop, stop), each.step) for each in span)
    return tuple(each for each in cut if each)


def block_of(blocks: Sequence[Block], times: np.ndarray, bar_ms: int) -> np.ndarray:
    """Finds the number of the block of each decision, (L,) int32.

    Args:
        blocks: in order.
        times: (L,) of the decisions, epoch milliseconds.
        bar_ms: length of a bar.
    """
    starts = np.array([block.test for block in blocks])
    return (np.searchsorted(starts, times - bar_ms, side="right") - 1).astype(np.int32)
