"""Merton's problem with a proportional fee: leave the weight alone inside a band."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from scipy.sparse import csr_array

from envs.oracles.merton import Merton
from envs.oracles.numerics import interpolation, trade
from envs.oracles.oracle import Memory, Optimum, drifted, require

GRID = np.linspace(0, 1, 2001)  # of weights
TOLERANCE = 1e-13  # of the growth per bar


@dataclass(frozen=True)
class NoTradeBand(Merton):
    """As `Merton`, with a fee on what is traded; the weight drifts with the price and is seen, as `10 w - 5`.

    Source: Davis and Norman, "Portfolio selection with transaction costs", 1990.
    """

    fee_bps: float = 10.0

    plot_axis: ClassVar[str] = "weight before the decision, 10 w - 5"

    def __post_init__(self):
        super().__post_init__()
        require(0 < self.fee_bps <= 1000, "fee_bps", self.fee_bps, "above 0, up to 1000")

    @property
    def start(self) -> float:
        """Neutral: what is to be learned is when to do nothing."""
        return 1.0

    @property
    def costly(self) -> bool:
        """Trading always costs something."""
        return True

    @property
    def fee(self) -> float:
        """Share of what is traded."""
        return self.fee_bps / 1e4

    def utility(self, before: jax.Array, weights: jax.Array, returns: jax.Array) -> jax.Array:
        """Log growth, fee included."""
        return super().utility(before, weights, returns) + self.paid(before, weights)

    def expected(self, market: jax.Array, before: jax.Array, weights: jax.Array) -> jax.Array:
        """Mean log growth, by quadrature, fee included."""
        return super().expected(market, before, weights) + self.paid(before, weights)

    def paid(self, before: jax.Array, weights: jax.Array) -> jax.Array:
        """Log growth of the fee, negative."""
        return jnp.log1p(-self.fee * jnp.abs(weights - before).sum())

    def drift(self, weights: jax.Array, returns: jax.Array) -> jax.Array:
        """`w (1 + r) / (1 + w r)`."""
        return drifted(weights, returns)

    def make_observation(self, market: jax.Array, weights: jax.Array) -> jax.Array:
        """The weight, of order 1 around one half."""
        return 10 * weights - 5

    @cached_property
    def transitions(self) -> csr_array:
        """Transition probabilities of the weight over one bar, (G, G), interpolated on the grid."""
        returns, chances = self.moves()
        left, share = interpolation(GRID[:, None] * (1 + returns) / (1 + GRID[:, None] * returns), GRID)
        rows = np.broadcast_to(np.arange(len(GRID))[:, None], left.shape)
        values = np.concatenate([(chances * (1 - share)).ravel(), (chances * share).ravel()])
        places = (np.tile(rows.ravel(), 2), np.concatenate([left.ravel(), left.ravel() + 1]))
        return csr_array((values, places), shape=(len(GRID), len(GRID)))

    @cached_property
    def solution(self) -> tuple[float, float, float]:
        """Growth per bar, lower and upper end of the band, by relative value iteration."""
        growth, ahead, middle = self.growth(GRID), np.zeros(len(GRID)), len(GRID) // 2
        for _ in range(200_000):
            value, index = trade(growth + self.transitions @ ahead, GRID, self.fee)
            step = value - ahead
            ahead = value - value[middle]
            if np.ptp(step) < TOLERANCE:
                break
        return float(step.mean()), float(GRID[index[0]]), float(GRID[index[-1]])

    @property
    def restored(self) -> tuple[np.ndarray, np.ndarray]:
        """Sizes of the trades that restore the best weight after a bar, and their probabilities, (Q,) each."""
        returns, chances = self.moves()
        w = self.best_weight
        return np.abs(w * (1 + returns) / (1 + w * returns) - w), chances

    def facts(self, seen: np.ndarray, weights: np.ndarray) -> dict[str, float]:
        """Turnover of restoring the best weight at every bar."""
        moved, chances = self.restored
        return {"every_bar_turnover": float(moved @ chances)}

    @cached_property
    def optimum(self) -> Optimum:
        """Values of the band and, naive, of restoring the best weight at every bar."""
        moved, chances = self.restored
        w = self.best_weight
        naive = float(self.growth(w) + np.log1p(-self.fee * moved) @ chances)
        return Optimum(self.solution[0], naive, "the best weight restored at every bar")

    def best(self, memory: Memory, market: jax.Array, weights: jax.Array) -> tuple[Memory, jax.Array]:
        """Trades to the nearer end of the band from outside, not at all inside."""
        return memory, jnp.clip(weights, self.solution[1], self.solution[2])


MARKET = NoTradeBand
