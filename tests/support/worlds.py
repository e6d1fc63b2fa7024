"""Small markets and learners for the tests of learning."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from envs.market import build_market
from envs.trading import TradingEnv, make_params
from himari_jax.candles import Candles
from himari_jax.features.market import observation_width
from himari_jax.policies.policy import Policy, as_constants, fit_scaling
from himari_jax.policies.registry import make_core
from himari_jax.splits import decision_rows
from himari_jax.times import HOUR_MS
from train.learning.ppo import Learner, train_chunk
from train.learning.state import Hyperparameters, Sizes
from train.simulation.engine import Limits, make_tape, run_policy, whole_span
from train.simulation.history import AccountHistory, histories


def candles_of(close: np.ndarray) -> Candles:
    """Hourly candles that open at the previous close, (T, N)."""
    rows, assets = close.shape
    open_ = np.vstack([close[:1], close[:-1]])
    return Candles(
        symbols=tuple(f"S{n}" for n in range(assets)),
        bar_ms=HOUR_MS,
        calendar="continuous",
        time=np.arange(rows) * HOUR_MS,
        open=open_,
        high=np.maximum(open_, close) * 1.0005,
        low=np.minimum(open_, close) * 0.9995,
        close=close,
        volume=np.ones_like(close),
        tradable=np.ones(close.shape, bool),
        segment=np.zeros(rows, np.int32),
    )


def noise_close(rows: int, assets: int, seed: int = 0, drift: float = 0.0, sigma: float = 0.01) -> np.ndarray:
    """Geometric random walk, (T, N)."""
    steps = np.random.default_rng(seed).normal(drift, sigma, (rows, assets))
    return 100 * np.exp(np.cumsum(steps, axis=0))


TINY_RUN = (
    "--source synthetic --synthetic.num-bars 3000 --num-envs 16 --rollout-steps 16 --num-minibatches 2 "
    "--update-epochs 2 --episode-steps 50 --hidden-dim 16 --lstm-hidden-dim 8 --total-steps 2048 --device cpu "
    "--initial-log-std -0.5 --learning-rate 0.01"
).split()

HYPER = {
    "learning_rate": 2e-3,
    "final_learning_rate": 1.0,
    "total_updates": 1e6,
    "gamma": 0.95,
    "gae_lambda": 0.5,
    "clip_eps": 0.2,
    "ent_coef": 0.0,
    "vf_coef": 0.5,
    "max_grad_norm": 0.5,
    "final_std": 1.0,
    "weight_decay": 0.0,
}


def hyper(**changes: float) -> Hyperparameters:
    """Scalars of the learner."""
    return Hyperparameters(**{name: jnp.float32(value) for name, value in {**HYPER, **changes}.items()})


class World:
    """A market with a learner in it."""

    def __init__(
        self, close, policy="mlp", cost=0.0, sizes=None, learner=Learner, leak=False, log_std=-0.5, width=32, seed=0
    ):
        self.candles = candles_of(close)
        self.span = (range(400, len(close) - 1),)
        self.market = build_market(self.candles, fill="same-close")
        if leak:
            # The next return replaces a feature: what a learner that works must find.
            self.market = self.market._replace(features=leaked(self.market))
        self.assets = close.shape[1]
        sizes = sizes or Sizes(num_envs=64, rollout_steps=32, update_epochs=4, num_minibatches=4, episode_steps=100)
        core, heads = make_core(policy, hidden_dim=width, num_layers=2, lstm_hidden_dim=16, lstm_num_layers=2)
        self.policy = Policy(core, self.assets, heads, log_std)
        self.env = TradingEnv(self.assets)
        self.params = self.params_at(cost, sizes.episode_steps)
        self.learner = learner(self.env, self.policy, sizes)
        scaling = fit_scaling(self.market.features, self.market.corr, decision_rows(self.span))
        self.constants = as_constants(scaling)
        self.chunk = jax.jit(partial(train_chunk, self.learner))
        self.seed = seed

    def params_at(self, cost, episode_steps=100):
        market = jax.tree.map(jnp.asarray, self.market)
        return make_params(market, self.span, episode_steps=episode_steps, commission_rate=cost)

    def start(self, **changes):
        init = jax.jit(self.learner.init)
        return init(jax.random.key(self.seed), self.params, hyper(**changes), self.variables())

    def variables(self):
        """A policy before its first update."""
        key = jax.random.key(self.seed)
        return self.learner.init_policy(key, observation_width(self.assets), self.constants)

    def train(self, updates, runner=None, params=None):
        runner = self.start() if runner is None else runner
        return self.chunk(runner, self.params if params is None else params, np.int32(updates))

    def play(self, runner, params=None):
        """The deterministic policy over the whole span."""
        return play_span(self.policy, runner.variables, self.market, self.span, params or self.params)


def leaked(market):
    """Features with the next return, scaled to be seen, in the place of `return_1h`."""
    features = market.features.copy()
    features[..., 1] = market.to_mark * 100
    return features


def play_span(policy, variables, market, span, params) -> AccountHistory:
    """One deterministic policy over a span, at the cost of the environment's parameters."""
    tape = make_tape(market, span)
    steps, lanes = whole_span(tape, params.costs.rate)
    limits = Limits.of(params)
    path = run_policy(policy, steps, jax.tree.map(lambda x: x[None], variables), tape, lanes, limits)
    one = jax.tree.map(lambda x: np.asarray(x[0]), path)
    return next(histories(one, tape, np.zeros(1, int), np.asarray(lanes.rate)))
