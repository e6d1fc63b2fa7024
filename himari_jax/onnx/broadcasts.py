"""Takes the broadcasts of constants out of an exported graph: the operators that follow broadcast by themselves.

jax writes out that a row of numbers meets a batch: for each it asks for the batch's shape, builds a new one and copies
the row so often. ONNX's arithmetic does the same by itself, number by number, and constants alone are computed once,
when the graph is loaded. That is most of the operators of a small policy.
"""

from typing import Any

PAIRS = frozenset("Add Div Max Min Mul Sub".split())  # of two operands, which broadcast
SINGLES = frozenset("Exp Neg Sigmoid Sqrt Tanh".split())


def drop_broadcasts(graph: Any) -> None:
    """Replaces broadcasts of constants by the constants, and drops nodes that are unused then.

    Args:
        graph: onnx.GraphProto, in the order of execution; changed in place.
    """
    outputs = {value.name for value in graph.output}
    # The last first: each asks for the shape of the one before.
    for node in reversed(list(graph.node)):
        if node.op_type != "Expand":
            continue
        row, batch = node.input[0], node.output[0]
        if not depends_on_inputs(graph, row) and meets_batch(graph, batch, outputs):
            for reader in readers_of(graph, batch):
                reader.input[:] = [row if name == batch else name for name in reader.input]
            drop_unread(graph, outputs)
    del graph.value_info[:]  # shapes of intermediate tensors, which are others now and not needed


def readers_of(graph: Any, name: str) -> list[Any]:
    """The operators that read a tensor."""
    return [node for node in graph.node if name in node.input]


def depends_on_inputs(graph: Any, name: str) -> bool:
    """Whether a tensor is more than constants."""
    if name in {value.name for value in graph.input}:
        return True
    made = [node for node in graph.node if name in node.output]
    return any(depends_on_inputs(graph, source) for node in made for source in node.input)


def meets_batch(graph: Any, name: str, outputs: set[str]) -> bool:
    """Whether all readers of a tensor are arithmetic that ends in a binary operator with a tensor of the inputs."""
    readers = readers_of(graph, name)
    if name in outputs or not readers:
        return False
    for node in readers:
        others = [other for other in node.input if other != name]
        if node.op_type in PAIRS and any(depends_on_inputs(graph, other) for other in others):
            continue
        if node.op_type not in PAIRS | SINGLES or not meets_batch(graph, node.output[0], outputs):
            return False
    return True


def drop_unread(graph: Any, outputs: set[str]) -> None:
    """Drops unused operators, then unused constants."""
    for node in reversed(list(graph.node)):
        if not outputs & set(node.output) and not any(readers_of(graph, name) for name in node.output):
            graph.node.remove(node)
    for constant in list(graph.initializer):
        if not readers_of(graph, constant.name):
            graph.initializer.remove(constant)
