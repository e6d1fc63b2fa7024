"""JSON schemas of `/predict`: the request, strictly checked, and the response."""

import re
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from export.serving.errors import ApiError, invalid
from export.serving.malformed import no_json

LATEST = 253_402_300_799_999  # 9999-12-31, epoch milliseconds
Time = Annotated[float, Meta(ge=0, le=LATEST)]  # float: tables of candles often hold whole numbers as 1709251200000.0
Name = Annotated[str, Meta(max_length=128)]
Token = Annotated[str, Meta(max_length=262_144)]


class Columns(Struct, forbid_unknown_fields=True, gc=False):
    """Candles of one symbol, oldest first."""

    time: list[Time]  # open, epoch milliseconds UTC
    open: list[float]
    high: list[float]
    low: list[float]
    close: list[float]
    volume: list[float]


class Holding(Struct, forbid_unknown_fields=True):
    """The position in one symbol."""

    units: float
    entry_price: float  # average, fees excluded


class AccountIn(Struct, forbid_unknown_fields=True):
    """The caller's account."""

    equity: float
    positions: dict[str, Holding]  # flat: {}


class Instance(Struct, forbid_unknown_fields=True):
    """One row to predict: candles and account, or a finished observation; of a pooled policy, of one symbol."""

    candles: dict[str, Columns] | UnsetType = UNSET
    account: AccountIn | UnsetType = UNSET
    observation: list[float] | UnsetType = UNSET
    features_hash: Name | UnsetType = UNSET
    base_position: dict[str, float] | UnsetType = UNSET  # money
    carry: Token | UnsetType = UNSET
    stream: Name = ""
    # Oldest first, of each decision before the newest bar: accounts beside candles, observations beside an observation.
    history: list[AccountIn | list[float]] | UnsetType = UNSET


class Empty(Struct, forbid_unknown_fields=True):
    """Vertex AI's `parameters`, of which this server has none."""


class Request(Struct, forbid_unknown_fields=True):
    """Body of `/predict`."""

    instances: list[Instance]
    parameters: Empty | None = None


class AssetOut(Struct):
    """The answer for one symbol."""

    multiplier: float  # of the base position, in [0, 2]
    weight: float  # share of equity, after the caps
    position: float | None  # money; null where no equity was given
    capped: bool  # whether a cap took something away


class ModelOut(Struct):
    """Name, version and hash of the model that answered."""

    name: str
    version: str
    hash: str


class CandleOut(Struct):
    """The newest candle that an answer used; its close is the moment of the decision."""

    open_time: str  # ISO 8601, UTC
    close_time: str


class FillOut(Struct, omit_defaults=True):
    """When the position is meant to be traded, as it was in training."""

    at: str  # next-open: the open of the bar that follows; same-close: the close of the newest candle
    time: str | UnsetType = UNSET  # left out where the bar that follows may open a night or a weekend later


class Answer(Struct, omit_defaults=True):
    """One prediction."""

    symbols: dict[str, AssetOut]
    value: float
    model: ModelOut
    candle: CandleOut | UnsetType = UNSET  # where candles were given
    fill: FillOut | UnsetType = UNSET
    carry: str | UnsetType = UNSET  # of recurrent models; goes into the next request


class Response(Struct):
    """Body of an answer of `/predict`."""

    predictions: list[Answer]


REQUESTS = msgspec.json.Decoder(Request)
RESPONSES = msgspec.json.Encoder()


def decode_request(body: bytes) -> Request:
    """The body of `/predict`.

    Raises:
        ApiError: 400; names the field that is malformed, unknown, missing or of another type.
    """
    try:
        return REQUESTS.decode(body)
    except msgspec.ValidationError as error:
        raise explain(str(error), body) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise no_json(body, error) from None


def explain(text: str, body: bytes) -> ApiError:
    """Field and message of a validation error; keys of objects, which msgspec leaves out, are looked up."""
    message, _, path = text.partition(" - at `$")
    path = path.rstrip("`").lstrip(".")
    if "[...]" in path:
        path = name_key(path, body)
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", message)
    missing = re.fullmatch(r"Object missing required field `(.*)`", message)
    if found := unknown or missing:
        path = f"{path}.{found[1][:64]}".lstrip(".")
        message = "unknown field" if unknown else "missing"
    return invalid(path or "body", message)


def name_key(path: str, body: bytes) -> str:
    """Puts the key for the first `[...]` of a path: the first whose value is not as it should be."""
    before, _, after = path.partition("[...]")
    kinds: dict[str, Any] = {"candles": Columns, "positions": Holding, "base_position": float}
    kind = kinds.get(before.rsplit(".", 1)[-1])
    try:
        value = msgspec.json.decode(body)
        for step in re.findall(r"\w+", before):
            value = value[int(step)] if step.isdigit() and isinstance(value, list) else value[step]
        for key, inner in value.items():
            try:
                msgspec.convert(inner, kind)
            except msgspec.ValidationError:
                return f"{before}.{key[:64]}{after}"
    except (msgspec.DecodeError, LookupError, TypeError, AttributeError, ValueError, RecursionError):
        pass
    return path
