"""The markets in plain numpy, for peers without jax: B episodes at once; tests hold them against the originals."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from himari_jax.account import Account, Costs, open_account, step_account
from himari_jax.features.market import ACCOUNT_FEATURES
from himari_jax.features.observation import assemble
from himari_jax.positions.sizing import cap_targets

BURN_IN = 100  # bars before a score counts, as in train.oracles.scoring
Act = Callable[[np.ndarray, Any], tuple[np.ndarray, Any]]  # (B, D), memory -> multiplier (B,), memory


class Twin(Protocol):
    """A market as a trainer sees it."""

    @property
    def width(self) -> int:
        """D, numbers of an observation."""
        ...

    def open(self, rng: np.random.Generator, episodes: int) -> Any:
        """States of new episodes, leaves (B, ...)."""
        ...

    def step(self, rng: np.random.Generator, state: Any, multiplier: np.ndarray) -> tuple[Any, np.ndarray, Any, Any]:
        """One bar: states, rewards (B,), whether an episode ended in ruin (B,), whether the candles end (B,)."""
        ...

    def observe(self, state: Any) -> np.ndarray:
        """Observations, (B, D)."""
        ...


class AccountState(NamedTuple):
    """State of single-asset accounts side by side."""

    t: np.ndarray  # (B,) row of the market
    weights: np.ndarray  # (B, 1), and so on as in Account
    entry_ratio: np.ndarray  # (B, 1)
    log_equity: np.ndarray  # (B,)


@dataclass(frozen=True)
class AccountTwin:
    """`envs.trading.TradingEnv` with one asset and the log return as reward, in float32, on the same account."""

    to_fill: np.ndarray  # (T,)
    to_mark: np.ndarray  # (T,)
    features: np.ndarray  # (T, k) as the policy shall see them
    base: np.ndarray  # (T,)
    tradable: np.ndarray  # (T,) bool
    starts: np.ndarray  # (M,)
    last: np.ndarray  # (T,) bool, last decision row of a stretch
    rate: float
    min_trade: float
    max_position_pct: float
    max_gross: float
    ruin: float

    @property
    def width(self) -> int:
        """D, numbers of an observation."""
        return self.features.shape[1] + len(ACCOUNT_FEATURES)

    def open(self, rng: np.random.Generator, episodes: int) -> AccountState:
        """Accounts of cash, at starts drawn evenly."""
        return self.state_at(self.starts[rng.integers(len(self.starts), size=episodes)])

    def state_at(self, t: np.ndarray) -> AccountState:
        """Accounts of cash at rows `t`, (B,)."""
        return AccountState(t, *open_account(np.zeros((*t.shape, 1), np.float32)))

    def observe(self, state: AccountState) -> np.ndarray:
        """Market and account numbers, (B, D)."""
        return assemble(self.features[state.t][:, None], np.zeros((len(state.t), 0)), state.weights, state.entry_ratio)

    def step(
        self, rng: np.random.Generator | None, state: AccountState, multiplier: np.ndarray
    ) -> tuple[AccountState, np.ndarray, np.ndarray, np.ndarray]:
        """One bar of the account; multiplier and rewards (B,)."""
        t, caps = state.t, (np.float32(self.max_position_pct), np.float32(self.max_gross))
        to_fill, to_mark, tradable, base = (
            x[t][:, None] for x in (self.to_fill, self.to_mark, self.tradable, self.base)
        )
        target = cap_targets(np.clip(multiplier[:, None], 0, 2), base, *caps)
        costs = Costs(np.float32(self.rate), np.float32(self.min_trade))
        account, trade = step_account(Account(*state[1:]), target, to_fill, to_mark, tradable, costs)
        ruined = account.log_equity < np.log(self.ruin)
        return AccountState(t + 1, *account), trade.log_return, ruined, self.last[t]


class OracleState(NamedTuple):
    """State of a market with a known optimum."""

    market: np.ndarray  # (B, K)
    weights: np.ndarray  # (B,)


@dataclass(frozen=True)
class OracleTwin:
    """Base of the markets with a known optimum; the equations are those of `envs.oracles`, where they are explained."""

    sigma: float
    risk_aversion: float
    optimum: float

    scale = 1.0  # weight of multiplier 2
    width = 1

    def open(self, rng: np.random.Generator, episodes: int) -> OracleState:
        """States drawn from the stationary law, weights 0."""
        return OracleState(self.start(rng, episodes), np.zeros(episodes))

    def step(
        self, rng: np.random.Generator, state: OracleState, multiplier: np.ndarray
    ) -> tuple[OracleState, np.ndarray, np.ndarray, np.ndarray]:
        """One bar; multiplier and rewards (B,); episodes neither end in ruin nor run out of candles."""
        weights = self.position(multiplier)
        market, returns = self.advance(state.market, self.shocks(rng, len(weights)))
        never = np.zeros(len(weights), bool)
        return OracleState(market, weights), weights * returns - self.charges(state.weights, weights), never, never

    def position(self, multiplier: np.ndarray) -> np.ndarray:
        """Weights that a multiplier (B,) asks for, (B,)."""
        return self.scale * (np.clip(multiplier, 0, 2) - 1)

    def start(self, rng: np.random.Generator, episodes: int) -> np.ndarray:
        """States of the market, (B, K)."""
        raise NotImplementedError

    def shocks(self, rng: np.random.Generator, episodes: int) -> tuple[np.ndarray, np.ndarray]:
        """Draws the random shocks of one bar, (B,) each."""
        raise NotImplementedError

    def advance(self, market: np.ndarray, shocks: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The next states (B, K) and the returns (B,)."""
        raise NotImplementedError

    def charges(self, before: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Price of risk, and of trading where it has one, (B,)."""
        raise NotImplementedError

    def announced(self, market: np.ndarray) -> np.ndarray:
        """Mean of the next return given the state, (B,)."""
        raise NotImplementedError

    def best(self, memory: np.ndarray, market: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The best policy, with its memory (B,)."""
        raise NotImplementedError

    def expected(self, market: np.ndarray, before: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Mean of the reward given the state, (B,)."""
        return weights * self.announced(market) - self.charges(before, weights)


@dataclass(frozen=True)
class HiddenDriftTwin(OracleTwin):
    """`envs.oracles.hidden_drift` without a fee; the state is the sign and the last return in deviations."""

    mu: float
    p: float

    def start(self, rng: np.random.Generator, episodes: int) -> np.ndarray:
        """Draws a sign and a last return."""
        sign = rng.choice([-1.0, 1.0], episodes)
        return np.stack([sign, sign * self.mu / self.sigma + rng.normal(size=episodes)], -1)

    def shocks(self, rng: np.random.Generator, episodes: int) -> tuple[np.ndarray, np.ndarray]:
        """Whether the sign flips, and noise."""
        return rng.random(episodes) < self.p, rng.normal(size=episodes)

    def advance(self, market: np.ndarray, shocks: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Perhaps a flip, then the return."""
        flip, noise = shocks
        sign = np.where(flip, -market[:, 0], market[:, 0])
        seen = sign * self.mu / self.sigma + noise
        return np.stack([sign, seen], -1), self.sigma * seen

    def charges(self, before: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Price of risk."""
        return self.risk_aversion / 2 * self.sigma**2 * weights**2

    def announced(self, market: np.ndarray) -> np.ndarray:
        """`mu (1 - 2p) s`."""
        return self.mu * (1 - 2 * self.p) * market[:, 0]

    def observe(self, state: OracleState) -> np.ndarray:
        """The last return, in deviations."""
        return state.market[:, 1:].astype(np.float32)

    def best(self, memory: np.ndarray, market: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The best policy: position by the filtered belief."""
        belief = (1 - 2 * self.p) * np.tanh(np.arctanh(memory) + self.mu / self.sigma * market[:, 1])
        return belief, np.clip(self.mu * belief / (self.risk_aversion * self.sigma**2), -1, 1)


@dataclass(frozen=True)
class GarleanuPedersenTwin(OracleTwin):
    """`envs.oracles.garleanu_pedersen`; the state is the signal f in deviations."""

    phi: float
    signal: float
    cost: float
    gain: tuple[float, float]  # of the best policy on position and signal

    scale = 5.0
    width = 2

    def start(self, rng: np.random.Generator, episodes: int) -> np.ndarray:
        """Draws f."""
        return rng.normal(size=(episodes, 1))

    def shocks(self, rng: np.random.Generator, episodes: int) -> tuple[np.ndarray, np.ndarray]:
        """Shocks of signal and return, (B,) each."""
        return rng.normal(size=episodes), rng.normal(size=episodes)

    def advance(self, market: np.ndarray, shocks: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The next f, and the return that the last one announced."""
        of_signal, noise = shocks
        after = self.phi * market[:, 0] + np.sqrt(1 - self.phi**2) * of_signal
        return after[:, None], self.signal * market[:, 0] + self.sigma * noise

    def charges(self, before: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Price of risk and cost."""
        return self.sigma**2 / 2 * (self.risk_aversion * weights**2 + self.cost * (weights - before) ** 2)

    def announced(self, market: np.ndarray) -> np.ndarray:
        """The signal."""
        return self.signal * market[:, 0]

    def observe(self, state: OracleState) -> np.ndarray:
        """f in deviations, and the weight."""
        return np.stack([state.market[:, 0], state.weights], -1).astype(np.float32)

    def best(self, memory: np.ndarray, market: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The best policy: a part of the way towards the aim."""
        return memory, weights - self.gain[0] * weights - self.gain[1] * market[:, 0]


ORACLES: dict[str, type[OracleTwin]] = {
    "hidden-drift": HiddenDriftTwin,
    "garleanu-pedersen": GarleanuPedersenTwin,
}


def make_twin(info: dict[str, Any]) -> Any:
    """Builds the market that `train.benchmarks.peers.describe.describe` described."""
    if info["kind"] == "candles":
        with np.load(info["path"]) as arrays:
            return AccountTwin(**dict(arrays), **info["account"])
    parameters: Any = {name: tuple(x) if isinstance(x, list) else x for name, x in info["parameters"].items()}
    return ORACLES[info["kind"]](**parameters)


def score_twin(twin: Any, act: Act, paths: int, bars: int, seed: int) -> tuple[float, float]:
    """Scores a policy: value per bar and standard error, as `score_policies`, on its own paths.

    Args:
        twin: an `OracleTwin`.
        act: the policy.
        paths: how many.
        bars: of each, after the burn-in.
        seed: of the paths.
    """
    rng = np.random.default_rng(seed)
    state, memory, carry = twin.open(rng, paths), np.zeros(paths), None
    best, gap = state.weights, np.zeros(paths)
    for bar in range(BURN_IN + bars):
        multiplier, carry = act(twin.observe(state), carry)
        weights = twin.position(multiplier)
        memory, after = twin.best(memory, state.market, best)
        if bar >= BURN_IN:
            gap += twin.expected(state.market, state.weights, weights) - twin.expected(state.market, best, after)
        best = after
        market, _ = twin.advance(state.market, twin.shocks(rng, paths))
        state = OracleState(market, weights)
    return twin.optimum + float(gap.mean()) / bars, float(gap.std()) / bars / np.sqrt(paths)
