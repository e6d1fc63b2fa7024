"""Recurrent core: layers of LSTM cells, replayed with time in order."""

import os

import jax
import jax.numpy as jnp
from flax import linen as nn

from himari_jax.errors import InputError
from himari_jax.policies.core import Carry, Core
from himari_jax.policies.recurrence import kernel, stepwise, wavefront
from himari_jax.policies.recurrence.gates import GATES, cell_backward, cell_forward

DEFAULTS = {"num_envs": 256, "lookahead": 1}  # steps cost more than those of an mlp
CANDLES = {"learning_rate": 5e-4}
FORMS = {"xla": stepwise.recur, "unrolled": wavefront.recur, "kernel": kernel.recur}
AUTO = "auto"
VARIABLE = "HIMARI_LSTM_FORM"  # of the environment: the form of the recurrence, where another than the usual is wanted


def gate_kernels(key: jax.Array, shape: tuple[int, int], dtype=jnp.float32) -> jax.Array:
    """Kernels of the four gates side by side, (D + H, 4 H): LeCun normal for the inputs, orthogonal for the memory."""
    rows, width = shape[0], shape[1] // GATES
    key_input, key_memory = jax.random.split(key)
    inputs = nn.initializers.lecun_normal()
    memory = nn.initializers.orthogonal()
    blocks = [
        jnp.concatenate([inputs(i, (rows - width, width), dtype), memory(m, (width, width), dtype)])
        for i, m in zip(jax.random.split(key_input, GATES), jax.random.split(key_memory, GATES), strict=True)
    ]
    return jnp.concatenate(blocks, axis=1)


@jax.custom_vjp
def fused_cell(c: jax.Array, z: jax.Array) -> tuple[jax.Array, jax.Array]:
    """c' and h', (B, H), of `cell_forward`; its gradient by slopes is a tenth faster than the compiler's."""
    return cell_forward(c, z)[0]


fused_cell.defvjp(cell_forward, cell_backward)


class FusedLSTMCell(nn.Module):
    """The LSTM cell with one kernel for all gates: `z = [x, h] K + b`, `c' = f c + i g`, `h' = o tanh(c')`.

    Equal to `flax.linen.LSTMCell`, whose eight kernels cost half as much again in small batches.

    Source: Hochreiter and Schmidhuber, "Long short-term memory", 1997, with forget gates.
    """

    width: int

    @nn.compact
    def weights(self, inputs: int) -> tuple[jax.Array, jax.Array]:
        """Kernel (D + H, 4 H) and bias (1, 4 H) for inputs of that width D."""
        kernel = self.param("kernel", gate_kernels, (inputs + self.width, GATES * self.width))
        return kernel, self.param("bias", nn.initializers.zeros, (1, GATES * self.width))

    def __call__(self, memory: tuple[jax.Array, jax.Array], x: jax.Array) -> tuple[Carry, jax.Array]:
        """(c, h) of (B, H) and (B, D) -> the next (c, h), and h."""
        c, h = memory
        kernel, bias = self.weights(x.shape[-1])
        c, h = fused_cell(c, jnp.concatenate([x, h], axis=-1) @ kernel + bias)
        return (c, h), h


class LSTMCore(Core):
    """Stacked LSTM cells; the carry is ((c, h), ...) by layer."""

    width: int = 64
    num_layers: int = 2
    form: str = AUTO

    def setup(self) -> None:
        """A cell for each layer."""
        self.cells = [FusedLSTMCell(self.width) for _ in range(self.num_layers)]

    def initial_carry(self, batch: int) -> Carry:
        """Zeros, ((c, h), ...) of (B, H)."""
        # Distinct arrays: a donated carry must not hold one buffer twice.
        return tuple(tuple(jnp.zeros((batch, self.width)) for _ in "ch") for _ in range(self.num_layers))

    def __call__(self, carry: Carry, x: jax.Array) -> tuple[Carry, jax.Array]:
        """(B, D) -> (B, H)."""
        after = []
        for cell, memory in zip(self.cells, carry, strict=True):
            memory, x = cell(memory, x)
            after.append(memory)
        return tuple(after), x

    def unroll(self, carry: Carry, x: jax.Array, reset: jax.Array) -> tuple[Carry, jax.Array]:
        """Step by step, with resets where the rollout reset."""
        widths = (x.shape[-1], *(self.width for _ in self.cells))
        weights = tuple(cell.weights(width) for cell, width in zip(self.cells, widths, strict=False))
        return FORMS[choose_form(self.form, self.width, self.num_layers)](weights, carry, x, reset)


def default_form() -> str:
    """The form of the recurrence for the kind of device in use: the fastest of those that were timed there."""
    return "xla" if jax.default_backend() == "cpu" else "unrolled"


def available_forms(width: int, layers: int) -> tuple[str, ...]:
    """Forms of the recurrence that the device in use can run for layers of that width."""
    return tuple(form for form in FORMS if form != "kernel" or kernel.unsupported(width, layers) is None)


def choose_form(form: str, width: int, layers: int) -> str:
    """A form of the recurrence that the device in use can run.

    Raises:
        InputError: there is no such form, or it cannot run here.
    """
    if form == AUTO:
        return default_form()
    if form not in FORMS:
        raise InputError(f"{VARIABLE}={form} in the environment: must be one of {', '.join((AUTO, *FORMS))}")
    if form == "kernel" and (reason := kernel.unsupported(width, layers)):
        raise InputError(f"{VARIABLE}={form}: {reason}; use unrolled")
    return form


def make(hidden_dim: int, lstm_hidden_dim: int, lstm_num_layers: int) -> tuple[Core, tuple[int, ...]]:
    """The core, and the hidden widths of the heads.

    Raises:
        InputError: the environment asks for a form of the recurrence that there is not, or that cannot run here.
    """
    form = os.environ.get(VARIABLE, AUTO)
    if form != AUTO:
        choose_form(form, lstm_hidden_dim, lstm_num_layers)
    return LSTMCore(width=lstm_hidden_dim, num_layers=lstm_num_layers, form=form), (hidden_dim,)
