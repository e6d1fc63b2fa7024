"""The recurrence in few, wide operations: what costs on a GPU is how many kernels a step launches.

Layer l is l steps behind the first, so that on every diagonal of layers and time all layers advance together: one
product and one elementwise operation where each layer by itself takes three or more. What a step needs of the inputs is
computed for all steps before, what the gradient needs of the gates for all steps after.

Letters: L layers, W = L H units of all layers, T = S + L - 1 diagonals. Gates of all layers lie (4, L, H).
"""

import jax
import jax.numpy as jnp

from himari_jax.policies.core import Carry
from himari_jax.policies.recurrence.gates import GATES, Slopes, Weights, cell_backward, cell_forward, weight_gradients

UNROLL = 4  # diagonals in one pass of the loop: fewer copies into the stacked outputs, longer to compile


def delay(x: jax.Array, steps: int, layers: int) -> jax.Array:
    """Moves (S, ...) to the diagonals of the layer `steps` above the first, (T, ...), zeros elsewhere."""
    return jnp.pad(x, ((steps, layers - 1 - steps), *((0, 0),) * (x.ndim - 1)))


def join_layers(carry: Carry) -> tuple[jax.Array, jax.Array]:
    """((c, h), ...) by layer -> c and h of all layers, (B, W)."""
    c, h = zip(*carry, strict=True)
    return jnp.concatenate(c, axis=-1), jnp.concatenate(h, axis=-1)


def split_layers(c: jax.Array, h: jax.Array, layers: int) -> Carry:
    """The inverse of `join_layers`."""
    return tuple(zip(jnp.split(c, layers, axis=-1), jnp.split(h, layers, axis=-1), strict=True))


def per_unit(flags: jax.Array, width: int) -> jax.Array:
    """A flag of every layer for every unit of it, (..., L) -> (..., W)."""
    return jnp.repeat(flags, width, axis=-1)


def diagonals(reset: jax.Array, layers: int) -> tuple[jax.Array, jax.Array]:
    """Whether a layer's memory is reset, (T, B, L), and whether it has a step on the diagonal at all, (T, L)."""
    live = jnp.ones(reset.shape[0], bool)
    resets, lives = (jnp.stack([delay(x, n, layers) for n in range(layers)], axis=-1) for x in (reset, live))
    return resets, lives


def block_kernels(weights: Weights) -> tuple[jax.Array, jax.Array]:
    """Kernels of all layers as blocks of one, zeros between: from a layer's own memory, and from the layer below.

    Returns:
        (L, H, 4, L, H) from the memories to the gates; (L - 1, H, 4, L - 1, H) from all but the last to all but the
        first.
    """
    width = weights[0][1].shape[-1] // GATES
    own = jnp.stack([kernel[-width:].reshape(width, GATES, width) for kernel, _ in weights])
    above = [kernel[:-width].reshape(width, GATES, width) for kernel, _ in weights[1:]]
    below = jnp.stack(above) if above else jnp.zeros((0, width, GATES, width))
    return own[:, :, :, None] * one_hot(len(own)), below[:, :, :, None] * one_hot(len(below))


def one_hot(layers: int) -> jax.Array:
    """1 where a layer leads to itself, to multiply blocks (L, H, 4, L, H) with."""
    return jnp.eye(layers)[:, None, None, :, None]


def forward_kernel(weights: Weights) -> jax.Array:
    """From h of all layers to what it adds to the gates of its layer and of the one above, (W, 4 (2 W - H))."""
    own, below = block_kernels(weights)
    below = jnp.pad(below, ((0, 1), *((0, 0),) * 4))
    rows = own.shape[0] * own.shape[1]
    return jnp.concatenate([own.reshape(rows, -1), below.reshape(rows, -1)], axis=1)


def backward_kernel(weights: Weights) -> jax.Array:
    """From the gradient by all gates to those by h of its layer and of the one below, (4 W, 2 W - H)."""
    own, below = block_kernels(weights)
    below = jnp.pad(below, (*((0, 0),) * 3, (1, 0), (0, 0)))
    columns = GATES * own.shape[0] * own.shape[1]
    return jnp.concatenate([own.reshape(-1, columns), below.reshape(-1, columns)]).T


def gate_sums(weights: Weights, product: jax.Array, drive: jax.Array, reset: jax.Array) -> jax.Array:
    """z of all layers, (..., 4 W).

    Args:
        weights: by layer; their biases are taken, all but the first.
        product: (..., 4 (2 W - H)), h times `forward_kernel`.
        drive: (..., 4 H), what x and the bias add in the first layer.
        reset: (..., L) bool.
    """
    batch, layers, width = reset.shape[:-1], len(weights), drive.shape[-1] // GATES
    own, below = jnp.split(product, [GATES * layers * width], axis=-1)
    own = jnp.where(reset[..., None, :, None], 0, own.reshape(*batch, GATES, layers, width))
    inputs = drive.reshape(*batch, GATES, 1, width)
    if layers > 1:
        biases = jnp.stack([bias.reshape(GATES, width) for _, bias in weights[1:]], axis=1)
        below = below.reshape(*batch, GATES, layers - 1, width)
        inputs = jnp.concatenate([inputs, below + jnp.broadcast_to(biases, below.shape)], axis=-2)
    return (own + inputs).reshape(*batch, GATES * layers * width)


def replay(weights: Weights, carry: Carry, x: jax.Array, reset: jax.Array):
    """Stacked cells along the diagonals; arguments as `stepwise.replay` has them.

    Returns:
        carry; h and c of all layers, (T, B, W) each; drive (T, B, 4 H).
    """
    layers, width = len(weights), weights[0][1].shape[-1] // GATES
    kernel, bias = weights[0]
    drive = delay(x @ kernel[:-width] + bias[None], 0, layers)
    product = forward_kernel(weights)

    def step(memory: tuple[jax.Array, jax.Array], inputs: tuple[jax.Array, jax.Array, jax.Array]):
        (c, h), (drive, reset, live) = memory, inputs
        z = gate_sums(weights, h @ product, drive, reset)
        after, _ = cell_forward(jnp.where(per_unit(reset, width), 0, c), z)
        c, h = (jnp.where(per_unit(live, width)[None], new, old) for new, old in zip(after, memory, strict=True))
        return (c, h), (h, c)

    (c, h), (hs, cs) = jax.lax.scan(step, join_layers(carry), (drive, *diagonals(reset, layers)), unroll=UNROLL)
    return split_layers(c, h, layers), hs, cs, drive


@jax.custom_vjp
def recur(weights: Weights, carry: Carry, x: jax.Array, reset: jax.Array) -> tuple[Carry, jax.Array]:
    """As `stepwise.recur`."""
    return recur_forward(weights, carry, x, reset)[0]


def recur_forward(weights: Weights, carry: Carry, x: jax.Array, reset: jax.Array):
    """`recur`, and what its gradient needs."""
    after, hs, cs, drive = replay(weights, carry, x, reset)
    width = hs.shape[-1] // len(weights)
    last = hs[len(weights) - 1 :, :, -width:]
    return (after, last), (weights, carry, x, reset, hs, cs, drive)


def recur_backward(kept: tuple, gradient: tuple[Carry, jax.Array]):
    """Gradients by weights, first carry and x, from those by the last carry and h."""
    weights, carry, x, reset, hs, cs, drive = kept
    by_carry, by_last = gradient
    (steps, batch), layers = reset.shape, len(weights)
    width = hs.shape[-1] // layers
    c, h = join_layers(carry)
    before = jnp.concatenate([h[None], hs[:-1]])
    slopes = recompute_slopes(weights, jnp.concatenate([c[None], cs[:-1]]), before, drive, reset)
    by_c, by_z = scan_backward(weights, by_carry, by_last, slopes, reset)
    by_z = by_z.reshape(*by_z.shape[:2], GATES, layers, width)
    entered, by_gates, by_first = [], [], []
    for n, (kernel, _) in enumerate(weights):
        mine = slice(n, n + steps)  # diagonals of this layer
        memory = jnp.where(reset[..., None], 0, before[mine, :, n * width : (n + 1) * width])
        inputs = before[mine, :, (n - 1) * width : n * width] if n else x
        entered.append(jnp.concatenate([inputs, memory], axis=-1))
        by_gates.append(by_z[mine, :, :, n].reshape(steps, batch, GATES * width))
        by_h = by_gates[n][0] @ kernel[-width:].T
        by_first.append((by_c[:, n * width : (n + 1) * width], jnp.where(reset[0][:, None], 0, by_h)))
    by_x = by_gates[0] @ weights[0][0][:-width].T
    return weight_gradients(tuple(entered), tuple(by_gates)), tuple(by_first), by_x, None


def recompute_slopes(weights: Weights, c: jax.Array, h: jax.Array, drive: jax.Array, reset: jax.Array) -> Slopes:
    """Slopes of all layers on all diagonals, (T, B, W), from the memory before each; c passes where a layer rests."""
    layers, width = len(weights), drive.shape[-1] // GATES
    reset, live = diagonals(reset, layers)
    fresh, live = per_unit(reset, width), per_unit(live, width)[:, None]
    z = gate_sums(weights, h @ forward_kernel(weights), drive, reset)
    _, slopes = cell_forward(jnp.where(fresh, 0, c), z)
    slopes = Slopes(*(jnp.where(live, slope, 0) for slope in slopes))
    return slopes._replace(kept=jnp.where(live, jnp.where(fresh, 0, slopes.kept), 1))


def scan_backward(weights: Weights, by_carry: Carry, by_last: jax.Array, slopes: Slopes, reset: jax.Array):
    """Gradients by the first c, (B, W), and by all gates, (T, B, 4 W)."""
    layers, width = len(weights), by_last.shape[-1]
    product = backward_kernel(weights)
    units = layers * width
    by_c, by_h = join_layers(by_carry)
    resets, _ = diagonals(reset, layers)
    # A reset cuts what goes back from the diagonal after it.
    resets = jnp.concatenate([resets[1:], resets[:1]])
    # The last h of a layer is one of its steps, so its gradient comes in there and not at the last diagonal.
    final = jnp.arange(len(resets))[:, None] == len(reset) - 1 + jnp.arange(layers)[None]

    def step(memory: tuple[jax.Array, jax.Array], inputs: tuple):
        (by_c, back), (by_above, reset, final, slopes) = memory, inputs
        own, below = jnp.split(back, [units], axis=-1)
        below = jnp.pad(below, ((0, 0), (0, width))) + jnp.pad(by_above, ((0, 0), (units - width, 0)))
        by_now = jnp.where(per_unit(reset, width), 0, own) + below + jnp.where(per_unit(final, width)[None], by_h, 0)
        by_c, by_z = cell_backward(slopes, (by_c, by_now))
        return (by_c, by_z @ product), by_z

    nothing = jnp.zeros((by_c.shape[0], product.shape[1]), by_c.dtype)
    inputs = (delay(by_last, layers - 1, layers), resets, final, slopes)
    (by_c, _), by_z = jax.lax.scan(step, (by_c, nothing), inputs, reverse=True, unroll=UNROLL)
    return by_c, by_z


recur.defvjp(recur_forward, recur_backward)
