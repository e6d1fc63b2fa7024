"""Training on a market with a known optimum: scores during training, the result at the end."""

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.oracles.oracle import Oracle, OracleParams
from envs.oracles.registry import make_oracle
from train.artifacts.files import write_json
from train.artifacts.provenance import tools
from train.config.ppo import Config
from train.config.serialize import config_hash
from train.learning.setup import Setup, first_state, make_learner
from train.oracles.null_verdict import null_verdict
from train.oracles.report import write_oracle_report
from train.oracles.scoring import OraclePath, Score, score_policies, simulate_path

SCORED = {"on the way": (256, 300), "at the end": (512, 1000)}  # paths and bars of each
SCORE_SEED = 20_000  # paths of the score; training never draws them
PLOTTED_BARS = 300
YEAR = 8760  # bars


def build_setup(config: Config) -> Setup:
    """Builds the market of `--env` and a learner for it.

    Raises:
        InputError: a parameter that the market does not have or take; one line.
    """
    assert config.data.env is not None
    env = make_oracle(config.data.env, config.oracle.given())
    params = OracleParams(max_steps_in_episode=jnp.int32(config.ppo.episode_steps))
    return Setup(config, params, make_learner(config, env, env.costly, env.start), None)


@dataclass
class OracleTask:
    """Share of the optimum, against the best policy on the same paths; at the end of the last iterate."""

    setup: Setup

    @property
    def env(self) -> Oracle:
        """The market."""
        return self.setup.learner.env

    @property
    def name(self) -> str:
        """Name of the market."""
        return str(self.setup.config.data.env)

    @property
    def names(self) -> tuple[str, ...]:
        """The name in a tuple; the default run folder is named after it."""
        return (self.name,)

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters of the market, by name."""
        return asdict(self.env)

    @property
    def fingerprint(self) -> str:
        """Hash of the market's name and parameters."""
        return hashlib.sha256(json.dumps([self.name, self.parameters]).encode()).hexdigest()

    @property
    def base_sha256(self) -> str | None:
        """None: the market has its own account."""
        return None

    def headline(self) -> list[str]:
        """Words the market and its optimum."""
        info = " ".join(f"{name} {value}" for name, value in self.parameters.items())
        best = self.env.optimum
        return [
            f"{self.name} ({info.replace(',', '').replace('(', '').replace(')', '')})",
            f"  best policy {best.value:.3e} per bar; {best.naive_name} {best.naive:.3e}",
        ]

    def origin(self) -> dict[str, Any]:
        """Collects versions, device, commit and the market."""
        market = {"source": self.name, "symbols": [self.name], "bar": "1h", "fingerprint": self.fingerprint}
        return tools() | {"data": market | {"synthetic": True}, "config_hash": config_hash(self.setup.config)}

    def findings(self) -> dict[str, Any]:
        """Returns the market's parameters."""
        return {"market": self.name, "parameters": self.parameters, "fingerprint": self.fingerprint}

    def measure(self, variables: dict, when: str) -> list[Score]:
        """Scores of all seeds, always on the same paths."""
        paths, bars = SCORED[when]
        key = jax.random.key(SCORE_SEED)
        return score_policies(self.env, self.setup.learner.policy, variables, key, paths, bars)

    def score(self, variables: dict) -> np.ndarray:
        """Value of each seed as a share of the optimum; minus the regret where the optimum is 0, (K,)."""
        best = self.env.optimum.value
        return np.array([x.value / best if best else x.value for x in self.measure(variables, "on the way")])

    def first_spread(self) -> float:
        """Measures the deviation of the first seed's multiplier before it learns."""
        variables = jax.tree.map(lambda x: x[:1], first_state(self.setup)().runner.variables)
        return self.measure(variables, "on the way")[0].spread

    def record(self, scores: np.ndarray) -> dict[str, Any]:
        """Mean score and that of each seed, (K,), for metrics.jsonl."""
        return {"ratio": float(scores.mean()), "ratio_by_seed": scores.tolist()}

    def text(self, scores: np.ndarray, best: float) -> str:
        """Words the mean of the scores (K,)."""
        return f"of the optimum {scores.mean():.3f}" if self.env.optimum.value else f"regret {-scores.mean():.2e}"

    def evaluate(self, state: Any, folder: Path, timings: dict[str, Any]) -> dict[str, Any]:
        """Scores of the last iterate; result.json and report.html."""
        began, variables = time.perf_counter(), state.runner.variables
        scores = self.measure(variables, "at the end")
        blocks = [self.block(score) for score in scores]
        paths = [self.play_year(variables, k) for k in range(len(scores))]
        first = self.first_spread() if self.env.optimum.value == 0 else None
        for block, path in zip(blocks, paths, strict=True):
            block |= self.env.facts(path.seen, path.weights)
            if self.env.optimum.value == 0:
                block |= null_verdict(path) | {"first_spread": first}
        middle = int(np.argsort([score.value for score in scores])[(len(scores) - 1) // 2])
        result = {
            "env": self.name,
            "parameters": self.parameters,
            "policy": self.setup.config.policy.policy,
            "algorithm": self.setup.config.ppo.algorithm,
            "oracle": blocks[middle],
            **({"best_weights": list(self.env.steady)} if self.env.steady else {}),
            "shown_seed": self.setup.seeds[middle],
            "seeds": [{"seed": seed, **block} for seed, block in zip(self.setup.seeds, blocks, strict=True)],
            "fingerprint": self.fingerprint,
            "timings": timings | {"judge_seconds": time.perf_counter() - began},
        }
        write_json(folder / "result.json", result)
        write_oracle_report(folder, self.env, OraclePath(*(x[:PLOTTED_BARS] for x in paths[middle])))
        return result

    def play_year(self, variables: dict, k: int) -> OraclePath:
        """Simulates a year of one seed's policy, on a path of its own."""
        key = jax.random.fold_in(jax.random.key(SCORE_SEED + 1), self.setup.seeds[k])
        chosen = jax.tree.map(lambda x: x[k], variables)
        return simulate_path(self.env, self.setup.learner.policy, chosen, key, YEAR)

    def block(self, score: Score) -> dict[str, Any]:
        """Content of `oracle` in result.json."""
        best = self.env.optimum
        return {
            "value": score.value,
            "error": score.error,
            "optimum": best.value,
            "naive": best.naive,
            "naive_name": best.naive_name,
            "ratio": score.value / best.value if best.value else None,
            "regret": best.value - score.value,
            "turnover": score.turnover,
            "optimal_turnover": score.best_turnover,
            "weights": score.weights.tolist(),
            "multiplier_spread": score.spread,
        }
