"""A policy as an ONNX graph; light to import, because the server reads the version of the operators here."""

import contextlib
import io
import warnings
from typing import Any

from himari_jax.onnx.broadcasts import drop_broadcasts

OPSET = 18  # version of the operators


def policy_graph(policy: Any, variables: Any, width: int) -> bytes:
    """Normalizer, policy and squashing as one graph: the carry as inputs and outputs, any batch.

    Args:
        policy: the module.
        variables: parameters and constants, which become part of the graph.
        width: D.

    Raises:
        ModuleNotFoundError: jax2onnx, of an extra, is not installed.
    """
    import jax
    from jax2onnx import to_onnx

    from himari_jax.policies.policy import act, mean_action

    leaves, tree = jax.tree.flatten(policy.initial_carry(1))

    def forward(observation: jax.Array, *carry: jax.Array) -> tuple[jax.Array, ...]:
        after, output = act(policy, variables, jax.tree.unflatten(tree, carry), observation)
        return mean_action(output), output.value, *jax.tree.leaves(after)

    shapes = [("B", width), *(("B", *leaf.shape[1:]) for leaf in leaves)]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        model = to_onnx(forward, shapes, opset=OPSET, model_name="himari_jax")
    inputs = ["observation", *(f"carry_{i}" for i in range(len(leaves)))]
    outputs = ["multiplier", "value", *(f"next_carry_{i}" for i in range(len(leaves)))]
    rename(model.graph, inputs, outputs)
    drop_broadcasts(model.graph)
    return bytes(model.SerializeToString())


def rename(graph: Any, inputs: list[str], outputs: list[str]) -> None:
    """Gives the tensors at the edge of a graph their names."""
    names = {node.name: name for node, name in zip(graph.input, inputs, strict=True)}
    names |= {node.name: name for node, name in zip(graph.output, outputs, strict=True)}
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
