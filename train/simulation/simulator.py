"""The simulator of a span: its decisions and markets, laid out for policies, rules and baselines."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import jax
import numpy as np

from envs.market import Market
from himari_jax.candles import Candles
from himari_jax.features.market import BASE, Features
from himari_jax.positions.base_positions import Base
from himari_jax.positions.baselines import Setting
from himari_jax.positions.sizing import SizingRules
from himari_jax.splits import Stretches
from himari_jax.times import iso_second
from train.config.market import MarketConfig
from train.data.market import market_from, sizing_rules
from train.data.members import Member, join_candles, union_times
from train.simulation.baselines import all_rules
from train.simulation.engine import Limits, Tape
from train.simulation.placement import Place, hosts
from train.simulation.tapes import active_rows, lay_out_members


@dataclass(frozen=True)
class Simulator:
    """A span of a market, laid out for policies and baselines.

    One account holds all symbols; in a pool each of the A members has its own, and the portfolio holds an equal share
    of equity in the account of every member that decides, rebalanced at every decision.
    """

    candles: Candles  # of all members side by side
    members: tuple[Member, ...]  # A
    markets: tuple[Market, ...]  # of the members, on the host, without delay
    times: np.ndarray  # (L,) of the decisions, epoch milliseconds
    active: np.ndarray  # (A, L) bool, whether a member decides
    host: Tape  # A tapes of L rows, one after the other, on the host
    delays: tuple[int, ...]  # of `tape.seen`
    limits: Limits
    sizing: SizingRules
    bars_per_year: float  # decisions of a year
    is_pool: bool = False  # whether every symbol has an account of its own

    @property
    def num_rows(self) -> int:
        """Decisions of the span, L."""
        return len(self.times)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols of all members."""
        return self.candles.symbols

    @cached_property
    def tape(self) -> Tape:
        """The tapes on the device."""
        return jax.device_put(self.host._replace(inside=None))

    @cached_property
    def tape_on_host(self) -> Tape:
        """The tapes on the host as a device of jax, where the default device is another."""
        return jax.device_put(self.host._replace(inside=None), hosts()[0])

    def tape_at(self, place: Place) -> Tape:
        """Returns the tapes where a program runs."""
        return self.tape if place.device is None else self.tape_on_host

    @cached_property
    def rules(self) -> list[dict[str, np.ndarray]]:
        """Target weights of the baselines that are rules, (T, n) by name, of each member."""
        return [all_rules(Setting(each.candles, each.base, self.sizing)) for each in self.members]

    def positions(self, member: int, start: int = 0, steps: int | None = None) -> slice:
        """Returns the positions of a member's window on the tape."""
        begin = member * self.num_rows + start
        return slice(begin, begin + (self.num_rows - start if steps is None else steps))

    def seen(self, delay: int, start: int = 0, steps: int | None = None, member: int = 0) -> np.ndarray:
        """Returns the rows of a member's market that decisions see at a delay, (S,), from a position on."""
        found = self.host.seen[self.delays.index(delay), self.positions(member, start, steps)]
        return found - sum(len(market.base) for market in self.markets[:member])

    def at_decisions(
        self, tables: Sequence[np.ndarray], delay: int, start: int = 0, steps: int | None = None
    ) -> np.ndarray:
        """Takes the rows that decisions see out of the members' tables (T, n), side by side, (S, N); NaN where idle."""
        found = [table[self.seen(delay, start, steps, a)] for a, table in enumerate(tables)]
        if not self.is_pool:
            return found[0]
        window = slice(start, None if steps is None else start + steps)
        idle = ~self.active[:, window, None]
        return np.concatenate([np.where(out, np.nan, x) for out, x in zip(idle, found, strict=True)], axis=1)


def build_simulator(
    candles: Candles,
    config: MarketConfig,
    span: Stretches,
    delays: Sequence[int],
    base: Base | None = None,
    features: Features = BASE,
) -> Simulator:
    """Builds the simulator of one account; all delays share its arrays.

    Args:
        candles: checked.
        config: base sizing, caps, fill; its costs and delay are ignored.
        span: stretches of decision rows.
        delays: bars.
        base: instead of the base sizing of the flags; known at every row that a decision of the span sees.
        features: of the policies' observation.
    """
    return simulate([Member(candles, span, base or config.base_sizing)], config, delays, features)


def simulate(
    members: Sequence[Member],
    config: MarketConfig,
    delays: Sequence[int],
    features: Features = BASE,
    is_pool: bool = False,
    markets: Sequence[Market] | None = None,
) -> Simulator:
    """Builds the simulator of one member, or of those of a pool; members without decisions in the span are left out.

    Args:
        members, config, delays, features: see `build_simulator`.
        is_pool: whether every member has an account of its own.
        markets: of the members, without delay; None: they are built.
    """
    if markets is not None:
        markets = tuple(market for market, each in zip(markets, members, strict=True) if each.span)
    members = tuple(each for each in members if each.span)
    candles = join_candles([each.candles for each in members])
    if markets is None:
        markets = tuple(market_from(each.candles, config, 0, each.base, features) for each in members)
    times = union_times(members)
    host = lay_out_members(members, markets, times, delays, config.fill)
    return Simulator(
        candles=candles,
        members=members,
        markets=markets,
        times=times,
        active=active_rows(members, times),
        host=host,
        delays=tuple(delays),
        limits=Limits.of(config),
        sizing=sizing_rules(config),
        bars_per_year=candles.bars_per_year / config.step(candles.bar_ms),
        is_pool=is_pool,
    )


def liquidated(simulator: Simulator, start: int, steps: int) -> np.ndarray:
    """Whether everything is sold after each bar of a window, (S,)."""
    own = [simulator.host.last[simulator.positions(a, start, steps)] for a in range(len(simulator.members))]
    end = (np.stack(own) | ~simulator.active[:, start : start + steps]).all(0)
    end[-1] = True
    return end


def ends(candles: Candles, span: Stretches) -> list[list[str]]:
    """Returns first and last decision of each stretch, as ISO times."""
    close = candles.time + candles.bar_ms
    return [[iso_second(close[each[0]]), iso_second(close[each[-1]])] for each in span]
