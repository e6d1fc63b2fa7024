"""Merton's portfolio problem: one asset without memory, log utility."""

from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize_scalar

from envs.oracles.numerics import normal_nodes
from envs.oracles.oracle import LogGrowth, Memory, Optimum, require


@dataclass(frozen=True)
class Merton(LogGrowth):
    """Geometric Brownian motion, `w = m / 2`, utility `log(1 + w r)`; the observation is constant.

    In continuous time `w* = mu / sigma^2` and the growth is `mu^2 / (2 sigma^2)`.

    Source: Merton, "Lifetime portfolio selection under uncertainty", 1969.
    """

    sigma: float = 0.02
    mu: float = 2e-4

    def __post_init__(self):
        require(0 < self.sigma <= 0.5, "sigma", self.sigma, "above 0, up to 0.5")
        require(abs(self.mu) <= 0.1, "mu", self.mu, "-0.1 to 0.1")

    @property
    def start(self) -> float:
        """A third of the way up: multiplier 1 would be the optimum of the default parameters."""
        return float(2 / (1 + np.exp(0.7)))

    def open(self, key: jax.Array) -> jax.Array:
        """No state; a number, because checkpoints take no empty arrays."""
        return jnp.zeros(1)

    def advance(self, key: jax.Array, market: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Draws a log-normal return."""
        moves = self.mu - self.sigma**2 / 2 + self.sigma * jax.random.normal(key, (1,))
        return market, jnp.expm1(moves)

    def expected(self, market: jax.Array, before: jax.Array, weights: jax.Array) -> jax.Array:
        """Mean log growth, by quadrature."""
        returns, chances = self.moves()
        return (jnp.asarray(chances, weights.dtype) * jnp.log1p(weights * jnp.asarray(returns, weights.dtype))).sum()

    def make_observation(self, market: jax.Array, weights: jax.Array) -> jax.Array:
        """Always 1."""
        return jnp.ones(1)

    def moves(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns and their probabilities, (Q,) each."""
        nodes, chances = normal_nodes(20)
        return np.expm1(self.mu - self.sigma**2 / 2 + self.sigma * nodes), chances

    def growth(self, weight: float | np.ndarray) -> np.ndarray:
        """Expected log growth of a weight, (...)."""
        returns, chances = self.moves()
        return np.log1p(np.multiply.outer(weight, returns)) @ chances

    @cached_property
    def best_weight(self) -> float:
        """The weight of the largest growth."""
        found = minimize_scalar(lambda w: -self.growth(w), bounds=(0, 1), method="bounded", options={"xatol": 1e-9})
        return float(found.x)

    @cached_property
    def optimum(self) -> Optimum:
        """Values of the best weight and, naive, of the weight at the start."""
        start = float(self.growth(self.start / 2))
        return Optimum(float(self.growth(self.best_weight)), start, "the multiplier at the start")

    def best(self, memory: Memory, market: jax.Array, weights: jax.Array) -> tuple[Memory, jax.Array]:
        """The best weight, always."""
        return memory, jnp.full_like(weights, self.best_weight)


MARKET = Merton
