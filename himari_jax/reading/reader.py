"""From a table to the candles of a symbol: columns are chosen, the rows of several symbols are separated."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from himari_jax.candles import RawCandles
from himari_jax.errors import Fault, InputError, refuse_faults
from himari_jax.reading.columns import SPACE, Cells, shown
from himari_jax.reading.epochs import Times
from himari_jax.reading.names import same_name
from himari_jax.reading.numbers import join_numbers, separator_note
from himari_jax.reading.parsing import Columns, parse_columns
from himari_jax.reading.positional import find_roles
from himari_jax.reading.roles import Roles, choose_roles, role_notes, symbol_columns
from himari_jax.reading.tables import Table, cells_of, is_in_utc, sample
from himari_jax.reading.times import ASSUME, Part, join_times, parse_times, refuse_half_clock, refuse_naive

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class CandleTable:
    """A table of candles: of one symbol, of several below each other, or of several side by side."""

    table: Table

    @cached_property
    def first(self) -> list["pl.Series"]:
        """The first rows of every column."""
        return sample(self.table)

    @cached_property
    def named_by(self) -> "pl.Series | None":
        """The column that names the symbol of each row, (T,); None: the rows are of one symbol.

        Raises:
            InputError: two columns disagree about how many there are.
        """
        import polars as pl

        candidates = symbol_columns(self.table)
        if not candidates:
            return None
        table, found = self.table.loaded(candidates), {}
        for k in candidates:
            cells = table.column(k)
            cells = cells.str.strip_chars(SPACE) if cells.dtype == pl.String else cells
            if cells.n_unique() > 1:
                found[k] = cells
        sizes = {cells.n_unique() for cells in found.values()}
        if len(sizes) > 1:
            names = " and ".join(shown(self.table.names[k]) for k in list(found)[:2])
            raise InputError(f"{self.table.origin}: columns {names} tell different symbols apart; allowed: one of them")
        return next(iter(found.values()), None)

    @cached_property
    def _kept(self) -> dict[tuple[int, ...], Table]:
        """The newest table that was loaded, by its columns: symbols of one file mostly have the same."""
        return {}

    def _loaded(self, wanted: Iterable[int]) -> Table:
        """The table with the cells of these columns in memory."""
        columns = tuple(sorted({*wanted}))
        if columns not in self._kept:
            self._kept.clear()
            self._kept[columns] = self.table.loaded(columns)
        return self._kept[columns]

    @cached_property
    def symbols(self) -> list[str]:
        """The symbols of a table of several, in its order; empty for a table of one."""
        if self.table.labels:
            found = list(dict.fromkeys(filter(None, self.table.labels[1:])))
            return found if len(found) > 1 else []
        if self.named_by is None:
            return []
        return [str(name) for name in self.named_by.unique(maintain_order=True).drop_nulls().to_list()]

    def find(self, symbol: str) -> str | None:
        """The symbol of the table that is meant; None: there is none.

        Raises:
            InputError: two could be meant.
        """
        hits = same_name(symbol, self.symbols)
        if len(hits) > 1:
            raise InputError(f"{self.table.origin}: {hits[0]} and {hits[1]} both are {symbol}; name one exactly")
        return hits[0] if hits else None

    def read(self, symbol: str, own: str | None, assume_utc: bool, no_volume: bool) -> RawCandles:
        """The candles of a symbol in the order of the file, unchecked.

        What a flag would mend is among the faults of what is returned, read as if the flag were given.

        Args:
            symbol: what to call the candles; says which volume column counts the base asset.
            own: name of the symbol in a table of several; None: the table is of one.
            assume_utc: reads times without a zone as UTC.
            no_volume: reads no volume.

        Raises:
            InputError: names file, row, column, value and what is allowed.
        """
        import polars as pl

        table, rows, mine = self.table, None, None
        if own is not None and table.labels:
            table, mine = self._loaded(range(len(table.names))), [k for k, x in enumerate(table.labels) if x == own]
        elif own is not None and self.named_by is not None:
            rows = np.flatnonzero(self.named_by.cast(pl.String).eq(own).fill_null(False).to_numpy())
        roles = self._roles(table, symbol, mine, no_volume)
        if rows is not None:
            table = self._loaded((*roles.time, *roles.prices, *roles.volumes))
        return _Reading(table, roles, rows).candles(symbol, assume_utc)

    def _roles(self, table: Table, symbol: str, mine: Sequence[int] | None, no_volume: bool) -> Roles:
        """The column of each role; a fault in the rows is reported before a missing column."""
        try:
            if not table.headed:
                return find_roles(table, self.first, no_volume)
            return choose_roles(table, self.first, self._coin_names(symbol), no_volume, mine)
        except InputError:
            for _ in table.blocks([]):
                pass
            raise

    def _coin_names(self, symbol: str) -> str:
        """The symbol with its name in a column of the table."""
        named = [str(self.first[k][0]) for k in symbol_columns(self.table)] if self.named_by is None else []
        return " ".join([symbol, *named])


@dataclass(frozen=True)
class _Reading:
    """The columns of one symbol being read."""

    table: Table
    roles: Roles
    rows: np.ndarray | None  # (K,) of the symbol among all rows, rising; None: all

    def candles(self, symbol: str, assume_utc: bool) -> RawCandles:
        table, roles = self.table, self.roles
        columns = Columns(roles.time, (*roles.prices, *roles.volumes), roles.prices, roles.volumes)
        row, times, parts, comma = parse_columns(table, columns, self.rows)
        cells = {k: self._only(cells_of(table, k, row)) for k in (*columns.time, *columns.numbers)}
        faults, notes = [*roles.faults], [*table.notes]
        numbers, bad = {}, np.zeros(len(row), bool)
        for k, own in parts.items():
            try:
                numbers[k] = join_numbers(own, cells[k], comma)
            except InputError as error:
                faults.append(Fault(str(error)))
                numbers[k] = np.concatenate([part.values for part in own])
                bad |= np.isnan(numbers[k])
        if bad.all():
            refuse_faults(faults)
        volume, chosen = self._volume(numbers, len(row))
        opens, high, low, close = (numbers[k] for k in roles.prices)
        try:
            when = self._times(times, cells)
            if when.hours is not None:
                refuse_half_clock(cells[roles.time[0]], when.hours, (opens, high, low, close, volume))
        except InputError as error:
            refuse_faults([*faults, Fault(str(error))])
            raise
        if when.naive and is_in_utc(table, roles.time[0]):
            notes.append("times without a zone are UTC, as the file says")
        elif not assume_utc and (naive := refuse_naive(when, cells[roles.time[0]])):
            faults.append(Fault(str(naive), ASSUME))
        if chosen is not None and chosen != roles.volumes[0]:
            notes.append(f"the volume in column {shown(table.names[roles.volumes[0]])} is 0 in every row")
        notes += role_notes(table, roles, chosen) if not roles.faults else []
        notes += [*when.notes, *separator_note(parts.values(), comma)]
        for prices in (opens, high, low, close) if bad.any() else ():  # no other fault is looked for in these rows
            prices[bad] = np.nan
        found = RawCandles(symbol, table.origin, row, when.time, opens, high, low, close, volume, tuple(notes))
        return replace(found, faults=tuple(faults))

    def _only(self, cells: Cells) -> Cells:
        """The cells of the symbol's rows."""
        rows = self.rows
        return cells if rows is None else replace(cells, values=lambda: cells.values().gather(rows))

    def _times(self, times: list[Part], cells: dict[int, Cells]) -> Times:
        if len(self.roles.time) == 1:
            return join_times(times, cells[self.roles.time[0]])
        day, clock = (cells[k] for k in self.roles.time)
        joined = _join_clock(day.values(), clock.values())
        both = Cells(day.origin, f"{day.name} {clock.name}", day.row, lambda: joined)
        return join_times([parse_times(joined)], both)

    def _volume(self, numbers: dict[int, np.ndarray], size: int) -> tuple[np.ndarray, int | None]:
        """The first volume that is not 0 in every row, and its column; zeros and None where there is none."""
        for k in self.roles.volumes:
            if (numbers[k] != 0).any():
                return numbers[k], k
        first = self.roles.volumes[0] if self.roles.volumes else None
        return np.zeros(size), first


def _join_clock(day: "pl.Series", clock: "pl.Series") -> "pl.Series":
    """Texts of a day and a time of day; digits alone get the zeros before them back that a number has lost."""
    import polars as pl

    days, clocks = (column.cast(pl.String).str.strip_chars() for column in (day, clock))
    digits = clocks.str.contains(r"^\d{1,6}$")
    if digits.all() and len(clocks):
        longest = int(clocks.str.len_chars().max())  # type: ignore[arg-type]
        clocks = clocks.str.zfill(6 if longest > 4 else 4 if longest > 2 else 2)
        clocks = clocks + "00" * (longest <= 2)
    return days + " " + clocks
