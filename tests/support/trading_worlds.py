"""Markets of one and three assets with parameters for `TradingEnv`; a plugin."""

import pytest
from episodes import EPISODE, ROWS

from envs.market import build_market, to_device
from envs.trading import make_params
from himari_jax.splits import split_rows


@pytest.fixture(scope="module")
def worlds(candles):
    """For one and three assets: candles, training stretches, host market, parameters on the device."""

    def world(num_assets):
        history = candles(num_assets, ROWS, seed=num_assets)
        train = split_rows(history).train
        market = build_market(history)
        return history, train, market, make_params(to_device(market), train, episode_steps=EPISODE)

    return {n: world(n) for n in (1, 3)}
