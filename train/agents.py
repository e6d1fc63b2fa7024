"""Who is backtested: trained runs, a user's own strategies, weights from a file."""

import hashlib
import importlib.util
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from envs.market import Market, build_market
from envs.trading import TradingEnv
from himari_jax.candles import Candles
from himari_jax.errors import InputError
from himari_jax.features import observation_width
from himari_jax.policies.policy import Policy
from train.baselines import BASELINES
from train.config import Config, MarketConfig
from train.folder import stored_config, stored_json
from train.provenance import iso
from train.saved import read_saved
from train.session import make_learner, sizing_rules
from train.stored import config_hash

LARGEST_SUM = 1 + 1e-6  # of target weights; rounding is no leverage


@dataclass(frozen=True)
class Agent:
    """A trained run."""

    name: str
    folder: Path
    config: Config
    stored: dict[str, Any]  # config.json
    policy: Policy
    variables: dict  # leaves (K, ...)
    chosen: int  # index of the seed that did best on validation
    step: int  # of the checkpoint
    checkpoint: str  # best, latest or a step

    @property
    def seeds(self) -> list[int]:
        """Numbers of the seeds."""
        return [self.config.run.seed + k for k in range(self.config.run.num_seeds)]

    @property
    def symbols(self) -> tuple[str, ...]:
        """What it was trained on."""
        return tuple(self.stored["data"]["symbols"])

    @property
    def digest(self) -> str:
        """What counts as one configuration in the trial ledger."""
        own = config_hash(self.config)
        return own if self.checkpoint == "best" else hashlib.sha256(f"{own} {self.step}".encode()).hexdigest()


@dataclass(frozen=True)
class Strategy:
    """Target weights by rule: a function of a market, or a file of weights."""

    name: str
    path: Path
    function: Callable[..., Any] | None  # None: weights from a Parquet file
    digest: str

    def weights(self, candles: Candles, market: Market) -> np.ndarray:
        """Target weights at every row, (T, N) float64; checked where `check_weights` looks.

        Raises:
            InputError: the function fails or returns another shape; the file lacks columns.
        """
        if self.function is None:
            return read_weights(self.path, candles)
        try:
            given = (market, candles)[: len(inspect.signature(self.function).parameters)]
            found = np.asarray(self.function(*given), np.float64)
        except Exception as error:
            raise InputError(f"{self.path}: weights() failed: {type(error).__name__}: {error}") from error
        if found.shape != candles.close.shape:
            raise InputError(f"{self.path}: weights() gave the shape {found.shape}; allowed: {candles.close.shape}")
        return found


def load_agent(folder: Path, checkpoint: str = "best") -> Agent:
    """A run with its policies.

    Raises:
        InputError: no run, no checkpoint, or parameters that do not fit the flags.
        CheckpointError: the checkpoint is damaged.
    """
    config, stored = stored_config(folder), stored_json(folder)
    saved = read_saved(folder, checkpoint)
    assets = len(stored["data"]["symbols"])
    policy = make_learner(config, TradingEnv(assets, tuple(config.market.reward_terms))).policy
    wanted = jax.eval_shape(
        lambda: policy.init(
            jax.random.key(0), policy.initial_carry(1), np.zeros((1, observation_width(assets)), np.float32)
        )
    )
    seeds = config.run.num_seeds
    shapes = {k: (seeds, *v.shape) for k, v in flat(wanted).items()}
    found = {k: v.shape for k, v in flat(saved.variables).items()}
    if shapes != found:
        odd = sorted(k for k in shapes.keys() | found.keys() if shapes.get(k) != found.get(k))[0]
        raise InputError(f"{folder}: {odd} is {found.get(odd)} in the checkpoint, {shapes.get(odd)} by its flags")
    chosen = int(np.argmax(saved.sharpe))
    name = entrant_name(folder.resolve().name)
    return Agent(name, folder, config, stored, policy, saved.variables, chosen, saved.step, checkpoint)


def entrant_name(name: str) -> str:
    """A name that no baseline has."""
    return f"run {name}" if name in BASELINES else name


def flat(tree: Any) -> dict[str, Any]:
    """Leaves by path."""
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def load_strategy(path: Path) -> Strategy:
    """A Python file with a function `weights`, or a Parquet file of weights.

    Raises:
        InputError: no such file, it cannot be run, or has no such function.
    """
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    if path.suffix == ".parquet":
        return Strategy(entrant_name(path.stem), path, None, digest)
    spec = importlib.util.spec_from_file_location(f"strategy_{digest[:12]}", path)
    assert spec is not None  # a path that ends in .py has a loader
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"{path}: cannot be run: {type(error).__name__}: {error}") from error
    function = getattr(module, "weights", None)
    if not callable(function) or len(inspect.signature(function).parameters) not in (1, 2):
        raise InputError(f"{path}: needs a function weights(market) or weights(market, candles)")
    return Strategy(entrant_name(path.stem), path, function, digest)


def read_weights(path: Path, candles: Candles) -> np.ndarray:
    """Weights of a Parquet file with `time`, the close of the bar, and `weight_SYMBOL`, as in equity.parquet.

    Rows without a line are nan: `check_weights` refuses them where decisions are made.
    """
    import polars as pl

    try:
        frame = pl.read_parquet(path, glob=False)
        columns = [f"weight_{symbol}" for symbol in candles.symbols]
        if missing := [name for name in ("time", *columns) if name not in frame.columns]:
            raise InputError(f"{path}: no column {missing[0]}; needed: time, {', '.join(columns)}")
        if not isinstance(frame["time"].dtype, pl.Datetime) or frame["time"].dtype.time_zone is None:
            raise InputError(f"{path}: time is {frame['time'].dtype}; allowed: a datetime with a time zone")
        time = frame["time"].dt.epoch("ms").to_numpy()
        values = frame.select(pl.col(columns).cast(pl.Float64).fill_null(np.nan)).to_numpy()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{path}: cannot be read ({' '.join(str(error).split())[:200]})") from error
    if len(np.unique(time)) < len(time):
        raise InputError(f"{path}: a time stands there twice")
    found = np.full(candles.close.shape, np.nan)
    closes = candles.time + candles.bar_ms
    at = np.searchsorted(closes, time)
    inside = (at < len(closes)) & (closes[np.minimum(at, len(closes) - 1)] == time)
    found[at[inside]] = values[inside]
    return found


def check_weights(weights: np.ndarray, rows: np.ndarray, candles: Candles, where: str) -> None:
    """Refuses weights that are not finite, negative, or sum to more than 1 at a decision.

    Raises:
        InputError: names the time, the symbol, the value and what is allowed.
    """
    shown = weights[rows]
    bad = ~np.isfinite(shown) | (shown < -1e-9)
    if bad.any():
        row, asset = (int(x[0]) for x in np.nonzero(bad))
        when, value = iso(candles.time[rows[row]] + candles.bar_ms), shown[row, asset]
        raise InputError(
            f"{where}: the weight of {candles.symbols[asset]} at {when} is {value:g}, one of {int(bad.sum())}; "
            "allowed: finite numbers >= 0 (long only) at every decision"
        )
    over = shown.sum(1) > LARGEST_SUM
    if over.any():
        row = int(np.argmax(over))
        when, value = iso(candles.time[rows[row]] + candles.bar_ms), shown[row].sum()
        raise InputError(f"{where}: the weights at {when} sum to {value:g}; allowed: at most 1 (no leverage)")


def market_of(candles: Candles, config: MarketConfig) -> Market:
    """The market as a strategy sees it."""
    return build_market(candles, config.base_sizing, sizing_rules(config), config.fill)
