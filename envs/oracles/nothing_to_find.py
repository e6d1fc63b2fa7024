"""Returns of pure chance: the best is to hold nothing, and no edge may be reported."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from envs.oracles.numerics import normal_nodes
from envs.oracles.oracle import LogGrowth, Memory, Optimum, drifted, require

SEEN = 12  # as many market numbers as an asset has


@dataclass(frozen=True)
class NothingToFind(LogGrowth):
    """Independent normal returns of mean 0, no costs, `w = m / 2`, utility `log(1 + w r)`.

    The observation is the last 12 returns, in deviations, and the weight.
    """

    sigma: float = 0.05

    width: ClassVar[int] = SEEN + 1
    plot_axis: ClassVar[str] = "last return, deviations"

    def __post_init__(self):
        require(0 < self.sigma <= 0.1, "sigma", self.sigma, "above 0, up to 0.1")

    def open(self, key: jax.Array) -> jax.Array:
        """Draws the last returns, newest first, in deviations."""
        return jax.random.normal(key, (SEEN,))

    def advance(self, key: jax.Array, market: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Draws one more return, cut at 4.5 deviations so that no bar can ruin."""
        move = jnp.clip(jax.random.normal(key, (1,)), -4.5, 4.5)
        return jnp.concatenate([move, market[:-1]]), self.sigma * move

    def expected(self, market: jax.Array, before: jax.Array, weights: jax.Array) -> jax.Array:
        """Mean log growth, by quadrature: the loss by variance."""
        nodes, chances = (x.astype(np.float32) for x in normal_nodes(20))
        return (chances * jnp.log1p(weights * (self.sigma * np.clip(nodes, -4.5, 4.5)))).sum()

    def drift(self, weights: jax.Array, returns: jax.Array) -> jax.Array:
        """`w (1 + r) / (1 + w r)`."""
        return drifted(weights, returns)

    def make_observation(self, market: jax.Array, weights: jax.Array) -> jax.Array:
        """Returns and the weight."""
        return jnp.concatenate([market, weights])

    @cached_property
    def optimum(self) -> Optimum:
        """Values of holding nothing and, naive, of multiplier 1."""
        nodes, chances = normal_nodes()
        return Optimum(0.0, float(np.log1p(0.5 * self.sigma * nodes) @ chances), "multiplier 1")

    def best(self, memory: Memory, market: jax.Array, weights: jax.Array) -> tuple[Memory, jax.Array]:
        """Holds nothing."""
        return memory, jnp.zeros_like(weights)


MARKET = NothingToFind
