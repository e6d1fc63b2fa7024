"""JSON schemas of `/predict`: the request, strictly checked, and the response."""

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from export.serving.requests.errors import ApiError, invalid
from export.serving.requests.malformed import no_json

LATEST = 253_402_300_799_999  # 9999-12-31, epoch milliseconds
# Descriptions and examples go into /openapi.json and onto /docs; what only a model decides is checked elsewhere.
NOT_EMPTY = {"minItems": 1}
ABOVE_0, FROM_0 = {"exclusiveMinimum": 0}, {"minimum": 0}
# float: tables of candles often hold whole numbers as 1709251200000.0
Time = Annotated[float, Meta(ge=0, le=LATEST, extra_json_schema={"multipleOf": 1})]
Price = Annotated[float, Meta(extra_json_schema=ABOVE_0)]
Amount = Annotated[float, Meta(extra_json_schema=FROM_0)]
Prices = Annotated[list[Price], Meta(extra_json_schema=NOT_EMPTY)]
Name = Annotated[str, Meta(max_length=128)]
Token = Annotated[str, Meta(max_length=262_144)]


class Columns(Struct, forbid_unknown_fields=True, gc=False):
    """Candles of one symbol, oldest first: six lists of one length, at least `min_candles` of /manifest."""

    time: Annotated[
        list[Time],
        Meta(
            description="When each candle opens, epoch milliseconds, UTC.",
            examples=[[1571302800000, 1571306400000]],
            extra_json_schema=NOT_EMPTY,
        ),
    ]
    open: Annotated[Prices, Meta(description="First price.", examples=[[8074.1, 8069.6]])]
    high: Annotated[Prices, Meta(description="Highest price.", examples=[[8079.0, 8075.3]])]
    low: Annotated[Prices, Meta(description="Lowest price.", examples=[[8061.2, 8054.7]])]
    close: Annotated[Prices, Meta(description="Last price.", examples=[[8069.6, 8060.5]])]
    volume: Annotated[
        list[Amount],
        Meta(description="What was traded, in units.", examples=[[93.1, 120.4]], extra_json_schema=NOT_EMPTY),
    ]


class Holding(Struct, forbid_unknown_fields=True):
    """The position in one symbol."""

    units: Annotated[Amount, Meta(description="How much is held, long only.", examples=[3.2])]
    entry_price: Annotated[Amount, Meta(description="Average price paid, fees excluded.", examples=[8069.6])]


class AccountIn(Struct, forbid_unknown_fields=True):
    """The caller's account at the close of the newest candle."""

    equity: Annotated[
        float,
        Meta(description="Cash and positions, in money.", examples=[100000.0], extra_json_schema=ABOVE_0),
    ]
    positions: Annotated[dict[str, Holding], Meta(description="What is held, by symbol; flat is {}.")]


class Instance(Struct, forbid_unknown_fields=True):
    """One question: candles and account, or a finished observation; of a pooled policy, of one symbol."""

    candles: Annotated[
        dict[str, Columns] | UnsetType, Meta(description="Candles by symbol, each symbol of the model.")
    ] = UNSET
    source_kind: Annotated[
        Literal["exchange", "aggregated", "any"] | UnsetType,
        Meta(
            description="What the volumes of the candles mean: of an exchange, or aggregated over exchanges. Another "
            "kind than source_kind of /manifest is refused; any takes candles of every kind."
        ),
    ] = UNSET
    account: Annotated[
        AccountIn | UnsetType,
        Meta(description="Goes with candles; beside an observation it is optional and gives the equity alone."),
    ] = UNSET
    observation: Annotated[
        list[float] | UnsetType,
        Meta(description="Instead of candles: the numbers that /manifest names, in that order."),
    ] = UNSET
    features_hash: Annotated[
        Name | UnsetType, Meta(description="Of /manifest; goes with an observation and says what its numbers are.")
    ] = UNSET
    base_position: Annotated[
        dict[str, Amount] | UnsetType,
        Meta(
            description="Your own position by symbol, in money, which the multiplier scales; without it the sizing of "
            "training, where candles decide it.",
            examples=[{"BTC-USD": 12500.0}],
        ),
    ] = UNSET
    carry: Annotated[
        Token | UnsetType,
        Meta(description="Recurrent models: the token of the answer to the decision before. Not beside history."),
    ] = UNSET
    stream: Annotated[
        Name, Meta(description="Recurrent models: whose memory this is, where you run several; a token keeps to its.")
    ] = ""
    history: Annotated[
        list[AccountIn | list[float]] | UnsetType,
        Meta(
            description="Recurrent models, instead of carry: the decisions before the newest, oldest first, to be "
            "replayed; accounts beside candles, observations beside an observation."
        ),
    ] = UNSET


class Empty(Struct, forbid_unknown_fields=True):
    """Parameters of Vertex AI, of which this server has none."""


class Request(Struct, forbid_unknown_fields=True):
    """Body of `/predict`."""

    instances: Annotated[
        list[Instance], Meta(description="The questions, answered in their order.", extra_json_schema=NOT_EMPTY)
    ]
    parameters: Empty | None = None


class AssetOut(Struct):
    """The answer for one symbol."""

    multiplier: Annotated[float, Meta(description="Of the base position, from 0 to 2.", examples=[1.31])]
    weight: Annotated[float, Meta(description="Share of equity, after the caps.", examples=[0.16375])]
    position: Annotated[
        float | None, Meta(description="The same in money; null where no equity was given.", examples=[16375.0])
    ]
    capped: Annotated[bool, Meta(description="Whether a cap took something away.", examples=[False])]


class ModelOut(Struct):
    """The model that answered."""

    name: Annotated[str, Meta(description="Its name.", examples=["base"])]
    version: Annotated[str, Meta(description="Its version.", examples=["1"])]
    hash: Annotated[str, Meta(description="SHA-256 of its manifest.")]


class CandleOut(Struct):
    """The newest candle that an answer used; its close is the moment of the decision."""

    open_time: Annotated[str, Meta(description="ISO 8601, UTC.", examples=["2019-10-17T10:00:00Z"])]
    close_time: Annotated[str, Meta(description="ISO 8601, UTC.", examples=["2019-10-17T11:00:00Z"])]


class FillOut(Struct, omit_defaults=True):
    """When the position is meant to be traded, as it was in training."""

    at: Annotated[
        str,
        Meta(description="next-open: the open of the bar that follows; same-close: the close of the newest candle."),
    ]
    time: Annotated[
        str | UnsetType,
        Meta(description="ISO 8601, UTC; left out where the bar that follows may open a night or a weekend later."),
    ] = UNSET


class Answer(Struct, omit_defaults=True):
    """One prediction."""

    symbols: Annotated[dict[str, AssetOut], Meta(description="By symbol.")]
    value: Annotated[float, Meta(description="The policy's estimate of the discounted reward to come.")]
    model: Annotated[ModelOut, Meta(description="Which model answered.")]
    candle: Annotated[CandleOut | UnsetType, Meta(description="Where candles were given.")] = UNSET
    fill: Annotated[FillOut | UnsetType, Meta(description="Where candles were given.")] = UNSET
    carry: Annotated[
        str | UnsetType,
        Meta(description="Of recurrent models: a signed token with the memory, for the next request."),
    ] = UNSET


class Response(Struct):
    """Body of an answer of `/predict`."""

    predictions: Annotated[list[Answer], Meta(description="One for each instance.", extra_json_schema=NOT_EMPTY)]


REQUESTS = msgspec.json.Decoder(Request)
RESPONSES = msgspec.json.Encoder()


def decode_request(body: bytes) -> Request:
    """Decodes the body of `/predict`.

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
    """Translates a validation error of msgspec; keys of objects, which it leaves out, are looked up."""
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
    """Replaces the first `[...]` of a path by the first key whose value is not valid."""
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
