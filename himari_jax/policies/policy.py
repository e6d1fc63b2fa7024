"""The policy around a core: constants of the training span in, a squashed normal and a value out."""

import math
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from himari_jax.features.market import ACCOUNT_FEATURES
from himari_jax.policies.core import Carry, Core

CLIP = 10.0  # standard deviations beyond which a market feature is cut
HALF_LOG_TWO_PI = 0.5 * np.log(2 * np.pi)


class Output(NamedTuple):
    """Output of a policy for an observation: parameters of its normal distribution, and the value estimate."""

    mean: jax.Array  # (..., N) of the normal variable u before squashing
    log_std: jax.Array  # (..., N)
    value: jax.Array  # (...)


class Scaling(NamedTuple):
    """Constants of the training span: `clip((x - mean) / std, -limit, limit)`."""

    mean: np.ndarray  # (D,)
    std: np.ndarray  # (D,)
    limit: np.ndarray  # (D,) inf where an input passes unscaled


class Normalizer(nn.Module):
    """Standardizes and cuts by constants; the identity until `with_scaling` sets them."""

    @nn.compact
    def __call__(self, obs: jax.Array) -> jax.Array:
        """(..., D) -> (..., D)."""
        width = obs.shape[-1]
        mean = self.variable("constants", "mean", jnp.zeros, width).value
        std = self.variable("constants", "std", jnp.ones, width).value
        limit = self.variable("constants", "limit", jnp.full, width, jnp.inf).value
        mean, std, limit = (jnp.broadcast_to(x, obs.shape) for x in (mean, std, limit))
        return jnp.clip((obs - mean) / std, -limit, limit)


class Head(nn.Module):
    """Hidden tanh layers and a linear output."""

    hidden: tuple[int, ...]
    outputs: int
    scale: float  # of the orthogonal initialization of the output
    bias: float = 0.0  # of the output, at the start

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(..., H) -> (..., outputs)."""
        for width in self.hidden:
            x = nn.tanh(nn.Dense(width, kernel_init=nn.initializers.orthogonal(np.sqrt(2)))(x))
        kernel, bias = nn.initializers.orthogonal(self.scale), nn.initializers.constant(self.bias)
        return nn.Dense(self.outputs, kernel_init=kernel, bias_init=bias)(x)


class Policy(nn.Module):
    """Normalizer -> core -> heads. The action is `2 sigmoid(u)`, u normal with a free deviation.

    The normalizer's constants are variables of the collection `constants`: they travel with the parameters.
    """

    core: Core
    num_assets: int
    head_hidden: tuple[int, ...] = ()
    initial_log_std: float = -0.5
    initial_multiplier: float = 1.0

    def setup(self) -> None:
        """Submodules and parameters."""
        self.normaliser = Normalizer()  # so spelled in the leaf paths of checkpoints
        # The mean action is what starts there: see `mean_action`.
        start = math.log(self.initial_multiplier / (2 - self.initial_multiplier))
        start *= math.sqrt(1 + math.pi / 8 * math.exp(2 * self.initial_log_std))
        self.actor = Head(self.head_hidden, self.num_assets, 0.01, start)
        self.critic = Head(self.head_hidden, 1, 1.0)
        self.log_std = self.param("log_std", nn.initializers.constant(self.initial_log_std), (self.num_assets,))

    def __call__(self, carry: Carry, obs: jax.Array) -> tuple[Carry, Output]:
        """One step: (B, D) -> mean (B, N), value (B,)."""
        carry, features = self.core(carry, self.normaliser(obs))
        return carry, self.heads(features)

    def unroll(self, carry: Carry, obs: jax.Array, reset: jax.Array) -> tuple[Carry, Output]:
        """Over time: (S, B, D) -> mean (S, B, N), value (S, B); see `Core.unroll`."""
        carry, features = self.core.unroll(carry, self.normaliser(obs), reset)
        return carry, self.heads(features)

    def initial_carry(self, batch: int) -> Carry:
        """The carry at the start of an episode."""
        return self.core.initial_carry(batch)

    def heads(self, features: jax.Array) -> Output:
        """Actor and critic on the core's features."""
        mean = self.actor(features)
        return Output(mean, jnp.broadcast_to(self.log_std, mean.shape), self.critic(features).squeeze(-1))


def act(policy: Policy, variables: Any, carry: Carry, obs: jax.Array) -> tuple[Carry, Output]:
    """One step of the policy with these variables; see `Policy.__call__`."""
    return cast(tuple[Carry, Output], policy.apply(variables, carry, obs))


def unroll(policy: Policy, variables: Any, carry: Carry, obs: jax.Array, reset: jax.Array) -> tuple[Carry, Output]:
    """Over time with these variables; see `Policy.unroll`."""
    return cast(tuple[Carry, Output], policy.apply(variables, carry, obs, reset, method="unroll"))


def with_scaling(variables: dict, scaling: Scaling) -> dict:
    """Variables of a policy with the constants of the training span."""
    return {**variables, "constants": as_constants(scaling)}


def as_constants(scaling: Scaling) -> dict:
    """The collection `constants` of a policy's variables."""
    constants = {name: np.asarray(value, np.float32) for name, value in scaling._asdict().items()}
    return {"normaliser": jax.device_put(constants)}


def fit_scaling(features: np.ndarray, corr: np.ndarray, rows: np.ndarray) -> Scaling:
    """Mean and deviation of the market part over the training rows; account inputs pass unscaled.

    A deviation of 0 becomes 1.

    Args:
        features: (T, N, 12).
        corr: (T, P).
        rows: (L,) decision rows of the training span, the only rows looked at.
    """
    assets, account = features.shape[1], len(ACCOUNT_FEATURES)
    parts = []
    for n in range(assets):
        parts.append(moments(features[rows, n]))
        parts.append((np.zeros(account), np.ones(account), np.full(account, np.inf)))
    if assets > 1:
        parts.append(moments(corr[rows]))
        parts.append((np.zeros(1), np.ones(1), np.full(1, np.inf)))
    return Scaling(*(np.concatenate(x) for x in zip(*parts, strict=True)))


def moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, deviation and limit of the columns of (L, K), each (K,)."""
    x = x.astype(np.float64)
    std = x.std(0)
    return x.mean(0), np.where(std > 1e-12, std, 1.0), np.full(x.shape[1], CLIP)


def squash(u: jax.Array) -> jax.Array:
    """Multiplier in [0, 2]: `2 sigmoid(u)`."""
    return 2 * nn.sigmoid(u)


def mean_action(output: Output) -> jax.Array:
    """The multiplier without exploration: the mean of the squashed normal, not the squash of its mean.

    `2 sigmoid(mean / sqrt(1 + pi / 8 std^2))`. What is learned with noise is learned of this mean: the squash of the
    mean lies further out, the more so the larger the noise.

    Source: MacKay, "The evidence framework applied to classification networks", 1992 (the approximation).
    """
    return squash(output.mean / jnp.sqrt(1 + jnp.pi / 8 * jnp.exp(2 * output.log_std)))


def log_prob(output: Output, u: jax.Array) -> jax.Array:
    """Log density of u, summed over the assets, (..., N) -> (...).

    The Jacobian of the squashing depends on u alone, so it cancels in PPO's ratio and is left out.
    """
    z = (u - output.mean) * jnp.exp(-output.log_std)
    return (-0.5 * z**2 - output.log_std - HALF_LOG_TWO_PI).sum(-1)


def entropy(output: Output) -> jax.Array:
    """Entropy of u, summed over the assets, (..., N) -> (...)."""
    return (output.log_std + 0.5 + HALF_LOG_TWO_PI).sum(-1)
