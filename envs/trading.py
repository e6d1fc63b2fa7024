"""TradingEnv: position sizing on recorded candles as a gymnax environment, for any number of assets."""

import copy
from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from envs import rewards
from envs.base import environment, spaces
from envs.market import Market
from envs.plugins import REWARD_TERMS
from envs.state import EnvParams, EnvState, update_moments
from himari_jax.account import open_account, step_account
from himari_jax.errors import InputError
from himari_jax.features.market import observation_width
from himari_jax.features.observation import assemble
from himari_jax.positions.sizing import cap_targets
from himari_jax.splits import Stretches


def reward_term(term: str | rewards.Term) -> rewards.Term:
    """The function of a reward term, given by its name or as itself.

    Raises:
        InputError: no term has that name, or the function has no hash (jit keeps one trace for each environment).
    """
    if callable(term):
        if not isinstance(term, Hashable):
            raise InputError(f"reward {term!r}: must be hashable; a plain function is")
        return term
    return REWARD_TERMS.load(term)


class TradingEnv(environment.Environment[EnvState, EnvParams]):
    """Position sizing on candles, as a gymnax environment: one decision at the close of each bar.

    A decision at the close of bar t is filled at the next open (or this close) and marked at the next close. Letters:
    N assets, P = N (N - 1) / 2 pairs, D = 16 N + P + [N > 1] numbers seen: 16, 34, 52, 71 for one to four assets. Other
    feature sets than `base` have k instead of its 12 market numbers: D = (k + 4) N + P + [N > 1].

    - observation: float32 (D,). Market numbers know bars up to t and are raw: a policy scales them itself.
        - of each asset 16, asset after asset (a window shorter than a bar is one bar):
            - 0 price: log(close / mean close of 168 h)
            - 1 return_1h, 2 return_4h, 3 return_24h: log return of the close
            - 4 volatility_1h, 5 volatility_4h, 6 volatility_24h: Garman-Klass, per bar
            - 7 rsi: Wilder's RSI of 14 h / 100
            - 8 macd, 9 macd_signal, 10 macd_histogram: MACD of 12, 26, 9 h / close
            - 11 volume_ratio: log((0.05 + volume / mean volume of 24 h) / 1.05)
            - 12 position: w, share of equity held
            - 13 entry_distance: price / average entry price - 1; 0 when flat
            - 14 unrealized_pnl: w (1 - average entry price / price); 0 when flat
            - 15 allocation: w / sum(w); 0 when flat
        - for N > 1 the P correlations of 1 h returns over 24 h, pairs i < j in order; then the Herfindahl index,
          sum(allocation^2)
    - action: float32 (N,), multipliers in [0, 2] of the base positions; beyond, they are clipped. Where one of them is
      NaN nothing is traded in that bar: every position is held.
    - reward: float32 (), sum(reward_weights * terms); by default the log return of equity over the bar, net of costs.
    - terminated: bool (), ruin: equity below `params.ruin` of its start.
    - truncated: bool (), `params.max_steps_in_episode` steps played, or the last row of a stretch of candles.
    - info: `final_observation` float32 (D,), where the step led before an episode that ended was reset; `held` and
      `delta` float32 (N,), weights after the fill and what was traded; `cost` and `log_return` float32 ().
    - state: `EnvState`.
        - time: int32 (), steps since the episode started
        - t: int32 (), row of the market
        - account: `weights` float32 (N,), `entry_ratio` float32 (N,), `log_equity` float32 ()
        - peak: float32 (), highest log equity of the episode
        - return_moments: float32 (2,), running mean and mean square of the log return
    - reset: cash, at a row drawn evenly from the first `params.num_starts` of `params.starts`.

    Args:
        num_assets: N.
        terms: reward terms: names of functions of `envs.rewards`, or functions `(outcome, params) -> ()`.
        params: what `reset` and `step` take where they are given none; `envs.make` sets them.

    Raises:
        InputError: no such reward term.
    """

    def __init__(
        self, num_assets: int, terms: Sequence[str | rewards.Term] = ("log_return",), params: EnvParams | None = None
    ):
        self.num_assets = num_assets
        self.terms = tuple(reward_term(term) for term in terms)
        self.params = params

    def __hash__(self) -> int:
        return hash((type(self), self.num_assets, self.terms))

    def __eq__(self, other: object) -> bool:
        """Equal environments share one trace; one that has parameters equals no environment with others."""
        return (
            isinstance(other, TradingEnv)
            and (type(self), self.num_assets, self.terms) == (type(other), other.num_assets, other.terms)
            and self.params is other.params
        )

    @property
    def default_params(self) -> EnvParams:
        """Parameters that `reset` and `step` use where none are given.

        Raises:
            InputError: the environment was made without parameters.
        """
        if self.params is None:
            raise InputError("this TradingEnv was made without params: give them to the call, or use envs.make")
        return self.params

    @property
    def num_actions(self) -> int:
        """N, the length of an action."""
        return self.num_assets

    @property
    def shared(self) -> "TradingEnv":
        """The environment without its parameters: equal for all of a kind, so that they share one trace."""
        bare = copy.copy(self)
        bare.params = None
        return bare

    def reset(self, key: jax.Array, params: EnvParams | None = None) -> tuple[jax.Array, EnvState]:
        """Starts an episode; jitted, once for all candles of one shape.

        Returns:
            observation (D,), state.
        """
        return environment.Environment.reset(self.shared, key, self.default_params if params is None else params)

    def step(
        self, key: jax.Array, state: EnvState, action: ArrayLike | Sequence[float], params: EnvParams | None = None
    ) -> tuple[jax.Array, EnvState, jax.Array, jax.Array, jax.Array, dict[str, Any]]:
        """Plays one bar and starts anew where the episode ended; jitted, once for all candles of one shape.

        Returns:
            observation (D,), state, reward (), terminated (), truncated (), info.

        Raises:
            InputError: an action of another shape than (N,).
        """
        action = action if isinstance(action, jax.Array) else jnp.asarray(action, float)
        # Parameters go in as arguments: inside a trace of its own gymnax would make constants of them.
        params = self.default_params if params is None else params
        return environment.Environment.step(self.shared, key, state, action, params)

    def step_env(
        self, key: jax.Array, state: EnvState, action: jax.Array, params: EnvParams
    ) -> tuple[jax.Array, EnvState, jax.Array, jax.Array, dict[str, Any]]:
        """One bar: observation, state, reward, terminated, info (what was traded and held)."""
        outcome = self.step_outcome(state, action, params)
        after, trade = outcome.after, outcome.trade
        reward = sum(w * term(outcome, params) for w, term in zip(params.reward_weights, self.terms, strict=True))
        terminated = self.is_terminated(after, params)
        info = {"held": trade.held, "delta": trade.delta, "cost": trade.cost, "log_return": trade.log_return}
        return self.get_obs(after, params), after, jnp.asarray(reward), terminated, info

    def step_outcome(self, state: EnvState, action: jax.Array, params: EnvParams) -> rewards.StepOutcome:
        """Trades and marks one bar: the inputs of the reward terms, with the state afterwards."""
        if action.shape != (self.num_assets,):
            raise InputError(
                f"action of shape {action.shape}: must be ({self.num_assets},), a multiplier of each asset"
            )
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
        return rewards.StepOutcome(state, after, trade, jnp.log1p(neutral))

    def reset_env(self, key: jax.Array, params: EnvParams) -> tuple[jax.Array, EnvState]:
        """Cash, at a start drawn evenly from the first `params.num_starts` of `params.starts`."""
        start = params.starts[jax.random.randint(key, (), 0, params.num_starts)]
        state = self.state_at(start).replace(return_moments=params.initial_moments)
        return self.get_obs(state, params), state

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

    def observe(self, key: jax.Array | None, state: EnvState, action: jax.Array | None, params: EnvParams) -> jax.Array:
        """The observation of a state, (D,); gymnax's signature, of which key and action do not count."""
        return self.get_obs(state, params)

    def get_obs(self, state: EnvState, params: EnvParams | None = None, key: jax.Array | None = None) -> jax.Array:
        """The observation of a state, (D,), by gymnax's older name."""
        market, account = (self.default_params if params is None else params).market, state.account
        return assemble(market.features[state.t], market.corr[state.t], account.weights, account.entry_ratio)

    def is_terminated(self, state: EnvState, params: EnvParams) -> jax.Array:
        """Ruin: equity below `ruin` of its start."""
        return state.account.log_equity < jnp.log(params.ruin)

    def is_truncated(self, state: EnvState, params: EnvParams) -> jax.Array:
        """A time limit or the end of the stretch; the value is bootstrapped from the final observation."""
        return (state.time >= params.max_steps_in_episode) | params.last[state.t - 1]

    def action_space(self, params: EnvParams | None = None) -> spaces.Box:
        """Multipliers in [0, 2]."""
        return spaces.Box(0.0, 2.0, (self.num_assets,), dtype=jnp.float32)

    def observation_space(self, params: EnvParams | None = None) -> spaces.Box:
        """Any D real numbers; of the features `base` where neither call nor environment has parameters."""
        params = self.params if params is None else params
        known = (self.num_assets,) if params is None else (self.num_assets, params.market.num_features)
        return spaces.Box(-jnp.inf, jnp.inf, (observation_width(*known),), dtype=jnp.float32)


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
    initial_moments: tuple[float, float] = (0.0, 0.0),
) -> EnvParams:
    """Parameters of a `TradingEnv` whose episodes lie inside a span.

    Args:
        market: host or device arrays.
        span: stretches of decision rows, each the one after the other (`envs.market.stack_decisions` makes such a
            market of decisions that lie further apart); no episode leaves its stretch.
        episode_steps: decisions of an episode.
        initial_moments: mean and mean square of the log return that `differential_sharpe` begins with.

    Raises:
        InputError: no stretch holds an episode.
    """
    longest = max(len(each) for each in span)
    if longest < episode_steps:
        raise InputError(
            f"--episode-steps {episode_steps}: the span has {longest} decisions without a longer gap after its "
            "look-back; give more candles or shorter episodes"
        )
    starts = np.concatenate([np.arange(each.start, each.stop - episode_steps + 1) for each in span])
    last = np.zeros(market.base.shape[0], bool)
    last[[each[-1] for each in span]] = True
    scalar = partial(np.asarray, dtype=market.base.dtype)
    params = EnvParams(
        max_steps_in_episode=np.int32(episode_steps),
        market=None,
        starts=starts.astype(np.int32),
        num_starts=np.int32(len(starts)),
        last=last,
        commission_rate=scalar(commission_rate),
        slippage_bps=scalar(slippage_bps),
        max_position_pct=scalar(max_position_pct),
        max_gross=scalar(max_gross),
        min_trade=scalar(min_trade),
        ruin=scalar(ruin),
        reward_weights=scalar(reward_weights),
        initial_moments=scalar(initial_moments),
    )
    params = cast(Any, jax.device_put(params))  # made on the host: each array of jnp's making is a program
    return cast(
        EnvParams, params.replace(market=market if isinstance(market.base, jax.Array) else jax.device_put(market))
    )
