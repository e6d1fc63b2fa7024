"""A run on candles, from its flags: loaded, checked, cut in time, aligned."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from envs.market import Market, as_phases, base_returns, stack_decisions, to_device
from envs.reward_check import check_reward
from envs.state import EnvParams
from envs.trading import TradingEnv, make_params
from himari_jax.candles import Candles, DataReport
from himari_jax.features.market import Features
from himari_jax.policies.policy import as_constants, fit_scaling
from himari_jax.positions.base_positions import Base
from himari_jax.splits import SPANS, Split, Stretches, decision_rows
from train.artifacts.feature_files import find_features
from train.config.market import MarketConfig
from train.config.ppo import Config
from train.config.serialize import config_hash
from train.data.audits import audit_inputs
from train.data.base import (
    base_of_part,
    describe_base,
    first_decision,
    idle_shares,
    load_base,
    merge_shares,
    sha256_of,
    where_known,
)
from train.data.loading import checked_parts, load_raw
from train.data.market import market_from, training_inputs
from train.data.members import Member, join_candles
from train.data.spans import note_short_stretches, split_members, split_rules
from train.learning.setup import Setup, make_learner
from train.simulation.simulator import Simulator, ends, simulate
from train.training.reward import decided_terms, initial_moments

# The flags of an account on which its market depends, beside the candles, the features and the base.
ALIGNED = (
    *("fill", "delay", "decide_every", "base_sizing", "max_position_pct", "max_gross"),
    *("kelly_fraction", "kelly_prior_bars", "kelly_half_life_days"),
)


class Part(NamedTuple):
    """Candles that share an account, all symbols of a run or one symbol of a pool, with their markets."""

    candles: Candles
    base: Base  # that the policy multiplies
    split: Split
    market: Market  # on the host, with the delay of the flags
    on_time: Market  # the same without the delay

    def member(self, span: str) -> Member:
        """Returns the part with its decisions in a span."""
        return Member(self.candles, self.split.spans[span], self.base)


@dataclass(frozen=True)
class Session(Setup):
    """A run on candles, built from its flags; nothing has been written yet."""

    params: EnvParams  # training span
    report: DataReport
    parts: tuple[Part, ...]
    base: Base  # of all symbols
    features: Features  # of the market
    risk_aversion: float | None = None  # of volatility=auto
    shares: tuple = ()  # equal for sessions that have markets and spans in common

    @cached_property
    def candles(self) -> Candles:
        """The candles of all parts, side by side."""
        return join_candles([part.candles for part in self.parts])

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the candles."""
        return self.candles.fingerprint

    @cached_property
    def validation(self) -> Simulator:
        """The simulator of the validation span."""
        return self.simulator("val", (self.config.market.delay,))

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols in the order of the observation, or of the pool."""
        return tuple(symbol for part in self.parts for symbol in part.candles.symbols)

    @property
    def cuts(self) -> tuple[int, int]:
        """First bars of validation and test, epoch milliseconds."""
        return self.parts[0].split.cuts

    @property
    def described_base(self) -> dict[str, Any]:
        """The base, and the share of decisions at which the multiplier does nothing."""
        account = self.config.market
        cap = account.max_position_pct
        own = [idle_shares(part.market.base, part.split.spans, part.candles.symbols, cap) for part in self.parts]
        return describe_base(account, self.base, merge_shares(own))

    @property
    def config_hash(self) -> str:
        """Hash that identifies the configuration in the trial ledger."""
        return config_hash(self.config, sha256_of(self.base), self.features.marks)

    @property
    def files(self) -> dict[str, bytes]:
        """The user's own features, by the name of the file."""
        return self.features.files

    def simulator(self, span: str, delays: Sequence[int]) -> Simulator:
        """Builds the simulator of a span."""
        members = [part.member(span) for part in self.parts]
        markets = [part.on_time for part in self.parts]
        return simulate(members, self.config.market, delays, self.features, self.config.data.pool, markets)

    def spans(self) -> dict[str, Any]:
        """Returns first and last decision of each stretch by span; of a pool the first and last of any symbol."""
        found: dict[str, Any] = {}
        for name in SPANS:
            own = [ends(part.candles, span) for part in self.parts if (span := part.split.spans[name])]
            pairs = [pair for stretches in own for pair in stretches]
            whole = [[min(first for first, _ in pairs), max(last for _, last in pairs)]]
            found[name] = whole if self.config.data.pool else own[0]
        return found


@dataclass(frozen=True)
class Prepared:
    """Candles and features that several sessions share: read and checked once, aligned once for each account."""

    candles: tuple[Candles, ...]  # of the parts
    report: DataReport
    features: Features
    markets: dict[Any, Market] = field(default_factory=dict)  # on the host, by part, account and base
    trained: dict[Any, Market] = field(default_factory=dict)  # on the device: training spans
    number: int = field(default_factory=itertools.count().__next__)  # no other has it; an id() is given out again
    audited: set[Any] = field(default_factory=set)  # base sizings that passed, by part, rules and first row

    def market(self, part: int, account: MarketConfig, base: Base) -> Market:
        """Returns the market of a part, with the delay of an account."""
        key = (part, *aligned_by(account, base))
        if key not in self.markets:
            found = market_from(self.candles[part], account, account.delay, base, self.features)
            self.markets[key] = found
        return self.markets[key]


def aligned_by(account: MarketConfig, base: Base) -> tuple:
    """Returns the settings of account and base on which the market depends, beside candles and features."""
    return base if isinstance(base, str) else base.sha256, *(getattr(account, name) for name in ALIGNED)


def build_session(config: Config, resumed: Path | None = None) -> Session:
    """Loads and checks candles, splits them and aligns their markets.

    Args:
        config: flags.
        resumed: the folder of a run that goes on with its own copies of the user's features.

    Raises:
        InputError: flags or data do not fit; one line.
    """
    return session_of(config, prepare(config, resumed))


def prepare(config: Config, resumed: Path | None = None) -> Prepared:
    """Loads and checks candles and features; see `build_session`."""
    raws = load_raw(config.data, config.source_options)
    candles, report = checked_parts(raws, config.data)
    return Prepared(candles, report, find_features(config.market.features, candles[0], resumed))


def session_of(config: Config, prepared: Prepared, splits: Sequence[Split | None] | None = None) -> Session:
    """Builds the session on prepared candles.

    Args:
        config: flags; those of the candles and of the features are the ones that `prepared` was made by.
        prepared: candles and features.
        splits: spans of each part, None where a part is left out; None: by the flags.

    Raises:
        InputError: flags or data do not fit; one line.
    """
    data, account = config.data, config.market
    candles, features = prepared.candles, prepared.features
    if splits is None:
        rules = split_rules(data, account, features, candles[0].bar_ms)
        splits = split_members(candles, rules, data.pool, data.skip_short)
    kept = [(n, split) for n, split in enumerate(splits) if split is not None]
    report = DataReport(list(prepared.report.entries))
    base = load_base(account, tuple(s for n, _ in kept for s in candles[n].symbols), data.assume_utc)
    audit_inputs({n: candles[n] for n, _ in kept}, features, account, base, prepared.audited)
    parts = [align(prepared, n, split, account, base) for n, split in kept]
    # Of the whole span, so that the constants do not depend on the base.
    seen, corr = training_inputs([(part.market, part.split.train) for part in parts if part.split.train])
    scaling = fit_scaling(seen, corr, np.arange(len(seen)))
    parts = [part._replace(split=known_split(part, account, report)) for part in parts]
    trained = [part for part in parts if part.split.train]
    for part in trained:
        drawn = as_phases(part.split.train) if account.draw_phase else part.split.train
        note_short_stretches(drawn, config.ppo.episode_steps, part.candles, report)
    shares = (*aligned_by(account, base), account.draw_phase, *(repr(part.split) for part in parts))
    caps = account.max_position_pct, account.max_gross
    own = np.concatenate([base_returns(part.market, decision_rows(part.split.train), *caps) for part in trained])
    terms, risk = decided_terms(account, own)
    params = training_params(config, prepared, trained, shares, terms, initial_moments(terms, own))
    env = TradingEnv(len(parts[0].candles.symbols), tuple(terms))
    check_reward(env, params)
    learner = make_learner(config, env, account.cost > 0, 1.0)
    return Session(
        config=config,
        params=params,
        learner=learner,
        constants=as_constants(scaling),
        report=report,
        parts=tuple(parts),
        base=base,
        features=features,
        risk_aversion=risk,
        shares=(prepared.number, *shares),
    )


def align(prepared: Prepared, number: int, split: Split, account: MarketConfig, base: Base) -> Part:
    """Builds a part of the candles with its markets."""
    candles = prepared.candles[number]
    own = base_of_part(base, candles)
    on_time = prepared.market(number, replace(account, delay=0), own)
    return Part(candles, own, split, prepared.market(number, account, own), on_time)


def known_split(part: Part, account: MarketConfig, report: DataReport) -> Split:
    """Removes the decisions before the base is known, also with one more bar of delay."""
    first = first_decision(part.base, part.candles, account, account.delay + 1)
    return Split(**where_known(part.split.spans, part.base, first, report), cuts=part.split.cuts)


def training_market(parts: Sequence[Part], account: MarketConfig) -> tuple[Market, Stretches]:
    """Returns the market that training draws episodes from, and its stretches; several parts are stacked."""
    only = parts[0]
    if len(parts) == 1 and only.split.train[0].step == 1:
        return only.market, only.split.train
    return stack_decisions([(part.market, part.split.train) for part in parts], account.draw_phase)


def training_params(
    config: Config,
    prepared: Prepared,
    parts: Sequence[Part],
    shares: tuple,
    terms: Mapping[str, float],
    moments: tuple[float, float],
) -> EnvParams:
    """Makes the environment's parameters of the training span; sessions with equal `shares` have one market.

    Args:
        config: flags.
        prepared: candles; keeps the market on the device.
        parts: with training decisions.
        shares: key of market and spans.
        terms: weights of the reward terms.
        moments: see `initial_moments`.
    """
    account = config.market
    market, span = training_market(parts, account)
    if shares not in prepared.trained:
        prepared.trained[shares] = to_device(market)
    return make_params(
        prepared.trained[shares],
        span,
        episode_steps=config.ppo.episode_steps,
        commission_rate=account.commission_rate,
        slippage_bps=account.slippage_bps,
        max_position_pct=account.max_position_pct,
        max_gross=account.max_gross,
        min_trade=account.min_trade,
        ruin=account.ruin,
        reward_weights=tuple(terms.values()),
        initial_moments=moments,
    )
