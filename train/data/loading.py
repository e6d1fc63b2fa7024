"""Loads the candles that flags name, and checks them."""

from collections.abc import Mapping, Sequence
from typing import Any

from himari_jax.candles import Candles, DataReport, RawCandles
from himari_jax.checking.candles import check_candles, check_each
from himari_jax.errors import InputError
from himari_jax.features.windows import refuse_odd_bar
from himari_jax.sources.registry import load_candles
from himari_jax.sources.request import SourceRequest
from himari_jax.times import bar_name
from train.config.market import DataConfig


def load_raw(data: DataConfig, options: Mapping[str, Any]) -> list[RawCandles]:
    """Reads the candles of the chosen source, unchecked.

    Args:
        data: flags.
        options: of the sources, by name.

    Raises:
        InputError: flags do not fit each other, or the source lacks the candles.
    """
    source = data.chosen_source
    if source == "files" and not data.data:
        raise InputError("--source files: name a folder or files with --data")
    if source != "files" and data.data:
        raise InputError(f"--data is read by --source files, not by --source {source}; give one of them")
    own = options.get(source)
    request = SourceRequest(
        *(data.symbols, data.data, data.bar_ms, data.assume_utc, own, data.pool, data.no_volume),
        *(data.since_ms, data.until_ms),
    )
    return load_candles(source, request)


def checked(raws: Sequence[RawCandles], data: DataConfig) -> tuple[Candles, DataReport]:
    """Checks candles and reports what was found in them.

    Raises:
        InputError: they break a rule of the boundary, or features have no windows for bars of that length.
    """
    candles, report = check_candles(raws, bar_ms=data.bar_ms, calendar=data.calendar, repair=data.repair)
    refuse_odd_bar(candles)
    return candles, report


def checked_parts(raws: Sequence[RawCandles], data: DataConfig) -> tuple[tuple[Candles, ...], DataReport]:
    """`checked` on one time grid, or, of a pool, each symbol by itself with its own dates.

    Raises:
        InputError: candles break a rule, or symbols of a pool have bars of different lengths.
    """
    if not data.pool:
        candles, report = checked(raws, data)
        return (candles,), report
    found = check_each(raws, bar_ms=data.bar_ms, calendar=data.calendar, repair=data.repair)
    for candles, _ in found:
        refuse_odd_bar(candles)
    parts, report = tuple(candles for candles, _ in found), DataReport([e for _, own in found for e in own.entries])
    odd = next((each for each in parts if each.bar_ms != parts[0].bar_ms), None)
    if odd is not None:
        raise InputError(
            f"--pool: {parts[0].symbols[0]} has bars of {bar_name(parts[0].bar_ms)}, {odd.symbols[0]} of "
            f"{bar_name(odd.bar_ms)}; must be the same: leave one out, or say which with --bar"
        )
    return parts, report
