"""A walk-forward test from its flags to its last line."""

import contextlib
import dataclasses
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import jax
import numpy as np

from himari_jax.errors import InputError, NumericalError
from himari_jax.times import iso_second
from train.artifacts.feature_files import refuse_other_files
from train.artifacts.files import null_if_nan, write_bytes, write_frame, write_json
from train.artifacts.run_folder import FAILED, claim, default_folder, describe, lock, read_result
from train.data.base import sha256_of
from train.evaluation.by_symbol import by_symbol
from train.evaluation.ledger import open_ledger
from train.evaluation.rivals import best_rule
from train.evaluation.summary import correlation_advice, summarize
from train.evaluation.trials import evaluated_on, note_trials
from train.reporting.console import console, print_lines
from train.reporting.report import write_report
from train.reporting.run_files import Extra
from train.reporting.stages import Stages
from train.reporting.walk_forward.console import print_walk_forward
from train.simulation.frames import closing_prices, equity_frame
from train.simulation.play import rule_histories
from train.studies.walk_forward.flags import WalkForward, differences, read_stored
from train.studies.walk_forward.nulls import Nulls, late_ms
from train.studies.walk_forward.result import describe_blocks, describe_seeds, describe_trend
from train.studies.walk_forward.track import Walk, make_walk
from train.training.batches import Totals
from train.training.candles_task import CandlesTask, made_by
from train.training.kept import Trained
from train.training.nulls import doubt, is_tested, refuse_long_shift, refuse_positions
from train.training.population import train_population
from train.training.progress import ProgressBar
from train.training.session import Prepared, Session, prepare
from train.training.signals import StopSignals, go_on

MEMBERS = "members"  # folder of the finished trainings in the run folder


def walk_forward(flags: WalkForward, resumed: Path | None = None) -> int:
    """Trains, evaluates and prints the result; 0 when done.

    Args:
        flags: checked.
        resumed: the folder that `--resume` found.
    """
    begun, base = time.perf_counter(), flags.base
    refuse_positions(base.market, base.run.permutations)
    prepared = prepare(base, resumed)
    walk = make_walk(flags, prepared)
    for shift in flags.walk.shifts:
        refuse_long_shift(shift, late_ms(walk, shift), prepared)
    session = walk.sessions[0]
    folder = resumed or Path(base.run.run_dir or default_folder(f"walk-{base.policy.policy}", session.symbols))
    earlier = open_folder(folder, flags, session)
    if earlier is not None:
        print_walk_forward(earlier, base.market.initial_capital, folder)
        return 0
    with contextlib.ExitStack() as held:
        held.enter_context(lock(folder))
        line = f"stopped; finished trainings are kept in {folder}; {go_on(folder, 'train.walk_forward')}"
        signals = held.enter_context(StopSignals(line))
        write_headers(folder, flags, walk)
        print_lines(console(), [*CandlesTask(session).headline(), plan(walk)])
        print(f"run folder: {folder}")
        totals, data_seconds = Totals(), time.perf_counter() - begun
        trained = train(walk, folder, totals, signals)
        result = evaluate_track(walk, trained, prepared, folder, totals, signals)
        result["timings"] |= {"data_seconds": data_seconds, "seconds": time.perf_counter() - begun}
        result = null_if_nan(result)
        write_json(folder / "result.json", result)
        print_walk_forward(result, base.market.initial_capital, folder)
    return 0


def open_folder(folder: Path, flags: WalkForward, session: Session) -> dict[str, Any] | None:
    """Claims the run folder; the result there, where it is finished.

    Raises:
        InputError: something else, or a test with other flags, candles or files, is there.
    """
    begun = (folder / "config.json").exists() and not flags.base.run.fresh
    if begun and (changed := differences(read_stored(folder), flags)):
        raise InputError(
            f"--run-dir {folder}: the test there was started with other flags ({'; '.join(changed)}); use those or "
            "another --run-dir"
        )
    refuse_other_files(folder, session.files)
    claim(folder, flags.base, session.fingerprint, sha256_of(session.base), checkpoints=False)
    if flags.base.run.ledger is not None:
        open_ledger(flags.base.run.ledger).check()  # before hours are spent
    found = read_result(folder)
    return found if found is not None and is_tested(found["walk_forward"]["permutations"], flags.base.run) else None


def write_headers(folder: Path, flags: WalkForward, walk: Walk) -> None:
    """Writes config.json, data_report.json and the user's own files."""
    session = walk.sessions[0]
    stored = describe(flags.base, made_by(session)) | {"walk_forward": dataclasses.asdict(flags.walk)}
    (folder / FAILED).unlink(missing_ok=True)
    write_json(folder / "config.json", stored)
    write_json(folder / "data_report.json", CandlesTask(session).findings())
    for name, content in session.files.items():
        write_bytes(folder / name, content)


def plan(walk: Walk) -> str:
    """Summarizes what will be trained, in a line."""
    config, blocks, seeds = walk.config, len(walk.blocks), len(walk.seeds)
    members = len(walk.members)
    session = walk.sessions[0]
    steps = config.total_updates * config.steps_per_update
    device = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    return (
        f"{config.policy.policy}, {session.width} numbers in, {session.learner.env.num_assets} out; {blocks} test "
        f"blocks x {seeds} seeds = {members} trainings of {steps:,} steps; on {device}"
    )


def train(walk: Walk, folder: Path, totals: Totals, signals: StopSignals) -> list[Trained]:
    """Trains the policies of all blocks."""
    members = walk.members
    print("training ...", flush=True)
    with ProgressBar(len(members), 0) as bar:
        progress = partial(bar.report, "trained")
        spread = {"batch": walk.settings.batch_size, "devices": walk.devices}
        trained = train_population(
            members, folder / MEMBERS, **spread, totals=totals, progress=progress, signals=signals
        )
    report_failures(walk, trained, folder)
    return trained


def report_failures(walk: Walk, trained: Sequence[Trained], folder: Path) -> None:
    """Warns of trainings that had to be given up, whose best policy before that is evaluated.

    Args:
        walk: the test.
        trained: of the members, in their order.
        folder: of the run; is marked where the test cannot go on.

    Raises:
        NumericalError: nothing was evaluated before.
    """
    for (block, seed), each in zip(product(walk.blocks, walk.seeds), trained, strict=True):
        if not each.failed:
            continue
        which = f"test block from {iso_second(block.test)[:10]} on, seed {seed}: the numbers went bad"
        if not np.isfinite(each.sharpe):
            write_json(folder / FAILED, {"block": iso_second(block.test), "seed": seed})
            raise NumericalError(
                f"{which} before the first evaluation: try --learning-rate 1e-4 or a lower --max-grad-norm"
            )
        print(f"warning: {which}; evaluated is its policy of update {each.update}", file=sys.stderr)


def evaluate_track(
    walk: Walk, trained: Sequence[Trained], prepared: Prepared, folder: Path, totals: Totals, signals: StopSignals
) -> dict[str, Any]:
    """Plays the track, tests it, writes result.json, equity.parquet and the report; returns the result.

    Args:
        walk: the test.
        trained: of the members, in their order.
        prepared: its candles.
        folder: of the run.
        totals: what is trained is added to it.
        signals: are asked between trainings whether to stop.
    """
    config, session, simulator = walk.config, walk.sessions[0], walk.simulator
    stages = Stages(f"evaluating {simulator.num_rows:,} decisions")
    with stages.stage("playing the policies and the baselines"):
        played = walk.histories(walk.ensemble(trained))
    ledger = open_ledger(config.run.ledger or folder.absolute().parent)
    evaluated = evaluated_on(simulator, folder.absolute().name, hash_of(walk))
    agent = played.agents[0]
    trials = note_trials(ledger, evaluated, [config.run.seed], [agent.returns], played.baselines["base"].returns)
    with stages.stage("choosing the best rule on validation"):
        rule = best_rule(rule_histories(session.validation, walk.delay, walk.cost), simulator.bars_per_year)
    placebos, permutations = run_nulls(Nulls(walk, prepared, folder, totals, signals), walk.gain_of(agent).difference)
    doubts, worthwhile = doubt(permutations), config.run.worthwhile
    seeds = [config.run.seed]
    with stages.stage("intervals by bootstrap"):
        result, samples = summarize(played, 0, seeds, trials, doubts=doubts, worthwhile=worthwhile, rule=rule)
    if simulator.is_pool:
        result["by_symbol"] = by_symbol(played, 0)
    else:
        result["advice"] += correlation_advice(session.candles, session.parts[0].split.train)
    result["walk_forward"] = {
        **{name: getattr(walk.settings, name) for name in ("test", "window", "validation", "ensemble")},
        "embargo_bars": embargo_bars(walk),
        "blocks": describe_blocks(walk, played, trained),
        "seeds": describe_seeds(walk, trained),
        **describe_trend(walk, played, result["rules"]),
        "placebo": placebos,
        "permutations": permutations,
        "members": len(walk.members),
        "timings": totals.record(),
    }
    result |= describe_walk(walk) | {
        "timings": {"device": jax.devices()[0].device_kind, "updates": config.total_updates, **totals.record()}
    }
    curves = {name: history.bar_equity for name, history in played.baselines.items()}
    write_frame(folder / "equity.parquet", equity_frame(simulator, 0, walk.delay, agent, curves))
    result = null_if_nan(result)
    write_json(folder / "result.json", result)
    with stages.stage("writing the report"):
        write_report(folder, Extra(prices=closing_prices(simulator), samples=np.asarray(samples)))
    return result


def run_nulls(nulls: Nulls, value: float) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Runs placebos and permutation test, with their progress on the console.

    Args:
        nulls: of the test.
        value: of the real candles, Sharpe minus that of the constant.
    """
    placebos = nulls.placebos(lambda text: print(text, flush=True))
    with ProgressBar(max(nulls.walk.config.run.permutations, 1), 0) as bar:

        def progress(done: int, number: int, text: str) -> None:
            bar.report("permuted markets", done, number, text)

        return placebos, nulls.permutations(value, progress)


def describe_walk(walk: Walk) -> dict[str, Any]:
    """Describes symbols, policy, spans, candles and base of a test, as result.json holds them."""
    session = walk.sessions[0]
    return {
        "symbols": list(walk.simulator.symbols),
        "policy": walk.config.policy.policy,
        "synthetic": session.candles.synthetic,
        "spans": session.spans(),
        "fingerprint": session.fingerprint,
        "base": session.described_base,
    }


def embargo_bars(walk: Walk) -> int:
    """Counts the bars that are left out before each cut."""
    candles, block = walk.sessions[0].candles, walk.blocks[0]
    first, last = np.searchsorted(candles.time, (block.cuts[1], block.test))
    return int(last - first)


def hash_of(walk: Walk) -> str:
    """Computes the hash that identifies the test in the trial ledger."""
    kept = {name: value for name, value in dataclasses.asdict(walk.settings).items() if name != "batch_size"}
    kept = {name: value for name, value in kept.items() if name != "placebo"} | {"seeds": len(walk.seeds)}
    first = walk.sessions[0].config_hash
    return hashlib.sha256(f"{first} {json.dumps(kept, sort_keys=True)}".encode()).hexdigest()
