"""The order of the trials: contestants in turn, the search for each peer's best before its races."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import jax

from train.artifacts.files import write_text
from train.benchmarks.peers.config import PeersConfig
from train.benchmarks.peers.describe import describe
from train.benchmarks.peers.himari import build, flags_of
from train.benchmarks.peers.table import Measured, best_speed, race_rows, race_tables, speed_table, trial_line
from train.benchmarks.peers.trial import OURS, RECURRENT_PEERS, Contestant, Trial, Values
from train.config.ppo import Config
from train.config.serialize import config_hash
from train.learning.setup import first_state

RACES = (("hidden-drift", "lstm"), ("garleanu-pedersen", "mlp"))
START = 300.0  # seconds that a process may take besides training


@dataclass
class Results:
    """A file of measurements, one JSON line each."""

    path: Path

    def __post_init__(self) -> None:
        self.known: dict[str, dict[str, Any]] = {}
        if self.path.exists():
            for line in self.path.read_text().splitlines():
                info = json.loads(line)
                self.known[info["key"]] = info["result"]

    def keep(self, trial: Trial, result: dict[str, Any]) -> None:
        """Appends the result of a trial."""
        self.known[trial.key] = result
        with self.path.open("a") as file:
            file.write(json.dumps({"key": trial.key, "trial": json.loads(trial.to_json()), "result": result}) + "\n")


@dataclass
class PeerBenchmark:
    """A run of the benchmark."""

    bench: PeersConfig
    folder: Path
    peers: list[Contestant]

    def __post_init__(self) -> None:
        self.results = Results(self.folder / "results.jsonl")
        self.measured: Measured = []

    def run(self) -> None:
        """Measures speed, then races."""
        if "speed" in self.bench.parts:
            for policy in ("mlp", "lstm"):
                self.measure_speed(self.rows("candles", policy, ("ours",)))
        if "race" in self.bench.parts:
            for market, policy in RACES:
                self.race(self.rows(market, policy, ("ours", "quick", "own") if policy == "mlp" else ("ours", "own")))

    def rows(self, market: str, policy: Any, values: tuple[Any, ...]) -> list[Trial]:
        """A trial of each row of a table; the number of environments is still open."""
        bench = self.bench
        start = Trial(
            purpose="speed",
            contestant="ppo",
            policy=policy,
            market=market,
            values="ours",
            num_envs=0,
            learning_rate=None,
            seed=0,
            limit=bench.speed,
            goal=bench.goal,
            device=bench.device,
            hyper=Values(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1.0),
            twin={},
            data=bench.data,
            clock=bench.clock,
        )
        config = flags_of(start)
        setup = build(config)
        scale = float(jax.block_until_ready(first_state(setup)()).runner.reward_scale[0])
        costly = config.market.cost > 0 if config.data.env is None else setup.learner.env.costly
        log_std = config.initial_log_std(costly)
        start = replace(start, twin=describe(setup, self.folder))
        kind = [name for name in self.peers if (name in RECURRENT_PEERS) == (policy == "lstm")]
        found = []
        for chosen in values:
            one = replace(start, values="ours" if chosen == "own" else chosen)
            one = replace(one, hyper=values_of(flags_of(one), log_std, scale))
            names = kind if chosen == "own" else [*OURS, *kind]
            found += [replace(one, contestant=name, values=chosen) for name in names]
        return found

    def measure_speed(self, rows: list[Trial]) -> None:
        """Measures each row at each number of environments once, then at its best once for each seed."""
        info: Measured = []
        for count, row in product(self.bench.num_envs, rows):
            if row.contestant not in OURS or count % row.hyper.minibatches == 0:
                info += self.take(self.at(row, count))
        for seed, row in product(range(1, self.bench.seeds), rows):
            mine = [(trial, x) for trial, x in info if trial.row == row.row and "steps_per_second" in x]
            if mine:
                best, _ = max(mine, key=lambda pair: pair[1]["steps_per_second"])
                self.take(replace(best, seed=seed))

    def at(self, row: Trial, count: int) -> Trial:
        """Returns a row at a number of environments; a peer's learning rate does not change its speed."""
        if row.contestant not in OURS:
            return replace(row, num_envs=count, learning_rate=1e-3)
        return marked(replace(row, num_envs=count, num_seeds=self.bench.num_seeds))

    def race(self, rows: list[Trial]) -> None:
        """Runs the search, row by row in turn, then each row's best on every seed."""
        best: dict[tuple, Trial] = {}
        combinations = list(product(self.bench.num_envs, self.bench.learning_rates))
        for combination, row in product(combinations if len(combinations) > 1 else [], rows):
            if row.contestant not in OURS:
                self.try_out(row, *combination)
        for row in rows:
            best[row.row] = marked(row) if row.contestant in OURS else self.best_of(row)
        for seed, row in product(range(self.bench.seeds), rows):
            trial = replace(best[row.row], purpose="race", seed=seed, limit=self.bench.budget)
            self.take(marked(trial) if row.contestant in OURS else trial)

    def try_out(self, row: Trial, count: int, rate: float) -> None:
        """Measures one combination, for no longer than the best so far took."""
        limit = min([self.bench.search, *(x["seconds"] for _, x in self.searched(row) if x.get("seconds"))])
        self.take(replace(row, purpose="search", num_envs=count, learning_rate=rate, seed=100, limit=limit))

    def searched(self, row: Trial) -> Measured:
        """The search trials of a row, with their results."""
        return [(trial, x) for trial, x in self.measured if trial.purpose == "search" and trial.row == row.row]

    def best_of(self, row: Trial) -> Trial:
        """The combination that was soonest at the goal, else the one that was nearest to it; the only one if so."""
        if not self.searched(row):
            return replace(row, num_envs=self.bench.num_envs[0], learning_rate=self.bench.learning_rates[0])

        def merit(pair: tuple[Trial, dict[str, Any]]) -> tuple[float, float]:
            result = pair[1]
            return -(result.get("seconds") or float("inf")), result.get("best_ratio", float("-inf"))

        return max(self.searched(row), key=merit)[0]

    def take(self, trial: Trial) -> Measured:
        """Measures a trial unless its result is known; prints and returns it."""
        result = self.results.known.get(trial.key)
        if result is None:
            result = run_trial(trial)
            if "error" not in result:
                self.results.keep(trial, result)
        self.measured.append((trial, result))
        print(trial_line(trial, result), flush=True)
        return [(trial, result)]


def values_of(config: Config, log_std: float, scale: float) -> Values:
    """This project's defaults, for the peers to take over."""
    ppo = config.ppo
    return Values(
        steps_per_update=config.steps_per_update,
        rollout_steps=ppo.rollout_steps,
        epochs=ppo.update_epochs,
        minibatches=ppo.num_minibatches,
        gamma=ppo.gamma,
        gae_lambda=ppo.gae_lambda,
        clip_eps=ppo.clip_eps,
        ent_coef=ppo.ent_coef,
        vf_coef=ppo.vf_coef,
        max_grad_norm=ppo.max_grad_norm,
        initial_log_std=log_std,
        episode_steps=ppo.episode_steps,
        reward_scale=scale,
    )


def marked(trial: Trial) -> Trial:
    """Adds the hash of this project's configuration, so that other defaults are measured anew."""
    return replace(trial, made_by=config_hash(flags_of(trial)))


def run_trial(trial: Trial) -> dict[str, Any]:
    """Runs a trial in a process of its own; returns its measurements, or `error`."""
    command = [sys.executable, "-m", "train.benchmarks.peers.worker", trial.to_json()]
    flags = {"JAX_PLATFORMS": trial.device, "JAX_ENABLE_COMPILATION_CACHE": "false"}
    patience = (3 if trial.clock == "wall" else 20) * trial.limit + START
    try:
        done = subprocess.run(
            command, env=os.environ | flags, capture_output=True, text=True, timeout=patience, check=False
        )
    except subprocess.TimeoutExpired:
        if trial.purpose == "speed":
            return {"error": f"no update in {patience:.0f} s"}
        return {"seconds": None, "note": f"no update in {patience:.0f} s"}
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return {"error": lines[-1][:200] if lines else f"ended with {done.returncode}"}
    return json.loads(done.stdout.strip().splitlines()[-1])


def run_all(bench: PeersConfig, folder: Path, peers: list[Contestant]) -> int:
    """Measures, then prints the tables and writes them."""
    benchmark = PeerBenchmark(bench, folder, peers)
    for line in headline(bench):
        print(line)
    try:
        benchmark.run()
    finally:
        print_tables(benchmark.measured, bench, folder)
    return 0


def headline(bench: PeersConfig) -> Iterator[str]:
    """Device, cores, versions."""
    from importlib.metadata import PackageNotFoundError, version

    busy = os.getloadavg()[0]
    yield f"device: {jax.devices()[0].device_kind}, {len(os.sched_getaffinity(0))} cores, load {busy:.1f} at the start"
    if bench.clock == "cpu":
        yield "seconds are those of the processor, over all threads"
    info = []
    for name in ("jax", "rejax", "stable-baselines3", "sb3-contrib", "torch"):
        try:
            info.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            info.append(f"{name} absent")
    yield ", ".join(info)
    yield "PureJaxRL is not a package and is not measured here; rejax has no recurrent PPO"


def print_tables(measured: Measured, bench: PeersConfig, folder: Path) -> None:
    """Prints all tables; writes table.txt and the plot."""
    lines = [*speed_table(measured, bench), *race_tables(measured, bench)]
    print("\n".join(lines))
    write_text(folder / "table.txt", "\n".join(lines) + "\n")
    if len(lines) == 0:
        return
    from train.benchmarks.peers.plot import write_plots

    write_plots(best_speed(measured), race_rows(measured), bench, folder)
    print(f"\nwritten: {folder}/table.txt, plot.html, plot.svg, results.jsonl")
