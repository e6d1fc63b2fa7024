"""Speed of a population: many policies, each on a market of its own, beside one run of as many environments."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from himari_jax.sources.synthetic import Options
from train.config.ppo import Config
from train.diagnosis.subject import default_config
from train.learning.population import spread_members
from train.learning.setup import compile_chunk, first_state
from train.reporting.stages import peak_memory_mb
from train.training.batches import Batch, Member, Shapes, Totals
from train.training.population import train_population
from train.training.session import Session, build_session, prepare, session_of

# Policy, members, environments of each: of a CPU and of an accelerator.
SIZES = {
    "cpu": (("mlp", 8, 256), ("mlp", 16, 512), ("lstm", 4, 64)),
    "gpu": (("mlp", 64, 512), ("lstm", 64, 256)),
}
UPDATES = {"cpu": 4, "gpu": 20}  # that are timed together


def bench_config(policy: str, num_envs: int, market: int = 0, steps: int = 2_000_000) -> Config:
    """Returns the defaults for one asset on five years of synthetic hours."""
    config = default_config(policy, 1, num_envs=num_envs, total_steps=steps)
    return replace(config, source_options=config.source_options | {"synthetic": Options(seed=market)})


def bench_population(repeats: int) -> Iterator[str]:
    """A line for each size, as it is measured: steps per second of the population and of one run, taken in turns."""
    kind = "cpu" if jax.default_backend() == "cpu" else "gpu"
    yield f"{'policy':6} {'members x envs':>15} {'population':>14} {'one run':>14} {'ratio':>6} {'compile':>9}"
    for policy, members, envs in SIZES[kind]:
        sessions = [build_session(bench_config(policy, envs, market)) for market in range(members)]
        began = time.perf_counter()
        population = make_batch(sessions)
        population.update(1)
        compiling = time.perf_counter() - began
        single = one_run(policy, members * envs)
        updates = UPDATES[kind]
        steps = members * envs * sessions[0].config.ppo.rollout_steps * updates
        pairs = [(seconds(population.update, updates), seconds(single, updates)) for _ in range(repeats)]
        both, alone = (steps / statistics.median(x) for x in zip(*pairs, strict=True))
        ratio = statistics.median(b / a for a, b in pairs)
        yield (
            f"{policy:6} {f'{members} x {envs}':>15} {both:>14,.0f} {alone:>14,.0f} {ratio:>6.2f} {compiling:>7.1f} s"
        )


def make_batch(sessions: Sequence[Session]) -> Batch:
    """Builds a batch of one member on each session, over all devices."""
    members = [Member(session, 0) for session in sessions]
    spread = spread_members(min(len(members), jax.device_count()))
    shapes = Shapes(sessions, -(-len(members) // spread.size) * spread.size, len(members))
    return Batch(members, shapes, spread, sessions[0].config.total_updates)


def one_run(policy: str, num_envs: int) -> Callable[[int], Any]:
    """Builds a run of many environments on one market; returns a function that trains it by some updates."""
    session = build_session(bench_config(policy, num_envs))
    runner = jax.block_until_ready(first_state(session)()).runner
    chunk = compile_chunk(session, runner, session.params)

    def update(count: int) -> None:
        nonlocal runner
        runner, info = chunk(runner, session.params, np.int32(count))
        jax.block_until_ready(info)

    update(1)
    return update


def seconds(update: Callable[[int], Any], count: int) -> float:
    """Times some updates, seconds."""
    began = time.perf_counter()
    update(count)
    return time.perf_counter() - began


def retraining_members(number: int, steps: int) -> list[Member]:
    """Builds trainings on up to 64 markets.

    Args:
        number: trainings.
        steps: of each.
    """
    config = bench_config("mlp", 512, steps=steps)
    config = replace(config, run=replace(config.run, eval_interval=config.wanted_steps // config.ppo.episode_steps))
    markets = [bench_config("mlp", 512, market, steps) for market in range(min(number, 64))]
    sessions = [session_of(replace(each, run=config.run), prepare(each)) for each in markets]
    return [Member(sessions[k % len(sessions)], k // len(sessions)) for k in range(number)]


def bench_retrainings(number: int, steps: int) -> str:
    """A line: how long `number` trainings on 64 markets take from the loaded candles to the last policy.

    Args:
        number: trainings.
        steps: of each.
    """
    members = retraining_members(number, steps)
    totals, began = Totals(), time.perf_counter()
    train_population(members, totals=totals)
    whole = time.perf_counter() - began
    return (
        f"{number:,} trainings of {members[0].setup.config.wanted_steps:,} steps: {whole:.1f} s, of which compiling "
        f"{totals.compile_seconds:.1f} s, validation {totals.evaluate_seconds:.1f} s; {totals.speed():,.0f} steps/s; "
        f"peak memory {peak_memory_mb():,.0f} MB"
    )
