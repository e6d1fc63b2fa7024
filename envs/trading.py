"""TradingEnv: position sizing on recorded candles as a gymnax environment, for any number of assets."""

from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments import environment, spaces

from envs import rewards
from envs.market import Market
from envs.plugins import REWARD_TERMS
from envs.state import EnvParams, EnvState, update_moments
from himari_jax.account import open_account, step_account
from himari_jax.errors import InputError
from himari_jax.features import observation_width
from himari_jax.observation import assemble
from himari_jax.sizing import cap_targets
from himari_jax.splits import Stretches


class TradingEnv(environment.Environment[EnvState, EnvParams]):
    """Decide at the close of a bar, fill at the next open (or this close), be marked at the next close.

    The action is the multiplier of each base position, (N,) in [0, 2]; the observation has
    D(N) = 16 N + N (N - 1) / 2 + [N > 1] numbers.

    Args:
        num_assets: N.
        terms: names of the reward terms, functions of `envs.rewards`.
    """

    def __init__(self, num_assets: int, terms: tuple[str, ...] = ("log_return",)):
        self.num_assets = num_assets
        self.terms = tuple(REWARD_TERMS.load(name) for name in terms)

    def __hash__(self) -> int:
        return hash((self.num_assets, self.terms))

    def __eq__(self, other: object) -> bool:
        """Equal environments share one trace."""
        return isinstance(other, TradingEnv) and (self.num_assets, self.terms) == (other.num_assets, other.terms)

    def step_env(
        self, key: jax.Array, state: EnvState, action: jax.Array, params: EnvParams
    ) -> tuple[jax.Array, EnvState, jax.Array, jax.Array, dict[str, Any]]:
        """One bar: observation, state, reward, terminated, info (what was traded and held)."""
        chex.assert_shape(action, (self.num_assets,))
        market, t = params.market, state.t
        base, to_fill, to_mark = market.base[t], market.to_fill[t], market.to_mark[t]
        caps = (params.max_position_pct, params.max_gross)
        target = cap_targets(jnp.clip(action, 0, 2), base, *caps)
        account, trade = step_account(state.account, target, to_fill, to_mark, market.tradable[t], params.costs)
        after = EnvState(
            time=state.time + 1,
            t=t + 1,
            account=account,
            peak=jnp.maximum(state.peak, account.log_equity),
            return_moments=update_moments(state.return_moments, trade.log_return),
        )
        neutral = (cap_targets(jnp.ones_like(base), base, *caps) * ((1 + to_fill) * (1 + to_mark) - 1)).sum(-1)
        outcome = rewards.StepOutcome(state, after, trade, jnp.log1p(neutral))
        reward = sum(w * term(outcome, params) for w, term in zip(params.reward_weights, self.terms, strict=True))
        terminated = self.is_terminated(after, params)
        info = {"held": trade.held, "delta": trade.delta, "cost": trade.cost, "log_return": trade.log_return}
        return self.observation(after, params), after, jnp.asarray(reward), terminated, info

    def reset_env(self, key: jax.Array, params: EnvParams) -> tuple[jax.Array, EnvState]:
        """Cash, at a start drawn evenly from `params.starts`."""
        start = params.starts[jax.random.randint(key, (), 0, params.starts.shape[0])]
        state = self.state_at(start)
        return self.observation(state, params), state

    def state_at(self, t: jax.Array) -> EnvState:
        """An account of cash at row `t`."""
        return EnvState(
            time=jnp.zeros((), jnp.int32),
            t=jnp.asarray(t, jnp.int32),
            account=open_account(jnp.zeros(self.num_assets)),
            peak=jnp.zeros(()),
            return_moments=jnp.zeros(2),
        )

    def stagger(self, key: jax.Array, state: EnvState, params: EnvParams) -> EnvState:
        """Ages a fresh episode, so that parallel episodes do not all end in the same step."""
        return state.replace(time=jax.random.randint(key, (), 0, params.max_steps_in_episode, jnp.int32))

    def observation(self, state: EnvState, params: EnvParams) -> jax.Array:
        """12 market and 4 account numbers of each asset, then correlations and Herfindahl index, (D,)."""
        market, account = params.market, state.account
        return assemble(market.features[state.t], market.corr[state.t], account.weights, account.entry_ratio)

    def get_obs(self, state: EnvState, params: EnvParams, key: jax.Array | None = None) -> jax.Array:
        """The observation, by gymnax's name."""
        return self.observation(state, params)

    def is_terminated(self, state: EnvState, params: EnvParams) -> jax.Array:
        """Ruin: equity below `ruin` of its start."""
        return state.account.log_equity < jnp.log(params.ruin)

    def is_truncated(self, state: EnvState, params: EnvParams) -> jax.Array:
        """A time limit or the end of the stretch; the value is bootstrapped from the final observation."""
        return (state.time >= params.max_steps_in_episode) | params.last[state.t - 1]

    def action_space(self, params: EnvParams) -> spaces.Box:
        """Multipliers in [0, 2]."""
        return spaces.Box(0.0, 2.0, (self.num_assets,), dtype=jnp.float32)

    def observation_space(self, params: EnvParams) -> spaces.Box:
        """Any D real numbers."""
        return spaces.Box(-jnp.inf, jnp.inf, (observation_width(self.num_assets),), dtype=jnp.float32)


def make_params(
    market: Market,
    span: Stretches,
    *,
    episode_steps: int,
    commission_rate: float = 0.001,
    slippage_bps: float = 0.0,
    max_position_pct: float = 0.5,
    max_gross: float = 1.0,
    min_trade: float = 0.0,
    ruin: float = 0.5,
    reward_weights: tuple[float, ...] = (1.0,),
) -> EnvParams:
    """Parameters of a `TradingEnv` whose episodes lie inside a span.

    Args:
        market: host or device arrays.
        span: stretches of decision rows; no episode leaves its stretch.
        episode_steps: bars of an episode.

    Raises:
        InputError: no stretch holds an episode.
    """
    longest = max(stop - start for start, stop in span)
    if longest < episode_steps:
        raise InputError(
            f"--episode-steps {episode_steps}: the training span has {longest} decision bars without a longer gap "
            "after its look-back; give more candles or shorter episodes"
        )
    starts = [np.arange(start, stop - episode_steps + 1) for start, stop in span]
    last = np.zeros(market.base.shape[0], bool)
    last[[stop - 1 for _, stop in span]] = True
    scalar = partial(jnp.asarray, dtype=market.base.dtype)
    return EnvParams(
        max_steps_in_episode=jnp.int32(episode_steps),
        market=market,
        starts=jnp.asarray(np.concatenate(starts), jnp.int32),
        last=jnp.asarray(last),
        commission_rate=scalar(commission_rate),
        slippage_bps=scalar(slippage_bps),
        max_position_pct=scalar(max_position_pct),
        max_gross=scalar(max_gross),
        min_trade=scalar(min_trade),
        ruin=scalar(ruin),
        reward_weights=scalar(reward_weights),
    )
