"""`envs.make`: from candles, or files of candles, to an environment with its parameters."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from envs.arguments import Reward, as_arguments, refuse_unknown, reward_terms
from envs.market import build_market, stack_decisions, to_device
from envs.reward_check import check_reward
from envs.state import EnvParams
from envs.trading import TradingEnv, make_params
from himari_jax.candles import Candles
from himari_jax.checking.candles import check_candles
from himari_jax.command import require
from himari_jax.errors import InputError
from himari_jax.features.audit import audit_features
from himari_jax.features.market import Features
from himari_jax.features.own_features import load_features
from himari_jax.features.windows import refuse_odd_bar
from himari_jax.positions.audit import audit_sizing
from himari_jax.positions.sizing import SizingRules
from himari_jax.ranges import check_ranges
from himari_jax.sources.registry import load_candles
from himari_jax.sources.request import SourceRequest
from himari_jax.splits import SplitRules, Stretches, as_stretches, decision_rows, default_embargo, split_rows, stretches
from himari_jax.times import decision_interval, parse_bar

OWN = ("episode_steps", "reward_weights", "initial_moments")  # set by `make` itself
ACCOUNT = tuple(  # keywords of `make_params` that a user may set
    name
    for name, parameter in inspect.signature(make_params).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY and name not in OWN
)
CANDLES = "Candles, or paths; himari_jax.checking.candles.check_candles makes Candles of arrays"
SIZING = tuple(field.name for field in fields(SizingRules))


def make(
    candles: Candles | str | Path | Sequence[str | Path] | None = None,
    symbols: str | Sequence[str] = (),
    *,
    span: str | Stretches = "all",
    split: tuple[float, float] = (0.6, 0.8),
    episode_steps: int = 500,
    reward: Reward = "log_return",
    base_sizing: str = "constant",
    fill: str = "next-open",
    delay: int = 0,
    features: str | Path | Sequence[str | Path] = "base",
    decide_every: str | None = None,
    decide_phase: str = "0h",
    bar: str | None = None,
    calendar: str = "continuous",
    assume_utc: bool = False,
    no_volume: bool = False,
    repair: Sequence[str] = (),
    **params: float,
) -> tuple[TradingEnv, EnvParams]:
    """Makes an environment of candles, and its parameters with the market on the default device.

    The environment keeps the parameters as its defaults: `env.reset(key)` and `env.step(key, state, action)` take them.
    Names and defaults are those of the flags of `python -m train.ppo`.

    Args:
        candles: checked candles; or a folder, a file or several of CSV, Parquet, Feather or JSON, the name of a file
            being its symbol; None: the embedded sample of BTC-USD. Files are checked by
            `himari_jax.checking.candles.check_candles`, whose report says what was repaired.
        symbols: which of the files, in the order of the observation; one file needs none.
        span: rows at which decisions are made: all (after the look-back), train, val or test of `split`; or
            stretches ((start, stop), ...) of rows, such as `himari_jax.splits.split_rows` finds.
        split: where validation and test begin, as shares of the rows.
        episode_steps: most bars of an episode.
        reward: a term of `envs.rewards` by name; a function `(outcome, params) -> ()` of `envs.rewards.StepOutcome`
            and `EnvParams`; several of them; or a mapping from terms to weights, which `NAME=WEIGHT` says as well.
        base_sizing: of the position that the action multiplies: constant, vol-target, kelly, or a plug-in's name.
        fill: next-open or same-close, the price of a trade.
        delay: bars by which what is seen of the market is late.
        features: what is seen of the market: feature sets by name, files with a function `features(candles)`, or
            several of them; a user's file is audited first.
        decide_every: time from decision to decision, such as 24h; None: every bar. The rows of the market are the
            decisions then, and `span` is a name.
        decide_phase: decisions are at closes that are a multiple of `decide_every` plus this, UTC.
        bar: length of a bar of the files, such as 15m, 1h or 1d; None: as the data show.
        calendar: continuous, or sessions where the market closes.
        assume_utc: takes times without a zone for UTC.
        no_volume: takes files without a column of volumes, which are 0 then.
        repair: sort accepts rows that are not in time order.
        params: commission_rate, slippage_bps, max_position_pct, max_gross, min_trade, ruin; kelly_fraction,
            kelly_prior_bars, kelly_half_life_days, kelly_prior_volatility.

    Raises:
        InputError: one line that says which argument, file or row is wrong, and what is allowed.
    """
    with as_arguments(ARGUMENTS):
        check_settings({"episode_steps": episode_steps, "delay": delay}, params)
        terms, weights = reward_terms(reward)
        reading: dict[str, Any] = dict(symbols=symbols, bar=bar, calendar=calendar, assume_utc=assume_utc)
        reading |= dict(no_volume=no_volume, repair=repair)
        checked = given_candles(candles, reading) if isinstance(candles, Candles) else read_candles(candles, **reading)
        sets = chosen_features(features, checked)
        step, phase = decision_interval(decide_every, decide_phase, checked.bar_ms)
        require(decide_every is not None or phase == 0, "decide_phase", decide_phase, "given beside decide_every")
        embargo, look_back = default_embargo(checked.bar_ms, step, delay), sets.lookback(checked.bar_ms)
        rows = decision_span(checked, span, SplitRules(split, embargo, step, phase, look_back))
        rules = SizingRules(**{name: params[name] for name in SIZING if name in params})
        audit_sizing(base_sizing, checked, rules, max(0, look_back - 1 - delay))
        market = build_market(checked, base_sizing, rules, fill, delay, features=sets, step=step)
        if step > 1:
            market, rows = stack_decisions([(market, rows)])
        account: dict[str, Any] = {name: params[name] for name in ACCOUNT if name in params}
        made = make_params(to_device(market), rows, episode_steps=episode_steps, reward_weights=weights, **account)
        env = TradingEnv(market.num_assets, terms, made)
        check_reward(env, made)
        return env, made


ARGUMENTS = tuple(
    dict.fromkeys((*(name for name in inspect.signature(make).parameters if name != "params"), *ACCOUNT, *SIZING))
)


def check_settings(counts: Mapping[str, int], params: Mapping[str, float]) -> None:
    """Checks the names of what `make` passes on, and every number.

    Raises:
        InputError: names the setting, its value and what is allowed.
    """
    refuse_unknown(params, ARGUMENTS)
    for name, count in counts.items():
        require(isinstance(count, int | np.integer), name, count, "a whole number")
    require(counts["episode_steps"] >= 1, "episode_steps", counts["episode_steps"], "1 or more")
    check_ranges({**counts, **params})


def given_candles(candles: Candles, reading: Mapping[str, Any]) -> Candles:
    """Returns candles that are in memory; refuses arguments on reading files.

    Raises:
        InputError: an argument says how to read them.
    """
    for name, value in reading.items():
        if value and value != "continuous":
            raise InputError(f"{name} {value}: belongs to files of candles; these are in memory, read and checked")
    return checked_bar(candles)


def read_candles(
    paths: str | Path | Sequence[str | Path] | None,
    symbols: str | Sequence[str],
    bar: str | None,
    calendar: str,
    assume_utc: bool,
    no_volume: bool,
    repair: Sequence[str],
) -> Candles:
    """Candles from files, checked; the embedded sample where no path is given.

    Raises:
        InputError: names file, row, time, value and what is allowed.
    """
    require(isinstance(paths, str | Path | Sequence | None), "candles", type(paths).__name__, CANDLES)
    data = () if paths is None else tuple(str(path) for path in as_tuple(paths))
    bar_ms = None if bar is None else parse_bar(bar)
    request = SourceRequest(as_tuple(symbols), data, bar_ms, assume_utc, no_volume=no_volume)
    raws = load_candles("sample" if paths is None else "files", request)
    return checked_bar(check_candles(raws, bar_ms=bar_ms, calendar=calendar, repair=as_tuple(repair))[0])


def checked_bar(candles: Candles) -> Candles:
    """Returns candles whose bars the features have windows for.

    Raises:
        InputError: they do not divide an hour.
    """
    refuse_odd_bar(candles)
    return candles


def chosen_features(wanted: str | Path | Sequence[str | Path], candles: Candles) -> Features:
    """Loads feature sets; those of a user are audited.

    Raises:
        InputError: no such set or file, or one that fails the audit.
    """
    names = tuple(str(name) for name in as_tuple(wanted))
    require(bool(names), "features", wanted, "at least one set")
    found = load_features(names, candles)
    audit_features(found, candles)
    return found


def as_tuple(value: Any) -> tuple[Any, ...]:
    """One or several as a tuple."""
    return (value,) if isinstance(value, str | Path) else tuple(value)


def decision_span(candles: Candles, span: str | Stretches, rules: SplitRules) -> Stretches:
    """Stretches of rows at which decisions are made.

    Raises:
        InputError: no such span, or it holds no row, or rows that lack a look-back or a next bar.
    """
    rows, warm_up = len(candles.time), rules.look_back(candles)
    possible = stretches(candles, 0, rows, warm_up, rules.step, rules.phase_ms)
    if not possible:
        raise InputError(
            f"{', '.join(candles.symbols)}: {rows} bars hold no stretch of {warm_up + 2} without a longer gap, which a "
            "look-back and one decision need; give more candles"
        )
    if isinstance(span, str):
        if span == "all":
            return possible
        require(span in ("train", "val", "test"), "span", span, "all, train, val, test, or stretches of rows")
        low, high = rules.cuts
        require(0 < low < high < 1, "split", rules.cuts, "two rising shares between 0 and 1")
        return split_rows(candles, rules).spans[span]
    require(rules.step == 1, "span", span, "all, train, val or test beside decide_every")
    wanted = as_stretches(span)
    require(bool(wanted) and all(wanted), "span", span, "stretches of at least one row")
    odd = np.setdiff1d(decision_rows(wanted), decision_rows(possible))
    if len(odd):
        raise InputError(f"span {wanted}: row {odd[0]} has no look-back or no next bar; possible are {possible}")
    return wanted
