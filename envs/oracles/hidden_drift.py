"""A drift whose sign is hidden and flips now and then: only a policy that remembers returns can infer it."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates

from envs.oracles.numerics import normal_nodes, spread, stationary, trade
from envs.oracles.oracle import LongShort, Memory, Optimum, require

HOLDINGS = np.linspace(-1, 1, 201)
TOLERANCE = 1e-11  # of the value per bar


@dataclass(frozen=True)
class HiddenDrift(LongShort):
    """`r = mu s + sigma e`, s = +-1 flips with p before each return; `w = m - 1`.

    Utility `w r - (A / 2) sigma^2 w^2 - fee |dw|`; the observation is the last return alone, in deviations, and
    with a fee the weight too. (An MLP that sees its weight can use it as memory.)

    Sources: Wonham, "Some applications of stochastic differential equations to optimal nonlinear filtering", 1965
    (the filter); Davis and Norman, "Portfolio selection with transaction costs", 1990 (with a fee: a band).
    """

    mu: float = 0.002
    sigma: float = 0.01
    p: float = 0.02
    risk_aversion: float = 20.0
    fee_bps: float = 0.0

    plot_axis: ClassVar[str] = "last return, deviations"

    def __post_init__(self):
        require(0 < self.mu <= 0.05, "mu", self.mu, "above 0, up to 0.05")
        require(0 < self.sigma <= 0.5, "sigma", self.sigma, "above 0, up to 0.5")
        require(0 < self.p < 0.5, "p", self.p, "between 0 and 0.5")
        require(0 < self.risk_aversion <= 1000, "risk_aversion", self.risk_aversion, "above 0, up to 1000")
        require(0 <= self.fee_bps <= 1000, "fee_bps", self.fee_bps, "0 to 1000")

    @property
    def width(self) -> int:  # type: ignore[override]
        """Numbers of the observation: the return, and with a fee the weight."""
        return 2 if self.costly else 1

    @property
    def costly(self) -> bool:
        """Whether there is a fee."""
        return self.fee_bps > 0

    @property
    def fee(self) -> float:
        """Share of what is traded."""
        return self.fee_bps / 1e4

    @property
    def stays(self) -> float:
        """Correlation of s with the s before."""
        return 1 - 2 * self.p

    def open(self, key: jax.Array) -> jax.Array:
        """Draws s and a last return, in deviations."""
        key_sign, key_return = jax.random.split(key)
        sign = jax.random.rademacher(key_sign, (), jnp.float32)
        return jnp.stack([sign, sign * self.mu / self.sigma + jax.random.normal(key_return)])

    def advance(self, key: jax.Array, market: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Flips s with probability p, then draws the return."""
        key_flip, key_return = jax.random.split(key)
        sign = jnp.where(jax.random.bernoulli(key_flip, self.p), -market[0], market[0])
        seen = sign * self.mu / self.sigma + jax.random.normal(key_return)
        return jnp.stack([sign, seen]), self.sigma * seen[None]

    def utility(self, before: jax.Array, weights: jax.Array, returns: jax.Array) -> jax.Array:
        """Return minus the price of risk minus the fee."""
        return (weights * returns).sum() - self.charges(before, weights)

    def expected(self, market: jax.Array, before: jax.Array, weights: jax.Array) -> jax.Array:
        """Mean utility given s."""
        return (weights * self.mu * self.stays * market[0]).sum() - self.charges(before, weights)

    def charges(self, before: jax.Array, weights: jax.Array) -> jax.Array:
        """Price of risk and fee."""
        risk = self.risk_aversion / 2 * self.sigma**2 * (weights**2).sum()
        return risk + self.fee * jnp.abs(weights - before).sum()

    def make_observation(self, market: jax.Array, weights: jax.Array) -> jax.Array:
        """The last return, in deviations; with a fee the weight."""
        return jnp.concatenate([market[1:], weights]) if self.costly else market[1:]

    @cached_property
    def beliefs(self) -> tuple[np.ndarray, np.ndarray]:
        """Grid of q = E[s'], the next sign as the filter expects it, (G,), and its transition matrix (G, G)."""
        grid = np.linspace(-self.stays, self.stays, 401)
        nodes, chances = normal_nodes(24)
        signs = np.array([1.0, -1.0])[:, None]
        signal = (self.mu * signs + self.sigma * nodes).reshape(-1) * self.mu / self.sigma**2  # (2 Q,)
        odds = np.arctanh(np.clip(grid, -1 + 1e-12, 1 - 1e-12))[:, None] + signal
        weights = ((1 + grid[:, None, None] * signs) / 2 * chances).reshape(len(grid), -1)
        return grid, spread(self.stays * np.tanh(odds), weights, grid)

    def payoff(self, grid: np.ndarray) -> np.ndarray:
        """`w mu q - (A / 2) sigma^2 w^2`, (G, W)."""
        risk = self.risk_aversion / 2 * self.sigma**2 * HOLDINGS**2
        return self.mu * grid[:, None] * HOLDINGS - risk

    @cached_property
    def with_fee(self) -> tuple[float, np.ndarray]:
        """Value per bar and best holding (G, W), by relative value iteration over belief and weight."""
        grid, move = self.beliefs
        payoff, ahead = self.payoff(grid), np.zeros((len(grid), len(HOLDINGS)))
        for _ in range(100_000):
            value, index = trade(payoff + move @ ahead, HOLDINGS, self.fee)
            step = value - ahead
            ahead = value - value[len(grid) // 2, len(HOLDINGS) // 2]
            if np.ptp(step) < TOLERANCE:
                break
        return float(step.mean()), HOLDINGS[index]

    @cached_property
    def optimum(self) -> Optimum:
        """Values of the filter and, naive, of the best policy without memory."""
        nodes, chances = normal_nodes(80)
        seen = self.mu + self.sigma * nodes  # by symmetry s = 1
        naive = self.worth(self.stays * np.tanh(self.mu * seen / self.sigma**2)) @ chances
        if self.costly:
            # Free of the fee it is a bound: with one it does worse.
            return Optimum(self.with_fee[0], float(naive), "without memory (before the fee)")
        grid, move = self.beliefs
        return Optimum(float(self.worth(grid) @ stationary(move)), float(naive), "without memory")

    def worth(self, belief: np.ndarray) -> np.ndarray:
        """Largest payoff of beliefs q, (G,), without a fee."""
        price = self.risk_aversion * self.sigma**2
        w = np.clip(self.mu * belief / price, -1, 1)
        return self.mu * belief * w - price / 2 * w**2

    def open_memory(self) -> Memory:
        """A belief of 0: both signs are as likely."""
        return jnp.zeros(())

    def best(self, memory: Memory, market: jax.Array, weights: jax.Array) -> tuple[Memory, jax.Array]:
        """The filter's next belief q, and `mu q / (A sigma^2)`, or the table's holding where there is a fee."""
        belief = self.stays * jnp.tanh(jnp.arctanh(memory) + self.mu / self.sigma * market[1])
        if not self.costly:
            return belief, jnp.clip(self.mu * belief / (self.risk_aversion * self.sigma**2), -1, 1)[None]
        table = self.with_fee[1].astype(np.float32)
        row = (belief / self.stays + 1) / 2 * (table.shape[0] - 1)
        column = (weights + 1) / 2 * (table.shape[1] - 1)
        return belief, map_coordinates(jnp.asarray(table), [row[None], column], order=1, mode="nearest")


MARKET = HiddenDrift
