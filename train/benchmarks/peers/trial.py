"""One training run that is measured, as a line of JSON between processes."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

Contestant = Literal["ppo", "pathwise", "rejax", "sb3", "sb3-recurrent"]
OURS: tuple[Contestant, ...] = ("ppo", "pathwise")
PACKAGES = {"rejax": "rejax", "sb3": "stable_baselines3", "sb3-recurrent": "sb3_contrib"}
RECURRENT_PEERS = ("sb3-recurrent",)
PATHS, BARS, SCORE_SEED = 256, 200, 30_000  # of a score on a market with a known optimum
BOUND = 20.0  # of an action that the market squashes: wide enough never to matter


@dataclass(frozen=True)
class Values:
    """Hyperparameters that a peer takes over from this project's defaults."""

    steps_per_update: int
    rollout_steps: int
    epochs: int
    minibatches: int
    gamma: float
    gae_lambda: float
    clip_eps: float
    ent_coef: float
    vf_coef: float
    max_grad_norm: float
    initial_log_std: float
    episode_steps: int
    reward_scale: float  # rewards are multiplied by it, in every row


@dataclass(frozen=True)
class Trial:
    """One training run that is measured."""

    purpose: Literal["speed", "search", "race"]
    contestant: Contestant
    policy: Literal["mlp", "lstm"]
    market: str  # candles, or the name of a market with a known optimum
    values: Literal["ours", "quick", "own"]  # whose hyperparameters; quick: ours of --preset quick
    num_envs: int
    learning_rate: float | None  # None: this project's default
    seed: int
    limit: float  # seconds of training
    goal: float  # share of the optimum at which a race ends
    device: str
    hyper: Values
    twin: dict[str, Any]  # parameters of the market, for processes without jax
    data: tuple[str, ...] = ()
    num_seeds: int = 1  # trained side by side; ours alone
    clock: Literal["wall", "cpu"] = "wall"
    made_by: str = ""  # hash of the configuration

    @property
    def key(self) -> str:
        """Names the trial in the file of results; what does not change the outcome is left out."""
        info = asdict(self) | {"data": (), "twin": {k: v for k, v in self.twin.items() if k != "path"}}
        if self.purpose == "search":
            info["limit"] = 0  # it is cut to the best of the search so far
        return hashlib.sha256(json.dumps(info, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def row(self) -> tuple[str, str, str, str]:
        """The row of the table that the trial belongs to, whatever its searched values and seed."""
        return self.market, self.policy, self.contestant, self.values

    @property
    def rollout_steps(self) -> int:
        """Bars between updates: as many as give the same steps per update, at least 32."""
        return max(self.hyper.steps_per_update // self.num_envs, 32)

    def to_json(self) -> str:
        """Returns the trial as a line of JSON."""
        return json.dumps(asdict(self))

    def as_ours(self) -> "Trial":
        """Returns the trial of this project's PPO at its default sizes on the same market."""
        return replace(self, contestant="ppo", num_envs=0, num_seeds=1)


def read_trial(text: str) -> Trial:
    """Reads a trial that `Trial.to_json` wrote."""
    info = json.loads(text)
    return Trial(**info | {"hyper": Values(**info["hyper"]), "data": tuple(info["data"])})
