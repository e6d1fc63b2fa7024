"""The request that a source of candles answers."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SourceRequest:
    """A request for candles: symbols, files, bar length and the options of the source."""

    symbols: tuple[str, ...] = ()  # as the user spells them; none: the only one that the source has
    data: tuple[str, ...] = ()  # paths: one folder, or files
    bar_ms: int | None = None  # length of a bar; None: as the source has it
    assume_utc: bool = False  # reads times without a zone as UTC
    options: Any = None  # the `Options` of this source; None: its defaults
    every: bool = False  # without symbols: all that the files hold, as a pool wants them
    no_volume: bool = False  # takes a file without a column of volumes, which are 0 then
    since: int | None = (
        None  # of a live source: the first candle opens then or later, epoch milliseconds; None: it knows
    )
    until: int | None = None  # of a live source: no candle closes later; None: the last midnight, UTC
