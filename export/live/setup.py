"""Builds desk and feed from flags and a bundle."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from export.live.book import Book
from export.live.config import PaperConfig
from export.live.desk import BaseOf, Desk, Terms, base_by
from export.live.feeds import Feed, FileFeed, SourceFeed
from export.runtime import FINITE_MEMORY, Model
from himari_jax.account import Costs
from himari_jax.candles import RawCandles, refuse_other_number
from himari_jax.checking.alignment import common_difference
from himari_jax.command import require
from himari_jax.errors import InputError
from himari_jax.live.clock import Clock
from himari_jax.plugins import SOURCES
from himari_jax.positions.own_positions import read_own_positions
from himari_jax.times import bar_name, iso_minute, parse_duration
from train.config.backtest import CandlesConfig
from train.config.ppo import Config
from train.data.loading import load_raw


def terms_of(config: PaperConfig, model: Model, trained: Config) -> tuple[Terms, Costs]:
    """Returns the trading terms of the paper accounts, and the costs of training.

    Raises:
        InputError: the bundle does not say how decisions are filled.
    """
    market = trained.market
    if model.fill is None:
        raise InputError(f"{model.folder}: does not say when its decisions are filled; export the run again")
    given = {name: getattr(config, name) for name in ("commission_rate", "slippage_bps")}
    paper = replace(market, **{name: value for name, value in given.items() if value is not None})
    late = model.bar_ms / 10 if config.late_seconds is None else config.late_seconds * 1000
    phase = parse_duration(str(model.manifest.get("decide_phase") or "0h"), "decide_phase")
    terms = Terms(Costs(paper.cost, paper.min_trade), model.fill, model.step, phase, int(late))
    return terms, Costs(market.cost, market.min_trade)


def facts_of(desk: Desk, trained: Costs, feed: Feed, equity: float) -> dict[str, Any]:
    """Returns the facts of the first record of the log, beside the candles."""
    model, terms = desk.model, desk.terms
    return {
        "bundle": model.digest,
        "name": model.name,
        "version": model.version,
        "symbols": list(desk.book.symbols),
        "lanes": [list(lane.symbols) for lane in desk.lanes],
        "bar_ms": desk.book.bar_ms,
        "calendar": model.manifest["calendar"],
        "source": feed.name,
        "source_kind": feed.kind,
        "fill": terms.fill,
        "step": terms.step,
        "phase_ms": terms.phase_ms,
        "late_ms": terms.late_ms,
        "costs": list(terms.costs),
        "trained": list(trained),
        "equity": equity,
    }


def refuse_other_log(start: dict[str, Any], facts: dict[str, Any], path: Path) -> None:
    """Refuses to resume a log that was begun with other settings; the bundle itself may be a newer one.

    Raises:
        InputError: names the first that differs.
    """
    for name, value in facts.items():
        if name not in ("bundle", "name", "version", "equity") and start[name] != value:
            raise InputError(
                f"{path}: begun with {name} {start[name]}, now {value}; go on as it was begun, or name another --log"
            )


def asked_symbols(model: Model, given: Sequence[str]) -> tuple[str, ...]:
    """Returns the symbols of the log, under the bundle's names.

    Args:
        model: whose symbols.
        given: by the source, in the order of the observation.

    Raises:
        InputError: others, or another number of them.
    """
    if model.is_pool:
        unknown = [symbol for symbol in given if symbol not in model.symbols]
        require(not unknown, "--symbols", " ".join(unknown), f"some of {' '.join(model.symbols)}")
        return tuple(given)
    refuse_other_number(model.symbols, given, str(model.folder))
    return model.symbols


def file_feed(given: CandlesConfig, model: Model, trained: Config) -> tuple[FileFeed, tuple[str, ...]]:
    """Makes a feed of past candles by the flags; returns it and its symbols under the bundle's names.

    Raises:
        InputError: they do not fit the policy.
    """
    data = given.over(trained.data)
    raws = load_raw(data, trained.source_options)
    if model.is_pool and not given.symbols:
        raws = [raw for raw in raws if raw.symbol in model.symbols]
    symbols = asked_symbols(model, [raw.symbol for raw in raws])
    for raw in raws:
        refuse_bar(raw, model)
    return FileFeed(raws, symbols, model.bar_ms), symbols


def live_feed(config: PaperConfig, model: Model, trained: Config, clock: Clock) -> tuple[SourceFeed, tuple[str, ...]]:
    """Makes a feed of a live source by the flags; returns it and its symbols under the bundle's names.

    Raises:
        InputError: the source is none that goes on, or does not fit the policy.
    """
    data = config.candles.over(trained.data)
    name = data.chosen_source
    if not SOURCES.defines(name, "LIVE"):
        live = [f"--source {other}" for other in SOURCES.names if SOURCES.defines(other, "LIVE")]
        raise InputError(f"--source {name}: has no future; --simulate plays its past, {' or '.join(live)} goes on")
    symbols = asked_symbols(model, data.symbols)
    module = SOURCES.load(name)
    options = trained.source_options.get(name) or module.Options()
    if name == "ccxt" and config.exchange is not None:
        options = replace(options, exchange=config.exchange)
    if name == "coingecko":
        options = replace(options, ids=(*options.ids, *config.ids))  # of a symbol that is named twice the later one
    source = module.live_feed(options, clock)
    return SourceFeed(source, dict(zip(symbols, data.symbols, strict=True)), model.bar_ms, clock), symbols


def refuse_bar(raw: RawCandles, model: Model) -> None:
    """Refuses candles of another length than the policy was trained on.

    Raises:
        InputError: names both.
    """
    if raw.faults:
        raise InputError(raw.faults[0].text)
    if len(raw.time) > 1:
        found = common_difference(raw.time)
        if found != model.bar_ms:
            bars = bar_name(model.bar_ms), bar_name(int(found))
            raise InputError(f"{raw.origin}: trained on bars of {bars[0]}, the candles are of {bars[1]}")


def base_for(given: str | None, model: Model, trained: Config) -> BaseOf:
    """Makes the function of the base position at a decision: the sizing of training, or the desk's own file.

    Args:
        given: --base-positions.
        model: the bundle.
        trained: settings of training.

    Raises:
        InputError: the policy was trained with a file, and none is named, or the reverse.
    """
    if model.base_sizing != "file":
        require(given is None, "--base-positions", given, f"none: the policy was trained on {model.base_sizing}")
        return base_by(model)
    path = given or trained.market.base_positions
    if path is None:
        raise InputError("--base-positions: the policy was trained with base positions from a file; name yours")
    age, assume_utc = trained.market.base_max_age_ms, trained.data.assume_utc
    return base_by(model, lambda symbols: read_own_positions(Path(path), symbols, age, assume_utc))


def sizing_note(model: Model, book: Book) -> str:
    """Describes since when a base sizing of unbounded memory has candles; empty for a sizing of finite memory."""
    if model.base_sizing in (*FINITE_MEMORY, "file"):
        return ""
    since = iso_minute(max(order[0] for order in book.order.values()))
    return (
        f"base sizing {model.base_sizing} remembers every candle, here since {since}: it is the backtest's where the "
        "backtest's candles begin then, too"
    )


def make_desk(config: PaperConfig, model: Model, trained: Config, symbols: tuple[str, ...]) -> tuple[Desk, Costs]:
    """Makes a desk without candles; returns it and the costs of training."""
    terms, own = terms_of(config, model, trained)
    return Desk(model, Book(symbols, model.bar_ms), terms, base_for(config.base_positions, model, trained)), own
