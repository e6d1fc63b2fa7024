"""What a source of candles is asked for."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SourceRequest:
    """What a source is asked for."""

    symbols: tuple[str, ...] = ()  # as the user spells them; none: the only one that the source has
    data: tuple[str, ...] = ()  # paths: one folder, or files
    bar_ms: int | None = None  # length of a bar; None: as the source has it
    assume_utc: bool = False  # reads times without a zone as UTC
    options: Any = None  # the `Options` of this source; None: its defaults
