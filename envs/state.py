"""The parameters and the state of the trading environment."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import struct

from envs.base import environment
from envs.market import Market
from himari_jax.account import Account, Costs

MOMENT_DECAY = 0.01  # of the running return moments, which the differential Sharpe ratio reads


@partial(struct.dataclass, kw_only=True)
class EnvParams(environment.EnvParams):
    """Parameters that all episodes share; every scalar is traced, so a sweep can vary it."""

    market: Market
    starts: jax.Array  # (M,) int32, rows at which an episode may start
    num_starts: jax.Array  # () int32, M, or how many of them count where several markets are padded to one shape
    last: jax.Array  # (T,) bool, last decision row of a stretch
    commission_rate: jax.Array  # () share of the traded value
    slippage_bps: jax.Array  # () basis points of the traded value
    max_position_pct: jax.Array  # () largest weight of one asset
    max_gross: jax.Array  # () largest sum of weights
    min_trade: jax.Array  # () smallest |change of weight| that is traded
    ruin: jax.Array  # () share of its starting equity below which an episode terminates
    reward_weights: jax.Array  # (R,) one for each term of the environment
    max_steps_in_episode: jax.Array  # () int32, decisions
    initial_moments: jax.Array  # (2,) of the log return, with which an episode begins: (0, 0) until it is known

    @property
    def costs(self) -> Costs:
        """Rate and smallest trade of the account."""
        return Costs(self.commission_rate + self.slippage_bps / 1e4, self.min_trade)


@struct.dataclass
class EnvState(environment.EnvState):
    """State of one episode."""

    time: jax.Array  # () int32, steps since the episode started
    t: jax.Array  # () int32, row of the market
    account: Account
    peak: jax.Array  # () highest log equity of the episode
    return_moments: jax.Array  # (2,) running mean and mean square of the log return


def update_moments(moments: jax.Array, r: jax.Array) -> jax.Array:
    """Running mean and mean square of the log return, (2,)."""
    return moments + MOMENT_DECAY * (jnp.stack([r, r**2]) - moments)
