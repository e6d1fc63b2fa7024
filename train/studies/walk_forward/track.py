"""The trainings of a walk-forward test, and the one track that their policies make together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from himari_jax.errors import InputError
from himari_jax.times import iso_second
from train.config.ppo import Config
from train.config.walk_forward import WalkForwardConfig
from train.data.blocks import Block, block_of, plan_blocks, split_block, with_decisions
from train.data.spans import refuse_short, split_rules
from train.learning.population import stack
from train.learning.sharding import device_count
from train.simulation.history import AccountHistory
from train.simulation.play import Cell, SpanHistories, play_whole, single_history
from train.simulation.schedule import play_schedule
from train.simulation.simulator import Simulator
from train.studies.walk_forward.flags import WalkForward
from train.training.batches import Member
from train.training.kept import Trained
from train.training.permutations import Gain, gain_of
from train.training.session import Prepared, Session, session_of


@dataclass(frozen=True)
class Walk:
    """A walk-forward test on one set of candles.

    Args:
        flags: of all trainings, and of the blocks.
        blocks: in order, B of them.
        sessions: of each block; the test span of the first goes on to the end of the candles.
    """

    flags: WalkForward
    blocks: tuple[Block, ...]
    sessions: tuple[Session, ...]

    @property
    def config(self) -> Config:
        """Flags of every training."""
        return self.flags.base

    @property
    def settings(self) -> WalkForwardConfig:
        """Flags of the schedule of retraining."""
        return self.flags.walk

    @property
    def members(self) -> list[Member]:
        """The trainings: every seed of every block, block by block."""
        return [Member(session, seed) for session in self.sessions for seed in self.seeds]

    @property
    def seeds(self) -> list[int]:
        """Seeds of each block's policies."""
        return self.sessions[0].seeds

    @property
    def devices(self) -> int | None:
        """Devices that members are shared out among; None: all.

        Raises:
            InputError: there are not as many.
        """
        wanted = self.config.run.devices
        return None if wanted is None else device_count(wanted)

    @property
    def delay(self) -> int:
        """Bars by which the policies see the market late."""
        return self.config.market.delay

    @property
    def cost(self) -> float:
        """Share of the traded value that a trade costs."""
        return self.config.market.cost

    @cached_property
    def simulator(self) -> Simulator:
        """All test blocks, on time and one bar late."""
        return self.sessions[0].simulator("test", (self.delay, self.delay + 1))

    @cached_property
    def block(self) -> np.ndarray:
        """Number of the block that each decision of the track is of, (L,)."""
        return block_of(self.blocks, self.simulator.times, self.sessions[0].parts[0].candles.bar_ms)

    def ensemble(self, trained: Sequence[Trained]) -> dict:
        """Variables of the policies whose mean action decides in each block, as --ensemble chooses them, (B, E, ...).

        Args:
            trained: of the members, in their order.
        """
        seeds = len(self.seeds)
        blocks = [trained[first : first + seeds] for first in range(0, len(trained), seeds)]
        if self.settings.ensemble == "best":
            blocks = [[max(each, key=lambda one: one.sharpe)] for each in blocks]
        return stack_blocks([[one.variables for one in each] for each in blocks])

    def of_seed(self, trained: Sequence[Trained], number: int) -> dict:
        """Variables (B, 1, ...) of one seed."""
        return stack_blocks([[one.variables] for one in trained[number :: len(self.seeds)]])

    def play(self, variables: dict, cells: Sequence[Cell], steps: int) -> Iterator[Any]:
        """Plays the blocks' policies one after the other on cells; see `train.simulation.schedule`."""
        policy = self.sessions[0].learner.policy
        return play_schedule(self.simulator, policy, variables, self.block, cells, steps)

    def histories(self, variables: dict) -> SpanHistories:
        """Plays the track on time and one bar late, and the baselines beside it."""
        return play_whole(self.simulator, partial(self.play, variables), 0, self.delay, self.cost)

    def gain(self, variables: dict) -> Gain:
        """Plays the track on time beside its constant."""
        cell = Cell(0, self.delay, self.cost)
        return self.gain_of(single_history(self.play(variables, [cell], self.simulator.num_rows)))

    def gain_of(self, history: AccountHistory) -> Gain:
        """Compares a history of the whole track with its own constant."""
        return gain_of(self.config.market, self.simulator, history)


def make_walk(flags: WalkForward, prepared: Prepared) -> Walk:
    """Cuts candles into blocks, and makes the session of each.

    Raises:
        InputError: flags or candles do not fit; names the block.
    """
    base, parts = flags.base, prepared.candles
    rules = split_rules(base.data, base.market, prepared.features, parts[0].bar_ms)
    assert rules.embargo is not None, "a look-back inside the spans would leave gaps between blocks"
    blocks = with_decisions(plan_blocks(flags.walk, parts, rules.embargo), parts, rules)
    sessions = []
    for number, block in enumerate(blocks):
        splits = split_block(block, parts, rules, whole=number == 0)
        if number == 0 and base.data.pool and not base.data.skip_short:
            refuse_short(parts, splits, rules)
        try:
            sessions.append(session_of(config_of(base, block), prepared, splits))
        except InputError as error:
            raise InputError(f"test block from {iso_second(block.test)[:10]} on: {error}") from error
    return Walk(flags, tuple(blocks), tuple(sessions))


def config_of(base: Config, block: Block) -> Config:
    """Returns the flags of a block's training: with them `train.ppo` trains the same policies."""
    first, second = (iso_second(cut) for cut in block.cuts)
    return replace(base, data=replace(base.data, split=(first, second)))


def stack_blocks(blocks: Sequence[Sequence[dict]]) -> dict:
    """Stacks the variables of blocks and their policies, leaves (B, E, ...)."""
    return stack([stack(block) for block in blocks])
