"""On which candles and over which span policies are evaluated."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from himari_jax.candles import Candles, DataReport, RawCandles
from himari_jax.errors import InputError
from himari_jax.features import BASE, Features, segments
from himari_jax.splits import Stretches, count_rows, stretches
from himari_jax.times import bar_name, iso_second
from train.config.backtest import NAMED, EvaluationDataConfig, parse_span
from train.config.market import DataConfig
from train.data.loading import checked, load_raw


@dataclass(frozen=True)
class EvaluationData:
    """Candles with the span that policies are evaluated on."""

    raws: list[RawCandles]  # as the source read them: the audit begins there
    config: DataConfig
    candles: Candles
    report: DataReport
    span: Stretches
    name: str  # of the span, as the flag gave it
    cuts: tuple[int, int] | None  # epoch milliseconds of the first bars of validation and test of the run

    @property
    def seen_rows(self) -> int:
        """Decisions before the test span of the run: training or validation may have seen that time."""
        if self.cuts is None:
            return 0
        rows = np.concatenate([self.candles.time[a:b] for a, b in self.span])
        return int((rows < self.cuts[1]).sum())


Loaded = tuple[list[RawCandles], Candles, DataReport]


def load_candles(config: DataConfig, options: Any = None) -> Loaded:
    """Candles as the source read them, checked, and what was found in them.

    Args:
        config: flags.
        options: of the chosen source, where it has some.

    Raises:
        InputError: flags or candles do not fit.
    """
    raws = load_raw(config, {config.chosen_source: options})
    return raws, *checked(raws, config)


def load_evaluation_data(
    wanted: EvaluationDataConfig,
    own: DataConfig,
    options: Mapping[str, Any],
    cuts: tuple[int, int] | None,
    features: Features = BASE,
    load: Callable[[DataConfig, Any], Loaded] = load_candles,
) -> EvaluationData:
    """Loads, checks and cuts.

    Args:
        wanted: flags.
        own: how the run read its candles.
        options: of the sources, by name.
        cuts: first bars of validation and test of the run, epoch milliseconds; None: by the split of `own`.
        features: whose look-back is needed.
        load: `load_candles`, or one that remembers: it is asked with everything left out that changes no candle.

    Raises:
        InputError: flags or candles do not fit.
    """
    config = merged(wanted, own)
    asked = replace(config, split=DataConfig().split)
    raws, candles, report = load(asked, options.get(config.chosen_source))
    span = find_span(wanted.span, candles, cuts, config.split, features)
    return EvaluationData(raws, config, candles, report, span, wanted.span, cuts)


def merged(wanted: EvaluationDataConfig, own: DataConfig) -> DataConfig:
    """The run's data flags with what was given now."""
    given: dict[str, Any] = {
        name: value
        for name in ("symbols", "bar", "calendar", "source")
        if (value := getattr(wanted, name)) not in (None, ())
    }
    if wanted.data:  # other files: nothing of how the run's were read holds
        given |= {"data": wanted.data, "source": wanted.source or "files"}
        given |= {"assume_utc": wanted.assume_utc, "repair": wanted.repair, "bar": wanted.bar}
    elif wanted.source and wanted.source != own.chosen_source:
        given |= {"data": ()}
    return replace(own, **given)


def find_span(
    name: str,
    candles: Candles,
    cuts: tuple[int, int] | None,
    split: tuple[float, float],
    features: Features = BASE,
) -> Stretches:
    """Decision rows of a span, after the look-back of the features.

    Raises:
        InputError: it holds none; says where the candles begin and end.
    """
    time, bar, warm_up = candles.time, candles.bar_ms, features.lookback(candles.bar_ms)
    if name in NAMED:
        rows = len(time)
        if cuts is None:
            first, second = (int(np.floor(fraction * rows)) for fraction in split)
        else:
            first, second = (int(np.searchsorted(time, cut)) for cut in cuts)
        edges = {"train": (0, first), "val": (first, second), "test": (second, rows), "all": (0, rows)}
        span = stretches(candles, *edges[name], warm_up)
    else:
        begin, end = parse_span(name)
        inside = np.flatnonzero((time + bar >= begin) & (time + bar <= end))
        span = between(candles, int(inside[0]), int(inside[-1]) + 1, warm_up) if len(inside) else ()
    if not span or count_rows(span) < 2:
        hint = ""
        if name in NAMED and cuts is not None and name != "all":
            hint = f" (the run was cut at {iso_second(cuts[0])} and {iso_second(cuts[1])})"
        raise InputError(
            f"--span {name}: no two decisions lie there{hint}; the candles go from {iso_second(time[0])} to "
            f"{iso_second(time[-1] + bar)} and the first {warm_up} bars are look-back; use --span all or FROM:TO"
        )
    return span


def between(candles: Candles, start: int, stop: int, warm_up: int) -> Stretches:
    """Decision rows of [start, stop): the look-back may lie before them, in the same segment."""
    found = []
    for low, high in segments(candles):
        begin, end = max(low + warm_up, start), min(high - 1, stop)
        if begin < end:
            found.append((begin, end))
    return tuple(found)


def check_fits(data: EvaluationData, symbols: Sequence[str], bar: str, who: str) -> None:
    """Refuses candles that a policy cannot be played on.

    Raises:
        InputError: another number of symbols, or another bar.
    """
    found = data.candles.symbols
    if len(found) != len(symbols):
        raise InputError(
            f"{who}: trained on {len(symbols)} symbols ({' '.join(symbols)}), given {len(found)} ({' '.join(found)}); "
            "--symbols names as many, in that order"
        )
    if bar_name(data.candles.bar_ms) != bar:
        raise InputError(f"{who}: trained on bars of {bar}, the candles have bars of {bar_name(data.candles.bar_ms)}")
