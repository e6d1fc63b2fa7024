"""Flags of `python -m train.ppo`, grouped; checked on the host before anything heavy is imported."""

import math
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

import tyro

from himari_jax.command import auto, choice, flag, require
from himari_jax.errors import InputError
from himari_jax.plugins import POLICIES
from himari_jax.sources.registry import option_kinds
from train.config.defaults import PRESETS, default, describe_default
from train.config.market import DataConfig, MarketConfig, OracleOptions
from train.config.run import RunConfig


@dataclass(frozen=True)
class PolicyConfig:
    """The network's architecture."""

    policy: Annotated[str, choice("Core of the policy.", POLICIES.summaries)] = "mlp"
    hidden_dim: Annotated[int | None, auto(describe_default("hidden_dim"))] = None
    """Units of an mlp layer; for lstm, of the heads' hidden layer."""
    num_layers: int = 2
    """Layers of the mlp."""
    lstm_hidden_dim: int = 64
    """Units of an LSTM layer."""
    lstm_num_layers: int = 2
    """Layers of the LSTM."""
    initial_log_std: Annotated[
        float | None,
        auto(
            "0.5 for ppo on candles, 1 there with several assets; else -2 where trading costs something, else 0; "
            "-5 with --preset fees"
        ),
    ] = None
    """Log deviation of the action before squashing, at the start."""
    initial_multiplier: Annotated[float | None, auto("1; with --env as the market says")] = None
    """Multiplier that the policy starts from."""

    def __post_init__(self):
        POLICIES.settle(self, "policy")
        for name in ("hidden_dim", "lstm_hidden_dim"):
            value = getattr(self, name)
            require(value is None or 1 <= value <= 16_384, flag(name), value, "1 to 16384")
        for name in ("num_layers", "lstm_num_layers"):
            value = getattr(self, name)
            require(1 <= value <= 32, flag(name), value, "1 to 32")
        std = self.initial_log_std
        require(std is None or -20 <= std <= 5, "--initial-log-std", std, "-20 to 5")
        start = self.initial_multiplier
        require(start is None or 0 < start < 2, "--initial-multiplier", start, "between 0 and 2")


@dataclass(frozen=True)
class PPOConfig:
    """The learning algorithm."""

    total_steps: Annotated[int | None, auto("2,000,000")] = None
    """Bars played over all environments; rounded up to whole updates."""
    num_episodes: Annotated[int | None, auto("by --total-steps")] = None
    """The same, in episodes of --episode-steps; give one of the two."""
    episode_steps: int = 500
    """Bars of an episode."""
    num_envs: Annotated[int | None, auto(describe_default("num_envs"))] = None
    """Parallel environments."""
    rollout_steps: int = 64
    """Bars that every environment plays between updates."""
    update_epochs: int = 2
    """Passes over a rollout."""
    num_minibatches: int = 8
    """Parts of a rollout, cut by environments; must divide --num-envs."""
    learning_rate: Annotated[
        float | None,
        auto("1e-3 for ppo on candles, with lstm or several assets 5e-4; else 2e-3"),
    ] = None
    """Step size of Adam at the start."""
    final_learning_rate: float = 0.02
    """Share of the learning rate that is left at the end (linear)."""
    gamma: float = 0.95
    """Discount per bar."""
    gae_lambda: float = 0.5
    """Lambda of the estimates that the value learns from, and with --baseline value of the advantages."""
    clip_eps: float = 0.4
    """Clip range of the ratio."""
    clip_value: bool = False
    """Clip the value's change as well."""
    baseline: Literal["mean-action", "value"] = "mean-action"
    """Baseline of the advantage: the mean action's reward on the same prices and the value of where it would have
    led, or the value."""
    lookahead: Annotated[int | None, auto(describe_default("lookahead"))] = None
    """Bars over which --baseline mean-action compares: from 2 on, an action's cost now is weighed against what is
    earned later on the same prices, and not by the value alone."""
    preset: Annotated[
        str,
        choice(
            "Other defaults where one set does not fit all.",
            {name: preset.summary for name, preset in PRESETS.items()},
        ),
    ] = "common"
    algorithm: Literal["ppo", "pathwise"] = "ppo"
    """pathwise: the gradient of the reward through the account, without exploration noise."""
    ent_coef: float = 0.0
    """Weight of the entropy bonus."""
    vf_coef: float = 0.5
    """Weight of the value loss."""
    final_std: float = 1.0
    """Share of the exploration's deviation that annealing leaves at the end (geometric); 1: no annealing."""
    weight_decay: float = 0.0
    """Decay of the kernels, as a share at learning rate 1 (AdamW); against overfitting to noise."""
    max_grad_norm: float = 0.5
    """Gradient norm beyond which the gradient is scaled down."""

    def __post_init__(self):
        both = self.total_steps is not None and self.num_episodes is not None
        require(self.preset in PRESETS, "--preset", self.preset, f"one of {', '.join(PRESETS)}")
        require(not both, "--total-steps and --num-episodes", f"{self.total_steps}, {self.num_episodes}", "one of them")
        for name in COUNTS:
            value = getattr(self, name)
            most = 2**24 if name == "num_envs" else 2**40
            require(value is None or 1 <= value <= most, flag(name), value, f"a whole number from 1 to {most}")
        for name in ("learning_rate", "max_grad_norm", "clip_eps"):
            value = getattr(self, name)
            require(value is None or (value > 0 and math.isfinite(value)), flag(name), value, "a number above 0")
        for name in ("gamma", "gae_lambda", "final_learning_rate"):
            value = getattr(self, name)
            require(0 <= value <= 1, flag(name), value, "0 to 1")
        bars = self.lookahead
        require(bars is None or 1 <= bars <= 64, "--lookahead", bars, "1 to 64")
        require(
            bars is None or self.baseline == "mean-action", "--lookahead", bars, "given with --baseline mean-action"
        )
        require(0 < self.final_std <= 1, "--final-std", self.final_std, "above 0, up to 1")
        for name in ("ent_coef", "vf_coef", "weight_decay"):
            value = getattr(self, name)
            require(value >= 0 and math.isfinite(value), flag(name), value, "0 or more")


COUNTS = (
    "total_steps",
    "num_episodes",
    "episode_steps",
    "num_envs",
    "rollout_steps",
    "update_epochs",
    "num_minibatches",
)


def default_options() -> dict[str, Any]:
    """Returns the options of each source that has some, at their defaults, by the name of the source."""
    return {name: kind() for name, kind in option_kinds().items()}


@dataclass(frozen=True)
class Config:
    """Train a position-sizing policy by PPO and evaluate it on candles it never saw."""

    policy: tyro.conf.OmitArgPrefixes[PolicyConfig] = field(default_factory=PolicyConfig)
    data: tyro.conf.OmitArgPrefixes[DataConfig] = field(default_factory=DataConfig)
    # A group of flags for each source: --NAME.OPTION.
    source_options: Annotated[dict[str, Any], tyro.conf.arg(name="")] = field(default_factory=default_options)
    oracle: OracleOptions = field(default_factory=OracleOptions)
    market: tyro.conf.OmitArgPrefixes[MarketConfig] = field(default_factory=MarketConfig)
    ppo: tyro.conf.OmitArgPrefixes[PPOConfig] = field(default_factory=PPOConfig)
    run: tyro.conf.OmitArgPrefixes[RunConfig] = field(default_factory=RunConfig)

    def __post_init__(self):
        envs, parts = self.num_envs, self.ppo.num_minibatches
        require(envs % parts == 0, "--num-envs", envs, f"a multiple of --num-minibatches {parts}")
        for name in {other.name for other in fields(self)} & set(self.source_options):
            raise InputError(f"--source {name}: rename the source; config.json has another group of that name")
        self.refuse_mixture()

    def refuse_mixture(self) -> None:
        """Raises InputError where flags of candles are given with --env, or flags of its markets without."""
        if self.data.env is None:
            for name, value in self.oracle.given().items():
                raise InputError(f"--oracle.{name.replace('_', '-')} {value}: belongs to --env, which is not given")
            return
        for group, unused in ((self.data, DataConfig(env=self.data.env)), (self.market, MarketConfig())):
            for name, value in vars(group).items():
                if value != getattr(unused, name):
                    raise InputError(
                        f"{flag(name)}: --env {self.data.env} has its own market and account; its parameters "
                        "are --oracle.NAME, see --help"
                    )
        if self.run.permutations:
            raise InputError(f"--permutations {self.run.permutations}: belongs to candles; --env has a known optimum")
        if self.run.ledger is not None:
            raise InputError(f"--ledger {self.run.ledger}: belongs to candles; with --env nothing is deflated")
        for name, options in self.source_options.items():
            if options != type(options)():
                raise InputError(f"--{name}: --env {self.data.env} has its own market; leave one of them")

    @property
    def num_envs(self) -> int:
        """Parallel environments, their default applied."""
        return self.ppo.num_envs or self.default("num_envs")

    @property
    def lookahead(self) -> int:
        """Bars over which an action is compared with the mean action, their default applied; 0: none."""
        if self.ppo.baseline != "mean-action":
            return 0
        return self.ppo.lookahead or self.default("lookahead")

    @property
    def steps_per_update(self) -> int:
        """Bars of one update."""
        return self.num_envs * self.ppo.rollout_steps

    @property
    def wanted_steps(self) -> int:
        """Bars asked for."""
        if self.ppo.num_episodes is not None:
            return self.ppo.num_episodes * self.ppo.episode_steps
        return self.ppo.total_steps or 2_000_000

    @property
    def total_updates(self) -> int:
        """Updates, rounded up."""
        return -(-self.wanted_steps // self.steps_per_update)

    def interval_updates(self, episodes: int | None, share: int) -> int:
        """Converts an interval in episodes to updates, rounded up; None is `1 / share` of the run."""
        if episodes is None:
            return max(1, -(-self.total_updates // share))
        return -(-episodes * self.ppo.episode_steps // self.steps_per_update)

    def hidden_dim(self, num_assets: int) -> int:
        """Returns the units of a layer, their default applied."""
        return self.policy.hidden_dim or self.default("hidden_dim", num_assets)

    def initial_log_std(self, costly: bool, num_assets: int = 1) -> float:
        """Returns the log deviation of the action at the start, its default applied."""
        wanted = self.policy.initial_log_std
        return float(self.default("initial_log_std", num_assets, costly) if wanted is None else wanted)

    def learning_rate(self, num_assets: int) -> float:
        """Returns the step size of Adam at the start, its default applied."""
        return float(self.ppo.learning_rate or self.default("learning_rate", num_assets))

    def default(self, name: str, num_assets: int = 1, costly: bool = False) -> Any:
        """Returns the default of a flag by policy, algorithm, preset and number of assets.

        Args:
            name: of the field.
            num_assets: N.
            costly: whether trading costs something.
        """
        candles, ppo = self.data.env is None, self.ppo
        return default(name, self.policy.policy, ppo.preset, num_assets, candles, costly, ppo.algorithm)
