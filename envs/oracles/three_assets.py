"""Three correlated assets without memory: mean and variance, long only, a cap on the gross position."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize

from envs.oracles.oracle import Memory, Optimum, Oracle, require
from himari_jax.positions.sizing import cap_targets


@dataclass(frozen=True)
class ThreeAssets(Oracle):
    """Normal returns, `w = m / 2` scaled down to the cap, utility `w'r - (A / 2) w'S w`; the observation is constant.

    Source: Markowitz, "Portfolio selection", 1952.
    """

    sigma: tuple[float, ...] = (0.018, 0.024, 0.036)
    mu: tuple[float, ...] = (5.4e-4, 4.5e-4, 1.26e-3)
    corr: tuple[float, ...] = (0.8, 0.7, 0.75)  # of the pairs 1-2, 1-3, 2-3
    risk_aversion: float = 2.0
    gross: float = 1.0

    num_assets: ClassVar[int] = 3

    def __post_init__(self):
        require(all(0 < x <= 0.5 for x in self.sigma), "sigma", self.sigma, "above 0, up to 0.5")
        require(all(abs(x) <= 0.1 for x in self.mu), "mu", self.mu, "-0.1 to 0.1")
        require(0 < self.risk_aversion <= 1000, "risk_aversion", self.risk_aversion, "above 0, up to 1000")
        require(0 < self.gross <= 1.5, "gross", self.gross, "above 0, up to 1.5")
        inside = all(abs(x) < 1 for x in self.corr) and bool(np.linalg.eigvalsh(self.correlations).min() > 1e-6)
        require(inside, "corr", self.corr, "three correlations that go together")

    @property
    def correlations(self) -> np.ndarray:
        """Correlation matrix, (3, 3)."""
        a, b, c = self.corr
        return np.array([[1, a, b], [a, 1, c], [b, c, 1]])

    @property
    def covariance(self) -> np.ndarray:
        """Covariance matrix of the returns of a bar, (3, 3)."""
        return self.correlations * np.outer(self.sigma, self.sigma)

    @property
    def start(self) -> float:
        """Inside the cap: above it there is no gradient along the scale."""
        return self.gross / 2

    def open(self, key: jax.Array) -> jax.Array:
        """No state; a number, because checkpoints take no empty arrays."""
        return jnp.zeros(1)

    def advance(self, key: jax.Array, market: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Draws correlated normal returns."""
        factor = jnp.asarray(np.linalg.cholesky(self.covariance), jnp.float32)
        return market, jnp.asarray(self.mu, jnp.float32) + factor @ jax.random.normal(key, (3,))

    def position(self, multiplier: jax.Array) -> jax.Array:
        """`m / 2`, scaled down as a whole to the cap."""
        return cap_targets(multiplier, jnp.full_like(multiplier, 0.5), 1.0, self.gross)

    def multiplier(self, weights: np.ndarray) -> np.ndarray:
        """`2 w`."""
        return 2 * weights

    def utility(self, before: jax.Array, weights: jax.Array, returns: jax.Array) -> jax.Array:
        """Return minus the price of the known risk."""
        return (weights * returns).sum() - self.risk(weights)

    def expected(self, market: jax.Array, before: jax.Array, weights: jax.Array) -> jax.Array:
        """Mean utility, `w'mu - (A / 2) w'S w`."""
        return (weights * jnp.asarray(self.mu, weights.dtype)).sum() - self.risk(weights)

    def risk(self, weights: jax.Array) -> jax.Array:
        """`(A / 2) w'S w`."""
        return self.risk_aversion / 2 * weights @ jnp.asarray(self.covariance, weights.dtype) @ weights

    def make_observation(self, market: jax.Array, weights: jax.Array) -> jax.Array:
        """Always 1."""
        return jnp.ones(1)

    @cached_property
    def best_weights(self) -> np.ndarray:
        """The solution of the quadratic program, (3,)."""
        scale, mu, risk = 1e4, np.array(self.mu), self.risk_aversion * self.covariance
        found = minimize(
            lambda w: -scale * (w @ mu - 0.5 * w @ risk @ w),
            np.full(3, self.gross / 6),
            jac=lambda w: -scale * (mu - risk @ w),
            bounds=[(0, 1)] * 3,
            constraints={"type": "ineq", "fun": lambda w: self.gross - w.sum(), "jac": lambda w: -np.ones(3)},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        return np.clip(found.x, 0, 1)

    @property
    def steady(self) -> tuple[float, ...]:
        """The best weights."""
        return tuple(float(w) for w in self.best_weights)

    @cached_property
    def optimum(self) -> Optimum:
        """Values of the best weights and, naive, of equal weights, as at the start."""
        equal = np.full(3, self.start / 2)
        value, naive = (w @ np.array(self.mu) - self.risk_aversion / 2 * w @ self.covariance @ w
                        for w in (self.best_weights, equal))  # fmt: skip
        return Optimum(float(value), float(naive), "the multiplier at the start")

    def best(self, memory: Memory, market: jax.Array, weights: jax.Array) -> tuple[Memory, jax.Array]:
        """The best weights, always."""
        return memory, jnp.asarray(self.best_weights, weights.dtype)


MARKET = ThreeAssets
