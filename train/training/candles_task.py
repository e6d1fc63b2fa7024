"""Training on candles: scored by Sharpe on validation, evaluated on the test span at the end."""

import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from himari_jax.splits import count_rows
from himari_jax.statistics import metrics
from himari_jax.times import bar_name, iso_second
from train.artifacts.feature_files import describe_features
from train.artifacts.files import null_if_nan, write_frame, write_json
from train.artifacts.metrics_file import read_metrics
from train.artifacts.provenance import findings_of, tools
from train.data.base import idle_lines, sha256_of
from train.evaluation.by_symbol import by_symbol
from train.evaluation.ledger import open_ledger
from train.evaluation.rivals import best_rule
from train.evaluation.summary import correlation_advice, summarize
from train.evaluation.trials import evaluated_on, note_trials
from train.learning.population import without_episodes
from train.learning.setup import Best, Setup
from train.reporting.learning_curves import summarize_curve
from train.reporting.report import write_report
from train.reporting.run_files import Extra
from train.reporting.stages import Stages, peak_memory_mb
from train.simulation.engine import Limits, make_lanes, run_policy
from train.simulation.frames import closing_prices, equity_frame
from train.simulation.placement import place_policies
from train.simulation.play import play_policies, play_whole, rule_histories
from train.simulation.simulator import Simulator
from train.simulation.windows import pool_mean
from train.training.nulls import doubt
from train.training.permutations import permute_run
from train.training.session import Session


def evaluate_test_span(
    session: Session, validation: Simulator, best: Best, folder: Path, timings: dict[str, Any]
) -> dict[str, Any]:
    """Plays the best parameters of each seed on the test span, on time and one bar later, and writes the result.

    Args:
        session: of the training.
        validation: simulator of the validation span, on which the best rule is chosen.
        best: parameters of each seed.
        folder: the run.
        timings: go into the result.
    """
    chosen = int(np.argmax(np.asarray(best.sharpe)))
    market, candles = session.config.market, session.candles
    simulator = session.simulator("test", (market.delay, market.delay + 1))
    stages = Stages(f"evaluating {simulator.num_rows:,} decisions")
    with stages.stage("choosing the best rule on validation"):
        rule = best_rule(rule_histories(validation, market.delay, market.cost), validation.bars_per_year)
    with stages.stage("playing the policy and the baselines"):
        play = partial(play_policies, simulator, session.learner.policy, best.variables, chosen)
        played = play_whole(simulator, play, chosen, market.delay, market.cost)
    ledger = open_ledger(session.config.run.ledger or folder.absolute().parent)
    evaluated = evaluated_on(simulator, folder.absolute().name, session.config_hash)
    returns = [history.returns for history in played.agents]
    trials = note_trials(ledger, evaluated, session.seeds, returns, played.baselines["base"].returns, chosen)
    permutations = permute_run(session, simulator, played.agents[chosen], folder)
    with stages.stage("intervals by bootstrap"):
        worthwhile = session.config.run.worthwhile
        result, samples = summarize(
            played, chosen, session.seeds, trials, doubts=doubt(permutations), worthwhile=worthwhile, rule=rule
        )
    if permutations is not None:
        result["permutations"] = permutations
    if simulator.is_pool:
        result["by_symbol"] = by_symbol(played, chosen)
    else:
        result["advice"] += correlation_advice(candles, session.parts[0].split.train)
    result |= facts_of(session, simulator, best, chosen, folder)
    with stages.stage("writing equity.parquet"):
        curves = {name: history.bar_equity for name, history in played.baselines.items()}
        write_frame(folder / "equity.parquet", equity_frame(simulator, 0, market.delay, played.agents[chosen], curves))
    result = null_if_nan(result | {"timings": timings | {"judge_seconds": stages.seconds}})
    with stages.stage("writing the report"):
        return finish_result(folder, result, Extra(prices=closing_prices(simulator), samples=samples))


def facts_of(session: Session, simulator: Simulator, best: Best, chosen: int, folder: Path) -> dict[str, Any]:
    """Collects the facts of a run that its result holds beside the numbers of the test span."""
    taken, sharpes = (np.asarray(x).tolist() for x in (best.update, best.sharpe))
    return {
        "symbols": list(simulator.symbols),
        "policy": session.config.policy.policy,
        "synthetic": session.candles.synthetic,
        "best_update": taken,
        "validation_sharpe": sharpes,
        "course": summarize_curve(read_metrics(folder), taken, chosen, session.config.wanted_steps),
        "spans": session.spans(),
        "fingerprint": session.candles.fingerprint,
        "base": session.described_base,
    }


def finish_result(folder: Path, result: dict[str, Any], extra: Extra) -> dict[str, Any]:
    """Writes result.json and the report, then result.json again with what the report took.

    Args:
        folder: of the run.
        result: numbers of the test span, with `timings`.
        extra: further inputs of the report.
    """
    write_json(folder / "result.json", result)
    began = time.perf_counter()
    write_report(folder, extra)
    taken = {"report_seconds": time.perf_counter() - began, "peak_memory_mb": peak_memory_mb()}
    result = result | {"timings": result["timings"] | taken}
    write_json(folder / "result.json", result)
    return result


def made_by(session: Session) -> dict[str, Any]:
    """Collects the provenance of an artifact: versions, device, commit and data."""
    sha256, risk = sha256_of(session.base), session.risk_aversion
    return tools() | {
        "data": {
            "source": session.config.data.chosen_source,
            "symbols": list(session.symbols),
            "bar": bar_name(session.candles.bar_ms),
            "fingerprint": session.candles.fingerprint,
            "synthetic": session.candles.synthetic,
            "source_kind": session.candles.kind or None,
            "cuts": [iso_second(cut) for cut in session.cuts],
            **({} if sha256 is None else {"base_sha256": sha256}),
            **({} if risk is None else {"risk_aversion": risk}),
            "features": describe_features(session.features),
        },
        "config_hash": session.config_hash,
    }


class CandlesTask:
    """Training on candles: Sharpe ratio on validation as the score; test span and verdict at the end."""

    def __init__(self, session: Session):
        self.session = session
        self.validation = session.simulator("val", (session.config.market.delay,))
        self.rate = jax.device_get(without_episodes(session.params)).costs.rate  # (), share of the traded value

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
        return self.session.fingerprint

    @property
    def base_sha256(self) -> str | None:
        """SHA-256 of the file of own base positions; None without one."""
        return sha256_of(self.session.base)

    def headline(self) -> list[str]:
        """Describes the candles and lists the anomalies found in them."""
        session, candles = self.session, self.session.candles
        kind = "SYNTHETIC " if candles.synthetic else ""
        length = f"{len(candles.time):,} bars of {bar_name(candles.bar_ms)} ({candles.days:,.0f} days)"
        found = [f"  {x['symbol']}: {x['kind']} ({x['count']}): {x['detail']}" for x in session.report.entries]
        return [
            f"{kind}{' '.join(session.symbols)}: {length}",
            *found,
            *pool_lines(session),
            *reward_lines(session),
            *idle_lines(session.described_base),
        ]

    def origin(self) -> dict[str, Any]:
        """Collects versions, device, commit and data."""
        return made_by(self.session)

    def findings(self) -> dict[str, Any]:
        """Returns the data report of the candles, for `data_report.json`."""
        return findings_of(self.session.candles, self.session.report) | {"base": self.session.described_base}

    def score(self, variables: dict) -> np.ndarray:
        """Computes the annual Sharpe ratio of each seed on the validation span, (K,)."""
        simulator, rate = self.validation, self.rate
        accounts = len(simulator.members)
        lanes = make_lanes([simulator.positions(a).start for a in range(accounts)], [0] * accounts, [rate] * accounts)
        steps, limits = simulator.num_rows, Limits.of(self.session.params)
        where = place_policies(variables, steps, accounts, self.session.config.run.num_seeds)
        inputs = where.put(variables), simulator.tape_at(where), lanes, limits
        path = run_policy(self.session.learner.policy, steps, *inputs, form=where.form)
        whole = pool_mean(np.asarray(path.returns), simulator.active.T)
        return np.array([metrics.sharpe_or_zero(r, simulator.bars_per_year) for r in whole])

    def record(self, scores: np.ndarray) -> dict[str, Any]:
        """Names mean and values for `metrics.jsonl`."""
        return {"validation_sharpe": float(scores.mean()), "validation_sharpe_by_seed": scores.tolist()}

    def text(self, scores: np.ndarray, best: float) -> str:
        """Words mean and best so far."""
        return f"validation Sharpe {scores.mean():+.2f}  best {best:+.2f}"

    def evaluate(self, state: Any, folder: Path, timings: dict[str, Any]) -> dict[str, Any]:
        """Evaluates the best of each seed on the test span."""
        return evaluate_test_span(self.session, self.validation, state.best, folder, timings)


def pool_lines(session: Session) -> list[str]:
    """Words the number of decisions of each symbol of a pool in each span."""
    if not session.config.data.pool:
        return []
    lines = []
    for part in session.parts:
        counts = ", ".join(f"{count_rows(span):,} in {name}" for name, span in part.split.spans.items())
        lines.append(f"  {part.candles.symbols[0]}: decisions: {counts}")
    return lines


def reward_lines(session: Session) -> list[str]:
    """Words the weight that volatility=auto has become; empty without it."""
    risk = session.risk_aversion
    return [] if risk is None else [f"  reward: volatility={risk:.4g}, by which multiplier 1 is the best constant"]
