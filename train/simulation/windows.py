"""Windows: the inputs of baselines there, and the returns of a pool's portfolio."""

import numpy as np

from himari_jax.positions.baselines import Window
from train.simulation.history import AccountHistory
from train.simulation.simulator import Simulator


def window_of(
    simulator: Simulator, start: int, delay: int, agent: AccountHistory, member: int = 0, draw: int = 0
) -> Window:
    """Gathers the inputs of baselines in the window that an agent was simulated in, of one member.

    Args:
        simulator: that played.
        start: position of the window.
        delay: bars.
        agent: its history in the window.
        member: of a pool.
        draw: number of the draw of `random`.
    """
    own = agent.accounts[member] if agent.accounts else agent
    steps = len(agent.returns)
    part = simulator.positions(member, start, steps)
    decides = simulator.active[member, start : start + steps]
    own = own if decides.all() else own.cut(decides)
    first = np.array(simulator.host.first[part])
    first[0] = True
    seen = simulator.seen(delay, start, steps, member)
    return Window(
        seen=seen,
        tradable=simulator.host.tradable[part],
        first=first,
        mean_weights=mean_weights(own),
        traded=float(np.abs(own.delta).sum(1).mean()) if len(own.delta) else 0.0,
        draw=draw,
        base=np.where(decides[:, None], simulator.rules[member]["base"][seen], np.nan),
    )


def mean_weights(history: AccountHistory) -> np.ndarray:
    """Averages the weights that an account held, (N,); 0 where it never decided."""
    held = np.asarray(history.held, np.float64)
    return held.mean(0) if len(held) else np.zeros(held.shape[1])


def portfolio_returns(simulator: Simulator, start: int, found: list[np.ndarray]) -> np.ndarray:
    """Computes returns (S, B) of a window: of the one account, or the mean over the accounts of a pool that decide.

    Args:
        simulator: that played.
        start: position of the window.
        found: (S, B) of each member.
    """
    if not simulator.is_pool:
        return found[0]
    active = simulator.active[:, start : start + len(found[0]), None]
    return (np.stack(found) * active).sum(0) / active.sum(0)


def pool_mean(returns: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Computes returns (..., S) of a span: of the one account, or the mean over the accounts of a pool that decide.

    The equation is that of `portfolio_returns`; numpy adds eight and more accounts in another order along the last
    axis than along the first, so that one in place of the other would change the last bits.

    Args:
        returns: (..., S, A) of the accounts.
        active: (S, A) bool, whether they decide.
    """
    if returns.shape[-1] == 1:
        return returns[..., 0]
    return np.asarray((returns * active).sum(-1) / active.sum(-1))
