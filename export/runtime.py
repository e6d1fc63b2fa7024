"""A bundle in use: manifest, prediction, sizing, candles of a request; numpy, TA-Lib and onnxruntime, no jax.

A bundle that does not reproduce its own golden numbers is not served.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from himari_jax.candles import COLUMNS, KINDS, Candles, RawCandles
from himari_jax.checking.whole_candles import served_candles
from himari_jax.drift import DriftTable
from himari_jax.errors import InputError
from himari_jax.features.market import ANY_SYMBOL, BASE, Features, observation_names
from himari_jax.positions.base_positions import base_positions
from himari_jax.positions.sizing import CONSTANT, SizingRules, cap_targets
from himari_jax.times import parse_bar

SCHEMA = 1
FILES = ("policy.onnx", "golden.npz")
FILLS = ("next-open", "same-close")
FINITE_MEMORY = (*CONSTANT, "vol-target")  # base sizings that the candles of a request decide
FEW = 32  # numbers up to which Python is faster than numpy
MOST_ACCOUNT = 1e3  # beyond which an input of the account is no observation of this policy


class Prediction(NamedTuple):
    """Output of a policy for a batch of observations."""

    multiplier: np.ndarray  # (B, N) in [0, 2]
    value: np.ndarray  # (B,)
    carry: tuple[np.ndarray, ...]  # (B, ...) each

    @property
    def is_finite(self) -> bool:
        """Whether every number is finite, those of the recurrent state, too."""
        return all(map(all_finite, (self.multiplier, self.value, *self.carry)))


class Sized(NamedTuple):
    """Positions after step 2 of the account."""

    base: np.ndarray  # (N,) share of equity
    weight: np.ndarray  # (N,) target, after the caps
    capped: np.ndarray  # (N,) bool, whether a cap took something away


@dataclass(frozen=True)
class Model:
    """A verified bundle."""

    folder: Path
    manifest: dict[str, Any]
    digest: str  # SHA-256 of manifest.json
    session: Any  # onnxruntime.InferenceSession
    features: Features = BASE  # of the market

    @cached_property
    def name(self) -> str:
        """Name of the model."""
        return str(self.manifest["name"])

    @cached_property
    def version(self) -> str:
        """Version of the model."""
        return str(self.manifest["version"])

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """Assets, in the order of the observation; of a pool, those that it was trained on."""
        return tuple(self.manifest["symbols"])

    @cached_property
    def is_pool(self) -> bool:
        """Whether the policy has one asset, any of the symbols."""
        return bool(self.manifest.get("pool", False))

    @cached_property
    def places(self) -> tuple[str, ...]:
        """Names of the assets of an observation: the symbols, or `asset` for whichever of a pool."""
        return (ANY_SYMBOL,) if self.is_pool else self.symbols

    @cached_property
    def width(self) -> int:
        """D, the numbers of an observation."""
        return len(self.names)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the D numbers of an observation."""
        return observation_names(self.places, self.features)

    @cached_property
    def carry_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the recurrent state without the batch; none for an mlp."""
        return tuple(tuple(shape) for shape in self.manifest["carry_shapes"])

    @cached_property
    def inputs(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the policy's inputs by name, without the batch."""
        return {"observation": (self.width,), **self.memory}

    @cached_property
    def outputs(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the policy's outputs by name, without the batch; the recurrent state as it is sent back."""
        return {"multiplier": (len(self.places),), "value": (), **self.memory}

    @cached_property
    def memory(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the recurrent state by the names of its inputs, without the batch."""
        return {f"carry_{i}": shape for i, shape in enumerate(self.carry_shapes)}

    @cached_property
    def drift_places(self) -> np.ndarray:
        """Indices of the drift table's features in an observation, (F,); F = 0 where the bundle has no table."""
        names = () if self.drift is None else self.drift.names
        return np.array([self.names.index(name) for name in names], np.int64)

    @cached_property
    def bar_ms(self) -> int:
        """Length of a bar, milliseconds."""
        return int(self.manifest["bar_ms"])

    @cached_property
    def never_closes(self) -> bool:
        """Whether its market never closes, so that bar follows on bar."""
        return bool(self.manifest["calendar"] == "continuous")

    @cached_property
    def step(self) -> int:
        """D, bars from decision to decision: one step of the recurrent state."""
        return decision_bars(self.manifest)

    @cached_property
    def min_candles(self) -> int:
        """Fewest candles of an observation; where there is a memory they reach back to the decision before."""
        return int(self.manifest["min_candles"])

    @cached_property
    def fill(self) -> str | None:
        """Price of the trade after a decision, one of `FILLS`; None in a bundle of before it was said."""
        return self.manifest.get("fill")

    @cached_property
    def kind(self) -> str:
        """Kind of the model, `base`, `lstm` or `multi-asset`: monitoring has limits for each."""
        if len(self.places) > 1:
            return "multi-asset"
        return "lstm" if self.carry_shapes else "base"

    @cached_property
    def test_span(self) -> dict[str, float]:
        """Known figures of the test span, see `export.bundling.test_span`."""
        return {name: x for name, x in (self.manifest.get("test_span") or {}).items() if x is not None}

    @cached_property
    def drift(self) -> DriftTable | None:
        """Distribution of the market inputs in training; None in a bundle of before that was kept."""
        stored = self.manifest.get("drift")
        return None if stored is None else DriftTable.from_json(stored)

    @cached_property
    def features_hash(self) -> str:
        """Hash of the names of an observation's numbers, in their order."""
        return str(self.manifest["features_hash"])

    @cached_property
    def rules(self) -> SizingRules:
        """Caps and parameters of the base sizing."""
        return SizingRules(**self.manifest["sizing"]["rules"])

    @cached_property
    def base_sizing(self) -> str:
        """Name of the base sizing; `file` where training had base positions of its own.

        Bundles of 0.1.0 do not say what the constant base is: theirs could stand on the gross cap.
        """
        sizing = self.manifest["sizing"]
        return (
            "constant-on-cap" if sizing["base_sizing"] == "constant" and "base" not in sizing else sizing["base_sizing"]
        )

    @cached_property
    def source_kind(self) -> str | None:
        """Kind of the volumes in training, one of `himari_jax.candles.KINDS`; None where it is not known."""
        return self.manifest.get("source_kind")

    def refuse_source(self, kind: str) -> None:
        """Raises InputError where candles are of another kind of source than those of training."""
        if self.source_kind is not None and kind in KINDS and kind != self.source_kind:
            raise InputError(
                f"{KINDS[kind]}; the policy was trained on {KINDS[self.source_kind]}, whose volumes mean another thing"
            )

    def initial_carry(self, batch: int) -> tuple[np.ndarray, ...]:
        """Returns the recurrent state at the start of an episode: zeros."""
        return tuple(np.zeros((batch, *shape), np.float32) for shape in self.carry_shapes)

    def predict(self, observation: np.ndarray, carry: Sequence[np.ndarray] | None = None) -> Prediction:
        """Runs the deterministic policy.

        Args:
            observation: (B, D) float32, finite.
            carry: as the prediction before gave it; None: the start of an episode.

        Raises:
            ValueError: another shape.
        """
        observation = np.ascontiguousarray(observation, np.float32)
        if observation.ndim != 2 or observation.shape[1] != self.width:
            raise ValueError(f"observation has the shape {observation.shape}; allowed: (B, {self.width})")
        batch = len(observation)
        given = self.initial_carry(batch) if carry is None else tuple(carry)
        if [x.shape for x in given] != [(batch, *shape) for shape in self.carry_shapes]:
            raise ValueError(f"carry has the shapes {[x.shape for x in given]}; allowed: (B, ...) {self.carry_shapes}")
        feeds = {"observation": observation} | {f"carry_{i}": x for i, x in enumerate(given)}
        multiplier, value, *after = self.session.run(None, feeds)
        return Prediction(multiplier, value, tuple(after))


def all_finite(values: np.ndarray) -> bool:
    """Whether every number is finite; of a few, Python is faster than numpy."""
    return all(map(isfinite, values.ravel().tolist())) if values.size < FEW else bool(np.isfinite(values).all())


def decision_bars(manifest: Mapping[str, Any]) -> int:
    """Returns D of a manifest, bars from decision to decision; 1 where it is not given.

    Raises:
        ValueError: the interval is no whole number of bars.
    """
    every, bar_ms = manifest.get("decide_every"), int(manifest["bar_ms"])
    if every is None:
        return 1
    try:
        length = parse_bar(every, "decide_every")
    except (InputError, TypeError) as error:
        raise ValueError(f"decide_every is {every!r}") from error
    if length % bar_ms:
        raise ValueError(f"decide_every is {every}, no whole number of bars")
    return length // bar_ms


def check_request_candles(model: Model, columns: Mapping[str, Mapping[str, Sequence[float]]], now_ms: int) -> Candles:
    """Checks the candles of a request as those of training; gaps are filled alike, the look-back must be whole.

    Args:
        model: whose bar they must have.
        columns: by symbol, in the order of the observation: time (open, epoch ms), open, high, low, close, volume.
        now_ms: epoch milliseconds; an unfinished candle is dropped.

    Raises:
        InputError: names the symbol and what is allowed.
    """
    raws = []
    for symbol, given in columns.items():
        time = np.asarray(given["time"], np.int64)
        values: dict[str, Any] = {name: np.asarray(given[name], np.float64) for name in COLUMNS}
        odd = [name for name, x in values.items() if len(x) != len(time)]
        if odd:
            raise InputError(f"candles.{symbol}.{odd[0]}: {len(values[odd[0]])} numbers for {len(time)} times")
        raws.append(RawCandles(symbol, f"candles.{symbol}", np.arange(1, len(time) + 1), time, **values))
    calendar = str(model.manifest["calendar"])
    candles = served_candles(raws, model.bar_ms, calendar, now_ms)
    last = int(np.sum(candles.segment == candles.segment[-1]))
    if last < model.min_candles:
        raise InputError(
            f"candles: {last} bars in a row up to the newest; allowed: at least {model.min_candles} without a gap of "
            "more than 3 bars"
        )
    return candles


def size(model: Model, multiplier: np.ndarray, base: np.ndarray) -> Sized:
    """Sizes positions, step 2 of the account: base positions times the multiplier, with the caps.

    Args:
        model: whose caps apply.
        multiplier: (N,) in [0, 2].
        base: (N,) base positions, share of equity.
    """
    rules = model.rules
    wanted = np.minimum(np.maximum(multiplier.astype(np.float64), 0), 2)
    weight = cap_targets(wanted, base, rules.max_position_pct, rules.max_gross)
    return Sized(base, weight, weight < wanted * base - 1e-12)


def own_base(model: Model, candles: Candles) -> np.ndarray:
    """Computes the base position of the newest bar by the sizing of training, (N,)."""
    return base_positions(model.base_sizing, candles, model.rules)[-1]
