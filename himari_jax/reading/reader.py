"""From a table to candles: columns chosen, times and numbers read, rows of several symbols told apart."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from himari_jax.candles import RawCandles
from himari_jax.errors import Fault, InputError, refuse_faults
from himari_jax.reading.columns import SPACE, Cells, shown
from himari_jax.reading.epochs import Times
from himari_jax.reading.names import same_name
from himari_jax.reading.numbers import (
    Comma,
    NumberPart,
    check_numbers,
    comma_of,
    join_numbers,
    parse_numbers,
    separator_note,
    sign_of,
    usual_comma,
)
from himari_jax.reading.positional import find_roles
from himari_jax.reading.roles import Roles, choose_roles, role_notes, symbol_columns
from himari_jax.reading.tables import Table, cells_of, sample, says_utc
from himari_jax.reading.times import (
    ASSUME,
    Part,
    check_clock,
    check_times,
    join_times,
    parse_times,
    refuse_half_clock,
    refuse_naive,
)

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
    def named_by(self) -> tuple[int, "pl.Series"] | None:
        """The column that says whose candles a row holds, and all of its cells; None: the rows are of one symbol.

        Raises:
            InputError: two columns disagree about how many there are.
        """
        import polars as pl

        found = {}
        for k in symbol_columns(self.table):
            cells = self.table.column(k)
            cells = cells.str.strip_chars(SPACE) if cells.dtype == pl.String else cells
            if cells.n_unique() > 1:
                found[k] = cells
        sizes = {cells.n_unique() for cells in found.values()}
        if len(sizes) > 1:
            names = " and ".join(shown(self.table.names[k]) for k in list(found)[:2])
            raise InputError(f"{self.table.origin}: columns {names} tell different symbols apart; allowed: one of them")
        return next(iter(found.items()), None)

    @cached_property
    def symbols(self) -> list[str]:
        """The symbols that the table tells apart, in its order; none: it is of one symbol."""
        if self.table.labels:
            found = list(dict.fromkeys(filter(None, self.table.labels[1:])))
            return found if len(found) > 1 else []
        if self.named_by is None:
            return []
        return [str(name) for name in self.named_by[1].unique(maintain_order=True).drop_nulls().to_list()]

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
            own: what the table calls it, where it tells symbols apart.
            assume_utc: reads times without a zone as UTC.
            no_volume: reads no volume.

        Raises:
            InputError: names file, row, column, value and what is allowed.
        """
        import polars as pl

        rows = mine = None
        if own is not None and self.table.labels:
            mine = [k for k, label in enumerate(self.table.labels) if label == own]
        elif own is not None and self.named_by is not None:
            rows = np.flatnonzero(self.named_by[1].cast(pl.String).eq(own).fill_null(False).to_numpy())
        roles = self._roles(symbol, mine, no_volume)
        return _Reading(self.table, roles, rows).candles(symbol, assume_utc)

    def _roles(self, symbol: str, mine: Sequence[int] | None, no_volume: bool) -> Roles:
        """The column of each role; a fault in the rows is reported before a missing column."""
        try:
            if not self.table.headed:
                return find_roles(self.table, self.first, no_volume)
            return choose_roles(self.table, self.first, self._coin_names(symbol), no_volume, mine)
        except InputError:
            for _ in self.table.blocks([]):
                pass
            raise

    def _coin_names(self, symbol: str) -> str:
        """The symbol with what a column of the table calls it."""
        said = [str(self.first[k][0]) for k in symbol_columns(self.table)] if self.named_by is None else []
        return " ".join([symbol, *said])


@dataclass(frozen=True)
class _Reading:
    """The columns of one symbol being read."""

    table: Table
    roles: Roles
    rows: np.ndarray | None  # of the symbol among all rows; None: all

    def candles(self, symbol: str, assume_utc: bool) -> RawCandles:
        table, roles = self.table, self.roles
        wanted = (*roles.time, *roles.prices, *roles.volumes)
        for k in () if table.delimiter else wanted:  # a text holds texts
            column = table.column(k)
            check = check_numbers if k not in roles.time else check_times if k == roles.time[0] else check_clock
            check(column, cells_of(table, k, np.arange(1, len(column) + 1)))
        comma = usual_comma(table.delimiter)
        row, times, parts = self._parse(wanted, comma)
        if self._may_be_decimal(parts, comma):
            numbers_in = roles.prices if comma else (*roles.prices, *roles.volumes)
            shows = comma_of(texts for _, columns in table.blocks(numbers_in) for texts in columns)
            if shows not in ("", comma):  # between commas a comma separates thousands unless the prices say otherwise
                comma = shows
                row, times, parts = self._parse(wanted, comma)
        cells = {k: self._only(cells_of(table, k, row)) for k in wanted}
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
        if when.naive and says_utc(table, roles.time[0]):
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

    def _parse(self, wanted: Sequence[int], comma: Comma) -> tuple[np.ndarray, list[Part], dict[int, list[NumberPart]]]:
        """Rows (T,), the parts of the time and of each column of numbers, block by block."""
        rows: list[np.ndarray] = []
        times: list[Part] = []
        parts: dict[int, list[NumberPart]] = {k: [] for k in wanted[len(self.roles.time) :]}
        signs: dict[int, str] = {}
        begin = 0
        for row, columns in self.table.blocks(wanted):
            end = begin + len(row)
            if self.rows is not None:
                first, last = np.searchsorted(self.rows, (begin, end))
                inside = self.rows[first:last] - begin
                row, columns = row[inside], [column.gather(inside) for column in columns]
            begin = end
            if len(row) == 0:
                continue
            rows.append(row)
            if len(self.roles.time) == 1:
                times.append(parse_times(columns[0], times))
            for k, column in zip(parts, columns[len(self.roles.time) :], strict=True):
                sign = signs.setdefault(k, sign_of(column))
                parts[k].append(parse_numbers(column, comma, k in self.roles.volumes, sign))
        return np.concatenate(rows), times, parts

    def _may_be_decimal(self, parts: dict[int, list[NumberPart]], comma: Comma) -> bool:
        """Whether commas stand in the numbers, and between commas, where most separate thousands, in all prices."""
        having = {k for k, own in parts.items() if any(part.commas for part in own)}
        return having >= set(self.roles.prices) if comma else bool(having)

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
