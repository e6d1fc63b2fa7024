"""Candles and span that policies are evaluated on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from himari_jax.candles import Candles, DataReport, RawCandles, refuse_other_number
from himari_jax.errors import InputError
from himari_jax.features.market import BASE, Features
from himari_jax.positions.base_positions import Base
from himari_jax.splits import SplitRules, Stretches, cut_times, group_rows
from himari_jax.times import bar_name
from train.config.backtest import EvaluationDataConfig
from train.config.market import DataConfig, MarketConfig
from train.data.base import base_of_part, first_decision, where_known
from train.data.loading import checked_parts, load_raw
from train.data.members import Member, join_candles, union_times
from train.data.spans import evaluation_span, refuse_empty, split_rules


@dataclass(frozen=True)
class EvaluationData:
    """Candles with the span that policies are evaluated on."""

    raws: list[RawCandles]  # as the source read them: the audit begins there
    config: DataConfig
    candles: Candles  # of all members, side by side
    report: DataReport
    members: tuple[Member, ...]  # with their decisions in the span
    rules: SplitRules  # by which those were found
    name: str  # of the span, as the flag gave it
    cuts: tuple[int, int] | None  # epoch milliseconds of the first bars of validation and test of the run

    @property
    def times(self) -> np.ndarray:
        """Times of the decisions, (L,), epoch milliseconds."""
        return union_times(self.members)

    @property
    def span(self) -> Stretches:
        """Rows of `candles` at which some member decides."""
        if not self.config.pool:
            return self.members[0].span
        rows = np.searchsorted(self.candles.time, self.times - self.candles.bar_ms)
        return group_rows(rows, self.rules.step)

    @property
    def seen_rows(self) -> int:
        """Decisions before the test span of the run: training or validation may have seen that time."""
        return 0 if self.cuts is None else int((self.times - self.candles.bar_ms < self.cuts[1]).sum())

    @property
    def alone(self) -> list["EvaluationData"]:
        """The data of each account by itself: of every symbol of a pool that decides in the span."""
        if not self.config.pool:
            return [self]
        own = zip(self.raws, self.members, strict=True)
        lone = replace(self.config, pool=False)
        return [
            replace(self, raws=[raw], config=lone, candles=each.candles, members=(each,))
            for raw, each in own
            if each.span
        ]


class Loaded(NamedTuple):
    """Candles as a source read them, and checked."""

    raws: list[RawCandles]
    parts: tuple[Candles, ...]  # all symbols together, or each symbol of a pool
    report: DataReport


def load_candles(config: DataConfig, options: Any = None) -> Loaded:
    """Reads and checks candles.

    Args:
        config: flags.
        options: of the chosen source, where it has some.

    Raises:
        InputError: flags or candles do not fit.
    """
    raws = load_raw(config, {config.chosen_source: options})
    return Loaded(raws, *checked_parts(raws, config))


def load_evaluation_data(
    wanted: EvaluationDataConfig,
    own: DataConfig,
    market: MarketConfig,
    options: Mapping[str, Any],
    cuts: tuple[int, int] | None,
    features: Features = BASE,
    load: Callable[[DataConfig, Any], Loaded] = load_candles,
) -> EvaluationData:
    """Loads and checks candles, and finds the decisions of the span.

    Args:
        wanted: flags.
        own: how the run read its candles.
        market: its rules, of which the decision interval counts.
        options: of the sources, by name.
        cuts: first bars of validation and test of the run, epoch milliseconds; None: by the split of `own`.
        features: whose look-back is needed.
        load: `load_candles`, or a cached one; flags that change no candle are at their defaults.

    Raises:
        InputError: flags or candles do not fit.
    """
    config = wanted.over(own)
    uncut = replace(config, split=DataConfig().split, embargo=None)
    raws, parts, report = load(uncut, options.get(config.chosen_source))
    candles = join_candles(parts)
    rules = split_rules(config, market, features, candles.bar_ms)
    where = cuts or cut_times(candles.time, rules.cuts)
    members = tuple(
        Member(each, evaluation_span(wanted.span, each, where, rules), market.base_sizing) for each in parts
    )
    refuse_empty(members, wanted.span, cuts, rules)
    return EvaluationData(raws, config, candles, report, members, rules, wanted.span, cuts)


def known_data(
    data: EvaluationData, base: Base, market: MarketConfig, delay: int, report: DataReport
) -> EvaluationData:
    """Removes the decisions before a base is known at every delay up to a given one; sets the base of each member.

    Raises:
        InputError: the file of the base does not fit the candles, or no decision is left.
    """
    members = []
    for each in data.members:
        own = base_of_part(base, each.candles)
        first = first_decision(own, each.candles, market, delay)
        span = where_known({data.name: each.span}, own, first, report)[data.name]
        members.append(Member(each.candles, span, own))
    return replace(data, members=tuple(members), report=report)


def check_fits(data: EvaluationData, symbols: Sequence[str], bar: str, who: str) -> None:
    """Refuses candles that do not fit a policy.

    Raises:
        InputError: another number of symbols, or another bar.
    """
    if not data.config.pool:  # whose policy is for any one asset
        refuse_other_number(symbols, data.candles.symbols, who)
    if bar_name(data.candles.bar_ms) != bar:
        raise InputError(f"{who}: trained on bars of {bar}, the candles have bars of {bar_name(data.candles.bar_ms)}")
