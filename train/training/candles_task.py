"""Training on candles: Sharpe on validation on the way, the test span at the end."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from envs.market import Market, to_device
from envs.state import EnvParams
from envs.trading import TradingEnv, make_params
from himari_jax import metrics
from himari_jax.base_positions import Base
from himari_jax.candles import Candles, DataReport
from himari_jax.metrics import zero_if_nan
from himari_jax.policies.policy import as_constants, fit_scaling
from himari_jax.sizing import SizingRules
from himari_jax.splits import Split, decision_rows, split_rows
from himari_jax.times import bar_name, iso_second
from train.artifacts.files import null_if_nan, write_frame, write_json
from train.artifacts.metrics_file import read_metrics
from train.artifacts.provenance import findings_of, tools
from train.config.market import MarketConfig
from train.config.ppo import Config
from train.config.serialize import config_hash
from train.data.base import describe_base, first_decision, idle_lines, idle_shares, load_base, sha256_of, where_known
from train.data.loading import checked, load_raw
from train.data.market import market_from, sizing_rules
from train.evaluation.summary import correlation_advice, summarize
from train.evaluation.trials import note_trials
from train.learning.setup import Best, Setup, make_learner
from train.reporting.course import describe_course
from train.reporting.report import write_report
from train.reporting.run_files import Extra
from train.simulation.engine import Limits, make_tape, run_policy, whole_span
from train.simulation.frames import closing_prices, equity_frame
from train.simulation.simulator import build_simulator, ends, play_policies, play_whole, span_name


@dataclass(frozen=True)
class Session(Setup):
    """A run on candles, built from its flags; nothing has been written yet."""

    params: EnvParams  # training span
    candles: Candles
    report: DataReport
    split: Split
    market: Market  # on the host
    base: Base  # that the policy multiplies

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols in the order of the observation."""
        return self.candles.symbols

    @property
    def described_base(self) -> dict[str, Any]:
        """The base, and where the multiplier does nothing."""
        spans = {name: getattr(self.split, name) for name in ("train", "val", "test")}
        account = self.config.market
        shares = idle_shares(self.market.base, spans, self.symbols, account.max_position_pct)
        return describe_base(account, self.base, shares)

    @property
    def rules(self) -> SizingRules:
        """Caps and parameters of the base sizing."""
        return sizing_rules(self.config.market)


def evaluate_test_span(session: Session, best: Best, folder: Path, timings: dict[str, Any]) -> dict[str, Any]:
    """Plays the best parameters of each seed on the test span, on time and one bar later, and writes the result."""
    chosen = int(np.argmax(np.asarray(best.sharpe)))
    market, candles, split = session.config.market, session.candles, session.split
    simulator = build_simulator(candles, market, split.test, (market.delay, market.delay + 1), session.base)
    play = partial(play_policies, simulator, session.learner.policy, best.variables, chosen)
    played = play_whole(simulator, play, chosen, market.delay, market.cost)
    digest = config_hash(session.config, sha256_of(session.base))
    key = digest, candles.fingerprint, span_name(simulator), bar_name(candles.bar_ms)
    root = folder.absolute().parent
    trials = note_trials(root, key, session.seeds, [history.returns for history in played.agents])
    result, samples = summarize(played, chosen, session.seeds, trials)
    result["advice"] += correlation_advice(candles, split.train)
    taken, sharpes = (np.asarray(x).tolist() for x in (best.update, best.sharpe))
    result |= {
        "symbols": list(session.symbols),
        "policy": session.config.policy.policy,
        "synthetic": candles.synthetic,
        "best_update": taken,
        "validation_sharpe": sharpes,
        "course": describe_course(read_metrics(folder), taken, chosen, session.config.wanted_steps),
        "spans": {name: ends(candles, getattr(split, name)) for name in ("train", "val", "test")},
        "fingerprint": candles.fingerprint,
        "base": session.described_base,
        "timings": timings,
    }
    result = null_if_nan(result)
    curves = {name: history.equity for name, history in played.baselines.items()}
    frame = equity_frame(simulator, 0, market.delay, played.agents[chosen], curves)
    write_frame(folder / "equity.parquet", frame)
    write_json(folder / "result.json", result)
    write_report(folder, Extra(prices=closing_prices(simulator), samples=samples))
    return result


def made_by(session: Session) -> dict[str, Any]:
    """Provenance of an artifact: versions, device, commit and data."""
    sha256 = sha256_of(session.base)
    return tools() | {
        "data": {
            "source": session.config.data.chosen_source,
            "symbols": list(session.symbols),
            "bar": bar_name(session.candles.bar_ms),
            "fingerprint": session.candles.fingerprint,
            "synthetic": session.candles.synthetic,
            "cuts": [iso_second(session.candles.time[row]) for row in session.split.cuts],
            **({} if sha256 is None else {"base_sha256": sha256}),
        },
        "config_hash": config_hash(session.config, sha256),
    }


class CandlesTask:
    """Sharpe ratio on the validation span on the way; the test span, costs and a verdict at the end."""

    def __init__(self, session: Session):
        self.session = session
        self.tape = make_tape(session.params.market, session.split.val)

    @property
    def setup(self) -> Setup:
        """Configuration, environment parameters and learner."""
        return self.session

    @property
    def names(self) -> tuple[str, ...]:
        """Symbols; the default run folder is named after them."""
        return self.session.symbols

    @property
    def fingerprint(self) -> str:
        """Hash of the candles."""
        return self.session.candles.fingerprint

    @property
    def base_sha256(self) -> str | None:
        """SHA-256 of the file of own base positions, where there is one."""
        return sha256_of(self.session.base)

    def headline(self) -> list[str]:
        """Describes the candles and lists the anomalies found in them."""
        candles = self.session.candles
        days = len(candles.time) * candles.bar_ms / 86_400_000
        kind = "SYNTHETIC " if candles.synthetic else ""
        length = f"{len(candles.time):,} bars of {bar_name(candles.bar_ms)} ({days:,.0f} days)"
        found = [f"  {x['symbol']}: {x['kind']} ({x['count']}): {x['detail']}" for x in self.session.report.entries]
        return [f"{kind}{' '.join(self.session.symbols)}: {length}", *found, *idle_lines(self.session.described_base)]

    def origin(self) -> dict[str, Any]:
        """Versions, device, commit and data."""
        return made_by(self.session)

    def findings(self) -> dict[str, Any]:
        """The data report of the candles, for `data_report.json`."""
        return findings_of(self.session.candles, self.session.report) | {"base": self.session.described_base}

    def score(self, variables: dict) -> np.ndarray:
        """Annual Sharpe ratio of each seed on the validation span, (K,)."""
        params, year = self.session.params, self.session.candles.bars_per_year
        limits = Limits.of(params)
        steps, lanes = whole_span(self.tape, params.costs.rate)
        path = run_policy(self.session.learner.policy, steps, variables, self.tape, lanes, limits)
        return np.array([zero_if_nan(metrics.sharpe(r, year)) for r in np.asarray(path.returns)[..., 0]])

    def record(self, scores: np.ndarray) -> dict[str, Any]:
        """Mean and each."""
        return {"validation_sharpe": float(scores.mean()), "validation_sharpe_by_seed": scores.tolist()}

    def text(self, scores: np.ndarray, best: float) -> str:
        """Mean and best so far."""
        return f"validation Sharpe {scores.mean():+.2f}  best {best:+.2f}"

    def evaluate(self, state: Any, folder: Path, timings: dict[str, Any]) -> dict[str, Any]:
        """The best of each seed on the test span."""
        return evaluate_test_span(self.session, state.best, folder, timings)


def known_split(split: Split, base: Base, candles: Candles, market: MarketConfig, report: DataReport) -> Split:
    """The spans without the decisions before the base is known, one bar late too."""
    first = first_decision(base, candles, market, market.delay + 1)
    spans = {name: getattr(split, name) for name in ("train", "val", "test")}
    return Split(**where_known(spans, base, first, report), cuts=split.cuts)


def build_session(config: Config) -> Session:
    """Loads, checks, splits, aligns.

    Raises:
        InputError: flags or data do not fit; one line.
    """
    candles, report = checked(load_raw(config.data, config.source_options), config.data)
    split = split_rows(candles, config.data.split)
    base = load_base(config.market, candles.symbols, config.data.assume_utc)
    market = market_from(candles, config.market, config.market.delay, base)
    rows = decision_rows(split.train)  # of the whole span: whatever the base, the same constants
    scaling = fit_scaling(market.features, market.corr, rows)
    split = known_split(split, base, candles, config.market, report)
    constants = as_constants(scaling)
    terms = config.market.reward_terms
    params = make_params(
        to_device(market),
        split.train,
        episode_steps=config.ppo.episode_steps,
        commission_rate=config.market.commission_rate,
        slippage_bps=config.market.slippage_bps,
        max_position_pct=config.market.max_position_pct,
        max_gross=config.market.max_gross,
        min_trade=config.market.min_trade,
        ruin=config.market.ruin,
        reward_weights=tuple(terms.values()),
    )
    env = TradingEnv(len(candles.symbols), tuple(terms))
    learner = make_learner(config, env, config.market.cost > 0, 1.0)
    return Session(config, params, learner, constants, candles, report, split, market, base)
