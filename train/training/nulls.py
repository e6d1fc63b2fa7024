"""Null markets, without anything to learn: permuted bars, or inputs that are years late."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from envs.market import Market
from himari_jax.errors import InputError
from himari_jax.features.market import segments
from himari_jax.permutation import Kind, permute_candles
from himari_jax.positions.base_positions import Base
from himari_jax.times import DAY_MS, YEAR_MS
from train.artifacts.files import append_lines, storage_errors
from train.config.market import MarketConfig
from train.config.run import RunConfig
from train.data.members import join_candles
from train.training.session import Prepared


@dataclass(frozen=True)
class LateInputs(Prepared):
    """Candles whose features and correlations are those of an earlier time; prices and base positions are on time.

    Args:
        late_ms: delay of the inputs, milliseconds. Rows without earlier inputs take the last of the candles; a part
            shorter than twice `late_ms` is late by half its length, so that these are not of the next days.
    """

    late_ms: int = 0

    def market(self, part: int, account: MarketConfig, base: Base) -> Market:
        """Returns the market of a part with late inputs."""
        market, candles = super().market(part, account, base), self.candles[part]
        warm_up, late = self.features.lookback(candles.bar_ms), round(self.late_ms / YEAR_MS * candles.bars_per_year)
        rows = np.concatenate([np.arange(min(start + warm_up, stop), stop) for start, stop in segments(candles)])
        seen = np.arange(len(candles.time))
        seen[rows] = np.roll(rows, min(late, len(rows) // 2))
        return market._replace(features=market.features[seen], corr=market.corr[seen])


def with_late_inputs(prepared: Prepared, late_ms: int) -> Prepared:
    """Returns the same candles with late inputs."""
    return LateInputs(prepared.candles, prepared.report, prepared.features, late_ms=late_ms)


def permuted(prepared: Prepared, kind: Kind, seed: int, draw: int) -> Prepared:
    """Permutes the bars of candles; features and base positions are computed from the permuted bars.

    Args:
        prepared: real candles.
        kind: bars or blocks.
        seed: of all draws.
        draw: number of the draw.
    """
    candles = permute_candles(prepared.candles, np.random.default_rng([seed, draw]), kind)
    return Prepared(candles, prepared.report, prepared.features)


def refuse_positions(account: MarketConfig, permutations: int) -> None:
    """Refuses permutations with base positions from a file.

    Raises:
        InputError: such positions belong to the order of the real bars.
    """
    if permutations and account.base_positions is not None:
        raise InputError(
            f"--permutations {permutations}: --base-positions {account.base_positions} belong to the order in which "
            "the bars came; leave one of the two out"
        )


def refuse_long_shift(shift: str, late_ms: int, prepared: Prepared) -> None:
    """Refuses inputs so late that no earlier ones are left for most of the candles.

    Raises:
        InputError: names the shift and the length of the candles.
    """
    time = join_candles(prepared.candles).time
    whole = int(time[-1] - time[0]) + prepared.candles[0].bar_ms
    if 2 * late_ms > whole:
        raise InputError(
            f"--placebo {shift}: the candles are of {whole / DAY_MS:,.0f} days, too few for inputs that late; must be "
            "at most half of it, or none"
        )


class Results:
    """Results of null markets in a file of a run folder, a line each: a process that dies loses none that was written.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path):
        self.path = path

    def read(self) -> list[dict[str, Any]]:
        """Reads the results; a torn line is left out."""
        found = []
        with storage_errors(self.path):
            text = self.path.read_text("utf-8", "replace") if self.path.exists() else ""
        for line in text.splitlines():
            try:
                found.append(dict(json.loads(line)))
            except (ValueError, TypeError):
                continue
        return found

    def add(self, record: Mapping[str, Any]) -> None:
        """Adds a line, and returns when it is on the disk.

        Raises:
            StorageError: it could not be written.
        """
        append_lines(self.path, json.dumps(record) + "\n")


def p_value(value: float, null: np.ndarray) -> float:
    """Share of the null markets, the real one among them, that do as well: `(1 + #{S_perm >= S}) / (1 + K)`.

    Args:
        value: S.
        null: (K,) S_perm.

    Source: Phipson and Smyth, "Permutation P-values Should Never Be Zero", 2010.
    """
    return float((1 + np.sum(np.asarray(null) >= value)) / (1 + len(null)))


def permutation_block(kind: str, value: float, null: np.ndarray) -> dict[str, Any]:
    """Describes a permutation test for result.json.

    Args:
        kind: bars or blocks.
        value: S, Sharpe minus that of the constant multiplier of the same mean exposure.
        null: (K,) the same of the permuted markets.
    """
    known = [float(x) for x in null]
    return {"kind": kind, "number": len(known), "value": value, "null": known, "p": p_value(value, null)}


def is_tested(block: Mapping[str, Any] | None, run: RunConfig) -> bool:
    """Whether a result has the permutations that flags ask for; without --permutations every result has.

    Args:
        block: of the result; None where there were none.
        run: flags.
    """
    if not run.permutations:
        return True
    return block is not None and (block["number"], block["kind"]) == (run.permutations, run.permute)


def doubt(block: Mapping[str, Any] | None, level: float = 0.05) -> tuple[str, ...]:
    """Words the doubt that a permutation test raises against an edge; empty where it raises none."""
    if not block or block["p"] <= level:
        return ()
    number, p = block["number"], block["p"]
    if 1 / (1 + number) > level:
        enough = math.ceil(1 / level - 1)
        return (f"{number} permuted markets cannot show less than p {1 / (1 + number):.3f}; --permutations {enough}",)
    return (
        f"trained anew on {number} permuted markets ({block['kind']}), chance alone does as well: p {p:.3f}; "
        f"an edge needs {level:g} or less",
    )
