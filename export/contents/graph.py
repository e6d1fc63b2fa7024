"""The rules for policy.onnx: only what exported policies are made of.

A graph could name files beside it, whose numbers it would show, call itself in loops, or ask for memory without end.
So a graph has one level, tensors that lie in the file itself, and operators out of a short list.
"""

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from export.contents.wire import Field, WireError, read_message
from himari_jax.errors import InputError
from himari_jax.onnx.graph import OPSET

# Everything that jax2onnx makes of policies; none of them has a graph inside, reads a file or draws by chance.
OPERATORS = frozenset(
    "Add Concat Div Exp Expand Gather Gemm Max Min Mul Neg Reshape Shape Sigmoid Split Sqrt Squeeze Sub Tanh".split()
)
TYPES = {1: ("float32", "<f4"), 7: ("int64", "<i8")}  # numbers of ONNX: its name, that of numpy
MOST_NODES = 2000
MOST_DIMENSIONS = 4
MOST_SIZE = 2**20  # magnitude of an integer: each is a length, an index or an axis

# Tables of onnx.proto: only what a policy needs. No external data (TensorProto 13, 14), no functions (ModelProto 25),
# no graphs, tensors or texts in attributes (AttributeProto 4 to 11).
OPSETS = {1: Field("domain", str), 2: Field("version", int)}
ATTRIBUTE = {1: Field("name", str), 2: Field("f", float), 3: Field("i", int), 20: Field("type", int)}
NODE = {
    1: Field("input", str, True),
    2: Field("output", str, True),
    3: Field("name", str),
    4: Field("op_type", str),
    5: Field("attribute", ATTRIBUTE, True),
    7: Field("domain", str),
}
TENSOR = {1: Field("dims", int, True), 2: Field("data_type", int), 8: Field("name", str), 9: Field("raw_data", bytes)}
DIMENSION = {1: Field("dim_value", int), 2: Field("dim_param", str)}
SHAPE = {1: Field("dim", DIMENSION, True)}
TENSOR_TYPE = {1: Field("elem_type", int), 2: Field("shape", SHAPE)}
VALUE = {1: Field("name", str), 2: Field("type", {1: Field("tensor_type", TENSOR_TYPE)})}
GRAPH = {
    1: Field("node", NODE, True),
    2: Field("name", str),
    5: Field("initializer", TENSOR, True),
    11: Field("input", VALUE, True),
    12: Field("output", VALUE, True),
    13: Field("value_info", VALUE, True),
}
MODEL = {
    1: Field("ir_version", int),
    2: Field("producer_name", str),
    3: Field("producer_version", str),
    7: Field("graph", GRAPH),
    8: Field("opset_import", OPSETS, True),
}


def check_graph(data: bytes, where: str) -> None:
    """Refuses a graph that is more than a policy.

    Args:
        data: policy.onnx.
        where: begins the line of an error.

    Raises:
        InputError: says what it has that no exported policy has.
    """
    try:
        model = read_message(memoryview(data), MODEL, "model")
        check_opset(model)
        graph = model.get("graph", {})
        check_nodes(graph.get("node", []))
        for tensor in graph.get("initializer", []):
            check_tensor(tensor)
    except WireError as error:
        raise InputError(f"{where}: not the graph of a policy ({error}); export the bundle again") from error


def check_opset(model: Mapping[str, Any]) -> None:
    """Refuses operators of another version or vendor."""
    opsets = [(each.get("domain", ""), each.get("version")) for each in model["opset_import"]]
    if opsets != [("", OPSET)]:
        shown = ", ".join(f"{domain or 'onnx'} {version}" for domain, version in opsets)
        raise WireError(f"operators of {shown[:80] or 'no version'}; this server runs onnx {OPSET}")


def check_nodes(nodes: list[dict[str, Any]]) -> None:
    """Refuses operators that no exported policy has."""
    if len(nodes) > MOST_NODES:
        raise WireError(f"{len(nodes)} operators; must be at most {MOST_NODES}")
    for node in nodes:
        name = node.get("op_type", "")
        if node.get("domain", "") or name not in OPERATORS:
            raise WireError(f"the operator {node.get('domain', '')[:40]}{name[:40]!r}, which no exported policy has")


def check_tensor(tensor: Mapping[str, Any]) -> None:
    """Refuses constants that are not whole, or too large for what they are for."""
    name, dims = tensor.get("name", "")[:40], tensor["dims"]
    if tensor.get("data_type") not in TYPES:
        raise WireError(f"the constant {name!r} is neither float32 nor int64")
    _, kind = TYPES[tensor["data_type"]]
    if len(dims) > MOST_DIMENSIONS or any(not 0 <= n <= MOST_SIZE for n in dims):
        raise WireError(f"the constant {name!r} has the shape {dims[:8]}")
    raw = tensor.get("raw_data", b"")
    if len(raw) != prod(dims) * np.dtype(kind).itemsize:
        raise WireError(f"the constant {name!r} has {len(raw)} bytes for the shape {dims}")
    if kind == "<i8" and len(raw) and np.abs(np.frombuffer(raw, kind).astype(np.float64)).max() > MOST_SIZE:
        raise WireError(f"the constant {name!r} holds a length beyond {MOST_SIZE}")
