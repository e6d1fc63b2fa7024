"""Markets with gaps, and what an environment does along given actions."""

from dataclasses import replace

import jax
import numpy as np

ROWS = 2400
EPISODE = 50


def gapped(candles, num_assets, at=(700, 1150, 1900), seed=0):
    """Candles of several segments."""
    market = candles(num_assets, ROWS, seed)
    return replace(market, segment=np.searchsorted(np.array(at), np.arange(ROWS), side="right").astype(np.int32))


def rollout(env, params, actions, start):
    """Final state, rewards and log returns of actions (L, N) from a row."""

    def step(state, action):
        _, after, reward, _, info = env.step_env(jax.random.key(0), state, action, params)
        return after, (reward, info["log_return"])

    return jax.jit(lambda actions: jax.lax.scan(step, env.state_at(start), actions))(actions)
