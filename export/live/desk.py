"""The paper desk: decides at the close of a bar, keeps the policy's paper account and, beside it, the base's."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from export.live.book import Book
from export.live.drift_watch import DriftWatch
from export.runtime import FINITE_MEMORY, Model, size
from himari_jax.account import Account, Costs, open_account, step_account
from himari_jax.candles import Candles
from himari_jax.checking.alignment import FLAT_RUN, MAX_FILL
from himari_jax.checking.whole_candles import served_candles
from himari_jax.errors import InputError, first_line
from himari_jax.features.market import newest_features, rows_of, segments
from himari_jax.features.observation import assemble
from himari_jax.positions.base_positions import base_positions
from himari_jax.positions.sizing import cap_targets

SPARE_BARS = FLAT_RUN + MAX_FILL + 1  # before the look-back: runs and gaps that reach into it
NOT_FINITE = "the policy's output is not finite"
ACCOUNTS = ("policy", "base")  # the two accounts of a lane

BaseOf = Callable[[Candles], np.ndarray]  # candles up to a decision -> (N,) base positions, share of equity


@dataclass(frozen=True)
class Terms:
    """Costs, fill and decision times of the paper accounts."""

    costs: Costs
    fill: str  # next-open | same-close
    step: int = 1  # bars from decision to decision
    phase_ms: int = 0  # of the decisions, see `himari_jax.splits.SplitRules`
    late_ms: int = 360_000  # after the close, beyond which a decision is late and is not traded


@dataclass
class Lane:
    """Accounts and recurrent state of the symbols of one observation: all of them, or one of a pool."""

    symbols: tuple[str, ...]
    accounts: Account  # of policy and base: leaves (2, ...), float64
    carry: tuple[np.ndarray, ...]
    mark: np.ndarray | None = None  # (N,) closes at which the accounts stand
    tradable: np.ndarray | None = None  # (N,) of the bar of `mark`
    order: np.ndarray | None = None  # (2, N) target weights that the next bar fills
    remembered: int = -1  # open time of the bar of the last decision, which `carry` follows; -1: none
    drift: DriftWatch | None = None  # of the market inputs; None where the bundle has no table


class DecisionInputs(NamedTuple):
    """Inputs of a decision."""

    features: np.ndarray  # (N, k) float64
    corr: np.ndarray  # (P,)
    base: np.ndarray  # (N,)
    begins: bool  # whether the policy's memory starts anew


class Desk:
    """Plays bars in their order; deterministic: equal candles at equal times give equal numbers."""

    def __init__(self, model: Model, book: Book, terms: Terms, base_of: BaseOf):
        self.book, self.terms = book, terms
        groups = [(symbol,) for symbol in book.symbols] if model.is_pool else [book.symbols]
        self.lanes = [Lane(group, open_account(np.zeros((2, len(group)))), ()) for group in groups]
        self.counted = 0  # bars since the last decision, where the market closes
        self.set_model(model, base_of)

    def set_model(self, model: Model, base_of: BaseOf) -> None:
        """Makes a model decide from now on; recurrent state and drift windows begin anew."""
        self.model, self.base_of = model, base_of
        lookback = model.min_candles + SPARE_BARS + self.terms.step
        self.bars = lookback if model.base_sizing in FINITE_MEMORY else None  # of candles that a decision needs
        for lane in self.lanes:
            lane.carry, lane.remembered = model.initial_carry(1), -1
            lane.drift = None if model.drift is None else DriftWatch(model, model.drift)

    def play(self, time: int, now: int) -> dict[str, Any]:
        """Fills the orders of the decision before, marks the accounts at the close of a bar, and decides.

        Args:
            time: open of the bar, epoch ms.
            now: when this is done, epoch ms.

        Returns:
            what the log keeps of it: `due`, `late`, and `lanes`, one for each.
        """
        late = now > time + self.book.bar_ms + self.terms.late_ms
        due = self.is_due(time)
        self.counted = 1 if due else self.counted + 1
        return {"due": due, "late": late, "lanes": [self.play_lane(lane, time, due, late) for lane in self.lanes]}

    def is_due(self, time: int) -> bool:
        """Whether a decision is due at the close of a bar."""
        step, bar = self.terms.step, self.book.bar_ms
        if step == 1:
            return True
        if self.model.never_closes:
            return (time + bar - self.terms.phase_ms) // bar % step == 0
        return self.counted == 0 or self.counted >= step

    def play_lane(self, lane: Lane, time: int, due: bool, late: bool) -> dict[str, Any]:
        """Plays one bar of one lane."""
        try:
            candles = self.candles(lane.symbols, time)
        except InputError as error:
            lane.order = None
            return {"skipped": first_line(error)}
        entry: dict[str, Any] = {"settled": self.settle(lane, candles)}
        if due:
            entry |= self.decide(lane, candles, late)
        return entry

    def candles(self, symbols: tuple[str, ...], time: int) -> Candles:
        """Returns the checked candles up to a bar, as they are known.

        Raises:
            InputError: the bar is missing.
        """
        since = -1 if self.bars is None else time - self.bars * self.book.bar_ms
        if not self.model.never_closes and self.bars is not None:
            since = min(self.book.newest_times(self.bars, time), default=time)
        # A bar without a candle is filled once a later one is known: those are read, too, and cut off.
        until = time + (MAX_FILL + 1) * self.book.bar_ms
        raws = [self.book.raw(symbol, since, until) for symbol in symbols]
        now = until + self.book.bar_ms  # every candle of the book has closed
        candles = served_candles(raws, self.book.bar_ms, str(self.model.manifest["calendar"]), now)
        rows = np.flatnonzero(candles.time == time)
        if not len(rows):
            raise InputError(f"no candle of {' '.join(symbols)}")
        start = next(low for low, high in segments(candles) if low <= rows[0] < high)
        return rows_of(candles, start, int(rows[0]) + 1)

    def settle(self, lane: Lane, candles: Candles) -> dict[str, Any] | None:
        """Moves the accounts from the mark before to this close; fills an order where the bar can be traded.

        Args:
            lane: whose accounts.
            candles: of the segment of the bar, up to it.

        Returns:
            what was held, traded, paid and earned by policy and base; None at the first bar.
        """
        close, opened, tradable = candles.close[-1], candles.open[-1], candles.tradable[-1]
        before, lane_order = lane.mark, lane.order
        may = lane.tradable if self.terms.fill == "same-close" else tradable
        lane.mark, lane.tradable, lane.order = close, tradable, None
        if before is None:
            return None
        fill = before if self.terms.fill == "same-close" or lane_order is None else opened
        target = np.zeros((2, len(close))) if lane_order is None else lane_order
        can = np.zeros_like(target, bool) if lane_order is None or may is None else np.stack([may, may])
        lane.accounts, trade = step_account(
            lane.accounts, target, fill / before - 1, close / fill - 1, can, self.terms.costs
        )
        return {
            "mark": before.tolist(),
            "fill": fill.tolist(),
            "close": close.tolist(),
            **{
                name: {
                    "held": trade.held[k].tolist(),
                    "delta": trade.delta[k].tolist(),
                    "cost": float(trade.cost[k]),
                    "log_return": float(trade.log_return[k]),
                }
                for k, name in enumerate(ACCOUNTS)
            },
        }

    def decide(self, lane: Lane, candles: Candles, late: bool) -> dict[str, Any]:
        """Runs the policy; orders its weights for the next fill unless the decision is late."""
        try:
            inputs = self.decision_inputs(lane, candles)
        except InputError as error:
            return {"undecided": first_line(error)}
        state = Account(*(leaf[0] for leaf in lane.accounts))
        observation = assemble(inputs.features, inputs.corr, state.weights, state.entry_ratio).astype(np.float32)
        carry = self.model.initial_carry(1) if inputs.begins else lane.carry
        found = self.model.predict(observation[None], carry)
        if not found.is_finite:
            return {"undecided": NOT_FINITE, "observation": observation.tolist()}
        lane.carry, lane.remembered = found.carry, int(candles.time[-1])
        multiplier, rules = found.multiplier[0], self.model.rules
        sized = size(self.model, multiplier, inputs.base)
        alone = cap_targets(np.ones_like(inputs.base), inputs.base, rules.max_position_pct, rules.max_gross)
        if not late:
            lane.order = np.stack([sized.weight, alone])
        if lane.drift is not None:
            lane.drift.add(observation)
        return {
            "begins": inputs.begins,
            "multiplier": multiplier.tolist(),
            "value": float(found.value[0]),
            "base": inputs.base.tolist(),
            "weight": sized.weight.tolist(),
            "base_weight": alone.tolist(),
            "observation": observation.tolist(),
            "drift": [] if lane.drift is None else lane.drift.alarms(),
        }

    def decision_inputs(self, lane: Lane, candles: Candles) -> DecisionInputs:
        """Computes the inputs of a decision at the newest bar.

        Raises:
            InputError: the look-back is not whole, a feature is not defined, or no base position is known.
        """
        rows, need = len(candles.time), self.model.min_candles
        if rows < need:
            raise InputError(f"{rows} bars in a row; the policy looks back {need}")
        features, corr = newest_features(candles, self.model.features, 1)
        base = self.base_of(candles)
        if not np.isfinite(base).all():
            raise InputError("no base position is known")
        begins = lane.remembered < int(candles.time[0])
        return DecisionInputs(features[-1], corr[-1], base, begins)

    def state(self) -> list[dict[str, Any]]:
        """Returns the lanes for the log, without recurrent state, which the log's observations restore."""
        return [
            {
                **{
                    name: {
                        "weights": lane.accounts.weights[k].tolist(),
                        "entry_ratio": lane.accounts.entry_ratio[k].tolist(),
                        "log_equity": float(lane.accounts.log_equity[k]),
                    }
                    for k, name in enumerate(ACCOUNTS)
                },
                "mark": None if lane.mark is None else lane.mark.tolist(),
                "tradable": None if lane.tradable is None else lane.tradable.tolist(),
                "order": None if lane.order is None else lane.order.tolist(),
                "remembered": lane.remembered,
            }
            for lane in self.lanes
        ]

    def restore(self, states: list[dict[str, Any]], counted: int) -> None:
        """Restores the lanes from `state`; the recurrent state is restored by `step_memory`."""
        for lane, state in zip(self.lanes, states, strict=True):
            columns = [[state[name][leaf] for name in ACCOUNTS] for leaf in Account._fields]
            lane.accounts = Account(*(np.array(column, np.float64) for column in columns))
            lane.mark, lane.order = (None if state[x] is None else np.array(state[x]) for x in ("mark", "order"))
            lane.tradable = None if state["tradable"] is None else np.array(state["tradable"], bool)
            lane.remembered = state["remembered"]
        self.counted = counted

    def step_memory(self, lane: Lane, observation: list[float], begins: bool) -> np.ndarray:
        """Steps the recurrent state of a lane over a decision of the log; returns the multiplier, (N,)."""
        carry = self.model.initial_carry(1) if begins else lane.carry
        found = self.model.predict(np.array([observation], np.float32), carry)
        lane.carry = found.carry
        return found.multiplier[0]


def base_by(model: Model, given: Any = None) -> BaseOf:
    """Makes the function of the base position at the newest bar: the sizing of training, or a desk's own positions.

    Args:
        model: whose sizing.
        given: reads a desk's own positions of some symbols anew.
    """

    def base_of(candles: Candles) -> np.ndarray:
        if given is None:
            return base_positions(model.base_sizing, candles, model.rules)[-1]
        # Of the newest bar alone: gaps of the file in the past do not matter.
        newest = rows_of(candles, len(candles.time) - 1, len(candles.time))
        return base_positions(given(candles.symbols), newest, model.rules)[-1]

    return base_of
