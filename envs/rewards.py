"""Reward terms: every public function here, of (outcome, params), is one; its name is its command-line name."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from envs.state import EnvParams, EnvState
from himari_jax.account import Trade
from himari_jax.features.observation import herfindahl


class StepOutcome(NamedTuple):
    """Inputs of a reward term: the states around a step, its trade and the neutral return."""

    before: EnvState
    after: EnvState
    trade: Trade
    neutral_return: jax.Array  # () log return of multiplier 1, without costs


Term = Callable[[StepOutcome, EnvParams], jax.Array]


def log_return(outcome: StepOutcome, params: EnvParams) -> jax.Array:
    """Log return of equity over the bar, costs included."""
    return outcome.trade.log_return


def drawdown(outcome: StepOutcome, params: EnvParams) -> jax.Array:
    """Minus the depth below the episode's peak: `exp(log_equity - peak) - 1`."""
    return jnp.expm1(outcome.after.account.log_equity - outcome.after.peak)


def volatility(outcome: StepOutcome, params: EnvParams) -> jax.Array:
    """Minus the squared log return."""
    return -(outcome.trade.log_return**2)


def turnover(outcome: StepOutcome, params: EnvParams) -> jax.Array:
    """Minus the traded share of equity, `sum |delta|`."""
    return -jnp.abs(outcome.trade.delta).sum(-1)


def concentration(outcome: StepOutcome, params: EnvParams) -> jax.Array:
    """Minus the Herfindahl index of what is held, `sum(allocation^2)`; 0 when flat."""
    return -herfindahl(outcome.trade.held)


def diversity(outcome: StepOutcome, params: EnvParams) -> jax.Array:
    """`1 - Herfindahl` while invested: positive only where more than one asset is held."""
    held = outcome.trade.held
    return jnp.where(held.sum(-1) > 0, 1 - herfindahl(held), 0)


def differential_sharpe(outcome: StepOutcome, params: EnvParams) -> jax.Array:
    """Derivative of the exponentially weighted Sharpe ratio to the newest return.

    `(B dA - A dB / 2) / (B - A^2)^1.5` with A, B the running moments before the bar,
    dA = R - A, dB = R^2 - B; 0 until the moments have a variance.

    Source: Moody and Saffell, "Learning to trade via direct reinforcement", 2001.
    """
    mean, square = outcome.before.return_moments
    r = outcome.trade.log_return
    variance = square - mean**2
    known = variance > 1e-10
    value = square * (r - mean) - 0.5 * mean * (r**2 - square)
    return jnp.where(known, value / jnp.where(known, variance, 1) ** 1.5, 0)


def relative(outcome: StepOutcome, params: EnvParams) -> jax.Array:
    """Minus the log return of multiplier 1 without costs: free of the action, so it only removes market noise."""
    return -outcome.neutral_return
