"""Milliseconds of one decision: observation on the host in, multiplier on the host out, the memory kept."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from himari_jax.policies.policy import act, mean_action
from train.simulation.trained import Agent

WARM_UP = 200  # decisions before the clock starts

Decide = Callable[[np.ndarray], Any]  # (D,) -> (N,)


def percentiles(decide: Decide, width: int, decisions: int) -> tuple[float, float]:
    """Median and 99th percentile of the milliseconds of a decision, one after the other.

    Args:
        decide: waits until the multipliers are on the host.
        width: D.
        decisions: measured.
    """
    rows = np.random.default_rng(0).normal(size=(WARM_UP + decisions, width)).astype(np.float32)
    times = []
    for row in rows:
        started = time.perf_counter()
        decide(row)
        times.append(time.perf_counter() - started)
    p50, p99 = np.percentile(times[WARM_UP:], (50, 99))
    return 1e3 * float(p50), 1e3 * float(p99)


def width_of(agent: Agent) -> int:
    """Returns D, the width of an agent's observation."""
    return int(agent.variables["constants"]["normaliser"]["mean"].shape[-1])


def decide_by_jax(agent: Agent) -> Decide:
    """Makes a decision function of the policy, jitted on jax's device; parameters and memory stay there."""
    variables = jax.device_put(jax.tree.map(lambda x: x[agent.chosen], agent.variables))
    policy, carry = agent.policy, agent.policy.initial_carry(1)

    @jax.jit
    def step(variables: Any, carry: Any, row: jax.Array) -> tuple[Any, jax.Array]:
        carry, output = act(policy, variables, carry, row[None])
        return carry, mean_action(output)[0]

    def decide(row: np.ndarray) -> np.ndarray:
        nonlocal carry
        carry, multiplier = step(variables, carry, row)
        return np.asarray(multiplier)

    return decide


def decide_by_onnx(agent: Agent, graph: Path) -> Decide:
    """Makes a decision function of a bundle's graph in onnxruntime, on one thread as the server runs it."""
    from himari_jax.onnx.session import open_session

    session = open_session(graph.read_bytes())
    carry = [np.asarray(leaf) for leaf in jax.tree.leaves(agent.policy.initial_carry(1))]

    def decide(row: np.ndarray) -> np.ndarray:
        feeds = {"observation": row[None]} | {f"carry_{i}": leaf for i, leaf in enumerate(carry)}
        multiplier, _, *carry[:] = session.run(None, feeds)
        return np.asarray(multiplier[0])

    return decide
