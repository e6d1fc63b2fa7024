"""Strategies of a user: functions in Python files, and files of weights."""

import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from envs.market import Market
from himari_jax.candles import Candles
from himari_jax.errors import HimariError, InputError
from himari_jax.times import iso_second
from himari_jax.user_code import failure, quiet, sealed
from train.artifacts.backtest_folder import weights_name
from train.simulation.baselines import entry_name
from train.simulation.weight_files import read_weights

LARGEST_SUM = 1 + 1e-6  # of target weights; rounding is no leverage


@dataclass(frozen=True)
class Strategy:
    """Target weights by rule: a function of a market, or a file of weights."""

    name: str
    path: Path
    digest: str
    function: Callable[..., Any] | None = None  # instead of the file's; tests

    @property
    def is_file(self) -> bool:
        """Whether its weights are in a Parquet file."""
        return self.path.suffix == ".parquet" and self.function is None

    @property
    def kind(self) -> str:
        """The subject of its sentences, in `train.reporting.subjects`."""
        return "weights" if self.is_file else "rule"

    def weights(self, candles: Candles, market: Market) -> np.ndarray:
        """Computes target weights at every row, (T, N) float64; `check_weights` checks those of decisions.

        The file is run anew for every call, on read-only copies: no state of a rule reaches the candles that it is
        evaluated on.

        Raises:
            InputError: the function fails or returns another shape; the file lacks columns.
        """
        if self.is_file:
            return read_weights(self.path, candles)
        with quiet():
            function = self.function or find_function(self.path)
            try:
                given = (sealed(market), sealed(candles))[: num_arguments(function)]
                found = np.asarray(function(*given))
                if np.iscomplexobj(found):
                    raise TypeError("complex weights")
                found = np.asarray(found, np.float64)
            except HimariError:
                raise
            except BaseException as error:  # a rule may leave by sys.exit, too
                raise InputError(f"{self.path}: weights() failed: {failure(error)}") from error
        if found.shape != candles.close.shape:
            raise InputError(f"{self.path}: weights() gave the shape {found.shape}; must be {candles.close.shape}")
        return found


def num_arguments(function: Callable[..., Any]) -> int:
    """Returns 1 for weights(market), 2 for weights(market, candles); parameters with a default are the rule's own.

    Raises:
        TypeError: it has other parameters.
    """
    found = list(inspect.signature(function).parameters.values())
    places = [p for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for k, p in enumerate(places) if p.default is p.empty or (k == 1 and p.name == "candles")]
    lone = [p.name for p in found if p.kind == p.KEYWORD_ONLY and p.default is p.empty]
    if len(required) not in (1, 2) or lone:
        raise TypeError("needs a function weights(market) or weights(market, candles)")
    return len(required)


def find_function(path: Path) -> Callable[..., Any]:
    """Runs a file and returns its function `weights`.

    Raises:
        InputError: the file cannot be run or has no such function.
    """
    name = f"strategy_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # a path that ends in .py has a loader
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module  # dataclasses look up their module there
    try:
        spec.loader.exec_module(module)
    except BaseException as error:  # a file may leave by sys.exit, too
        raise InputError(f"{path}: cannot be run: {failure(error)}") from error
    finally:
        sys.modules.pop(name, None)
        if before is not None:
            sys.modules[name] = before
    function = getattr(module, "weights", None)
    try:
        num_arguments(cast(Any, function))
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: needs a function weights(market) or weights(market, candles)") from error
    return cast(Callable[..., Any], function)


def load_strategy(path: Path) -> Strategy:
    """Loads a Python file with a function `weights`, or a Parquet file of weights.

    Raises:
        InputError: no such file, it cannot be run, or has no such function.
    """
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    strategy = Strategy(entry_name(weights_name(path)), path, digest)
    if not strategy.is_file:
        with quiet():
            find_function(path)
    return strategy


def check_weights(weights: np.ndarray, rows: np.ndarray, candles: Candles, where: str, is_file: bool = False) -> None:
    """Refuses weights that are not finite, negative, or sum to more than 1 at a decision.

    Args:
        weights: (T, N) of every row.
        rows: of decisions, (L,).
        candles: of the weights.
        where: begins the text of an error.
        is_file: whether the weights are of a file, which may lack rows.

    Raises:
        InputError: names the time, the symbol, the value and what it must be.
    """
    shown = weights[rows]
    bad = ~np.isfinite(shown) | (shown < -1e-9)
    if bad.any():
        row, asset = (int(x[0]) for x in np.nonzero(bad))
        when, value = iso_second(candles.time[rows[row]] + candles.bar_ms), shown[row, asset]
        raise InputError(
            f"{where}: the weight of {candles.symbols[asset]} at {when} is {value:g}, one of {int(bad.sum())} in "
            f"{len(rows):,} decisions; must be finite numbers >= 0 (long only) at every decision"
            f"{'; where a file has no row (nan) choose other decisions with --span FROM:TO' if is_file else ''}"
        )
    over = shown.sum(1) > LARGEST_SUM
    if over.any():
        row = int(np.argmax(over))
        when, value = iso_second(candles.time[rows[row]] + candles.bar_ms), shown[row].sum()
        raise InputError(f"{where}: the weights at {when} sum to {value:g}; must be at most 1 (no leverage)")
