"""Training on candles: Sharpe on validation on the way, the test span at the end."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from envs.market import Market, build_market, to_device
from envs.state import EnvParams
from envs.trading import TradingEnv, make_params
from himari_jax import metrics
from himari_jax.candles import Candles, DataReport
from himari_jax.feature_audit import audit_features
from himari_jax.features import Features
from himari_jax.metrics import zero_if_nan
from himari_jax.policies.policy import as_constants, fit_scaling
from himari_jax.sizing import SizingRules
from himari_jax.splits import Split, decision_rows, split_rows
from himari_jax.times import bar_name, iso_second
from train.artifacts.feature_files import describe_features, find_features
from train.artifacts.files import null_if_nan, write_frame, write_json
from train.artifacts.provenance import findings_of, tools
from train.config.ppo import Config
from train.config.serialize import config_hash
from train.data.loading import checked, load_raw
from train.data.market import sizing_rules
from train.evaluation.summary import correlation_advice, summarize
from train.evaluation.trials import note_trials
from train.learning.setup import Best, Setup, make_learner
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
    features: Features  # what is seen of it

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols in the order of the observation."""
        return self.candles.symbols

    @property
    def config_hash(self) -> str:
        """What counts as one configuration."""
        return config_hash(self.config, self.features.marks)

    @property
    def files(self) -> dict[str, bytes]:
        """The user's own features, by the name of the file."""
        return self.features.files

    @property
    def rules(self) -> SizingRules:
        """Caps and parameters of the base sizing."""
        return sizing_rules(self.config.market)


def evaluate_test_span(session: Session, best: Best, folder: Path, timings: dict[str, Any]) -> dict[str, Any]:
    """Plays the best parameters of each seed on the test span, on time and one bar later, and writes the result."""
    chosen = int(np.argmax(np.asarray(best.sharpe)))
    market = session.config.market
    delays = (market.delay, market.delay + 1)
    stage = build_simulator(session.candles, market, session.split.test, delays, features=session.features)
    play = partial(play_policies, stage, session.learner.policy, best.variables, chosen)
    played = play_whole(stage, play, chosen, market.delay, market.cost)
    key = session.config_hash, session.candles.fingerprint, span_name(stage), bar_name(session.candles.bar_ms)
    trials = note_trials(folder.absolute().parent, key, session.seeds, played.agents)
    result, samples = summarize(played, chosen, session.seeds, trials)
    result["advice"] += correlation_advice(session.candles, session.split.train)
    result |= {
        "symbols": list(session.symbols),
        "policy": session.config.policy.policy,
        "synthetic": session.candles.synthetic,
        "best_update": np.asarray(best.update).tolist(),
        "validation_sharpe": np.asarray(best.sharpe, np.float64).tolist(),
        "spans": {name: ends(session.candles, getattr(session.split, name)) for name in ("train", "val", "test")},
        "fingerprint": session.candles.fingerprint,
        "timings": timings,
    }
    result = null_if_nan(result)
    curves = {name: history.equity for name, history in played.baselines.items()}
    frame = equity_frame(stage, 0, market.delay, played.agents[chosen], curves)
    write_frame(folder / "equity.parquet", frame)
    write_json(folder / "result.json", result)
    write_report(folder, Extra(prices=closing_prices(stage), samples=samples))
    return result


def made_by(session: Session) -> dict[str, Any]:
    """Versions, device, commit and data: what says where an artifact comes from."""
    return tools() | {
        "data": {
            "source": session.config.data.chosen_source,
            "symbols": list(session.symbols),
            "bar": bar_name(session.candles.bar_ms),
            "fingerprint": session.candles.fingerprint,
            "synthetic": session.candles.synthetic,
            "cuts": [iso_second(session.candles.time[row]) for row in session.split.cuts],
            "features": describe_features(session.features),
        },
        "config_hash": session.config_hash,
    }


class CandlesTask:
    """Sharpe ratio on the validation span on the way; the test span, costs and a verdict at the end."""

    def __init__(self, session: Session):
        self.session = session
        self.tape = make_tape(session.params.market, session.split.val)

    @property
    def setup(self) -> Setup:
        """What learning needs."""
        return self.session

    @property
    def names(self) -> tuple[str, ...]:
        """What the run folder is named after."""
        return self.session.symbols

    @property
    def fingerprint(self) -> str:
        """Hash of the candles."""
        return self.session.candles.fingerprint

    def headline(self) -> list[str]:
        """Candles, and what was found in them."""
        candles = self.session.candles
        days = len(candles.time) * candles.bar_ms / 86_400_000
        kind = "SYNTHETIC " if candles.synthetic else ""
        length = f"{len(candles.time):,} bars of {bar_name(candles.bar_ms)} ({days:,.0f} days)"
        found = [f"  {x['symbol']}: {x['kind']} ({x['count']}): {x['detail']}" for x in self.session.report.entries]
        return [f"{kind}{' '.join(self.session.symbols)}: {length}", *found]

    def origin(self) -> dict[str, Any]:
        """Versions, device, commit and data."""
        return made_by(self.session)

    def findings(self) -> dict[str, Any]:
        """What was found in the candles."""
        return findings_of(self.session.candles, self.session.report)

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


def build_session(config: Config, resumed: Path | None = None) -> Session:
    """Loads, checks, splits, aligns.

    Args:
        config: flags.
        resumed: the folder of a run that goes on with its own copies of the user's features.

    Raises:
        InputError: flags or data do not fit; one line.
    """
    candles, report = checked(load_raw(config.data, config.source_options), config.data)
    features = find_features(config.market.features, candles, resumed)
    split = split_rows(candles, config.data.split, features.lookback(candles.bar_ms))
    audit_features(features, candles)
    rules, account = sizing_rules(config.market), config.market
    market = build_market(candles, account.base_sizing, rules, account.fill, account.delay, features=features)
    rows = decision_rows(split.train)
    scaling = fit_scaling(market.features, market.corr, rows)
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
    return Session(config, params, learner, constants, candles, report, split, market, features)
