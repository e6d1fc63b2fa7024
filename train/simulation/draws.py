"""Many draws of the baseline `random`, with an agent's mean weights and turnover."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from himari_jax.account import Costs
from himari_jax.positions.baselines import Window, random
from himari_jax.statistics import metrics
from train.simulation.history import AccountHistory
from train.simulation.placement import Place
from train.simulation.returns import lanes_at_once, place_returns, run_returns
from train.simulation.simulator import Simulator
from train.simulation.windows import portfolio_returns, window_of

DRAWS = 101  # an odd number: one of them is the median


def draw_sharpes(simulator: Simulator, delay: int, agent: AccountHistory, rate: float) -> np.ndarray:
    """Computes annual Sharpe ratios of the draws of `random` beside an agent on the whole span, (DRAWS,).

    In a pool every account draws the same numbers, as a policy's multipliers of its symbols move together.

    Args:
        simulator: that played.
        delay: bars.
        agent: its history on the span.
        rate: share of the traded value that a trade costs.
    """
    windows = [window_of(simulator, 0, delay, agent, a) for a in range(len(simulator.members))]
    steps, assets = windows[0].tradable.shape
    where = place_returns(steps, assets, DRAWS)
    size = lanes_at_once(steps, assets, where.form)
    size = -(-DRAWS // -(-DRAWS // size))  # equal parts, so that one shape is compiled
    sharpes = []
    for first in range(0, DRAWS, size):  # in parts: the returns of all draws are as large as all else together
        draws = range(first, first + size)
        found = [draw_returns(simulator, a, window, rate, draws, where) for a, window in enumerate(windows)]
        returns = portfolio_returns(simulator, 0, found)
        sharpes += [metrics.sharpe_or_zero(column, simulator.bars_per_year) for column in returns.T]
    return np.array(sharpes[:DRAWS])


def draw_returns(
    simulator: Simulator, member: int, window: Window, rate: float, draws: Sequence[int], where: Place
) -> np.ndarray:
    """Computes returns (S, len(draws)) of some draws in the account of one member on the whole span."""
    begin: Any = np.int32(simulator.positions(member).start)
    costs = cast(Any, Costs)(np.full(len(draws), rate, np.float32), simulator.limits.min_trade)
    orders = [random(window._replace(draw=draw)) for draw in draws]
    targets: Any = np.stack([order.target.astype(np.float32) for order in orders], -1)
    trade: Any = np.stack([order.trade[:, :1] for order in orders], -1)
    found = run_returns(targets, trade, simulator.tape_at(where), begin, costs, form=where.form)
    return np.asarray(found, np.float64)


def median_draw(sharpes: np.ndarray) -> int:
    """Returns the number of the draw whose Sharpe ratio is the median."""
    return int(np.argsort(sharpes, kind="stable")[len(sharpes) // 2])
