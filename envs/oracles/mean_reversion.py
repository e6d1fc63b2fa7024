"""A log price that reverts to its mean: the side to take is observed, the size matters only near the mean."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from envs.oracles.numerics import maximize, normal_nodes
from envs.oracles.oracle import LongShort, Memory, Optimum, require

GRID = np.linspace(-1, 1, 401)  # of weights
STATES = np.linspace(-6, 6, 1201)  # of the log price, in its deviations


@dataclass(frozen=True)
class MeanReversion(LongShort):
    """`x' = phi x + sigma e`, `w = m - 1`, utility `log(1 + w (exp(x' - x) - 1))`; the observation is x."""

    phi: float = 0.98
    sigma: float = 0.01

    plot_axis: ClassVar[str] = "log price, deviations"

    def __post_init__(self):
        require(0 <= self.phi < 1, "phi", self.phi, "0 up to, not including, 1")
        require(0 < self.sigma <= 0.1, "sigma", self.sigma, "above 0, up to 0.1")

    @property
    def deviation(self) -> float:
        """Standard deviation of x in its stationary law."""
        return float(self.sigma / np.sqrt(1 - self.phi**2))

    def open(self, key: jax.Array) -> jax.Array:
        """Draws x, in deviations."""
        return jax.random.normal(key, (1,))

    def advance(self, key: jax.Array, market: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Draws the next x; returns it with the simple return."""
        after = self.phi * market + np.sqrt(1 - self.phi**2) * jax.random.normal(key, (1,))
        return after, jnp.expm1(self.deviation * (after - market))

    def utility(self, before: jax.Array, weights: jax.Array, returns: jax.Array) -> jax.Array:
        """Log growth."""
        return jnp.log1p((weights * returns).sum())

    def expected(self, market: jax.Array, before: jax.Array, weights: jax.Array) -> jax.Array:
        """Mean log growth given x, by quadrature."""
        nodes, chances = (x.astype(np.float32) for x in normal_nodes(20))
        returns = jnp.expm1(-(1 - self.phi) * self.deviation * market + self.sigma * nodes)
        return (chances * jnp.log1p(weights * returns)).sum()

    def make_observation(self, market: jax.Array, weights: jax.Array) -> jax.Array:
        """x, in deviations."""
        return market

    def growth(self, weights: np.ndarray) -> np.ndarray:
        """Expected log growth of weights (..., G) at the `STATES` (...,), likewise shaped."""
        nodes, chances = normal_nodes()
        returns = np.expm1(-(1 - self.phi) * self.deviation * STATES[:, None] + self.sigma * nodes)  # (X, Q)
        return np.log1p(weights[..., None] * returns[:, None, :]) @ chances

    @cached_property
    def solution(self) -> tuple[np.ndarray, np.ndarray]:
        """Best weights and their growth at the `STATES`, (X,) each."""
        return maximize(self.growth(np.broadcast_to(GRID, (len(STATES), len(GRID)))), GRID)

    @cached_property
    def optimum(self) -> Optimum:
        """Values of the best weights and, naive, of `sign(-x)`, over the stationary law."""
        law = np.exp(-(STATES**2) / 2)
        naive = self.growth(-np.sign(STATES)[:, None])[:, 0]
        worth, simple = (float((law * x).sum() / law.sum()) for x in (self.solution[1], naive))
        return Optimum(worth, simple, "sign(-x)")

    def best(self, memory: Memory, market: jax.Array, weights: jax.Array) -> tuple[Memory, jax.Array]:
        """Interpolates the best weights at the `STATES`."""
        return memory, jnp.interp(market, STATES.astype(np.float32), self.solution[0].astype(np.float32))


MARKET = MeanReversion
