"""A leak on purpose: the observation is the next return. A trainer that misses it cannot learn."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from envs.oracles.oracle import LongShort, Memory, Optimum, require


@dataclass(frozen=True)
class Leak(LongShort):
    """Normal returns, `w = m - 1`, utility `w r`; the observation is the return of the coming bar over its deviation.

    The best policy is `w = sign(r)`, worth `sigma sqrt(2 / pi)`.
    """

    sigma: float = 0.01

    plot_axis: ClassVar[str] = "return of the coming bar, deviations"

    def __post_init__(self):
        require(0 < self.sigma <= 0.5, "sigma", self.sigma, "above 0, up to 0.5")

    def open(self, key: jax.Array) -> jax.Array:
        """Draws the coming return, in deviations."""
        return jax.random.normal(key, (1,))

    def advance(self, key: jax.Array, market: jax.Array) -> tuple[jax.Array, jax.Array]:
        """One bar: the next bar's return in deviations, (1,), and the announced return of this bar, (1,)."""
        return jax.random.normal(key, (1,)), self.sigma * market

    def utility(self, before: jax.Array, weights: jax.Array, returns: jax.Array) -> jax.Array:
        """`w r`."""
        return (weights * returns).sum()

    def expected(self, market: jax.Array, before: jax.Array, weights: jax.Array) -> jax.Array:
        """The utility itself: the return is known."""
        return (weights * self.sigma * market).sum()

    def make_observation(self, market: jax.Array, weights: jax.Array) -> jax.Array:
        """The coming return, in deviations."""
        return market

    @cached_property
    def optimum(self) -> Optimum:
        """Values of `sign(r)`, `sigma sqrt(2 / pi)`, and, naive, of holding nothing."""
        return Optimum(float(self.sigma * np.sqrt(2 / np.pi)), 0.0, "holding nothing")

    def best(self, memory: Memory, market: jax.Array, weights: jax.Array) -> tuple[Memory, jax.Array]:
        """`sign(r)`."""
        return memory, jnp.sign(market)


MARKET = Leak
