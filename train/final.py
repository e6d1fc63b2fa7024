"""The end of a run: the test span, result.json, equity.parquet and the table."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.market import Market, build_market, to_device
from envs.portfolio import Costs
from himari_jax import metrics
from himari_jax.errors import StorageError
from himari_jax.splits import Stretches, decision_rows
from train.baselines import BASELINES, Setting, all_orders
from train.evaluate import Path as Course
from train.evaluate import make_tape, member, run_policy, run_weights
from train.folder import write_json
from train.judge import Played, judge, null_if_nan, zero_if_nan
from train.ledger import Trial, record_trials, sharpes_on
from train.provenance import bar_name, iso
from train.report import Extra, write_report
from train.session import Best, Session
from train.stored import config_hash

BAR_TOP_CORRELATION = 0.9  # above which assets are hardly different ones


def judge_run(session: Session, best: Best, folder: Path, timings: dict[str, Any]) -> dict[str, Any]:
    """Plays the best parameters of each seed on the test span, on time and one bar later, and writes the result."""
    chosen = int(np.argmax(np.asarray(best.sharpe)))
    delay = session.config.market.delay
    agents, baselines = play(session, best.variables, delay, chosen)
    one = jax.tree.map(lambda x: x[chosen : chosen + 1], best.variables)
    late, late_baselines = play(session, one, delay + 1, 0)
    tape = make_tape(session.market, session.split.test)
    played = Played(agents, late[0], baselines, late_baselines, np.asarray(tape.last), session.candles.bars_per_year)
    trials = note_trials(session, agents, folder.absolute().parent)
    result, samples = judge(played, chosen, session.seeds, trials)
    result["advice"] += correlation_advice(session)
    result |= {
        "symbols": list(session.symbols),
        "policy": session.config.policy.policy,
        "synthetic": session.candles.synthetic,
        "best_update": np.asarray(best.update).tolist(),
        "validation_sharpe": np.asarray(best.sharpe, np.float64).tolist(),
        "spans": spans(session),
        "fingerprint": session.candles.fingerprint,
        "timings": timings,
    }
    result = null_if_nan(result)
    write_equity(folder / "equity.parquet", session, agents[chosen], baselines, played.liquidated)
    write_json(folder / "result.json", result)
    write_report(folder, Extra(prices=closing_prices(session), samples=samples))
    return result


def closing_prices(session: Session) -> Any:
    """Closes at the decisions of the test span, as a polars frame with `time` and a column for each symbol."""
    import polars as pl

    rows = decision_rows(session.split.test)
    prices = {symbol: session.candles.close[rows, n] for n, symbol in enumerate(session.symbols)}
    return pl.DataFrame({"time": decision_times(session), **prices})


def decision_times(session: Session) -> Any:
    """When the decisions of the test span were made, a polars series (L,) of datetime[ms, UTC]."""
    import polars as pl

    closed = session.candles.time[decision_rows(session.split.test)] + session.candles.bar_ms
    return pl.Series(closed.astype("datetime64[ms]")).dt.replace_time_zone("UTC")


def note_trials(session: Session, agents: list[Course], root: Path) -> np.ndarray:
    """Enters every seed in the ledger; Sharpe ratios per bar of all that was ever tried on this span, (n,)."""
    (first, _), *_, (_, last) = spans(session)["test"] * 2
    key = config_hash(session.config), session.candles.fingerprint, f"{first}/{last}", bar_name(session.candles.bar_ms)
    trials = [
        Trial(key[0], seed, *key[1:], zero_if_nan(metrics.sharpe(path.returns, 1.0)))
        for seed, path in zip(session.seeds, agents, strict=True)
    ]
    record_trials(root, trials)
    return sharpes_on(root, trials[0])


def play(session: Session, variables: dict, delay: int, chosen: int) -> tuple[list[Course], dict[str, Course]]:
    """Agents by seed and baselines by name on the test span, at a delay; `chosen` is the seed to compare with."""
    market = market_at(session, delay)
    test, candles = session.split.test, session.candles
    tape = make_tape(to_device(market), test)
    params = session.params.replace(ruin=jnp.zeros(()), market=None)
    path = run_policy(session.learner.policy, variables, tape, params)
    agents = [member(path, k) for k in range(path.held.shape[0])]
    agent = agents[chosen]
    setting = Setting(
        candles,
        market.tradable,
        test,
        session.config.market.base_sizing,
        session.rules,
        delay,
        mean_weights=np.asarray(agent.held, np.float64).mean(0),
        traded=float(np.abs(agent.delta).sum(1).mean()),
    )
    orders = all_orders(setting)
    costs = Costs(*(jnp.asarray(x) for x in params.costs))
    path = run_weights(jnp.asarray(orders.target, jnp.float32), jnp.asarray(orders.trade), tape, costs)
    return agents, {name: member(path, k) for k, name in enumerate(BASELINES)}


def market_at(session: Session, delay: int) -> Market:
    """The market as a policy that is `delay` bars late sees it."""
    market = session.config.market
    if delay == market.delay:
        return session.market
    return build_market(session.candles, market.base_sizing, session.rules, market.fill, delay)


def spans(session: Session) -> dict[str, list[list[str]]]:
    """First and last decision of each stretch, by span."""

    def ends(span: Stretches) -> list[list[str]]:
        close = session.candles.time + session.candles.bar_ms
        return [[iso(close[a]), iso(close[b - 1])] for a, b in span]

    return {name: ends(getattr(session.split, name)) for name in ("train", "val", "test")}


def write_equity(
    path: Path, session: Session, agent: Course, baselines: dict[str, Course], liquidated: np.ndarray
) -> None:
    """equity.parquet: a row for each decision of the test span.

    Raises:
        StorageError: it could not be written.
    """
    import polars as pl

    held = {f"weight_{symbol}": agent.held[:, n] for n, symbol in enumerate(session.symbols)}
    curves = {f"baseline_{name}": equity(course) for name, course in baselines.items()}
    times = {"time": decision_times(session)}
    frame = pl.DataFrame({**times, **held, "equity": equity(agent), **curves, "liquidated": liquidated})
    part = path.with_name(path.name + ".part")
    try:
        frame.write_parquet(part, compression="zstd")
        part.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: {error}; make room or fix the permission") from error


def equity(course: Course) -> np.ndarray:
    """Equity at each mark, 1.0 before the first, (L,) float64."""
    return np.exp(np.cumsum(np.asarray(course.log_return, np.float64)))


def correlation_advice(session: Session) -> list[str]:
    """A line where the assets move as one, on the training span."""
    if len(session.symbols) < 2:
        return []
    rows = np.concatenate([np.arange(a, b) for a, b in session.split.train])
    moves = np.diff(np.log(session.candles.close), axis=0)[rows - 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        matrix = np.nan_to_num(np.corrcoef(moves.T))
    pairs = [(i, j) for i in range(len(matrix)) for j in range(i) if matrix[i, j] > BAR_TOP_CORRELATION]
    names = [f"{session.symbols[j]} and {session.symbols[i]} ({matrix[i, j]:.2f})" for i, j in pairs]
    return [f"hardly different assets: {', '.join(names)}; others would diversify"] if names else []
