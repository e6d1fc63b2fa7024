"""A signal that decays and costs that are quadratic: trade a part of the way towards less than Markowitz."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import solve_discrete_are

from envs.oracles.oracle import Memory, Optimum, Oracle, require


@dataclass(frozen=True)
class GarleanuPedersen(Oracle):
    """`r' = f + u`, `f' = phi f + e`, `x = 5 (m - 1)`.

    Utility `x r - (A / 2) sigma^2 x^2 - (cost / 2) sigma^2 dx^2`; the observation is f in deviations, and x.

    Source: Garleanu and Pedersen, "Dynamic trading with predictable returns and transaction costs", 2013.
    """

    phi: float = 0.95
    sigma: float = 0.01
    signal: float = 1e-3  # deviation of f
    risk_aversion: float = 10.0
    cost: float = 50.0

    width: ClassVar[int] = 2
    plot_axis: ClassVar[str] = "signal f, deviations"

    def __post_init__(self):
        require(0 <= self.phi < 1, "phi", self.phi, "0 up to, not including, 1")
        require(0 < self.sigma <= 0.5, "sigma", self.sigma, "above 0, up to 0.5")
        require(0 < self.risk_aversion <= 1000, "risk_aversion", self.risk_aversion, "above 0, up to 1000")
        most = self.risk_aversion * self.sigma**2  # one Markowitz position is then a fifth of the largest
        require(0 < self.signal <= most, "signal", self.signal, f"above 0, up to {most:g}")
        require(0 < self.cost <= 10_000, "cost", self.cost, "above 0, up to 10000")

    @property
    def costly(self) -> bool:
        """Trading always costs something."""
        return True

    def open(self, key: jax.Array) -> jax.Array:
        """Draws f, in deviations."""
        return jax.random.normal(key, (1,))

    def advance(self, key: jax.Array, market: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Draws the next f, and the return that f predicted."""
        key_signal, key_return = jax.random.split(key)
        returns = self.signal * market + self.sigma * jax.random.normal(key_return, (1,))
        after = self.phi * market + np.sqrt(1 - self.phi**2) * jax.random.normal(key_signal, (1,))
        return after, returns

    def position(self, multiplier: jax.Array) -> jax.Array:
        """`5 (m - 1)`."""
        return 5 * (multiplier - 1)

    def multiplier(self, weights: np.ndarray) -> np.ndarray:
        """`1 + x / 5`."""
        return 1 + weights / 5

    def utility(self, before: jax.Array, weights: jax.Array, returns: jax.Array) -> jax.Array:
        """Return minus the price of risk minus the cost."""
        return (weights * returns).sum() - self.charges(before, weights)

    def expected(self, market: jax.Array, before: jax.Array, weights: jax.Array) -> jax.Array:
        """Mean utility given f."""
        return (weights * self.signal * market).sum() - self.charges(before, weights)

    def charges(self, before: jax.Array, weights: jax.Array) -> jax.Array:
        """Price of risk and cost."""
        moved = ((weights - before) ** 2).sum()
        return self.sigma**2 / 2 * (self.risk_aversion * (weights**2).sum() + self.cost * moved)

    def make_observation(self, market: jax.Array, weights: jax.Array) -> jax.Array:
        """f in deviations, and x."""
        return jnp.concatenate([market, weights])

    @cached_property
    def riccati(self) -> tuple[np.ndarray, np.ndarray]:
        """Solution P (2, 2) and gain K (2,) of the linear-quadratic problem in z = (x, f / signal), `dx = -K z`."""
        scale = self.sigma**2
        risk, tilt = self.risk_aversion / 2, -self.signal / (2 * scale)
        a, b = np.diag([1.0, self.phi]), np.array([[1.0], [0.0]])
        q, r, s = np.array([[risk, tilt], [tilt, 0]]), np.array([[risk + self.cost / 2]]), np.array([[risk], [tilt]])
        p = solve_discrete_are(a, b, q, r, s=s)
        gain = np.linalg.solve(r + b.T @ p @ b, b.T @ p @ a + s.T)
        return scale * p, gain[0]

    @property
    def rate(self) -> float:
        """Share of the way that is traded at once."""
        return float(self.riccati[1][0])

    @property
    def aim(self) -> float:
        """The aim portfolio, as a share of the Markowitz position."""
        markowitz = self.signal / (self.risk_aversion * self.sigma**2)
        return float(-self.riccati[1][1] / self.rate / markowitz)

    @cached_property
    def optimum(self) -> Optimum:
        """Values of the best policy, `-P_ff var(e)`, and, naive, of the Markowitz position."""
        value = -self.riccati[0][1, 1] * (1 - self.phi**2)
        markowitz = self.signal**2 / (self.risk_aversion * self.sigma**2)
        paid = self.cost / self.risk_aversion * (1 - self.phi) * markowitz
        return Optimum(float(value), float(markowitz / 2 - paid), "Markowitz, blind to costs")

    def facts(self, seen: np.ndarray, weights: np.ndarray) -> dict[str, float]:
        """Share of the way that is traded at once: minus the slope of dx on x, f held."""
        change = weights[:, 0] - seen[:, 1]
        columns = np.stack([seen[:, 1], seen[:, 0], np.ones(len(seen))], 1).astype(np.float64)
        slope = np.linalg.lstsq(columns, change.astype(np.float64), rcond=None)[0]
        return {"trading_rate": -float(slope[0]), "optimal_trading_rate": self.rate}

    def best(self, memory: Memory, market: jax.Array, weights: jax.Array) -> tuple[Memory, jax.Array]:
        """Trades a part of the way towards the aim."""
        on_position, on_signal = (float(x) for x in self.riccati[1])
        return memory, weights - on_position * weights - on_signal * market


MARKET = GarleanuPedersen
