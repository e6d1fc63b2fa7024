"""The end of a run: the test span, result.json, equity.parquet and the table."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from himari_jax import metrics
from himari_jax.candles import Candles
from himari_jax.errors import StorageError
from himari_jax.splits import Stretches, decision_rows
from train.baselines import BASELINES
from train.evaluate import Course
from train.folder import write_json
from train.judge import Played, judge, null_if_nan, zero_if_nan
from train.ledger import Trial, record_trials, sharpes_on
from train.provenance import bar_name, iso
from train.report import write_report
from train.report_run import Extra
from train.session import Best, Session
from train.stage import Cell, Stage, build_stage, play_baselines, play_policies
from train.stored import config_hash

BAR_TOP_CORRELATION = 0.9  # above which assets are hardly different ones


def judge_run(session: Session, best: Best, folder: Path, timings: dict[str, Any]) -> dict[str, Any]:
    """Plays the best parameters of each seed on the test span, on time and one bar later, and writes the result."""
    chosen = int(np.argmax(np.asarray(best.sharpe)))
    market = session.config.market
    stage = build_stage(session.candles, market, session.split.test, (market.delay, market.delay + 1))
    play = partial(play_policies, stage, session.learner.policy, best.variables, chosen)
    played = play_whole(stage, play, chosen, market.delay, market.cost)
    key = config_hash(session.config), session.candles.fingerprint, span_name(stage), bar_name(session.candles.bar_ms)
    trials = note_trials(folder.absolute().parent, key, session.seeds, played.agents)
    result, samples = judge(played, chosen, session.seeds, trials)
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
    frame = equity_frame(stage, 0, played.agents[chosen], {k: v.equity for k, v in played.baselines.items()})
    write_frame(folder / "equity.parquet", frame)
    write_json(folder / "result.json", result)
    write_report(folder, Extra(prices=closing_prices(stage), samples=samples))
    return result


Play = Callable[[Sequence[Cell], int], Iterator[tuple[int, list[tuple[int, Course]]]]]  # see play_policies


def play_whole(stage: Stage, play: Play, chosen: int, delay: int, rate: float) -> Played:
    """All policies on the whole span, the chosen one a bar later too, and the baselines beside them.

    Args:
        stage: with `delay` and `delay + 1` among its delays.
        play: plays the policies on cells, as `train.stage.play_policies` does.
        chosen: index of the policy that validation chose.
        delay: the run's own, bars.
        rate: the run's own cost.
    """
    cells = [Cell(0, delay, rate), Cell(0, delay + 1, rate)]
    found = {(k, index): course for k, played in play(cells, stage.num_rows) for index, course in played}
    agents = [found[k, 0] for k in range(len(found) // 2)]
    late = found[chosen, 1]
    return Played(
        agents=agents,
        late=late,
        baselines=play_baselines(stage, 0, delay, {rate: agents[chosen]}, BASELINES)[rate],
        late_baselines=play_baselines(stage, 0, delay + 1, {rate: late}, BASELINES)[rate],
        liquidated=liquidated(stage, 0, stage.num_rows),
        bars_per_year=stage.bars_per_year,
    )


def liquidated(stage: Stage, start: int, steps: int) -> np.ndarray:
    """Bars of a window after which everything is sold, (S,) bool."""
    end = np.array(stage.tape.last[start : start + steps])
    end[-1] = True
    return end


def closing_prices(stage: Stage) -> Any:
    """Closes at the decisions, as a polars frame with `time` and a column for each symbol."""
    import polars as pl

    prices = {symbol: stage.candles.close[stage.rows, n] for n, symbol in enumerate(stage.candles.symbols)}
    return pl.DataFrame({"time": decision_times(stage), **prices})


def decision_times(stage: Stage) -> Any:
    """When the decisions were made, a polars series (L,) of datetime[ms, UTC]."""
    import polars as pl

    closed = stage.candles.time[stage.rows] + stage.candles.bar_ms
    return pl.Series(closed.astype("datetime64[ms]")).dt.replace_time_zone("UTC")


def span_name(stage: Stage) -> str:
    """First and last decision, FROM/TO, as the ledger counts trials by."""
    (first, _), *_, (_, last) = ends(stage.candles, stage.span) * 2
    return f"{first}/{last}"


def note_trials(root: Path, key: tuple[str, str, str, str], seeds: list[int], agents: list[Course]) -> np.ndarray:
    """Enters every seed in the ledger; Sharpe ratios per bar of all that was ever tried on this span, (n,).

    Args:
        root: folder of the ledger.
        key: hash of the configuration, fingerprint, span, bar.
        seeds: numbers of the agents.
        agents: at the run's own cost and delay.
    """
    trials = [
        Trial(key[0], seed, *key[1:], zero_if_nan(metrics.sharpe(course.returns, 1.0)))
        for seed, course in zip(seeds, agents, strict=True)
    ]
    record_trials(root, trials)
    return sharpes_on(root, trials[0])


def ends(candles: Candles, span: Stretches) -> list[list[str]]:
    """First and last decision of each stretch."""
    close = candles.time + candles.bar_ms
    return [[iso(close[a]), iso(close[b - 1])] for a, b in span]


def equity_frame(stage: Stage, start: int, agent: Course, baselines: Mapping[str, np.ndarray]) -> Any:
    """Rows of equity.parquet: one for each decision of a window, as a polars frame.

    Args:
        stage: that was played on.
        start: position of the window.
        agent: its course.
        baselines: equity by name, (S,).
    """
    import polars as pl

    steps = len(agent.returns)
    held = {f"weight_{symbol}": agent.held[:, n] for n, symbol in enumerate(stage.candles.symbols)}
    curves = {f"baseline_{name}": curve for name, curve in baselines.items()}
    time = decision_times(stage)[start : start + steps]
    sold = liquidated(stage, start, steps)
    return pl.DataFrame({"time": time, **held, "equity": agent.equity, **curves, "liquidated": sold})


def write_frame(path: Path, frame: Any) -> None:
    """Writes a Parquet file at once or not at all.

    Raises:
        StorageError: it could not be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        frame.write_parquet(part, compression="zstd")
        part.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: {error}; make room or fix the permission") from error


def correlation_advice(candles: Candles, span: Stretches) -> list[str]:
    """A line where the assets move as one over a span."""
    if len(candles.symbols) < 2:
        return []
    moves = np.diff(np.log(candles.close), axis=0)[decision_rows(span) - 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        matrix = np.nan_to_num(np.corrcoef(moves.T))
    pairs = [(i, j) for i in range(len(matrix)) for j in range(i) if matrix[i, j] > BAR_TOP_CORRELATION]
    names = [f"{candles.symbols[j]} and {candles.symbols[i]} ({matrix[i, j]:.2f})" for i, j in pairs]
    return [f"hardly different assets: {', '.join(names)}; others would diversify"] if names else []
