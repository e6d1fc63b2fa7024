"""A bundle at work: load, verify, observe, predict, size; numpy, TA-Lib and onnxruntime, no jax.

A bundle that does not reproduce its own golden numbers is not served.
"""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime

from export.observation import Account as Account
from export.observation import account_state as account_state
from export.observation import assemble
from export.observation import observe as observe
from himari_jax.candles import COLUMNS, Candles, RawCandles, check_candles
from himari_jax.errors import InputError
from himari_jax.features import market_features, observation_names, observation_width, windows
from himari_jax.sizing import SizingRules, base_positions, cap_targets

SCHEMA = 1
FILES = ("policy.onnx", "golden.npz")
TOLERANCE = 1e-5  # of outputs and observations against the golden ones
MOST_ACCOUNT, MOST_MARKET = 1e3, 1e6  # beyond which an input is no observation of this policy
DAMAGE = (OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, zipfile.BadZipFile, zlib.error)
OVERSIZE = 64 * 2**20  # bytes of a file, beyond which it is no bundle of ours


class Prediction(NamedTuple):
    """What a policy says of a batch."""

    multiplier: np.ndarray  # (B, N) in [0, 2]
    value: np.ndarray  # (B,)
    carry: tuple[np.ndarray, ...]  # (B, ...) each


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
        """Assets, in the order of the observation."""
        return tuple(self.manifest["symbols"])

    @cached_property
    def width(self) -> int:
        """D."""
        return observation_width(len(self.symbols))

    @cached_property
    def carry_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the recurrent state without the batch; none for an mlp."""
        return tuple(tuple(shape) for shape in self.manifest["carry_shapes"])

    @cached_property
    def bar_ms(self) -> int:
        """Length of a bar, milliseconds."""
        return int(self.manifest["bar_ms"])

    @cached_property
    def min_candles(self) -> int:
        """Fewest candles that an observation can be built from."""
        return int(self.manifest["min_candles"])

    @cached_property
    def features_hash(self) -> str:
        """Says which numbers an observation holds, in which order."""
        return str(self.manifest["features_hash"])

    @cached_property
    def rules(self) -> SizingRules:
        """Caps and parameters of the base sizing."""
        return SizingRules(**self.manifest["sizing"]["rules"])

    @cached_property
    def base_sizing(self) -> str:
        """Name of the base sizing."""
        return str(self.manifest["sizing"]["base_sizing"])

    def initial_carry(self, batch: int) -> tuple[np.ndarray, ...]:
        """The recurrent state at the start of an episode: zeros."""
        return tuple(np.zeros((batch, *shape), np.float32) for shape in self.carry_shapes)

    def predict(self, observation: np.ndarray, carry: Sequence[np.ndarray] | None = None) -> Prediction:
        """The deterministic policy.

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
        if tuple(x.shape for x in given) != tuple((batch, *shape) for shape in self.carry_shapes):
            raise ValueError(f"carry has the shapes {[x.shape for x in given]}; allowed: (B, ...) {self.carry_shapes}")
        feeds = {"observation": observation} | {f"carry_{i}": x for i, x in enumerate(given)}
        multiplier, value, *after = self.session.run(None, feeds)
        return Prediction(multiplier, value, tuple(after))


def features_hash(symbols: Sequence[str], bar_ms: int) -> str:
    """SHA-256 of the names of an observation's numbers and the bar, as hex; symbols by their place."""
    places = tuple(f"asset{n}" for n in range(len(symbols)))
    text = json.dumps([observation_names(places), bar_ms, windows(bar_ms)._asdict()])
    return hashlib.sha256(text.encode()).hexdigest()


def load(folder: Path) -> Model:
    """A bundle, verified: hashes, signature, and its golden numbers.

    Raises:
        InputError: it is not complete, was altered, or does not reproduce its own numbers; one line.
    """
    manifest, digest = read_manifest(folder)
    contents = {name: read_file(folder / name) for name in FILES}
    for name, data in contents.items():
        if hashlib.sha256(data).hexdigest() != manifest["files"].get(name):
            raise InputError(f"{folder / name}: its SHA-256 is not the one in manifest.json; export the bundle again")
    model = Model(folder, manifest, digest, open_session(contents["policy.onnx"], folder / "policy.onnx"))
    check_signature(model)
    check_golden(model, contents["golden.npz"], contents["policy.onnx"])
    return model


def read_file(path: Path) -> bytes:
    """A file of a bundle.

    Raises:
        InputError: it is missing or far too large.
    """
    try:
        if path.stat().st_size > OVERSIZE:
            raise InputError(f"{path}: {path.stat().st_size} bytes; allowed are up to {OVERSIZE}")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; a bundle has manifest.json, {', '.join(FILES)}") from error


def read_manifest(folder: Path) -> tuple[dict[str, Any], str]:
    """manifest.json and its SHA-256.

    Raises:
        InputError: it is missing, no JSON, of another schema, or lacks a key.
    """
    data = read_file(folder / "manifest.json")
    try:
        manifest = dict(json.loads(data))
        needed = ("name", "version", "symbols", "bar_ms", "calendar", "min_candles", "features_hash", "carry_shapes")
        missing = [key for key in (*needed, "sizing", "files") if key not in manifest]
        if manifest.get("schema") != SCHEMA:
            raise InputError(f"{folder}/manifest.json: schema {manifest.get('schema')}; this server reads {SCHEMA}")
        if missing:
            raise InputError(f"{folder}/manifest.json: {missing[0]} is missing; export the bundle again")
        check_kinds(manifest)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(f"{folder}/manifest.json: damaged ({error}); export the bundle again") from error
    return manifest, hashlib.sha256(data).hexdigest()


def check_kinds(manifest: Mapping[str, Any]) -> None:
    """Raises where a value of the manifest is not of its kind."""
    for key in ("name", "version", "calendar", "features_hash"):
        if not isinstance(manifest[key], str):
            raise TypeError(f"{key} is no text")
    for key in ("bar_ms", "min_candles"):
        if type(manifest[key]) is not int or manifest[key] < 1:
            raise ValueError(f"{key} is no number above 0")
    symbols, shapes, sizing = manifest["symbols"], manifest["carry_shapes"], manifest["sizing"]
    if not isinstance(symbols, list) or not symbols or not all(isinstance(x, str) for x in symbols):
        raise TypeError("symbols is no list of names")
    if not isinstance(shapes, list) or not all(isinstance(x, list) and all(type(n) is int for n in x) for x in shapes):
        raise TypeError("carry_shapes is no list of shapes")
    if not isinstance(manifest["files"], dict):
        raise TypeError("files is no table")
    if not isinstance(sizing, dict) or not isinstance(sizing["base_sizing"], str):
        raise TypeError("sizing is no table with a base_sizing")
    if not all(type(x) in (int, float) and x > 0 for x in sizing["rules"].values()):
        raise ValueError("sizing.rules are not all numbers above 0")
    SizingRules(**sizing["rules"])


def open_session(data: bytes, where: Path) -> Any:
    """An onnxruntime session of one thread: requests run side by side, not parts of one.

    Raises:
        InputError: it is no ONNX graph that can run.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has its own kinds
        first = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise InputError(f"{where}: cannot be run ({first}); export the bundle again") from error


def check_signature(model: Model) -> None:
    """Refuses a graph whose inputs and outputs are not those of the manifest.

    Raises:
        InputError: names the first that differs.
    """
    assets, shapes = len(model.symbols), model.carry_shapes
    wanted = {"observation": (model.width,), **{f"carry_{i}": shape for i, shape in enumerate(shapes)}}
    outputs = {"multiplier": (assets,), "value": (), **{f"next_carry_{i}": shape for i, shape in enumerate(shapes)}}
    for found, expected in ((model.session.get_inputs(), wanted), (model.session.get_outputs(), outputs)):
        given = {node.name: tuple(node.shape[1:]) for node in found}
        if given != expected:
            raise InputError(f"{model.folder}/policy.onnx: its tensors are {given}; the manifest asks for {expected}")
    if model.features_hash != features_hash(model.symbols, model.bar_ms):
        raise InputError(f"{model.folder}/manifest.json: features_hash is of other features than this server builds")


def check_golden(model: Model, data: bytes, graph: bytes) -> None:
    """Goes the whole way of the golden rows again: candles -> observation -> outputs.

    Args:
        model: to be verified.
        data: golden.npz, the very bytes whose hash was compared.
        graph: policy.onnx.

    Raises:
        InputError: the graph is not the one that was exported, or a number differs by more than the tolerance.
    """
    where = model.folder / "golden.npz"
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            golden = {name: stored[name] for name in stored.files}
        if str(golden["policy_sha256"]) != hashlib.sha256(graph).hexdigest():
            raise InputError(f"{model.folder}/policy.onnx: not the graph that the golden numbers were made with")
        replay(model, golden, where)
    except DAMAGE as error:
        raise InputError(f"{where}: damaged ({error}); export the bundle again") from error


def replay(model: Model, golden: Mapping[str, np.ndarray], where: Path) -> None:
    """Builds golden observations and answers all of them.

    Raises:
        InputError: a number differs by more than the tolerance.
    """
    candles, rows, steps = golden_candles(model, golden), golden["row"], len(golden["observation"])
    own_base(model, candles)  # a sizing that this server does not have is found here
    features, corr = market_features(candles)
    for k in (0, steps // 2, steps - 1):
        built = assemble(features[rows[k]], corr[rows[k]], golden["weights"][k], golden["entry_ratio"][k])
        compare(where, "observation", built, golden["observation"][k])
    carry = model.initial_carry(1)
    for k in range(steps):
        found = model.predict(golden["observation"][k : k + 1], carry)
        compare(where, "multiplier", found.multiplier[0], golden["multiplier"][k])
        compare(where, "value", found.value[0], golden["value"][k])
        carry = found.carry
    for i, leaf in enumerate(carry):
        compare(where, f"carry_{i}", leaf[0], golden[f"carry_{i}"])


def compare(where: Path, name: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    """Raises where numbers differ by more than the tolerance, absolute up to 1 and relative beyond."""
    scale = np.maximum(1.0, np.abs(theirs))
    if np.shape(ours) != np.shape(theirs) or not np.all(np.abs(ours - theirs) <= TOLERANCE * scale):
        gap = np.max(np.abs(ours - theirs)) if np.shape(ours) == np.shape(theirs) else np.inf
        raise InputError(f"{where}: {name} is not reproduced (off by {gap:.1e}); this bundle must not be served")


def golden_candles(model: Model, golden: Mapping[str, np.ndarray]) -> Candles:
    """The candles of the golden rows."""
    columns: dict[str, Any] = {name: golden[name].astype(np.float64) for name in COLUMNS}
    return Candles(
        symbols=model.symbols,
        bar_ms=model.bar_ms,
        calendar=str(model.manifest["calendar"]),
        time=golden["time"].astype(np.int64),
        **columns,
        tradable=np.ones(columns["close"].shape, bool),
        segment=np.zeros(len(golden["time"]), np.int32),
    )


def check_request_candles(model: Model, columns: Mapping[str, Mapping[str, Sequence[float]]], now_ms: int) -> Candles:
    """Candles of a request, checked as those of training; gaps are filled alike, the look-back must be whole.

    Args:
        model: whose symbols and bar they must have.
        columns: by symbol: time (open, epoch ms), open, high, low, close, volume.
        now_ms: epoch milliseconds; an unfinished candle is dropped.

    Raises:
        InputError: names the symbol and what is allowed.
    """
    raws = []
    for symbol in model.symbols:
        given = columns[symbol]
        time = np.asarray(given["time"], np.int64)
        values: dict[str, Any] = {name: np.asarray(given[name], np.float64) for name in COLUMNS}
        odd = [name for name, x in values.items() if len(x) != len(time)]
        if odd:
            raise InputError(f"candles.{symbol}.{odd[0]}: {len(values[odd[0]])} numbers for {len(time)} times")
        raws.append(RawCandles(symbol, f"candles.{symbol}", np.arange(1, len(time) + 1), time, **values))
    candles, _ = check_candles(raws, bar_ms=model.bar_ms, calendar=str(model.manifest["calendar"]), now_ms=now_ms)
    last = int(np.sum(candles.segment == candles.segment[-1]))
    if last < model.min_candles:
        raise InputError(
            f"candles: {last} bars in a row up to the newest; allowed: at least {model.min_candles} without a gap of "
            "more than 3 bars"
        )
    return candles


def size(model: Model, multiplier: np.ndarray, base: np.ndarray) -> Sized:
    """Step 2 of the account: base positions times the multiplier, with the caps.

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
    """The base position of the newest bar by the sizing of training, (N,)."""
    return base_positions(model.base_sizing, candles, model.rules)[-1]
