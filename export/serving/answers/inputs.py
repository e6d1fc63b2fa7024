"""Turns an instance of `/predict` into the policy's input; every number is checked, none has a default."""

from struct import pack
from typing import Any, NamedTuple

import numpy as np
from msgspec import UNSET

from export.runtime import FINITE_MEMORY, check_request_candles, own_base
from export.serving.answers.symbols import asked_symbols, check_symbols
from export.serving.models.model_store import GROSS_MARGIN, ServedModel
from export.serving.requests.errors import ApiError, conflict, invalid
from export.serving.requests.schemas import AccountIn, Columns, Instance
from himari_jax.candles import COLUMNS, Candles
from himari_jax.errors import InputError
from himari_jax.features.market import newest_features
from himari_jax.features.observation import Holdings, account_state, assemble
from himari_jax.positions.sizing import CONSTANT
from himari_jax.times import iso_minute

MOST = float(np.finfo(np.float32).max)
MOST_RANGE = 1e6  # of prices: beyond it the running sums of the features lose their digits
LEAST = float(np.finfo(np.float32).tiny)  # a smaller price vanishes in float32


class PolicyInput(NamedTuple):
    """One row for the policy, with base position and equity for sizing its answer."""

    symbols: tuple[str, ...]  # N that it is about, in the order of the observation
    past: np.ndarray  # (K, D) float32, observations of the decisions before, to replay, oldest first
    observation: np.ndarray  # (D,) float32
    base: np.ndarray  # (N,) base position, share of equity
    equity: float | None
    time: int  # open time of the newest candle, epoch ms; 0 where none is known
    before: int  # the same of the decision before


def read_instance(served: ServedModel, instance: Instance, field: str, now_ms: int, max_age: float) -> PolicyInput:
    """Turns an instance into the policy's input.

    Args:
        served: the model.
        instance: as it was sent.
        field: its place in the request, for messages.
        now_ms: the clock, epoch milliseconds.
        max_age: bars since the end of the newest candle that are allowed; 0: any.

    Raises:
        ApiError: 400 or 409; names the field.
    """
    if (instance.candles is UNSET) == (instance.observation is UNSET):
        raise invalid(field, "give either candles and account, or observation and features_hash")
    if instance.carry is not UNSET and instance.history is not UNSET:
        raise invalid(f"{field}.carry", "give carry or history, not both")
    symbols = asked_symbols(served, instance, field)
    if instance.observation is UNSET:
        return from_candles(served, symbols, instance, field, now_ms, max_age)
    return from_observation(served, symbols, instance, field)


def from_candles(
    served: ServedModel, symbols: tuple[str, ...], instance: Instance, field: str, now_ms: int, max_age: float
) -> PolicyInput:
    """Builds the observation as the environment does, at the newest candle."""
    if instance.features_hash is not UNSET and instance.features_hash != served.model.features_hash:
        raise wrong_hash(served, field)
    if instance.account is UNSET:
        raise invalid(f"{field}.account", "missing; flat is an equity and positions {}")
    assert not isinstance(instance.candles, type(UNSET))
    candles = read_candles(served, symbols, instance.candles, field, now_ms, max_age)
    accounts = [*past_accounts(served, instance, candles, field), (instance.account, f"{field}.account")]
    seen, step = [], served.model.step
    features, corr = features_of(served, candles, step * (len(accounts) - 1) + 1, field)
    rows = range(-1, -len(features) - 1, -step)[::-1]  # one step of a memory is one decision
    for row, (account, where) in zip(rows, accounts, strict=True):
        holdings = read_account(served, symbols, account, where)
        with np.errstate(all="ignore"):  # what overflows is refused below
            weights, ratio = account_state(holdings, candles.close[row])
            check_gross(served, float(weights.sum()), f"{where}.positions")
            seen.append(assemble(features[row], corr[row], weights, ratio).astype(np.float32))
        check_built(served, seen[-1], field, where)
    equity, base = instance.account.equity, given_base(served, symbols, instance, field)
    if base is None:
        base = own_base(served.model, candles)
    before = int(candles.time[-1 - step]) if served.model.carry_shapes else 0  # as far back as min_candles reaches
    return PolicyInput(symbols, np.stack(seen)[:-1], seen[-1], base, equity, int(candles.time[-1]), before)


def features_of(served: ServedModel, candles: Candles, rows: int, field: str) -> tuple[np.ndarray, np.ndarray]:
    """Computes the newest features and correlations; refuses candles for which training would put 0 as undefined."""
    try:
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            return newest_features(candles, served.model.features, rows)
    except InputError as error:  # of the user's own features
        raise invalid(f"{field}.candles", str(error)) from None
    except FloatingPointError as error:
        raise invalid(f"{field}.candles", f"the features are not defined for such candles ({error})") from None


def past_accounts(served: ServedModel, instance: Instance, candles: Candles, field: str) -> list[tuple[AccountIn, str]]:
    """Returns the accounts of `history`, one for each decision before the newest bar, with their fields."""
    if isinstance(instance.history, type(UNSET)):
        return []
    found, bars, step = [], int(np.sum(candles.segment == candles.segment[-1])), served.model.step
    for k, item in enumerate(instance.history):
        if not isinstance(item, AccountIn):
            raise invalid(f"{field}.history[{k}]", "a list of numbers; beside candles, history is of accounts")
        found.append((item, f"{field}.history[{k}]"))
    if bars < served.model.min_candles + step * len(found):
        more = "one" if step == 1 else step
        allowed = f"allowed: at least {served.model.min_candles} and {more} more for each account of history"
        raise invalid(f"{field}.history", f"{len(found)} accounts before the newest of {bars} bars in a row; {allowed}")
    return found


def read_candles(
    served: ServedModel,
    symbols: tuple[str, ...],
    given: dict[str, Columns],
    field: str,
    now_ms: int,
    max_age: float,
) -> Candles:
    """Reads the candles of all symbols, checked like those of training, up to the same fresh bar."""
    check_symbols(served, symbols, given, f"{field}.candles", whole=True)
    columns: dict[str, Any] = {symbol: read_columns(given[symbol], f"{field}.candles.{symbol}") for symbol in symbols}
    try:
        candles = check_request_candles(served.model, columns, now_ms)
    except InputError as error:
        raise unfit(symbols, str(error), field) from None
    bar, end = served.model.bar_ms, int(candles.time[-1])
    for symbol in symbols:
        times = columns[symbol]["time"]
        last = int(times[times + bar <= now_ms][-1])
        if last != end:
            what = f"the newest finished candle opens at {iso_minute(last)}, another symbol's at {iso_minute(end)}"
            raise invalid(f"{field}.candles.{symbol}", f"{what}; allowed: all symbols up to the same bar", "stale")
    age = (now_ms - end - bar) / bar
    if max_age and age > max_age:
        what = f"the newest candle ended {age:.1f} bars ago, at {iso_minute(end + bar)}; allowed: {max_age:g} bars"
        raise invalid(f"{field}.candles", what, "stale")
    return candles


def read_columns(columns: Columns, field: str) -> dict[str, np.ndarray]:
    """Reads the lists of one symbol as arrays of one length, with numbers in the range of float32."""
    rows = len(columns.time)
    for name in COLUMNS:
        if len(getattr(columns, name)) != rows:
            raise invalid(f"{field}.{name}", f"{len(getattr(columns, name))} numbers for {rows} times")
    values = to_array([getattr(columns, name) for name in COLUMNS], rows)
    if rows and not (values.max() <= MOST and values[:4].min() >= LEAST and values[4].min() >= 0):
        bad = ~(np.abs(values) <= MOST)
        bad[:4] |= values[:4] < LEAST
        bad[4] |= values[4] < 0
        line, row = (int(x) for x in np.argwhere(bad.T)[0][::-1])
        what = f"above 0, from {LEAST:.2g}" if line < 4 else "0"
        raise invalid(f"{field}.{COLUMNS[line]}[{row}]", f"{values[line, row]:g}; allowed: {what} to {MOST:.4g}")
    if rows and values[:4].max() > MOST_RANGE * values[:4].min():
        what = f"prices from {values[:4].min():g} to {values[:4].max():g}"
        raise invalid(field, f"{what}; allowed: the highest up to {MOST_RANGE:g} times the lowest")
    found = to_array([columns.time], rows)[0]  # exact: below 2^53
    times = found.astype(np.int64)
    if not np.array_equal(times, found):
        row = int(np.argmax(times != found))
        raise invalid(f"{field}.time[{row}]", f"{columns.time[row]!r}; allowed: whole milliseconds since 1970")
    return {"time": times, **dict(zip(COLUMNS, values, strict=True))}


def to_array(lists: list[list[float]], rows: int) -> np.ndarray:
    """Converts lists of one length to (K, rows) float64; packing is several times faster than numpy here."""
    packed = bytearray().join(pack(f"{rows}d", *numbers) for numbers in lists)
    return np.frombuffer(packed, np.float64).reshape(len(lists), rows)


def unfit(symbols: tuple[str, ...], text: str, field: str) -> ApiError:
    """Makes the error for candles that the check of training refuses, from its message."""
    named = [symbol for symbol in symbols if text.startswith((f"candles.{symbol}:", f"candles.{symbol}."))]
    place = f"candles.{max(named, key=len)}" if named else "candles"
    # A server repairs nothing, so it does not offer to.
    message = text.removeprefix(f"{place}: ").replace(", or --repair sort", "")
    return invalid(f"{field}.{place}", message, "candles")


def read_account(served: ServedModel, symbols: tuple[str, ...], account: AccountIn, field: str) -> Holdings:
    """Reads the account into arrays in the order of the observation."""
    in_range(account.equity, f"{field}.equity", LEAST)
    check_symbols(served, symbols, account.positions, f"{field}.positions", whole=False)
    units, entry = np.zeros(len(symbols)), np.ones(len(symbols))
    for n, symbol in enumerate(symbols):
        held = account.positions.get(symbol)
        if held is None:
            continue
        where = f"{field}.positions.{symbol}"
        units[n] = in_range(held.units, f"{where}.units", 0.0)
        entry[n] = in_range(held.entry_price, f"{where}.entry_price", LEAST if held.units else 0.0)
    return Holdings(account.equity, units, entry)


def in_range(value: float, field: str, least: float) -> float:
    """Checks a number: from `least` to the largest of float32."""
    if not least <= value <= MOST:
        raise invalid(field, f"{value:g}; allowed: {'above 0' if least else '0'} to {MOST:.4g}")
    return value


def given_base(served: ServedModel, symbols: tuple[str, ...], instance: Instance, field: str) -> np.ndarray | None:
    """Reads the caller's own base positions, share of equity; None where the model's sizing applies."""
    if isinstance(instance.base_position, type(UNSET)):
        sizing = served.model.base_sizing
        known = sizing in FINITE_MEMORY
        if not known or (sizing not in CONSTANT and instance.candles is UNSET):
            why = "it needs candles" if known else "the sizing of training may remember more than these candles"
            if sizing == "file":
                why = "those of training came from a file"
            raise invalid(f"{field}.base_position", f"missing; the model sizes by {sizing}: {why}", "base_position")
        return None
    where = f"{field}.base_position"
    check_symbols(served, symbols, instance.base_position, where, whole=True)
    if instance.account is UNSET:
        raise invalid(f"{field}.account", "missing; base_position is money, its caps are shares of equity")
    assert not isinstance(instance.account, type(UNSET))
    money = [in_range(instance.base_position[symbol], f"{where}.{symbol}", 0.0) for symbol in symbols]
    return np.array(money) / instance.account.equity


def from_observation(served: ServedModel, symbols: tuple[str, ...], instance: Instance, field: str) -> PolicyInput:
    """Reads an observation that the caller built."""
    if instance.features_hash is UNSET:
        raise invalid(f"{field}.features_hash", "missing; it stands in /manifest and says what an observation holds")
    if instance.features_hash != served.model.features_hash:
        raise wrong_hash(served, field)
    equity = None
    if not isinstance(instance.account, type(UNSET)):
        if instance.account.positions:
            raise invalid(f"{field}.account.positions", "the observation says what is held; allowed: {}")
        equity = in_range(instance.account.equity, f"{field}.account.equity", LEAST)
    assert not isinstance(instance.observation, type(UNSET))
    observation = read_observation(served, instance.observation, f"{field}.observation")
    base = given_base(served, symbols, instance, field)
    if base is None:
        assets = len(symbols)
        base = np.full(assets, CONSTANT[served.model.base_sizing](served.model.rules, assets))
    history = [] if isinstance(instance.history, type(UNSET)) else instance.history
    past = []
    for k, item in enumerate(history):
        if isinstance(item, AccountIn):
            raise invalid(f"{field}.history[{k}]", "an account; beside an observation, history is of observations")
        past.append(read_observation(served, item, f"{field}.history[{k}]"))
    stacked = np.stack(past) if past else np.zeros((0, served.model.width), np.float32)
    return PolicyInput(symbols, stacked, observation, base, equity, 0, 0)


def read_observation(served: ServedModel, numbers: list[float], field: str) -> np.ndarray:
    """Reads an observation, (D,) float32, every number within the limits of this policy."""
    if len(numbers) != len(served.names):
        raise invalid(field, f"{len(numbers)} numbers; allowed: {len(served.names)}, named in /manifest")
    values = np.array(numbers, np.float64)
    if (place := out_of_bounds(served, values)) is not None:
        raise invalid(f"{field}[{place}]", beyond(served, values, place))
    check_gross(served, float(values[served.weight_places].sum()), field)
    return values.astype(np.float32)


def check_built(served: ServedModel, observation: np.ndarray, field: str, account: str) -> None:
    """Refuses candles or an account whose observation is beyond the limits of this policy."""
    if (place := out_of_bounds(served, observation)) is not None:
        of_account = served.limits[place] < served.limits.max()
        raise invalid(account if of_account else f"{field}.candles", beyond(served, observation, place))


def check_gross(served: ServedModel, gross: float, field: str) -> None:
    """Refuses an account that holds more than training allows.

    Args:
        served: the model.
        gross: sum of the weights, share of equity.
        field: for messages.
    """
    if not gross <= served.most_gross:
        allowed = f"allowed: up to {served.most_gross:g}, {GROSS_MARGIN:g} times what training can hold"
        what = f"the positions are worth {gross:.4g} times the equity (gross); {allowed}"
        raise invalid(field, f"{what}; check the units (coins or shares, not lots) and the currency of equity", "gross")


def out_of_bounds(served: ServedModel, values: np.ndarray) -> int | None:
    """Finds the first number beyond its limit, NaN included; None where there is none."""
    good = np.abs(values) <= served.limits
    return None if good.all() else int(np.argmin(good))


def beyond(served: ServedModel, values: np.ndarray, place: int) -> str:
    """Describes a number of an observation that is beyond its limit."""
    return f"{served.names[place]} = {values[place]:g}; allowed: -{served.limits[place]:g} to {served.limits[place]:g}"


def wrong_hash(served: ServedModel, field: str) -> ApiError:
    """Makes the error for an observation of other features."""
    what = f"not the features of this model ({served.model.features_hash[:12]}...); read /manifest again"
    return conflict(f"{field}.features_hash", what, "features_hash")
