"""Graphs without the broadcasts of constants say the same bits, for every batch; other broadcasts stay."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from himari_jax.onnx.broadcasts import drop_broadcasts

pytest_plugins = ["server_fixtures"]
ROW = np.array([[1.5, -2.0, 3.0]], np.float32)
LARGER = [helper.make_node("Shape", ["x"], ["shape"]), helper.make_node("Expand", ["row", "shape"], ["wide"])]
GRAPHS = {
    "a pair with an input": ([helper.make_node("Sub", ["x", "wide"], ["y"])], False),
    "arithmetic of constants before a pair": (
        [
            helper.make_node("Exp", ["wide"], ["e"]),
            helper.make_node("Mul", ["e", "row"], ["m"]),
            helper.make_node("Div", ["x", "m"], ["y"]),
        ],
        False,
    ),
    "two constants meet first": (
        [
            helper.make_node("Expand", ["row", "shape"], ["other"]),
            helper.make_node("Max", ["wide", "other"], ["m"]),
            helper.make_node("Add", ["m", "x"], ["y"]),
        ],
        False,
    ),
    "an answer without an input": ([helper.make_node("Exp", ["wide"], ["y"])], True),
    "two constants that meet no input": ([helper.make_node("Add", ["wide", "row"], ["y"])], True),
    "no arithmetic": ([helper.make_node("Concat", ["wide", "x"], ["y"], axis=1)], True),
    "of an input": (
        [helper.make_node("Expand", ["x", "shape"], ["same"]), helper.make_node("Add", ["same", "wide"], ["y"])],
        True,
    ),
}


def answers(model, x):
    """The output of a graph."""
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_says_the_same_without_its_broadcasts_and_keeps_those_that_it_needs(name):
    nodes, stays = GRAPHS[name]
    edge = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["B", None]) for n in ("x", "y")]
    graph = helper.make_graph([*LARGER, *nodes], name, edge[:1], edge[1:], [numpy_helper.from_array(ROW, "row")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    batches = [np.random.default_rng(rows).normal(size=(rows, 3)).astype(np.float32) for rows in (1, 5)]
    before = [answers(model, x) for x in batches]
    drop_broadcasts(model.graph)
    assert any(node.op_type == "Expand" for node in model.graph.node) == stays
    assert any(node.op_type == "Shape" for node in model.graph.node) == stays
    for x, known in zip(batches, before, strict=True):
        found = answers(model, x)
        assert found.shape == known.shape
        assert found.tobytes() == known.tobytes()


@pytest.mark.parametrize("policy", ["mlp", "lstm"])
def test_an_exported_policy_has_no_broadcasts_left(bundles, policy):
    graph = onnx.load(bundles[policy] / "policy.onnx").graph
    assert not {"Shape", "Expand", "Gather"} & {node.op_type for node in graph.node}
