"""Reading and verifying a bundle: manifest, graph, golden vectors."""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from export.runtime import FILES, FILLS, SCHEMA, Model, decision_bars, own_base
from himari_jax.candles import COLUMNS, Candles
from himari_jax.errors import InputError, first_line
from himari_jax.features import market_features
from himari_jax.observation import assemble, features_hash
from himari_jax.own_features import SUFFIX, restore_features
from himari_jax.pasting import command_line, free_name
from himari_jax.plugins import FEATURE_FILE
from himari_jax.sizing import SizingRules

TOLERANCE = 1e-5  # of outputs and observations against the golden ones
DAMAGE = (OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, zipfile.BadZipFile, zlib.error)
OVERSIZE = 64 * 2**20  # bytes of a file, beyond which it is refused as a bundle


def load(folder: Path, allow_code: bool = False) -> Model:
    """A bundle, verified: hashes, signature, and its golden numbers.

    Args:
        folder: of the bundle.
        allow_code: whether to run code for features that the bundle carries.

    Raises:
        InputError: it is not complete, was altered, or does not reproduce its own numbers; one line.
    """
    manifest, digest = read_manifest(folder)
    codes = code_names(manifest)
    if codes and not allow_code:
        raise InputError(f"{folder}: carries code for its features ({', '.join(codes)}); --allow-features-code runs it")
    contents = {name: read_file(folder / name) for name in (*FILES, *codes)}
    for name, data in contents.items():
        if hashlib.sha256(data).hexdigest() != manifest["files"].get(name):
            raise InputError(f"{folder / name}: its SHA-256 is not the one in manifest.json; export the bundle again")
    sets = manifest["features"].get("sets", {})
    features = restore_features(sets, {name: contents[name] for name in codes}, f"{folder}/manifest.json")
    session = open_session(contents["policy.onnx"], folder / "policy.onnx")
    model = Model(folder, manifest, digest, session, features)
    check_signature(model)
    check_golden(model, contents["golden.npz"], contents["policy.onnx"])
    return model


def code_names(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """The user's files that a bundle's features are made by."""
    return tuple(name for name in manifest["features"].get("sets", {}) if name.endswith(SUFFIX))


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


def refuse_run(folder: Path, address: str | None = None) -> None:
    """Refuses the folder of a run, or a folder of runs, where a bundle is asked for.

    Args:
        folder: to look at.
        address: in a bucket, of which the folder is a copy.

    Raises:
        InputError: it is one; names the command that makes a bundle of it.
    """
    if any(folder.glob("manifest.json")) or any(folder.glob("*/manifest.json")):
        return
    kind, run, what, where = kind_of_run(folder), folder, "a run, not a bundle", address or folder
    if kind == "walk-forward":
        raise InputError(f"{where}: a walk-forward test, which keeps no policy to serve; train one with train.ppo")
    if not kind:
        runs = [path.parent for path in folder.glob("*/config.json") if kind_of_run(path.parent) == "run"]
        if not runs:
            return
        # A sweep has its best run in `chosen`.
        run = max(runs, key=lambda path: (path.name == "chosen", (path / "config.json").stat().st_mtime))
        what = "a folder of runs, not a bundle"
    source = address or run
    line = command_line("export.bundle", source, "--out", free_name(Path("bundles") / Path(source).resolve().name))
    raise InputError(f"{where}: {what}; this makes one: {line}")


def kind_of_run(folder: Path) -> str:
    """`run` or `walk-forward` where training wrote a folder, else an empty text."""
    try:
        stored = json.loads((folder / "config.json").read_bytes())
        return "" if "flags" not in stored else "walk-forward" if "walk_forward" in stored else "run"
    except (OSError, ValueError, TypeError):
        return ""


def read_manifest(folder: Path) -> tuple[dict[str, Any], str]:
    """manifest.json and its SHA-256.

    Raises:
        InputError: it is missing, no JSON, of another schema, or lacks a key; or it is a run.
    """
    refuse_run(folder)
    if not (folder / "manifest.json").exists() and (bundles := sorted(folder.glob("*/manifest.json"))):
        raise InputError(f"{folder}: a folder of bundles; name one, such as {bundles[-1].parent}")
    data = read_file(folder / "manifest.json")
    try:
        manifest = dict(json.loads(data))
        needed = ("name", "version", "symbols", "bar_ms", "calendar", "min_candles", "features", "features_hash")
        missing = [key for key in (*needed, "carry_shapes", "sizing", "files") if key not in manifest]
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
    check_sets(manifest["features"])
    if not isinstance(manifest.get("pool", False), bool):
        raise TypeError("pool is neither true nor false")
    if manifest.get("fill", FILLS[0]) not in FILLS:
        raise ValueError(f"fill is none of {', '.join(FILLS)}")
    if decision_bars(manifest) >= manifest["min_candles"] and shapes:
        raise ValueError("min_candles does not reach back to the decision before")
    if not isinstance(manifest["files"], dict):
        raise TypeError("files is no table")
    if not isinstance(sizing, dict) or not isinstance(sizing["base_sizing"], str):
        raise TypeError("sizing is no table with a base_sizing")
    if not all(type(x) in (int, float) and x > 0 for x in sizing["rules"].values()):
        raise ValueError("sizing.rules are not all numbers above 0")
    SizingRules(**sizing["rules"])


def check_sets(features: Any) -> None:
    """Raises where the manifest does not say which features there are."""
    sets = features.get("sets", {}) if isinstance(features, dict) else None
    if not isinstance(sets, dict):
        raise TypeError("features is no table of sets")
    for name, names in sets.items():
        if not isinstance(names, list) or not all(isinstance(x, str) for x in names):
            raise TypeError(f"features.sets.{name} is no list of names")
        if name.endswith(SUFFIX) and FEATURE_FILE.fullmatch(name) is None:
            raise ValueError(f"features.sets has a file {name!r}")


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
        raise InputError(f"{where}: cannot be run ({first_line(error)}); export the bundle again") from error


def check_signature(model: Model) -> None:
    """Refuses a graph whose inputs and outputs are not those of the manifest.

    Raises:
        InputError: names the first that differs.
    """
    assets, shapes = len(model.places), model.carry_shapes
    wanted = {"observation": (model.width,), **{f"carry_{i}": shape for i, shape in enumerate(shapes)}}
    outputs = {"multiplier": (assets,), "value": (), **{f"next_carry_{i}": shape for i, shape in enumerate(shapes)}}
    for found, expected in ((model.session.get_inputs(), wanted), (model.session.get_outputs(), outputs)):
        given = {node.name: tuple(node.shape[1:]) for node in found}
        if given != expected:
            raise InputError(f"{model.folder}/policy.onnx: its tensors are {given}; the manifest asks for {expected}")
    if model.features_hash != features_hash(model.places, model.bar_ms, model.features):
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
    if model.base_sizing != "file":  # whose positions come with each request
        own_base(model, candles)  # a sizing that this server does not have is found here
    features, corr = market_features(candles, model.features)
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
    """The candles of the golden rows, under the symbols that they are of."""
    symbols = tuple(str(symbol) for symbol in golden["symbols"]) if "symbols" in golden else model.places
    columns: dict[str, Any] = {name: golden[name].astype(np.float64) for name in COLUMNS}
    return Candles(
        symbols=symbols,
        bar_ms=model.bar_ms,
        calendar=str(model.manifest["calendar"]),
        time=golden["time"].astype(np.int64),
        **columns,
        tradable=np.ones(columns["close"].shape, bool),
        segment=np.zeros(len(golden["time"]), np.int32),
    )
