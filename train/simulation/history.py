"""Histories of accounts on the host: weights, costs and returns at every decision, equity at the bars between."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from train.simulation.engine import LaneHistories, Tape


class AccountHistory(NamedTuple):
    """The history of one account over S bars, on the host."""

    multiplier: np.ndarray | None  # (S, N) of the policy, in [0, 2]; None where weights were given
    held: np.ndarray  # (S, N) weights after the fill
    delta: np.ndarray  # (S, N) traded weights
    cost: np.ndarray  # (S,) share of equity at the fill, liquidation included
    pnl: np.ndarray  # (S, N) earned by each asset, costs included, in shares of equity at the start of the bar
    returns: np.ndarray  # (S,) simple return of equity, liquidation included, float64
    given: np.ndarray | None = None  # (S, N) target weights of a strategy; None where a policy's multiplier made them
    inside: np.ndarray | None = None  # (S, D - 1) equity at the bars between decisions, 1 at the decision before them
    sold: np.ndarray | None = None  # (S,) share of equity at the fill that is sold at the end of a stretch or window
    accounts: tuple["AccountHistory", ...] = ()  # those of a pool's symbols, of which this is the portfolio

    @property
    def decision(self) -> np.ndarray:
        """The decision at each row: the multiplier of a policy, the target weights of a strategy, (S, N)."""
        found = self.given if self.multiplier is None else self.multiplier
        assert found is not None
        return found

    @property
    def traded(self) -> np.ndarray:
        """Share of equity at the fill that is traded in each bar, (S,), final sales included."""
        ordered = np.abs(np.asarray(self.delta, np.float64)) @ np.ones(self.delta.shape[1])
        return ordered if self.sold is None else ordered + self.sold

    @property
    def equity(self) -> np.ndarray:
        """Equity at each mark, 1.0 before the first, (S,)."""
        return np.cumprod(1 + self.returns)

    @property
    def growth(self) -> np.ndarray:
        """Equity at every bar up to the next decision, 1.0 at the decision, (S, D)."""
        return within(self.returns, self.inside)

    @property
    def bar_equity(self) -> np.ndarray:
        """Equity at the close of every bar, 1.0 before the first, (S D,)."""
        before = np.concatenate([[1.0], self.equity[:-1]])
        return (before[:, None] * self.growth).ravel()

    def cut(self, rows: np.ndarray) -> "AccountHistory":
        """Returns the history of some decisions."""
        leaves: Any = [None if leaf is None else leaf[rows] for leaf in self[:-1]]
        return AccountHistory._make([*leaves, tuple(account.cut(rows) for account in self.accounts)])


def within(returns: np.ndarray, inside: np.ndarray | None) -> np.ndarray:
    """Joins equity at the bars between decisions and at the next decision, (S, D)."""
    ends = 1 + returns[:, None]
    return ends if inside is None else np.concatenate([inside, ends], 1)


def as_portfolio(accounts: tuple[AccountHistory, ...], active: np.ndarray) -> AccountHistory:
    """Builds the portfolio with an equal share of equity in every account that decides, rebalanced at every decision.

    Args:
        accounts: A histories of one asset each; cash where they do not decide.
        active: (A, S) bool, whether they do.
    """
    number = active.sum(0)

    def shared(name: str) -> np.ndarray:
        return np.concatenate([getattr(each, name) for each in accounts], axis=1) / number[:, None]

    def mean(name: str) -> np.ndarray:
        return sum(getattr(each, name) for each in accounts) / number

    multipliers = [each.multiplier for each in accounts if each.multiplier is not None]
    multiplier = np.where(active.T, np.concatenate(multipliers, axis=1), np.float32(np.nan)) if multipliers else None
    insides = [each.inside for each in accounts if each.inside is not None]
    inside = (np.stack(insides) * active[..., None]).sum(0) / number[:, None] if insides else None
    return AccountHistory(
        multiplier=multiplier,
        held=shared("held"),
        delta=shared("delta"),
        cost=mean("cost"),
        pnl=shared("pnl"),
        returns=mean("returns"),
        inside=inside,
        sold=None if accounts[0].sold is None else mean("sold"),
        accounts=accounts,
    )


def histories(path: LaneHistories, tape: Tape, starts: np.ndarray, rates: np.ndarray) -> Iterator[AccountHistory]:
    """Yields the histories of a batch of accounts, on the host.

    Args:
        path: of B lanes, without an axis of policies.
        tape: that was played; on the host it is not copied.
        starts: (B,) positions on it.
        rates: (B,) costs.
    """
    steps = path.returns.shape[0]
    by_account = [[None] * len(starts) if x is None else account_first(x) for x in path]
    last, to_fill, to_mark = np.asarray(tape.last), np.asarray(tape.to_fill), np.asarray(tape.to_mark)
    for multiplier, held, delta, returns, start, rate in zip(*by_account, starts, rates, strict=True):
        window = slice(int(start), int(start) + steps)
        end = last[window].copy()
        end[-1] = True
        cost, pnl, sold = settle(held, delta, to_fill[window], to_mark[window], end, float(rate))
        inside = (
            None if tape.inside is None else between(held, delta, to_fill[window], tape.inside[window], float(rate))
        )
        gained = np.asarray(returns, np.float64)
        yield AccountHistory(multiplier, held, delta, cost, pnl, gained, inside=inside, sold=sold)


def account_first(x: Any) -> np.ndarray:
    """Moves the last axis to the front, on the host: (S, ..., B) -> (B, S, ...)."""
    return np.ascontiguousarray(np.moveaxis(np.asarray(x), -1, 0))


def settle(
    held: np.ndarray, delta: np.ndarray, to_fill: np.ndarray, to_mark: np.ndarray, end: np.ndarray, rate: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Computes cost (S,), profit by asset (S, N) and final sales (S,) from held and traded weights, in float64.

    With w1 = held - delta, the weights that arrive at the fill: `1 + r1 = 1 / (1 - sum(w1 f / (1 + f)))`, because
    `w = w1 (1 + r1) / (1 + f)` and cash keeps its value.
    """
    held, delta, g = (np.asarray(x, np.float64) for x in (held, delta, to_mark))
    arrived, drift = until_fill(held, delta, to_fill)
    sold = np.where(end[:, None], held * (1 + g), 0)
    paid = rate * np.abs(delta) + rate * sold
    return paid.sum(1), drift * (arrived + held * g - paid), sold.sum(1)


def until_fill(held: np.ndarray, delta: np.ndarray, to_fill: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes the share of equity at the fill that each asset earned before it, (S, N), and 1 + r1, (S, 1)."""
    f = np.asarray(to_fill, np.float64)
    arrived = (held - delta) * f / (1 + f)
    return arrived, 1 / (1 - arrived.sum(1, keepdims=True))


def between(held: np.ndarray, delta: np.ndarray, to_fill: np.ndarray, inside: np.ndarray, rate: float) -> np.ndarray:
    """Computes equity at the bars between decisions, (S, D - 1), 1 at the decision before them; positions drift."""
    held, delta = (np.asarray(x, np.float64) for x in (held, delta))
    _, drift = until_fill(held, delta, to_fill)
    paid = rate * np.abs(delta).sum(1, keepdims=True)
    return drift * (1 - paid + np.einsum("sn,sdn->sd", held, inside))
