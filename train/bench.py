"""`python -m train.bench`: steps per second of environment and training, bars per second of backtests."""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from himari_jax.cli import invocation
from himari_jax.command import parse, run_command
from train.distributed.devices import choose_device

PROG = invocation("train.bench")
EPISODES = (1000, 500)  # the user's yardstick: episodes x bars


@dataclass(frozen=True)
class BenchConfig:
    """Measure steps per second on synthetic candles: the environment alone, and training at the defaults."""

    models: tuple[Literal["base", "lstm", "multi"], ...] = ("base", "lstm", "multi")
    """base: mlp, one asset; lstm: one asset; multi: mlp, three assets."""
    num_envs: tuple[int, ...] = (64, 512, 4096)
    """Parallel environments."""
    rollout_steps: int = field(default=64)
    """Bars between updates."""
    repeats: int = 5
    """Measurements, of which the median counts."""
    backtest: bool = True
    """Measure backtests too: the account alone beside other engines, policies in the loop."""
    population: bool = False
    """Measure instead many policies side by side, each on a market of its own."""
    retrainings: int = 0
    """With --population: how long so many trainings of --steps take."""
    steps: int = 2_000_000
    """Bars that each of --retrainings plays."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    debug: bool = False
    """Show the traceback of an error."""


def main(args: Sequence[str]) -> int:
    """Prints a line for each model and number of environments."""
    bench = parse(BenchConfig, args, PROG)
    choose_device(bench.device, members=bench.population)
    import jax

    if bench.population:
        from train.benchmarks.population import bench_population, bench_retrainings

        print(f"device: {jax.device_count()} x {jax.devices()[0].device_kind}; median of {bench.repeats}")
        for line in bench_population(bench.repeats):
            print(line, flush=True)
        if bench.retrainings:
            print(bench_retrainings(bench.retrainings, bench.steps), flush=True)
        return 0
    print(f"device: {jax.devices()[0].device_kind}; median of {bench.repeats}; rollouts of {bench.rollout_steps} bars")
    print(f"{'model':6} {'envs':>5} {'env only':>14} {'training':>14} {'compile':>9}   {EPISODES[0]} x {EPISODES[1]}")
    for model in bench.models:
        for num_envs in bench.num_envs:
            print(measure(model, num_envs, bench), flush=True)
    if bench.backtest:
        from train.benchmarks.backtest import bench_backtest

        bench_backtest(bench.repeats)
    return 0


def measure(model: str, num_envs: int, bench: BenchConfig) -> str:
    """Times a model; returns its line of the table."""
    import jax
    import numpy as np

    from train.diagnosis.subject import MODELS, default_config
    from train.learning.setup import compile_chunk, first_state
    from train.training.session import build_session

    config = default_config(*MODELS[model], num_envs=num_envs, rollout_steps=bench.rollout_steps)
    session = build_session(config)
    state = jax.block_until_ready(first_state(session)())
    started = time.perf_counter()
    chunk = compile_chunk(session, state.runner, session.params)
    compiling = time.perf_counter() - started
    steps = num_envs * bench.rollout_steps
    env_only = median_speed(environment_alone(session, state.runner), steps, bench.repeats)
    runner = state.runner

    def train() -> Any:
        nonlocal runner
        runner, info = chunk(runner, session.params, np.int32(1))
        return info

    training = median_speed(train, steps, bench.repeats)
    yardstick = EPISODES[0] * EPISODES[1] / training
    return f"{model:6} {num_envs:5d} {env_only:10,.0f} /s {training:10,.0f} /s {compiling:7.1f} s   {yardstick:6.1f} s"


def environment_alone(session: Any, runner: Any) -> Callable[[], Any]:
    """Steps of all environments with random actions, no policy."""
    import jax
    import jax.numpy as jnp

    from himari_jax.policies.policy import squash
    from train.learning.rollout import draw

    env, params, steps = session.learner.env, session.params, session.config.ppo.rollout_steps
    players = jax.tree.map(lambda x: x[0], runner.players)

    @jax.jit
    def play(env_state: Any, keys: jax.Array) -> Any:
        _, noise, step_keys = draw(keys, steps, env.num_assets)

        def step(state: Any, inputs: Any) -> Any:
            noise, key = inputs
            obs, state, reward, *_ = jax.vmap(env.step, (0, 0, 0, None))(key, state, squash(noise), params)
            return state, (obs.sum(-1), reward)

        return jax.lax.scan(step, env_state, (noise, step_keys))

    state, keys = jax.tree.map(jnp.array, (players.env_state, players.keys))
    return lambda: play(state, keys)


def median_speed(run: Callable[[], Any], steps: int, repeats: int) -> float:
    """Steps per second after a warm-up, median of the repeats."""
    import jax

    jax.block_until_ready(run())
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        jax.block_until_ready(run())
        seconds.append(time.perf_counter() - started)
    return steps / statistics.median(seconds)


if __name__ == "__main__":
    sys.exit(run_command(main))
