"""Roles: which column of a table is time, open, high, low, close and volume, by its name, else by what it holds."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from himari_jax.errors import Fault, InputError
from himari_jax.reading.columns import (
    ALIASES,
    CLOCK_NAMES,
    OTHER_TIMES,
    PRICES,
    SYMBOL_NAMES,
    TICK_VOLUMES,
    header_key,
    shown,
    volume_note,
)
from himari_jax.reading.names import MONEY, QUOTES, coins_of, listed, plain
from himari_jax.reading.tables import Table
from himari_jax.reading.times import kind_of_time

if TYPE_CHECKING:
    import polars as pl

NO_VOLUME = "--no-volume"
MONEY_WORDS = (*MONEY, "quote", "to", "currency")
COINS = ("btc", "xbt", "eth", "ltc", "xrp", "bch", "bnb", "sol", "ada", "doge")
DAYS, MOMENTS = ("day",), ("epoch", "moment")


class Roles(NamedTuple):
    """The columns of candles."""

    time: tuple[int, ...]  # of the time; or of the day and the time of day
    prices: tuple[int, ...]  # open, high, low, close
    volumes: tuple[int, ...]  # the first that is not 0 in every row; none: no volume
    notes: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()


def choose_roles(
    table: Table, first: Sequence["pl.Series"], symbol: str, no_volume: bool, own: Sequence[int] | None = None
) -> Roles:
    """The columns of the candles of a symbol.

    Args:
        table: with a header.
        first: the first rows of every column.
        symbol: says which volume counts the base asset.
        no_volume: asks for no volume.
        own: the columns of the symbol beside the time, in a table that holds the columns of several; None: all.

    Raises:
        InputError: a column is missing or stands twice.
    """
    keys = _keys(table.names)
    mine = range(len(keys)) if own is None else own
    missing: list[str] = []
    prices = _choose_prices(keys, mine, table, symbol, missing)
    _refuse_scaled(table, keys, [first[k] for k in prices])
    time = _choose_time(table, keys, first, [k for k in range(len(keys)) if k not in prices], missing)
    if missing:
        have = ", ".join(shown(name) for name in table.names[:12])
        raise InputError(f"{table.origin}: {'; '.join(missing)}; found {have}")
    if no_volume:
        return Roles(time, tuple(prices), ())
    volumes = _choose_volumes(keys, [k for k in mine if k not in (*prices, *time)], symbol, table)
    if volumes:
        return Roles(time, tuple(prices), volumes)
    return Roles(time, tuple(prices), (), faults=(_no_volume(table, keys, mine, symbol),))


def _keys(names: Sequence[str]) -> list[str]:
    """Names in the form of the tables of aliases; of `t` and `T` in one header the large letter gets another."""
    keys = [header_key(name) for name in names]
    large = [len(key) == 1 and name.strip().isupper() for key, name in zip(keys, names, strict=True)]
    small = {key for key, is_large in zip(keys, large, strict=True) if not is_large}
    return [f"large {key}" if is_large and key in small else key for key, is_large in zip(keys, large, strict=True)]


def _refuse_scaled(table: Table, keys: Sequence[str], prices: Sequence["pl.Series"]) -> None:
    """Refuses prices as whole billionths, which Databento writes unless it is asked for others.

    Raises:
        InputError: they are.
    """
    if {"rtype", "publisherid"} <= set(keys):
        cells = [str(cell).strip() for column in prices for cell in column.to_list()]
        if all(cell.isdecimal() and len(cell) > 6 for cell in cells):
            what = f"prices such as {cells[0]} are billionths, as Databento writes them"
            raise InputError(f"{table.origin}: {what}; allowed: prices (there: pretty_px=True)")


def _choose_prices(
    keys: Sequence[str], mine: Sequence[int], table: Table, symbol: str, missing: list[str]
) -> list[int]:
    """The columns of open, high, low, close; also `open_usd` and its kin where all four have the same ending.

    Raises:
        InputError: one stands twice, or prices in two currencies, neither of which the symbol ends with.
    """
    by_ending = {
        ending: [[k for k in mine if keys[k] == _first(role, ending, keys, mine)] for role in PRICES]
        for ending in ("", *QUOTES)
    }
    fit = [ending for ending, found in by_ending.items() if all(found)]
    if len(fit) > 1 and "" not in fit:
        fit = [ending for ending in fit if plain(symbol).endswith(ending)] or fit
        if len(fit) > 1:
            both = f"prices in {fit[0]} and in {fit[1]}"
            raise InputError(f"{table.origin}: {both}; allowed: one, or --symbols with one that ends with it")
    found = by_ending[fit[0] if fit else ""]
    for role, hits in zip(PRICES, found, strict=True):
        if not hits:
            missing.append(f"no column {role}; allowed names are {', '.join(ALIASES[role])}")
        if len(hits) > 1:
            raise InputError(
                f"{table.origin}: {len(hits)} columns are called {keys[hits[0]]}; allowed: one column {role}"
            )
    return [hits[0] for hits in found if hits]


def _first(role: str, ending: str, keys: Sequence[str], mine: Sequence[int]) -> str | None:
    have = {keys[k] for k in mine}
    return next((alias + ending for alias in ALIASES[role] if alias + ending in have), None)


def _choose_time(
    table: Table, keys: Sequence[str], first: Sequence["pl.Series"], others: Sequence[int], missing: list[str]
) -> tuple[int, ...]:
    """The column of the time, or the two of day and time of day: by name, else the only or first one that holds times.

    Raises:
        InputError: it stands twice, or several columns could be it.
    """
    kinds = {k: {kind_of_time(cell) for cell in first[k].to_list() if cell is not None} for k in others}
    kind = {k: found.pop() if len(found) == 1 else "" for k, found in kinds.items()}
    named = [k for alias in ALIASES["time"] for k in others if keys[k] == alias]
    for k in named:
        if keys.count(keys[k]) > 1 and kind[k] != "clock":
            raise InputError(
                f"{table.origin}: {keys.count(keys[k])} columns are called {keys[k]}; allowed: one column time"
            )
    for k in named:
        if kind[k] in MOMENTS:
            return (k,)
        if kind[k] in DAYS:
            clocks = [j for j in others if kind[j] == "clock" and keys[j] in CLOCK_NAMES]
            if len(clocks) > 1:
                names = " and ".join(shown(table.names[j]) for j in clocks[:2])
                raise InputError(f"{table.origin}: columns {names} both hold times of day; allowed: one")
            return (k, *clocks)
    if named:  # reading it says what is wrong with it
        return (next((k for k in named if kind[k] != "clock"), named[0]),)
    found = [k for k in others if kind[k] in (*MOMENTS, *DAYS) and not OTHER_TIMES.fullmatch(keys[k])]
    if found and (found[0] == 0 or len(found) == 1):
        clocks = [j for j in others if kind[j] == "clock" and keys[j] in CLOCK_NAMES]
        return (found[0], *clocks) if kind[found[0]] == "day" and len(clocks) == 1 else (found[0],)
    what = f"columns {' and '.join(shown(table.names[k]) for k in found[:2])} hold times, but " if found else ""
    missing.append(f"{what}no column time; allowed names are {', '.join(ALIASES['time'])}")
    return ()


def _choose_volumes(keys: Sequence[str], mine: Sequence[int], symbol: str, table: Table) -> tuple[int, ...]:
    """The columns that may count the base asset, the best first.

    A coin that the symbol names wins, as `volume_btc` of BTCUSD does: `volume` beside it counts the money.

    Raises:
        InputError: one stands twice.
    """
    coins = [form.format(coin) for coin in coins_of(symbol) for form in ("volume{}", "vol{}", "{}volume")]
    chosen = []
    for aliases in (coins, ALIASES["volume"], TICK_VOLUMES):
        name = next((alias for alias in aliases if any(keys[k] == alias for k in mine)), None)
        hits = [k for k in mine if keys[k] == name]
        if len(hits) > 1:
            raise InputError(f"{table.origin}: {len(hits)} columns are called {name}; allowed: one column volume")
        if aliases is coins and hits:
            return tuple(hits)
        chosen += hits
    return tuple(chosen) or _only_coin(keys, mine)


def _only_coin(keys: Sequence[str], mine: Sequence[int]) -> tuple[int, ...]:
    """The volume of a coin beside that of money, as `Volume_(BTC)` beside `Volume_(Currency)`; none: no such pair."""
    volumes = {k: keys[k].removeprefix("volume") for k in mine if keys[k].startswith("volume")}
    coins = [k for k, counted in volumes.items() if counted in COINS]
    money = [k for k, counted in volumes.items() if counted in MONEY_WORDS]
    return tuple(coins) if len(coins) == len(money) == 1 and len(volumes) == 2 else ()


def _no_volume(table: Table, keys: Sequence[str], mine: Sequence[int], symbol: str) -> Fault:
    """Words the refusal of a table without a volume of the base asset, which a flag mends."""
    near = [k for k in mine if keys[k].startswith(("volume", "vol")) or keys[k].endswith("volume")]
    hint = ""
    if near:
        money = all(keys[k].removeprefix("volume") in MONEY_WORDS for k in near)
        counts = "counts money" if money else f"does not say that it counts what {symbol or 'the symbol'} names"
        hint = f": {listed([shown(table.names[k]) for k in near], 3)} {counts}"
    names = ", ".join(ALIASES["volume"])
    text = f"{table.origin}: no column volume{hint}; allowed names are {names}; {NO_VOLUME} does without"
    have = ", ".join(shown(name) for name in table.names[:12])
    return Fault(f"{text}; found {have}", NO_VOLUME)


def symbol_columns(table: Table) -> list[int]:
    """The columns that may name the symbol of each row."""
    return [k for k, name in enumerate(table.names) if header_key(name) in SYMBOL_NAMES]


def role_notes(table: Table, roles: Roles, volume: int | None) -> list[str]:
    """Says which columns were taken where their names do not say it."""
    notes = list(roles.notes)
    if table.headed and header_key(table.names[roles.time[0]]) not in ALIASES["time"]:
        notes.append(f"time from column {shown(table.names[roles.time[0]])}")
    if len(roles.time) > 1:
        notes.append(f"time from columns {' and '.join(shown(table.names[k]) for k in roles.time)}")
    if volume is None:
        return [*notes, "no volume: 0 in every bar"]
    return notes + (volume_note(table.names[volume]) if table.headed else [])
