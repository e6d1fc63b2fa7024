"""Trains a population: members that share a program train side by side, in batches that fit the memory.

Every finished batch is kept in a folder: a process that dies loses at most one; the next call trains the rest.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from train.learning.population import Spread, bytes_of_member, spread_members
from train.learning.setup import first_state
from train.training.batches import BATCH_BYTES, CPU_BATCH, Batch, Member, Shapes, Totals
from train.training.kept import Kept, Trained
from train.training.session import Session
from train.training.signals import StopSignals

# Members done, members in all, a line, and how many members the updates of the batch under way are worth.
Progress = Callable[[int, int, str, float], None]


def train_population(
    members: Sequence[Member],
    folder: Path | None = None,
    *,
    batch: int | None = None,
    until: int | None = None,
    devices: int | None = None,
    totals: Totals | None = None,
    progress: Progress | None = None,
    signals: StopSignals | None = None,
) -> list[Trained]:
    """Trains all members but those with a result in the folder.

    Args:
        members: in any order; those of one learner, length and kind of market are trained by one program.
        folder: of the results; None: they are not kept.
        batch: members that train at once; None: as many as the memory allows.
        until: updates to stop at, rounded up to an evaluation, with the schedules of the whole training: a later call
            with a larger number goes on from there; None: the end.
        devices: number of devices; None: all. A single member is trained on one, by the program of a run.
        totals: is added to.
        progress: called about once a second.
        signals: checked about once a second.

    Raises:
        Preempted: a signal came; finished batches are kept.
        StorageError: a finished batch cannot be written.
    """
    kept, totals = Kept(folder), totals or Totals()
    keys = [key_of(member) for member in members]
    found, known, groups = sort_members(members, keys, kept, until)
    for (_, stop, _), group in groups.items():
        spread = spread_members(min(len(group), devices or jax.device_count()))
        group.sort(key=lambda i: repr(members[i].setup.shares))  # members of one market in one batch
        size = batch_size(members[group[0]], len(group), spread, batch)
        parts = [group[first : first + size] for first in range(0, len(group), size)]
        markets = max(len({members[i].setup.shares for i in part}) for part in parts)
        shapes = Shapes([members[i].setup for i in group], size, markets)
        for part in parts:
            own = [keys[i] for i in part]
            before = [known[i] for i in part if i in known]
            batched = Batch([members[i] for i in part], shapes, spread, stop)
            batched.go_on(kept, own, before)
            on_progress = None if progress is None else within(progress, len(found), len(members), batched, totals)
            batched.train(totals, signals, on_progress)
            trained = batched.results()
            batched.keep(kept, own, trained)
            found |= dict(zip(part, trained, strict=True))
            if progress is not None:
                progress(len(found), len(members), f"{totals.speed():,.0f} steps/s", 0.0)
    return [found[i] for i in range(len(members))]


def sort_members(
    members: Sequence[Member], keys: Sequence[str], kept: Kept, until: int | None
) -> tuple[dict[int, Trained], dict[int, Trained], dict[Any, list[int]]]:
    """Sorts members by their results: finished ones, ones that stopped earlier, and groups that one program trains.

    Args:
        members: of the population.
        keys: names of their results.
        kept: folder of the results.
        until: updates to stop at; None: the end.

    Returns:
        results that are whole, results to go on from, by index of the member; indices by (program, stop, begin).
    """
    found: dict[int, Trained] = {}
    known: dict[int, Trained] = {}
    groups: dict[Any, list[int]] = {}
    for i, (member, key) in enumerate(zip(members, keys, strict=True)):
        stop, old = stop_of(member, until), kept.trained(key)
        if old is not None and (old.stop >= stop or old.failed):
            found[i] = old
            continue
        if old is not None:
            known[i] = old
        groups.setdefault((program_of(member), stop, 0 if old is None else old.stop), []).append(i)
    return found, known, groups


def within(progress: Progress, done: int, number: int, batch: Batch, totals: Totals) -> Callable[[int], None]:
    """Makes a function that reports the updates of a batch to the progress of members.

    Args:
        progress: of the members.
        done: members that are finished.
        number: members in all.
        batch: that is about to train.
        totals: of the training.
    """
    begun, stop, size = batch.done, batch.stop, len(batch.members)

    def report(update: int) -> None:
        under_way = size * (update - begun) / (stop - begun)
        progress(done, number, f"update {update} of {stop}  {totals.speed():,.0f} steps/s", under_way)

    return report


def key_of(member: Member) -> str:
    """Names the result of a member: the hash of all inputs of its training."""
    setup = member.setup
    spans = {name: [repr(part.split.spans[name]) for part in setup.parts] for name in ("train", "val")}
    made = (setup.config_hash, setup.fingerprint, spans, member.seed)
    return hashlib.sha256(json.dumps(made).encode()).hexdigest()[:32]


def stop_of(member: Member, until: int | None) -> int:
    """Returns the update at which a member stops: the end, or the first evaluation at or after `until`."""
    config = member.setup.config
    if until is None:
        return config.total_updates
    every = config.interval_updates(config.run.eval_interval, 20)
    return min(-(-until // every) * every, config.total_updates)


def program_of(member: Member) -> Any:
    """Returns the key of a member's program: members of one key are trained by one program."""
    setup = member.setup
    config = setup.config
    every = config.interval_updates(config.run.eval_interval, 20)
    shapes = tuple(np.shape(x)[1:] for x in setup.params.market)
    return setup.learner, config.total_updates, every, shapes, len(setup.params.reward_weights)


def batch_size(member: Member, members: int, spread: Spread, wanted: int | None) -> int:
    """Returns the number of members that train at once, a multiple of the devices.

    Args:
        member: one of them.
        members: their number.
        spread: over devices.
        wanted: by the user; None: as many as fit the memory, on a CPU at most CPU_BATCH for each core.
    """
    most = wanted
    if most is None:
        each = bytes_of(member.setup)
        most = max(1, device_bytes(spread) // each) * spread.size
        if spread.one_by_one:
            most = min(most, CPU_BATCH * spread.size)
    most = min(most, members)
    return -(-most // spread.size) * spread.size


MEASURED: dict[Any, int] = {}  # bytes of a member by learner and shapes: tracing takes longer than a short training


def bytes_of(setup: Session) -> int:
    """Estimates the bytes that one member of a session needs while it trains."""
    shapes = tuple(np.shape(x) for x in jax.tree.leaves(setup.params))
    key = setup.learner, setup.width, shapes
    if key not in MEASURED:
        seeds = jax.eval_shape(first_state(setup)).runner
        runner = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), seeds)
        MEASURED[key] = bytes_of_member(setup.learner, runner, setup.params)
    return MEASURED[key]


def device_bytes(spread: Spread) -> int:
    """Returns the memory of a device that a batch may take: 2 GB of a CPU for all cores, half of an accelerator's."""
    if spread.one_by_one:
        return BATCH_BYTES // spread.size
    return int((spread.mesh.devices.flat[0].memory_stats() or {}).get("bytes_limit", BATCH_BYTES) // 2)
