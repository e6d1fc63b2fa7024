"""The permutation test of a run: everything is trained anew on candles with permuted bars."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from himari_jax.statistics import metrics
from train.config.market import MarketConfig
from train.config.run import RunConfig
from train.simulation.history import AccountHistory
from train.simulation.play import Cell, constant_returns, play_policies, single_history
from train.simulation.simulator import Simulator
from train.training.batches import CPU_BATCH, Member, Totals
from train.training.nulls import Results, permutation_block, permuted
from train.training.population import train_population
from train.training.progress import ProgressBar
from train.training.session import Prepared, Session, session_of
from train.training.signals import StopSignals, go_on

MEMBERS = 512  # that an accelerator trains at once, several null markets together
FILE = "nulls.jsonl"  # in the run folder

Progress = Callable[[int, int, str], None]  # markets done, markets in all, a line


class Gain(NamedTuple):
    """Returns of a policy on a whole span, and of the constant multiplier of the same mean exposure."""

    returns: np.ndarray  # (S,) of the policy
    constant: np.ndarray  # (S,)
    bars_per_year: float

    @property
    def sharpe(self) -> float:
        """Annual Sharpe ratio of the policy."""
        return metrics.sharpe_or_zero(self.returns, self.bars_per_year)

    @property
    def difference(self) -> float:
        """Its annual Sharpe ratio minus that of the constant."""
        return self.sharpe - metrics.sharpe_or_zero(self.constant, self.bars_per_year)


def permutation_test(
    run: RunConfig,
    results: Results,
    value: float,
    at_once: int,
    measure: Callable[[Sequence[int]], Sequence[Gain]],
    progress: Progress,
) -> dict[str, Any] | None:
    """Measures the null markets that are not yet known, and compares; None without --permutations.

    Args:
        run: flags.
        results: of the null markets; is added to.
        value: of the real candles, Sharpe minus that of the constant multiplier of the same mean exposure.
        at_once: null markets that are trained together.
        measure: trains anew on the draws with these numbers.
        progress: called with markets done, markets in all, a line.
    """
    if not run.permutations:
        return None
    known = [each for each in results.read() if each.get("kind") == run.permute]
    done = {int(each["draw"]): float(each["difference"]) for each in known}
    wanted = [draw for draw in range(run.permutations) if draw not in done]
    for first in range(0, len(wanted), at_once):
        draws = wanted[first : first + at_once]
        for draw, gain in zip(draws, measure(draws), strict=True):
            done[draw] = gain.difference
            results.add({"kind": run.permute, "draw": draw, "sharpe": gain.sharpe, "difference": gain.difference})
        progress(run.permutations - len(wanted) + first + len(draws), run.permutations, "")
    return permutation_block(run.permute, value, np.array([done[draw] for draw in range(run.permutations)]))


def markets_at_once(members: int, batch: int | None = None) -> int:
    """Returns the number of null markets whose trainings fill a device.

    Args:
        members: trainings of each.
        batch: members that train at once; None: many on an accelerator, few on each core of a CPU.
    """
    usual = MEMBERS if jax.default_backend() != "cpu" else CPU_BATCH * jax.device_count()
    return max(1, (batch or usual) // members)


def permute_run(session: Session, simulator: Simulator, history: AccountHistory, folder: Path) -> dict[str, Any] | None:
    """Runs the permutation test of a run; None without --permutations.

    Args:
        session: of the run.
        simulator: of its test span.
        history: of the chosen seed there.
        folder: of the run.
    """
    run, totals = session.config.run, Totals()
    if not run.permutations:
        return None
    line = f"stopped; the null markets that are done are kept in {folder}; {go_on(run.address or folder)}"
    with StopSignals(line) as signals, ProgressBar(run.permutations, 0) as bar:

        def progress(done: int, number: int, text: str) -> None:
            bar.report("permuted markets", done, number, f"{totals.speed():,.0f} steps/s")

        measure = partial(measure_draws, session, totals, signals)
        value = gain_of(session.config.market, simulator, history).difference
        at_once = markets_at_once(run.num_seeds)
        return permutation_test(run, Results(folder / FILE), value, at_once, measure, progress)


def measure_draws(session: Session, totals: Totals, signals: StopSignals, draws: Sequence[int]) -> list[Gain]:
    """Trains a run's policies on permuted candles, and plays the one that validation chooses on the test span."""
    run, real = session.config.run, Prepared(tuple(p.candles for p in session.parts), session.report, session.features)
    sessions = [session_of(session.config, permuted(real, run.permute, run.seed, draw)) for draw in draws]
    members = [Member(each, seed) for each in sessions for seed in each.seeds]
    trained = train_population(members, totals=totals, signals=signals)
    found = []
    for number, each in enumerate(sessions):
        own = trained[number * run.num_seeds : (number + 1) * run.num_seeds]
        best = max(own, key=lambda one: one.sharpe)
        variables = jax.tree.map(lambda x: x[None], best.variables)
        market = each.config.market
        simulator = each.simulator("test", (market.delay,))
        cells = [Cell(0, market.delay, market.cost)]
        played = play_policies(simulator, each.learner.policy, variables, 0, cells, simulator.num_rows)
        history = single_history(played)
        found.append(gain_of(market, simulator, history))
    return found


def gain_of(account: MarketConfig, simulator: Simulator, history: AccountHistory) -> Gain:
    """Compares a history of a whole span with its own constant.

    Args:
        account: with the delay and cost of the history.
        simulator: that played.
        history: of the whole span.
    """
    constant = constant_returns(simulator, 0, account.delay, [(account.cost, history)])[:, 0]
    return Gain(history.returns, constant, simulator.bars_per_year)
