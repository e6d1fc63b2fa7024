"""Returns of many policies, each on its own span, in one program: validation scores of a population."""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from himari_jax.policies.policy import Policy
from himari_jax.statistics import metrics
from train.learning.population import Spread, pad, pick, stack
from train.simulation.engine import Lanes, Limits, Tape, play_policy
from train.simulation.placement import form_of
from train.simulation.simulator import Simulator
from train.simulation.windows import pool_mean

ROWS = ("rows", "to_fill", "to_mark", "tradable", "first", "last")  # fields of a tape with an entry for each row


class Spans(NamedTuple):
    """The spans that members are scored on, U of them, padded to one shape."""

    tape: Tape  # leaves (U, ...)
    start: np.ndarray  # (U, A) int32, first position of each account on the tape


def lay_out_spans(simulators: Sequence[Simulator], length: int = 0, rows: int = 0, accounts: int = 0) -> Spans:
    """Stacks spans, padded, on the host; padded rows and accounts are never read.

    Args:
        simulators: of the spans; their first delay counts.
        length, rows, accounts: least length of the tapes and markets, least number of accounts.
    """
    tapes = [each.host._replace(inside=None) for each in simulators]
    length = max(length, *(len(tape.rows) for tape in tapes))
    rows = max(rows, *(len(tape.market.base) for tape in tapes))
    accounts = max(accounts, *(len(each.members) for each in simulators))

    def padded(tape: Tape) -> Tape:
        market = jax.tree.map(lambda x: pad(x, rows), tape.market)
        seen = pad(tape.seen.T, length).T
        rest = {name: pad(getattr(tape, name), length) for name in ROWS}
        return Tape(market=market, seen=seen, **rest)

    starts = [[each.positions(min(a, len(each.members) - 1)).start for a in range(accounts)] for each in simulators]
    return Spans(stack(list(map(padded, tapes))), np.array(starts, np.int32))


@cache
def compile_scores(policy: Policy, steps: int, spread: Spread) -> Any:
    """Jits the returns of all members: (variables, limits, rates (M,), spans, span (M,)) -> (M, steps, A)."""

    def one(variables: dict, limits: Limits, rate: jax.Array, spans: Spans, span: jax.Array) -> jax.Array:
        tape, start = pick(spans, span)
        lanes = Lanes(start, jnp.zeros_like(start), jnp.full(start.shape, rate))
        return play_policy(policy, steps, variables, tape, lanes, limits, form_of().policy_bars).returns

    return jax.jit(spread.map_members(one, (True, True, True, False, True)))


def sharpe_of_span(simulator: Simulator, returns: np.ndarray) -> float:
    """Computes the annual Sharpe ratio of a policy on a span; 0 where it is undefined.

    Args:
        simulator: of the span.
        returns: (S, A) of its accounts, S >= L.
    """
    own = returns[: simulator.num_rows, : len(simulator.members)]
    return metrics.sharpe_or_zero(pool_mean(own, simulator.active.T), simulator.bars_per_year)
