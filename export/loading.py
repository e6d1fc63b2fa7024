"""Reading and verifying a bundle: manifest, graph, golden vectors."""

import hashlib
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from export.contents.archive import read_arrays
from export.contents.files import Contents, read_contents
from export.contents.graph import check_graph
from export.contents.manifest import code_names
from export.runtime import Model, own_base
from himari_jax.candles import COLUMNS, Candles
from himari_jax.errors import InputError, first_line
from himari_jax.features.market import market_features
from himari_jax.features.observation import assemble, features_hash
from himari_jax.features.own_features import restore_features
from himari_jax.onnx.session import open_session

TOLERANCE = 1e-5  # of outputs and observations against the golden ones
DAMAGE = (OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, zipfile.BadZipFile, zlib.error)
ROWS = 1024  # of the largest batch that a bundle is tried with, as the server's --max-rows


def load(folder: Path, allow_code: bool = False, rows: int = ROWS) -> Model:
    """Loads and verifies a bundle: hashes, graph, signature, and its golden numbers.

    Args:
        folder: of the bundle.
        allow_code: whether to run code for features that the bundle carries.
        rows: of the largest batch that it must answer.

    Raises:
        InputError: it is not complete, was altered, or does not reproduce its own numbers; one line.
        StorageError: a file cannot be read at the moment.
    """
    contents = read_contents(folder)
    model = open_model(contents, allow_code)
    check_golden(model, contents.files["golden.npz"], contents.files["policy.onnx"], rows)
    return model


def open_model(contents: Contents, allow_code: bool = False) -> Model:
    """Opens the model of a bundle without comparing golden numbers.

    Raises:
        InputError: its code may not be run, its graph is more than a policy, or of another signature.
    """
    folder, manifest, codes = contents.folder, contents.manifest, code_names(contents.manifest)
    if codes and not allow_code:
        raise InputError(f"{folder}: carries code for its features ({', '.join(codes)}); --allow-features-code runs it")
    sets = manifest["features"].get("sets", {})
    features = restore_features(sets, {name: contents.files[name] for name in codes}, f"{folder}/manifest.json")
    graph, where = contents.files["policy.onnx"], f"{folder}/policy.onnx"
    check_graph(graph, where)
    try:
        session = open_session(graph)
    except Exception as error:  # onnxruntime raises types of its own
        raise InputError(f"{where}: cannot be run ({first_line(error)}); export the bundle again") from error
    model = Model(folder, manifest, contents.digest, session, features)
    check_signature(model)
    return model


def check_signature(model: Model) -> None:
    """Refuses a graph whose inputs and outputs are not those of the manifest, float32, for any number of rows.

    Raises:
        InputError: names the first that differs.
    """
    # A graph calls the recurrent state that it returns by another name than the one that it takes.
    outputs = {f"next_{name}" if name in model.memory else name: shape for name, shape in model.outputs.items()}
    where = f"{model.folder}/policy.onnx"
    for found, expected in ((model.session.get_inputs(), model.inputs), (model.session.get_outputs(), outputs)):
        given = {node.name: tuple(node.shape[1:]) for node in found}
        if given != expected:
            raise InputError(f"{where}: its tensors are {given}; the manifest asks for {expected}")
        if odd := [node.name for node in found if node.type != "tensor(float)" or not isinstance(node.shape[0], str)]:
            raise InputError(f"{where}: {odd[0]} is not of float32 in any number of rows")
    if model.features_hash != features_hash(model.places, model.bar_ms, model.features):
        raise InputError(f"{model.folder}/manifest.json: features_hash is of other features than this server builds")
    drifting = () if model.drift is None else model.drift.names
    if unknown := [name for name in drifting if name not in model.names]:
        raise InputError(f"{model.folder}: drift names {unknown[0][:64]}, no input of this policy; export it again")


def check_golden(model: Model, data: bytes, graph: bytes, rows: int = ROWS) -> None:
    """Recomputes the golden rows: candles -> observation -> outputs, one by one and as a batch.

    Args:
        model: to be verified.
        data: golden.npz, the very bytes whose hash was compared.
        graph: policy.onnx.
        rows: of the batch.

    Raises:
        InputError: the graph is not the one that was exported, or a number differs by more than the tolerance.
    """
    where = model.folder / "golden.npz"
    try:
        golden = read_arrays(data)
        if str(golden["policy_sha256"]) != hashlib.sha256(graph).hexdigest():
            raise InputError(f"{model.folder}/policy.onnx: not the graph that the golden numbers were made with")
        observe_again(model, golden, where)
        carries = replay(model, golden, where)
        check_batch(model, golden, carries, where, rows)
    except DAMAGE as error:
        raise InputError(f"{where}: damaged ({first_line(error)}); export the bundle again") from error


def observe_again(model: Model, golden: Mapping[str, np.ndarray], where: Path) -> None:
    """Builds golden observations out of the golden candles and compares them.

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


def replay(model: Model, golden: Mapping[str, np.ndarray], where: Path) -> list[tuple[np.ndarray, ...]]:
    """Runs all golden observations in their order and compares the outputs.

    Returns:
        The memory before each of them, leaves (1, ...).

    Raises:
        InputError: a number differs by more than the tolerance.
    """
    carry, carries = model.initial_carry(1), []
    for k in range(len(golden["observation"])):
        carries.append(carry)
        found = model.predict(golden["observation"][k : k + 1], carry)
        compare(where, "multiplier", found.multiplier[0], golden["multiplier"][k])
        compare(where, "value", found.value[0], golden["value"][k])
        carry = found.carry
    for i, leaf in enumerate(carry):
        compare(where, f"carry_{i}", leaf[0], golden[f"carry_{i}"])
    return carries


def check_batch(
    model: Model, golden: Mapping[str, np.ndarray], carries: list[tuple[np.ndarray, ...]], where: Path, rows: int
) -> None:
    """Runs golden observations as one batch of so many rows and compares the outputs.

    Raises:
        InputError: a number differs by more than the tolerance.
    """
    place = np.arange(rows) % len(carries)
    memory = tuple(np.concatenate(leaves)[place] for leaves in zip(*carries, strict=True))
    found = model.predict(golden["observation"][place], memory)
    compare(where, "multiplier", found.multiplier, golden["multiplier"][place])
    compare(where, "value", found.value, golden["value"][place])


def compare(where: Path, name: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    """Raises where numbers differ by more than the tolerance, absolute up to 1 and relative beyond."""
    scale = np.maximum(1.0, np.abs(theirs))
    if np.shape(ours) != np.shape(theirs) or not np.all(np.abs(ours - theirs) <= TOLERANCE * scale):
        gap = np.max(np.abs(ours - theirs)) if np.shape(ours) == np.shape(theirs) else np.inf
        raise InputError(f"{where}: {name} is not reproduced (off by {gap:.1e}); this bundle must not be served")


def golden_candles(model: Model, golden: Mapping[str, np.ndarray]) -> Candles:
    """Builds the candles of the golden rows, under their symbols."""
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
