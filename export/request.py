"""`python -m export.request BUNDLE`: candles and an account as a request for the server; beside training, no jax."""

import json
import math
import os
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from export.contents.finding import find_bundle
from export.server import ServerConfig, chosen_port
from himari_jax.cli import invocation
from himari_jax.command import auto, parse, require, run_command
from himari_jax.errors import InputError
from himari_jax.pasting import command_line
from himari_jax.times import bar_name, iso_minute, parse_moment
from train.config.backtest import CandlesConfig

if TYPE_CHECKING:
    from export.runtime import Model
    from himari_jax.candles import Candles
    from train.config.ppo import Config

PROG = invocation("export.request")
LIMITS = ServerConfig()  # what a server takes without further flags


@dataclass(frozen=True)
class RequestConfig:
    """Write a request for the server of a bundle, with the newest candles of its run or of --data."""

    bundle: tyro.conf.Positional[str] = field()
    """Folder of the bundle, or gs://BUCKET/PREFIX of one."""
    candles: tyro.conf.OmitArgPrefixes[CandlesConfig] = field(default_factory=CandlesConfig)
    until: Annotated[str | None, auto("the newest candle")] = None
    """The moment of the decision, UTC, such as 2019-10-01T12:00: candles that close later are left out."""
    bars: Annotated[int | None, auto("as few as the policy needs")] = None
    """Candles of each symbol."""
    equity: Annotated[float | None, auto("the run's --initial-capital")] = None
    """Money of the account; of a pool it is shared out evenly among the symbols."""
    holding: tuple[str, ...] = ()
    """Holdings of the account, SYMBOL=UNITS@PRICE with the average price of entry, such as BTC-USD=3.2@8069.6."""
    base: Annotated[tuple[str, ...], auto("by the base sizing of training")] = ()
    """Your own base positions in money, SYMBOL=MONEY, such as BTC-USD=12500."""
    base_positions: Annotated[str | None, auto("the file of the run")] = None
    """The file of base positions, where the run was trained with one."""
    out: Path = Path("request.json")
    """File to write; one that is there is replaced."""
    debug: bool = False
    """Show the traceback of an error."""

    def __post_init__(self):
        require(self.equity is None or 0 < self.equity < 1e30, "--equity", self.equity, "an amount above 0")
        require(self.bars is None or self.bars > 0, "--bars", self.bars, "a whole number above 0")
        if self.until is not None:
            parse_moment(self.until, "--until")


def main(args: Sequence[str]) -> int:
    """Writes the request and prints how to send it."""
    config = parse(RequestConfig, args, PROG)
    from export.contents.files import read_manifest
    from export.runtime import Model
    from train.config.serialize import from_json

    with ExitStack() as stack:
        folder = find_bundle(config.bundle, stack)
        model = Model(folder, *read_manifest(folder), session=None)
    trained = from_json(model.manifest.get("config", {}))
    parts = load_parts(config, model, trained)
    equity = (config.equity or trained.market.initial_capital) / len(parts)
    instances = [make_instance(config, model, trained, part, equity) for part in parts]
    body = json.dumps({"instances": instances}, separators=(",", ":"), allow_nan=False)
    config.out.write_text(body + "\n", encoding="utf-8")
    print_summary(config, model, parts, equity, len(body) + 1)
    return 0


def load_parts(config: RequestConfig, model: "Model", trained: "Config") -> "list[Candles]":
    """Loads the candles of each instance, up to the decision, read and checked as those of training.

    Raises:
        InputError: they do not fit the policy.
    """
    from himari_jax.candles import refuse_other_number
    from train.data.loading import checked_parts, load_raw

    data = config.candles.over(trained.data)
    parts, _ = checked_parts(load_raw(data, trained.source_options), data)
    bar, calendar = bar_name(model.bar_ms), str(model.manifest["calendar"])
    if parts[0].bar_ms != model.bar_ms:
        raise InputError(f"{config.bundle}: trained on bars of {bar}, the candles are of {bar_name(parts[0].bar_ms)}")
    require(parts[0].calendar == calendar, "--calendar", parts[0].calendar, f"{calendar}, as the policy was trained on")
    until = None if config.until is None else parse_moment(config.until, "--until")
    if not model.is_pool:
        refuse_other_number(model.symbols, parts[0].symbols, config.bundle)
        return [cut(parts[0], until)]
    named = config.candles.symbols
    unknown = [part.symbols[0] for part in parts if part.symbols[0] not in model.symbols]
    require(not (named and unknown), "--symbols", " ".join(unknown), f"some of {' '.join(model.symbols)}")
    found = [cut(part, until) for part in parts if part.symbols[0] not in unknown]
    newest = max((part.time[-1] for part in found), default=0)
    chosen = found if named else [part for part in found if part.time[-1] == newest]
    if left := [part.symbols[0] for part in parts if part.symbols[0] not in {x.symbols[0] for x in chosen}]:
        print(f"left out, as they end earlier or were not trained on: {', '.join(left)}")
    require(bool(chosen), "--data", "", f"candles of {' '.join(model.symbols)}")
    return chosen


def cut(candles: "Candles", until: int | None) -> "Candles":
    """Cuts off the candles that have not closed at a moment, epoch milliseconds.

    Raises:
        InputError: none has.
    """
    if until is None:
        return candles
    closes = candles.time + candles.bar_ms
    if until < closes[0]:
        raise InputError(f"--until {iso_minute(until)}: the first candle closes at {iso_minute(closes[0])}")
    kept = closes <= until
    names = ("time", "open", "high", "low", "close", "volume", "tradable", "segment")
    return replace(candles, **{name: getattr(candles, name)[kept] for name in names})


def make_instance(
    config: RequestConfig, model: "Model", trained: "Config", candles: "Candles", equity: float
) -> dict[str, Any]:
    """Makes an instance: the last candles under the model's names, the account, base positions if needed.

    Raises:
        InputError: too few candles in a row, or a flag that does not fit.
    """
    from himari_jax.candles import COLUMNS

    names = candles.symbols if model.is_pool else model.symbols
    bars = config.bars or model.min_candles
    whole = int((candles.segment == candles.segment[-1]).sum())
    if not model.min_candles <= bars <= whole:
        last = iso_minute(candles.time[-1] + candles.bar_ms)
        raise InputError(
            f"{' '.join(candles.symbols)}: {bars} bars of {whole} in a row up to {last}; the policy needs "
            f"{model.min_candles} or more: longer candles, another --until or --bars"
        )
    columns: dict[str, Any] = {
        symbol: {"time": candles.time[-bars:].tolist()}
        | {name: getattr(candles, name)[-bars:, n].tolist() for name in COLUMNS}
        for n, symbol in enumerate(names)
    }
    held = {symbol: x for symbol, x in holdings(config.holding, model).items() if symbol in names}
    instance: dict[str, Any] = {"candles": columns, "account": {"equity": equity, "positions": held}}
    if candles.kind:  # the server refuses a kind that the policy was not trained on
        instance["source_kind"] = candles.kind
    base = base_money(config, model, trained, candles, names, equity)
    return instance if base is None else instance | {"base_position": base}


def holdings(texts: Sequence[str], model: "Model") -> dict[str, dict[str, float]]:
    """Parses SYMBOL=UNITS@PRICE; returns positions by symbol.

    Raises:
        InputError: another form, or a symbol that the model does not know.
    """
    found = {}
    for text in texts:
        symbol, _, rest = text.rpartition("=")
        units, price = (number(x) for x in rest.partition("@")[::2])
        good = symbol in model.symbols and units > 0 and price > 0
        require(good, "--holding", text, f"SYMBOL=UNITS@PRICE with a symbol out of {' '.join(model.symbols)}")
        found[symbol] = {"units": units, "entry_price": price}
    return found


def number(text: str) -> float:
    """Parses a number from 0 to 1e30; NaN where the text is none."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if 0 <= value < 1e30 else math.nan


def base_money(
    config: RequestConfig, model: "Model", trained: "Config", candles: "Candles", names: Sequence[str], equity: float
) -> dict[str, float] | None:
    """Returns base positions in money, of --base or a sizing of unbounded memory; None where the server can size.

    Raises:
        InputError: a flag or a file that does not fit.
    """
    import numpy as np

    from export.runtime import FINITE_MEMORY
    from himari_jax.positions.base_positions import base_positions
    from himari_jax.positions.own_positions import read_own_positions

    if config.base:
        given = {symbol: number(money) for symbol, _, money in (text.rpartition("=") for text in config.base)}
        good = set(names) <= set(given) <= set(model.symbols) and not any(map(math.isnan, given.values()))
        require(good, "--base", " ".join(config.base), f"SYMBOL=MONEY for each of {' '.join(names)}")
        return {symbol: given[symbol] for symbol in names}
    if model.base_sizing in FINITE_MEMORY:
        return None
    base: Any = model.base_sizing
    if base == "file":
        path = Path(config.base_positions or trained.market.base_positions or "")
        assume_utc = config.candles.assume_utc or trained.data.assume_utc
        base = read_own_positions(path, candles.symbols, trained.market.base_max_age_ms, assume_utc)
    newest = base_positions(base, candles, model.rules)[-1]
    if not np.isfinite(newest).all():  # before the first row of a file
        raise InputError(f"{base.origin}: no base position is known at {iso_minute(candles.time[-1] + candles.bar_ms)}")
    return dict(zip(names, (newest * equity).tolist(), strict=True))


def print_summary(config: RequestConfig, model: "Model", parts: "list[Candles]", equity: float, size: int) -> None:
    """Prints what was written, and the commands that serve the bundle and ask it."""
    from export.contents.manifest import code_names

    close = min(int(part.time[-1]) for part in parts) + model.bar_ms
    symbols = [symbol for part in parts for symbol in part.symbols]
    shown = " ".join(symbols[:6]) + (f" and {len(symbols) - 6} more" if len(symbols) > 6 else "")
    if not model.is_pool and tuple(symbols) != model.symbols:
        shown += f" as {' '.join(model.symbols)}"
    bars = config.bars or model.min_candles
    print(f"{config.out}: {bars} candles of {shown} up to {iso_minute(close)}, {size / 1024:,.0f} KB")
    each = f" for each of {len(parts)} symbols" if len(parts) > 1 else ""
    print(f"account: {equity:,.0f}{each}, {' '.join(config.holding) or 'flat'}")
    if model.step > 1:
        print(f"decisions: {model.manifest['decisions']}")
    if model.carry_shapes:
        print("no token: the policy's memory begins here; the next request sends back what the answer calls carry")
    words: list[object] = [config.bundle]
    age = (time.time() * 1000 - close) / model.bar_ms
    if age > LIMITS.max_age_bars:
        print(f"older than {LIMITS.max_age_bars:g} bars: a server refuses such candles without --max-age-bars 0")
        words += ["--max-age-bars", 0]
    if size > LIMITS.max_body_bytes:
        words += ["--max-body-bytes", 1 << size.bit_length()]
    if code_names(model.manifest):
        words.append("--allow-features-code")
    print(f"next: {command_line('export.server', *words)}")
    port = chosen_port(LIMITS, dict(os.environ))
    url = f"http://127.0.0.1:{port}/predict"
    print(f"then, in another terminal: curl -s {url} -d {shlex.quote(f'@{config.out}')}")


if __name__ == "__main__":
    sys.exit(run_command(main))
