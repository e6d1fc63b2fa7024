"""Answers instances: recurrent state by token or replay, one run of the graph, caps, money."""

from dataclasses import dataclass

import numpy as np
from msgspec import UNSET, UnsetType

from export.runtime import Prediction, size
from export.serving.answers.inputs import PolicyInput, read_instance
from export.serving.answers.symbols import refuse_source
from export.serving.models.model_store import ServedModel
from export.serving.requests.errors import ApiError, conflict, invalid, too_large
from export.serving.requests.keys import Keys
from export.serving.requests.schemas import Answer, AssetOut, CandleOut, FillOut, Instance, Request, Response
from export.serving.requests.tokens import REPLAY, Stream, make_token, open_token
from himari_jax.times import iso_second


@dataclass(frozen=True)
class PredictSettings:
    """Settings of the operator that predictions depend on."""

    token_keys: Keys
    max_age_bars: float = 2.0
    max_rows: int = 1024


class NonFinite(ApiError):
    """The policy's output is not finite: 500, and no prediction."""

    def __init__(self) -> None:
        super().__init__(500, "nonfinite_output", "model", "the policy's output is not finite; no prediction is given")


def count_rows(request: Request) -> int:
    """Counts the rows that a request has the policy run, history included."""
    rows = len(request.instances)
    for item in request.instances:
        if not isinstance(item.history, UnsetType):
            rows += len(item.history)
    return rows


def answer(served: ServedModel, request: Request, settings: PredictSettings, now_ms: int) -> Response:
    """Answers all instances of a request, all by one model.

    Raises:
        ApiError: the first instance that cannot be answered refuses the whole request.
    """
    if not request.instances:
        raise invalid("instances", "empty; allowed: at least one")
    if (rows := count_rows(request)) > settings.max_rows:
        raise too_large("instances", f"{rows} rows with their history; allowed: {settings.max_rows}")
    inputs, carries = [], []
    for i, instance in enumerate(request.instances):
        refuse_source(served, instance, f"instances[{i}]")
        policy_input = read_instance(served, instance, f"instances[{i}]", now_ms, settings.max_age_bars)
        inputs.append(policy_input)
        carries.append(restore_carry(served, instance, policy_input, f"instances[{i}].carry", settings.token_keys))
    if len(inputs) == 1:  # the usual request: nothing to be stacked
        found = run(served, inputs[0].observation[None], carries[0])
        served.answered.append(inputs[0].observation)
    else:
        carry = tuple(np.concatenate(leaves) for leaves in zip(*carries, strict=True))
        stacked = np.stack([policy_input.observation for policy_input in inputs])
        found = run(served, stacked, carry)
        served.answered.append(stacked)
    pairs = zip(request.instances, inputs, strict=True)
    return Response([make_answer(served, found, i, *pair, settings.token_keys.first) for i, pair in enumerate(pairs)])


def restore_carry(
    served: ServedModel, instance: Instance, policy_input: PolicyInput, field: str, keys: Keys
) -> tuple[np.ndarray, ...]:
    """Returns the recurrent state before the newest bar: of the token, by replay of the history, or the initial one."""
    model = served.model
    if not isinstance(instance.carry, UnsetType):
        if not model.carry_shapes:
            what = f"{model.name} {model.version} has no memory, so this is another model's token; {REPLAY}"
            raise conflict(field, what, "token_model")
        carry, time = open_token(instance.carry, model, stream_of(served, instance, policy_input), keys, field)
        if bool(time) != bool(policy_input.time):
            kinds = ("candles", "an observation") if time else ("observations", "candles")
            what = f"a token of a stream of {kinds[0]}, beside {kinds[1]}; {REPLAY}"
            raise conflict(field, what, "token_kind")
        # A token of the same bar would be stepped twice, one of an older decision would have missed some.
        if time and time != policy_input.before:
            before = "bar" if model.step == 1 else f"decision {model.step} bars"
            raise conflict(field, f"not the token of the {before} before the newest candle; {REPLAY}", "token_bar")
        return carry
    if not model.carry_shapes:
        return ()
    carry = model.initial_carry(1)
    for row in policy_input.past:
        carry = run(served, row[None], carry).carry
    return carry


def stream_of(served: ServedModel, instance: Instance, policy_input: PolicyInput) -> Stream:
    """Returns the stream whose recurrent state an instance uses; of a pool every symbol has its own."""
    return Stream(instance.stream, policy_input.symbols[0] if served.model.is_pool else "")


def run(served: ServedModel, observation: np.ndarray, carry: tuple[np.ndarray, ...]) -> Prediction:
    """Runs the policy once; raises where its output is not finite."""
    found = served.model.predict(observation, carry)
    if not found.is_finite:
        raise NonFinite
    return found


def make_answer(
    served: ServedModel, found: Prediction, row: int, instance: Instance, policy_input: PolicyInput, key: bytes
) -> Answer:
    """Makes the answer to an instance out of its row of the policy's output."""
    sized = size(served.model, found.multiplier[row], policy_input.base)
    columns = found.multiplier[row].tolist(), sized.weight.tolist(), sized.capped.tolist()
    symbols = {
        symbol: AssetOut(m, w, None if policy_input.equity is None else w * policy_input.equity, c)
        for symbol, m, w, c in zip(policy_input.symbols, *columns, strict=True)
    }
    carry: str | UnsetType = UNSET
    if found.carry:
        after, stream = tuple(leaf[row] for leaf in found.carry), stream_of(served, instance, policy_input)
        carry = make_token(served.model, stream, policy_input.time, after, key)
    return Answer(symbols, float(found.value[row]), served.info, *times_of(served, policy_input.time), carry)


def times_of(served: ServedModel, open_time: int) -> tuple[CandleOut | UnsetType, FillOut | UnsetType]:
    """Returns the candle of an answer, and when its position is meant to be filled.

    Args:
        served: the model.
        open_time: of the newest candle, epoch ms; 0 where an observation was given, which has no times.
    """
    if not open_time:
        return UNSET, UNSET
    model, close = served.model, iso_second(open_time + served.model.bar_ms)
    candle = CandleOut(iso_second(open_time), close)
    if model.fill is None:
        return candle, UNSET
    known = model.fill == "same-close" or model.never_closes
    return candle, FillOut(model.fill, close if known else UNSET)
