"""The base of a run, a base sizing or a user's file: its first known row, and decisions without effect."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from himari_jax.candles import Candles, DataReport
from himari_jax.errors import InputError
from himari_jax.positions.base_positions import Base, base_positions, first_known
from himari_jax.positions.own_positions import OwnPositions, read_own_positions
from himari_jax.splits import Stretches, count_rows, decision_rows, from_row
from himari_jax.times import iso_minute
from train.config.market import MarketConfig
from train.data.market import sizing_rules

NOTED = 0.1  # share of decisions without effect of the multiplier, from which on it is reported


def load_base(market: MarketConfig, symbols: tuple[str, ...], assume_utc: bool, path: str | None = None) -> Base:
    """Returns the base that flags ask for: the name of a base sizing, or the positions of a file.

    Args:
        market: flags.
        symbols: of the candles.
        assume_utc: takes times of the file without a zone for UTC.
        path: of another file than the flags name.

    Raises:
        InputError: the file cannot be read, or breaks a rule.
    """
    path = path or market.base_positions
    if path is None:
        return market.base_sizing
    return read_own_positions(Path(path), symbols, market.base_max_age_ms, assume_utc)


def sha256_of(base: Base) -> str | None:
    """Returns the SHA-256 of the file of own base positions; None for a base sizing."""
    return base.sha256 if isinstance(base, OwnPositions) else None


def base_of_part(base: Base, part: Candles) -> Base:
    """Returns the base of a part of the symbols: of a file its columns of one symbol of a pool."""
    if isinstance(base, OwnPositions) and base.symbols != part.symbols:
        return base.of(*part.symbols)
    return base


def first_decision(base: Base, candles: Candles, market: MarketConfig, delay: int) -> int:
    """Finds the first row at which a base is known to a decision that is `delay` bars late."""
    if not isinstance(base, OwnPositions):
        return 0
    return first_known(base_positions(base, candles, sizing_rules(market))) + delay


def where_known(spans: Mapping[str, Stretches], base: Base, first: int, report: DataReport) -> dict[str, Stretches]:
    """Removes the decisions before a base is known from spans; the report counts them.

    Raises:
        InputError: a span loses decisions and has fewer than two from then on.
    """
    if not isinstance(base, OwnPositions):
        return dict(spans)
    found = {name: from_row(span, first) for name, span in spans.items()}
    begin = iso_minute(base.time[0])
    for name, span in found.items():
        if count_rows(span) < min(2, count_rows(spans[name])):
            raise InputError(
                f"{base.origin}: its first row is of {begin}, after which the {name} span has no two decisions; "
                "give base positions that begin earlier, or other cuts or spans"
            )
        if lost := count_rows(spans[name]) - count_rows(span):
            detail = f"decisions of the {name} span before its first row, {begin}, are left out"
            report.add("base unknown", base.origin, lost, detail)
    if base.extra and not any(entry["kind"] == "extra columns" for entry in report.entries):
        report.add("extra columns", base.origin, len(base.extra), f"not used: {', '.join(base.extra)}")
    return found


def idle_shares(base: np.ndarray, spans: Mapping[str, Stretches], symbols: tuple[str, ...], cap: float) -> dict:
    """Measures the share of the decisions, by span and symbol, at which the multiplier or its upper half does nothing.

    Args:
        base: base positions (T, N), as the policy's account takes them.
        spans: decision rows by name.
        symbols: N names.
        cap: largest weight of one asset.

    Returns:
        {span: {symbol: {"zero": share where the base is 0, "at_cap": share where it is not below the cap}}}
    """
    limit = base.dtype.type(cap)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, span in spans.items():
        if not span:
            continue
        rows = base[decision_rows(span)]
        zero, capped = (rows == 0).mean(0), (rows >= limit).mean(0)
        found[name] = {symbol: {"zero": float(zero[n]), "at_cap": float(capped[n])} for n, symbol in enumerate(symbols)}
    return found


def merge_shares(parts: Iterable[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Merges the shares of several members by span."""
    found: dict[str, dict[str, Any]] = {}
    for part in parts:
        for name, by_symbol in part.items():
            found.setdefault(name, {}).update(by_symbol)
    return found


def describe_base(market: MarketConfig, base: Base, shares: Mapping[str, Any]) -> dict[str, Any]:
    """Describes a base for data_report.json and result.json."""
    file = {"file": base.origin, "sha256": base.sha256} if isinstance(base, OwnPositions) else {}
    return {"sizing": market.sizing, **file, "cap": market.max_position_pct, "idle": shares}


def idle_lines(described: Mapping[str, Any]) -> list[str]:
    """Words a line for each symbol that has a span in which more than a tenth of the decisions are idle."""
    spans: Mapping[str, Any] = described["idle"]
    lines = []
    for symbol in dict.fromkeys(symbol for span in spans.values() for symbol in span):
        parts = []
        for key, where in (("zero", "is 0 (no multiplier does anything)"), ("at_cap", "is at the cap of {cap:g}, "
            "where a multiplier above 1 does nothing,")):  # fmt: skip
            shares = {name: span[symbol][key] for name, span in spans.items() if symbol in span}
            if max(shares.values()) > NOTED:
                words = ", ".join(f"{share:.0%} of {name}" for name, share in shares.items())
                parts.append(f"{where.format(cap=described['cap'])} in {words}")
        if parts:
            lines.append(f"  {symbol}: the base position ({described['sizing']}) {'; it '.join(parts)} decisions")
    return lines
