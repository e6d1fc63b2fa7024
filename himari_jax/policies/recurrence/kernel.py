"""The recurrence as one kernel for a GPU: the memory stays on the chip over all steps, two launches in all.

Each program of the grid takes ROWS environments through all layers and steps. What needs no memory of the step before
is done outside, over all steps at once: the inputs' part in the first layer, the slopes, the gradient of the kernels.
No GPU has timed it: it is taken only where it is asked for.

Letters: L layers, one stacked array for all of them.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from himari_jax.policies.core import Carry
from himari_jax.policies.recurrence.gates import GATES, Slopes, Weights, cell_forward, weight_gradients

ROWS = 16  # environments of a program: the least that a tensor core multiplies
WIDTHS = (16, 32, 64)  # H: powers of two; wider ones take minutes to compile
MOST_LAYERS = 3  # all their weights stay in the cache next to the core
CAPABILITY = 8.0  # of CUDA: the first whose tensor cores take float32


def unsupported(width: int, layers: int) -> str | None:
    """Reason why the device in use cannot run the kernel on LSTM layers of that width; None where it can."""
    device = jax.devices()[0]
    if device.platform != "gpu" or not hasattr(device, "compute_capability"):
        return f"it needs an NVIDIA GPU, not {device.device_kind}"
    if float(device.compute_capability) < CAPABILITY:
        return f"it needs compute capability {CAPABILITY}, {device.device_kind} has {device.compute_capability}"
    if width not in WIDTHS or layers > MOST_LAYERS:
        return f"it takes --lstm-hidden-dim {', '.join(map(str, WIDTHS))} and up to {MOST_LAYERS} layers"
    return None


def forward_body(drive, reset, own, below, bias, c, h, hs, cs) -> None:
    """Forward kernel: ROWS environments through all steps.

    Args:
        drive: (S, ROWS, 4, H) what x and the bias add in the first layer.
        reset: (S, ROWS) int32.
        own: (L, 4, H, H) kernels of the memories.
        below: (L - 1, 4, H, H) kernels from the layer below; of one layer, anything.
        bias: (L, 4, H).
        c, h: (L, ROWS, H) at the start.
        hs, cs: (L, S, ROWS, H), written.
    """
    layers = own.shape[0]

    def step(t: jax.Array, memory: tuple) -> tuple:
        fresh = (reset[t] != 0)[:, None]
        after, x = [], None
        for n, (c, h) in enumerate(memory):
            c, h = jnp.where(fresh, 0.0, c), jnp.where(fresh, 0.0, h)
            z = []
            for gate in range(GATES):
                enters = drive[t, :, gate] if x is None else x @ below[n - 1, gate] + bias[n, gate][None]
                z.append(h @ own[n, gate] + enters)
            c = nn.sigmoid(z[1]) * c + nn.sigmoid(z[0]) * jnp.tanh(z[2])
            x = nn.sigmoid(z[3]) * jnp.tanh(c)
            hs[n, t], cs[n, t] = x, c
            after.append((c, x))
        return tuple(after)

    jax.lax.fori_loop(0, drive.shape[0], step, tuple((c[n], h[n]) for n in range(layers)))


def backward_body(by_last, reset, own, below, by_c, by_h, *refs) -> None:
    """Backward kernel: gradients of ROWS environments by all gates, the last step first.

    Args:
        by_last: (S, ROWS, H), by h of the last layer.
        reset: (S, ROWS) int32.
        own, below: as `forward_body` has them, transposed, (4, H, H) each.
        by_c, by_h: (L, ROWS, H) by the last memory.
        refs: Slopes, (L, S, ROWS, H) each, read; by_z (L, S, ROWS, 4, H), by the first c and h (L, ROWS, H), written.
    """
    slopes, (by_z, by_first_c, by_first_h) = Slopes(*refs[:-3]), refs[-3:]
    steps, layers = by_last.shape[0], own.shape[0]

    def step(k: jax.Array, memory: tuple) -> tuple:
        t = steps - 1 - k
        fresh = (reset[t] != 0)[:, None]
        by_above = by_last[t]
        before = []
        for n in reversed(range(layers)):
            by_c, by_h = memory[n]
            by_h = by_h + by_above
            by_c = by_c + by_h * slopes.shown[n, t]
            by_gates = (
                by_c * slopes.input[n, t],
                by_c * slopes.forget[n, t],
                by_c * slopes.candidate[n, t],
                by_h * slopes.output[n, t],
            )
            by_own = jnp.zeros_like(by_h)
            by_above = jnp.zeros_like(by_h)
            for gate, by_gate in enumerate(by_gates):
                by_z[n, t, :, gate] = by_gate
                by_own += by_gate @ own[n, gate]
                if n:
                    by_above += by_gate @ below[n - 1, gate]
            before.append((by_c * slopes.kept[n, t], jnp.where(fresh, 0.0, by_own)))
        return tuple(before[::-1])

    memory = jax.lax.fori_loop(0, steps, step, tuple((by_c[n], by_h[n]) for n in range(layers)))
    for n, (c, h) in enumerate(memory):
        by_first_c[n], by_first_h[n] = c, h


def launch(body: Any, interpret: bool, inputs: list, outputs: list) -> list[jax.Array]:
    """Runs a kernel over the environments, ROWS in each program.

    Args:
        inputs: (array, axis of the environments, or None where every program sees the whole).
        outputs: (shape, axis of the environments).
    """
    from jax.experimental import pallas as pl  # not at the top: half a second, for who asks for the kernel
    from jax.experimental.pallas import triton

    def spec(shape: tuple[int, ...], axis: int | None) -> pl.BlockSpec:
        block = tuple(ROWS if k == axis else size for k, size in enumerate(shape))
        return pl.BlockSpec(block, lambda i: tuple(i if k == axis else 0 for k in range(len(shape))))

    shape, axis = outputs[0]
    return pl.pallas_call(
        body,
        grid=(shape[axis] // ROWS,),
        in_specs=[spec(x.shape, axis) for x, axis in inputs],
        out_specs=[spec(shape, axis) for shape, axis in outputs],
        out_shape=[jax.ShapeDtypeStruct(shape, jnp.float32) for shape, _ in outputs],
        interpret=interpret,
        compiler_params=triton.CompilerParams(num_warps=4, num_stages=1),
    )(*(x for x, _ in inputs))


def pad_batch(x: jax.Array, axis: int) -> jax.Array:
    """Adds environments of zeros up to a multiple of ROWS."""
    missing = -x.shape[axis] % ROWS
    return jnp.pad(x, [(0, missing if k == axis else 0) for k in range(x.ndim)]) if missing else x


def gate_blocks(weights: Weights) -> tuple[jax.Array, jax.Array]:
    """Kernels of the memories (L, 4, H, H), and from the layer below (L - 1, 4, H, H), one unread of a single layer."""
    width = weights[0][1].shape[-1] // GATES

    def split(kernel: jax.Array) -> jax.Array:
        return kernel.reshape(width, GATES, width).swapaxes(0, 1)

    own = jnp.stack([split(kernel[-width:]) for kernel, _ in weights])
    above = [split(kernel[:-width]) for kernel, _ in weights[1:]]
    return own, jnp.stack(above) if above else own


def stack(carry: Carry) -> tuple[jax.Array, jax.Array]:
    """((c, h), ...) by layer -> c and h, (L, B, H) each."""
    c, h = zip(*carry, strict=True)
    return jnp.stack(c), jnp.stack(h)


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def recur(weights: Weights, carry: Carry, x: jax.Array, reset: jax.Array, interpret: bool = False):
    """As `stepwise.recur`.

    Args:
        interpret: whether to run without a GPU, slowly, for tests.
    """
    return recur_forward(weights, carry, x, reset, interpret)[0]


def recur_forward(weights: Weights, carry: Carry, x: jax.Array, reset: jax.Array, interpret: bool):
    """`recur`, and what its gradient needs."""
    (steps, batch), layers = reset.shape, len(weights)
    (kernel, first_bias), width = weights[0], weights[0][1].shape[-1] // GATES
    drive = (x @ kernel[:-width] + first_bias[None]).reshape(steps, batch, GATES, width)
    bias = jnp.stack([bias.reshape(GATES, width) for _, bias in weights])
    own, below = gate_blocks(weights)
    c, h = stack(carry)
    inputs = [
        *((pad_batch(drive, 1), 1), (pad_batch(reset.astype(jnp.int32), 1), 1)),
        *((own, None), (below, None), (bias, None), (pad_batch(c, 1), 1), (pad_batch(h, 1), 1)),
    ]
    shape = (layers, steps, batch + -batch % ROWS, width)
    hs, cs = (out[:, :, :batch] for out in launch(forward_body, interpret, inputs, [(shape, 2), (shape, 2)]))
    after = tuple((cs[n, -1], hs[n, -1]) for n in range(layers))
    return (after, hs[-1]), (weights, carry, x, reset, hs, cs)


def recur_backward(interpret: bool, kept: tuple, gradient: tuple[Carry, jax.Array]):
    """Gradients by weights, first carry and x, from those by the last carry and h."""
    weights, carry, x, reset, hs, cs = kept
    by_carry, by_last = gradient
    (steps, batch), layers, width = reset.shape, len(weights), hs.shape[-1]
    entered, slopes = zip(*recompute(weights, carry, x, reset, hs, cs), strict=True)
    slopes = Slopes(*(jnp.stack(layer) for layer in zip(*slopes, strict=True)))
    own, below = (blocks.swapaxes(-1, -2) for blocks in gate_blocks(weights))
    by_c, by_h = stack(by_carry)
    inputs = [
        *((pad_batch(by_last, 1), 1), (pad_batch(reset.astype(jnp.int32), 1), 1), (own, None), (below, None)),
        *((pad_batch(by_c, 1), 1), (pad_batch(by_h, 1), 1), *((pad_batch(slope, 2), 2) for slope in slopes)),
    ]
    rows = batch + -batch % ROWS
    outputs = [((layers, steps, rows, GATES, width), 2), ((layers, rows, width), 1), ((layers, rows, width), 1)]
    by_z, by_c, by_h = launch(backward_body, interpret, inputs, outputs)
    by_gates = tuple(z.reshape(steps, batch, GATES * width) for z in by_z[:, :, :batch])
    by_first = tuple((by_c[n, :batch], by_h[n, :batch]) for n in range(layers))
    by_x = by_gates[0] @ weights[0][0][:-width].T
    return weight_gradients(entered, by_gates), by_first, by_x, None


def recompute(weights: Weights, carry: Carry, x: jax.Array, reset: jax.Array, hs: jax.Array, cs: jax.Array):
    """Yields by layer the inputs of the cell, (S, B, D + H), and its slopes, (S, B, H): one product over all steps."""
    fresh = reset[..., None]
    for n, ((kernel, bias), (c, h)) in enumerate(zip(weights, carry, strict=True)):
        before_c, before_h = (
            jnp.where(fresh, 0, jnp.concatenate([start[None], later[n, :-1]])) for start, later in ((c, cs), (h, hs))
        )
        entered = jnp.concatenate([hs[n - 1] if n else x, before_h], axis=-1)
        _, slopes = cell_forward(before_c, entered @ kernel + bias[None])
        yield entered, slopes._replace(kept=jnp.where(fresh, 0, slopes.kept))


recur.defvjp(recur_forward, recur_backward)
