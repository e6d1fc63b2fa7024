"""One batch of a population: members of one program, trained side by side and scored on the way."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from himari_jax.trees import select_tree
from train.learning.guard import should_abort
from train.learning.population import (
    Episodes,
    Spread,
    compile_init,
    compile_update,
    first_policies,
    pick,
    stack,
    stack_episodes,
    without_episodes,
)
from train.learning.setup import hyperparameters
from train.learning.state import LearnerState
from train.simulation.engine import Limits
from train.simulation.scores import compile_scores, lay_out_spans, sharpe_of_span
from train.training.chunks import CHUNK_SECONDS, next_size
from train.training.kept import Kept, Trained
from train.training.session import Session
from train.training.signals import StopSignals

BATCH_BYTES = 2**31  # of the members that train at once on a CPU; of an accelerator half its memory
CPU_BATCH = 16  # members of each core in a batch: more are no faster, and lost together


@dataclass(frozen=True)
class Member:
    """One training of a population.

    Args:
        setup: candles and flags; members may share one.
        seed: of the policy and its episodes.
    """

    setup: Session
    seed: int


class Totals:
    """Counts of training: members, steps, seconds."""

    def __init__(self) -> None:
        self.members = self.steps = 0
        self.compile_seconds = self.train_seconds = self.evaluate_seconds = 0.0

    def speed(self) -> float:
        """Computes steps per second of training."""
        return self.steps / max(self.train_seconds, 1e-9)

    def record(self) -> dict[str, Any]:
        """Returns the counts as result.json holds them."""
        return {**vars(self), "steps_per_second": self.speed() if self.train_seconds else None}


class Shapes:
    """The common shapes of a group of members, so that one program serves every batch of it."""

    def __init__(self, sessions: Sequence[Session], members: int, markets: int):
        self.members, self.markets = members, markets
        self.starts = max(len(each.params.starts) for each in sessions)
        self.rows = max(len(each.params.last) for each in sessions)
        spans = [each.validation for each in sessions]
        self.steps = max(each.num_rows for each in spans)
        self.length = max(len(each.host.rows) for each in spans)
        self.market_rows = max(len(each.host.market.base) for each in spans)
        self.accounts = max(len(each.members) for each in spans)


class Batch:
    """Members of one program under way.

    Args:
        members: that share learner, length and intervals.
        shapes: of their group.
        spread: over devices.
        stop: updates to stop at.
    """

    def __init__(self, members: Sequence[Member], shapes: Shapes, spread: Spread, stop: int):
        self.members, self.spread, self.stop = members, spread, stop
        padding = [members[0]] * (shapes.members - len(members))  # so that every batch has one shape
        every = [*members, *padding]
        setup = members[0].setup
        self.config, self.learner = setup.config, setup.learner
        self.every_eval = self.config.interval_updates(self.config.run.eval_interval, 20)
        distinct = {each.setup.shares: each.setup for each in every}
        numbers = {shares: i for i, shares in enumerate(distinct)}
        sessions = [*distinct.values()]
        sessions += sessions[:1] * (shapes.markets - len(sessions))
        self.number = np.array([numbers[each.setup.shares] for each in every], np.int32)
        self.simulators = [each.validation for each in sessions]
        place = spread.place
        episodes = stack_episodes([Episodes.of(each.params) for each in sessions], shapes.starts, shapes.rows)
        spans = lay_out_spans(self.simulators, shapes.length, shapes.market_rows, shapes.accounts)
        self.episodes, self.spans = place(episodes, False), place(spans, False)
        self.market = place(self.number, True)
        self.scalars = place(stack([without_episodes(each.setup.params) for each in every]), True)
        self.limits = place(stack([Limits.of(each.setup.params) for each in every]), True)
        self.rates = place(stack([each.setup.params.costs.rate for each in every]), True)
        assets = self.learner.env.num_assets
        self.hyper = place(stack([hyperparameters(each.setup.config, assets) for each in every]), True)
        self.every = every
        self.scoring = compile_scores(self.learner.policy, shapes.steps, spread)
        self.updating = compile_update(self.learner, spread)
        self.done, self.runner = 0, self.begin()
        self.best = jax.tree.map(lambda x: x.copy(), self.runner.variables)
        self.best_score = np.full(len(every), -np.inf)
        self.best_update = np.zeros(len(every), np.int64)
        self.scores: list[list[tuple[int, float]]] = [[] for _ in members]
        self.failed = np.zeros(len(every), bool)

    def begin(self) -> LearnerState:
        """Makes the state before the first update."""
        width = self.members[0].setup.width
        constants = [each.setup.constants for each in self.every]
        keys, variables = first_policies(self.learner, width, [each.seed for each in self.every], constants)
        init = compile_init(self.learner, self.spread)
        return init(keys, self.scalars, self.episodes, self.market, self.hyper, variables)

    def go_on(self, kept: Kept, keys: Sequence[str], known: Sequence[Trained]) -> None:
        """Continues from the states of an earlier, shorter training of all members, if they are there.

        Args:
            kept: folder of the states.
            keys: names of the members there.
            known: results of that training, all up to one update; empty where there was none.
        """
        if not known:
            return
        known = list(known)
        like = jax.eval_shape(lambda tree: pick(tree, 0), self.runner)
        states = [kept.state(key, each.stop, like) for key, each in zip(keys, known, strict=True)]
        if any(state is None for state in states):
            return
        fill = len(self.every) - len(known)
        self.runner = self.spread.place(stack_states(states + states[:1] * fill), True)
        self.best = self.spread.place(stack([each.variables for each in known + known[:1] * fill]), True)
        for i, each in enumerate(known):
            self.best_score[i], self.best_update[i], self.failed[i] = each.sharpe, each.update, each.failed
            self.scores[i] = list(each.scores)
        self.done = known[0].stop

    def train(
        self, totals: Totals, signals: StopSignals | None, on_progress: Callable[[int], None] | None = None
    ) -> None:
        """Trains and evaluates until the end.

        Args:
            totals: is added to.
            signals: checked about once a second.
            on_progress: called with the updates done, about once a second.
        """
        started = time.perf_counter()
        self.update(0)  # compiles, unless this shape has run before
        totals.compile_seconds += time.perf_counter() - started
        size = max(1, round(CHUNK_SECONDS * totals.speed() / (self.config.steps_per_update * len(self.members))))
        while self.done < self.stop:
            if signals is not None:
                signals.check()
            count = min(size, self.every_eval - self.done % self.every_eval, self.stop - self.done)
            started = time.perf_counter()
            self.update(count)
            seconds = time.perf_counter() - started
            totals.train_seconds += seconds
            size = next_size(size, count, seconds)
            totals.steps += count * self.config.steps_per_update * len(self.members)
            self.failed |= np.asarray(should_abort(jax.device_get(self.runner.guard)))
            if self.done % self.every_eval == 0 or self.done == self.config.total_updates:
                started = time.perf_counter()
                self.evaluate()
                totals.evaluate_seconds += time.perf_counter() - started
            if on_progress is not None:
                on_progress(self.done)
        totals.members += len(self.members)

    def update(self, count: int) -> None:
        """Takes a number of updates of all members."""
        arrays = self.scalars, self.episodes, self.market
        self.runner, _ = jax.block_until_ready(self.updating(self.runner, *arrays, np.int32(count)))
        self.done += count

    def evaluate(self) -> None:
        """Scores all members on their validation spans and keeps the best parameters of each."""
        variables = self.runner.variables
        returns = np.asarray(self.scoring(variables, self.limits, self.rates, self.spans, self.market))
        found = [sharpe_of_span(self.simulators[n], own) for n, own in zip(self.number, returns, strict=True)]
        score = np.array(found, np.float32)
        better = (score > self.best_score) & ~self.failed
        self.best = take_better(better, variables, self.best)
        self.best_score = np.where(better, score, self.best_score)
        self.best_update = np.where(better, self.done, self.best_update)
        for i, scores in enumerate(self.scores):
            scores.append((self.done, float(score[i])))

    def results(self) -> list[Trained]:
        """Returns the result of each member."""
        best = jax.device_get(self.best)
        return [
            Trained(
                variables=jax.tree.map(lambda x, i=i: np.array(x[i]), best),
                sharpe=float(self.best_score[i]),
                update=int(self.best_update[i]),
                scores=self.scores[i],
                stop=self.done,
                failed=bool(self.failed[i]),
            )
            for i in range(len(self.members))
        ]

    def keep(self, kept: Kept, keys: Sequence[str], results: Sequence[Trained]) -> None:
        """Writes the results of the members, and their states where they may go on."""
        runner = jax.device_get(self.runner) if self.done < self.config.total_updates else None
        for i, (key, trained) in enumerate(zip(keys, results, strict=True)):
            if runner is not None:
                kept.keep_state(key, self.done, jax.tree.map(lambda x, i=i: x[i], runner))
            kept.keep(key, trained)


@jax.jit
def take_better(better: jax.Array, new: dict, old: dict) -> dict:
    """Takes new parameters (M, ...) of the members that are better than before, the old ones of the others."""
    return select_tree(better, new, old)


def stack_states(states: Sequence[Any]) -> Any:
    """Stacks states of members, random keys included."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
