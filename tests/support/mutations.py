"""Bundles that somebody damaged or made to do harm: their graph, archive, manifest, files or pointer."""

import hashlib
import io
import json
import os
import shutil
import zipfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from serving import name_hashes

LARGE = 600 * 2**20  # bytes: more than a candidate may take
ODD = (None, "", -1, 0, 1e999, 2**70, "\ud800", [], {}, True, "x" * 5000, [[]], {"a": 1}, float("nan"), "1h", 10**9)
OPERATORS = ("Loop", "If", "Scan", "Erf", "RandomNormal", "Tile", "ConstantOfShape", "Einsum", "Relu", "NoSuch", "Add")


def correct(folder):
    """Puts the hashes of altered files into manifest and golden archive, as one who means it would."""
    graph = (folder / "policy.onnx").read_bytes()
    try:
        with np.load(folder / "golden.npz") as stored:
            arrays = {name: stored[name] for name in stored.files}
        np.savez(folder / "golden.npz", **(arrays | {"policy_sha256": np.str_(hashlib.sha256(graph).hexdigest())}))
    except Exception:
        pass  # the archive itself is what was damaged
    name_hashes(folder)


def edit_graph(folder, edit):
    """Alters the graph by a function of the model."""
    model = onnx.load(folder / "policy.onnx", load_external_data=False)
    edit(model)
    (folder / "policy.onnx").write_bytes(model.SerializeToString())
    correct(folder)


def damage(data, rng):
    """Bytes with a few of them flipped, cut, doubled or replaced."""
    data = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        place, kind = int(rng.integers(len(data) or 1)), int(rng.integers(5))
        if kind == 0 and data:
            data[place] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            del data[place:]
        elif kind == 2:
            data[place:place] = data[place : place + int(rng.integers(1, 200))]
        elif kind == 3:
            data[place : place + 8] = rng.bytes(8)
        else:
            del data[place : place + int(rng.integers(1, 50))]
    return bytes(data)


def rewrite(name):
    """Damages the bytes of a file; half of the time the hashes are made to fit."""

    def change(folder, rng):
        (folder / name).write_bytes(damage((folder / name).read_bytes(), rng))
        if name != "manifest.json" and rng.integers(2):
            correct(folder)

    return change


def other_operator(folder, rng):
    def edit(model):
        node = model.graph.node[int(rng.integers(len(model.graph.node)))]
        node.op_type = str(rng.choice(OPERATORS))
        if rng.integers(4) == 0:
            node.domain = "com.microsoft"

    edit_graph(folder, edit)


def other_wiring(folder, rng):
    def edit(model):
        nodes = model.graph.node
        one, two = nodes[int(rng.integers(len(nodes)))], nodes[int(rng.integers(len(nodes)))]
        if one.input and two.output:
            one.input[int(rng.integers(len(one.input)))] = two.output[0]

    edit_graph(folder, edit)


def other_constants(folder, rng):
    def edit(model):
        tensor = model.graph.initializer[int(rng.integers(len(model.graph.initializer)))]
        values = numpy_helper.to_array(tensor).copy()
        if values.size:
            odd = [0, -1, 10**6, 2**62] if values.dtype == np.int64 else [np.nan, np.inf, 1e30, 0]
            values.flat[int(rng.integers(values.size))] = odd[int(rng.integers(4))]
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

    edit_graph(folder, edit)


def outside(path):
    """Takes the numbers of a constant out of another file."""

    def change(folder, rng=None):
        def edit(model):
            tensor = max(model.graph.initializer, key=lambda x: len(x.raw_data))
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", str(path)), ("offset", "0"), ("length", "64")):
                tensor.external_data.add(key=key, value=value)

        edit_graph(folder, edit)

    return change


def inflate(folder, rng=None, rows=15_000):
    """Asks for a table of rows times rows numbers; its value is kept as it was."""

    def edit(model):
        graph = model.graph
        graph.initializer.append(numpy_helper.from_array(np.array([rows, rows], np.int64), "much"))
        graph.initializer.append(numpy_helper.from_array(np.zeros((1, 1), np.int64), "corner"))
        graph.initializer.append(numpy_helper.from_array(np.array(0, np.int64), "first"))
        seen = graph.input[0].name
        made = [
            helper.make_node("Gather", [seen, "corner"], ["one"], axis=1),  # of the input, so that nothing is folded
            helper.make_node("Gather", ["one", "first"], ["single"], axis=0),
            helper.make_node("Expand", ["single", "much"], ["table"]),
            helper.make_node("Gather", ["table", "first"], ["row"], axis=0),
            helper.make_node("Gather", ["row", "first"], ["number"], axis=0),
        ]
        value = next(node for node in graph.node if "value" in node.output)
        value.output[0] = "honest"
        made += [helper.make_node("Sub", ["number", "number"], ["nothing"])]
        made += [helper.make_node("Add", ["honest", "nothing"], ["value"])]
        graph.node.extend(made)

    edit_graph(folder, edit)


def loop(folder, rng=None):
    """Counts for ever before it answers."""

    def edit(model):
        count = helper.make_tensor_value_info("i", TensorProto.INT64, [])
        go_on = helper.make_tensor_value_info("go", TensorProto.BOOL, [])
        stays = helper.make_tensor_value_info("stays", TensorProto.BOOL, [])
        body = helper.make_graph([helper.make_node("Identity", ["go"], ["stays"])], "body", [count, go_on], [stays])
        model.graph.initializer.append(numpy_helper.from_array(np.array(2**62, np.int64), "trips"))
        model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
        model.graph.node.insert(0, helper.make_node("Loop", ["trips", "yes"], [], body=body))

    edit_graph(folder, edit)


def other_arrays(folder, rng):
    with np.load(folder / "golden.npz") as stored:
        arrays = {name: stored[name] for name in stored.files}
    name = str(rng.choice(sorted(arrays)))
    kind = int(rng.integers(6))
    if kind == 0:
        del arrays[name]
    elif kind == 1:
        arrays[name] = np.array([object()], dtype=object)
    elif kind == 2:
        arrays[name] = arrays[name][:1] if arrays[name].ndim else np.zeros(3)
    elif kind == 3 and arrays[name].dtype.kind == "f":
        arrays[name] = arrays[name] * np.nan
    elif kind == 4 and arrays[name].dtype.kind == "i":
        arrays[name] = arrays[name] + 10**9
    else:
        arrays[name] = arrays[name].astype("U8")
    np.savez(folder / "golden.npz", **arrays)
    name_hashes(folder)


def bomb(folder, rng=None, size=LARGE):
    """An archive whose member is small, and large when it is unpacked."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": (size // 8,)})
    block = bytes(2**20)
    archive = zipfile.ZipFile(folder / "golden.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with archive, archive.open("close.npy", "w", force_zip64=True) as member:
        member.write(head.getvalue())
        for _ in range(size // len(block)):
            member.write(block)
    name_hashes(folder)


def claim(folder, rng=None):
    """An array that says that it is far longer than its bytes."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": (2**40,)})
    with zipfile.ZipFile(folder / "golden.npz", "w") as archive:
        archive.writestr("close.npy", head.getvalue())
    name_hashes(folder)


def other_manifest(folder, rng):
    manifest = json.loads((folder / "manifest.json").read_text())
    place = manifest
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = keys[int(rng.integers(len(keys)))]
        inner = place[key]
        if not (isinstance(inner, dict | list) and inner and rng.integers(2)):
            break
        place = inner
    if rng.integers(5) == 0:
        del place[key]
    else:
        place[key] = ODD[int(rng.integers(len(ODD)))]
    (folder / "manifest.json").write_text(json.dumps(manifest))


def nested(folder, rng=None):
    (folder / "manifest.json").write_text('{"schema": 1, "a": ' + "[" * 100_000)


def other_file(folder, rng):
    path = folder / str(rng.choice(["policy.onnx", "golden.npz", "manifest.json"]))
    path.unlink()
    kind = int(rng.integers(5))
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        path.mkdir()
    elif kind == 2:
        path.symlink_to(path)
    elif kind == 3:
        path.symlink_to("/dev/zero")


MUTATIONS = {
    "graph bytes": rewrite("policy.onnx"),
    "archive bytes": rewrite("golden.npz"),
    "manifest bytes": rewrite("manifest.json"),
    "operator": other_operator,
    "wiring": other_wiring,
    "constants": other_constants,
    "arrays": other_arrays,
    "manifest": other_manifest,
    "file": other_file,
    "outside": outside("/etc/hostname"),
    "inflate": inflate,
    "loop": loop,
    "claim": claim,
    "nested": nested,
}


def mutated(source, target, number):
    """A damaged copy of a bundle, a function of its number; what was done to it."""
    rng = np.random.default_rng(number)
    shutil.copytree(source, target)
    kind = list(MUTATIONS)[number % len(MUTATIONS)]
    MUTATIONS[kind](target, rng)
    return kind
