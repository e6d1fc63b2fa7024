"""Gates: the figures of the training plan that a run has to reach, with the noise they are measured in."""

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import ge, gt, le, lt
from pathlib import Path
from typing import Any, NamedTuple

from himari_jax.errors import InputError
from himari_jax.statistics.metric_table import METRICS

COMPARISONS = {">": gt, ">=": ge, "<": lt, "<=": le}
OTHER = "other"
KEYS = ("name", "metric", "comparison", "threshold", "relative_to")


@dataclass(frozen=True)
class Gate:
    """A condition on one metric of a block of result.json: `value comparison threshold`."""

    name: str
    metric: str
    comparison: str  # one of COMPARISONS
    threshold: float
    relative_to: str | None = None  # "other": the value is the metric minus that of the run compared with


class GateResult(NamedTuple):
    """Outcome of a gate."""

    name: str
    value: float  # nan where undefined, which passes no gate
    threshold: float
    interval: tuple[float, float] | None  # of the value, 95 %; None where the block has none
    passed: bool  # by the point value
    inside_noise: bool  # the interval holds the threshold: the sample cannot tell pass from fail


def _monitored(win_rate: float, drawdown: float) -> tuple[Gate, ...]:
    """The monitoring thresholds; wins by bar, since a policy that scales a position is seldom flat."""
    return (
        Gate("win_rate", "win_rate_bar", ">", win_rate),
        Gate("max_drawdown", "max_drawdown", "<", drawdown),
    )


GATES: dict[str, tuple[Gate, ...]] = {
    "base": (Gate("sharpe", "sharpe", ">", 1.0), *_monitored(0.52, 0.20)),
    "lstm": (Gate("sharpe_over_base", "sharpe", ">", 0.2, OTHER), *_monitored(0.55, 0.18)),
    "multi": (
        Gate("sharpe", "sharpe", ">", 1.5),
        Gate("herfindahl", "herfindahl", "<", 0.6),
        *_monitored(0.58, 0.15),
    ),
}


def find_gates(name_or_path: str) -> tuple[Gate, ...]:
    """Looks up the built-in gates of a name, or reads those of a TOML file.

    Raises:
        InputError: neither, or a file that `load_gates` refuses.
    """
    if name_or_path in GATES:
        return GATES[name_or_path]
    if not name_or_path.endswith(".toml"):
        raise InputError(f"--gate {name_or_path}: one of {', '.join(GATES)}, or a file that ends in .toml")
    return load_gates(Path(name_or_path))


def load_gates(path: Path) -> tuple[Gate, ...]:
    """Gates from a TOML file: one table `[[gate]]` each.

    ```toml
    [[gate]]
    name = "beats the old model"  # optional: how it is reported, else the metric
    metric = "sharpe"             # of a block of result.json; max_drawdown counts by its size
    comparison = ">"              # > >= < <=
    threshold = 0.2               # win rates and drawdowns as shares: 0.52, not 52
    relative_to = "other"         # optional: the metric minus that of the run compared with
    ```

    Raises:
        InputError: no such file, no TOML, no gate, or a key or value that is not as above.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except ValueError as error:  # of the text's encoding or its grammar
        raise InputError(f"{path}: not TOML: {error}") from None
    if unknown := [key for key in tables if key != "gate"]:
        raise InputError(f"{path}: {unknown[0]}: unknown; the file is made of tables [[gate]]")
    gates = tables.get("gate")
    if not isinstance(gates, list) or not gates or not all(isinstance(gate, dict) for gate in gates):
        raise InputError(f"{path}: no gate; write one table [[gate]] for each")
    return tuple(read_gate(gate, f"{path}: gate {number}") for number, gate in enumerate(gates, 1))


def read_gate(table: Mapping[str, Any], where: str) -> Gate:
    """Reads one table of the file.

    Raises:
        InputError: names the place, the key, its value and what is allowed.
    """
    for key in table:
        one_of(key, KEYS, f"{where}: key")
    for key in ("metric", "comparison", "threshold"):
        if key not in table:
            raise InputError(f"{where}: {key}: missing; needed are metric, comparison and threshold")
    metric = one_of(table["metric"], tuple(METRICS), f"{where}: metric")
    comparison = one_of(table["comparison"], tuple(COMPARISONS), f"{where}: comparison")
    threshold, name = table["threshold"], table.get("name", metric)
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not math.isfinite(threshold):
        raise InputError(f"{where}: threshold {threshold!r}: a finite number")
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"{where}: name {name!r}: a text")
    relative = table.get("relative_to")
    if relative is not None:
        one_of(relative, (OTHER,), f"{where}: relative_to")
    return Gate(name, metric, comparison, float(threshold), relative)


def one_of(value: Any, allowed: Sequence[str], where: str) -> str:
    """Returns the value if it is allowed.

    Raises:
        InputError: it is not.
    """
    if not isinstance(value, str) or value not in allowed:
        raise InputError(f"{where} {value!r}: one of {', '.join(allowed)}")
    return value


def check_gates(
    gates: Sequence[Gate],
    block: Mapping[str, Any],
    other_block: Mapping[str, Any] | None = None,
    differences: Mapping[str, tuple[float, tuple[float, float]]] | None = None,
) -> list[GateResult]:
    """Whether a run's block meets the gates.

    An interval is the block's `METRIC_interval`, of a relative gate the paired one of `differences`.

    Args:
        gates: what to meet.
        block: metrics of the run, as in result.json; null and nan are undefined.
        other_block: metrics of the run compared with, for relative gates.
        differences: by metric, value and interval of this run minus the other on the same bars; used before
            `other_block`, whose plain difference has no interval.

    Raises:
        InputError: a relative gate and nothing to compare with, or a metric that the block lacks.
    """
    return [check_gate(gate, block, other_block, differences or {}) for gate in gates]


def check_gate(
    gate: Gate,
    block: Mapping[str, Any],
    other_block: Mapping[str, Any] | None,
    differences: Mapping[str, tuple[float, tuple[float, float]]],
) -> GateResult:
    """Checks one gate; arguments as in `check_gates`."""
    value, noise = measured(gate, block, other_block, differences)
    passed = bool(COMPARISONS[gate.comparison](value, gate.threshold))
    inside = noise is not None and noise[0] <= gate.threshold <= noise[1] and not math.isnan(value)
    return GateResult(gate.name, value, gate.threshold, noise, passed, inside)


def measured(
    gate: Gate,
    block: Mapping[str, Any],
    other_block: Mapping[str, Any] | None,
    differences: Mapping[str, tuple[float, tuple[float, float]]],
) -> tuple[float, tuple[float, float] | None]:
    """Measures the value and interval that a gate tests; falls count by their size."""
    falls = METRICS[gate.metric].by_size
    if gate.relative_to is None:
        return turned(number(gate, block), block.get(f"{gate.metric}_interval"), falls)
    if gate.metric in differences:
        return turned(*differences[gate.metric], falls)
    if other_block is None:
        raise InputError(f"gate {gate.name}: compares {gate.metric} with another run; name that run as well")
    return turned(number(gate, block, 0.0) - number(gate, other_block, 0.0), None, falls)


def number(gate: Gate, block: Mapping[str, Any], undefined_sharpe: float = math.nan) -> float:
    """Reads the gate's metric of a block, nan where undefined; in a difference the Sharpe ratio of cash counts as 0."""
    if gate.metric not in block:
        raise InputError(
            f"gate {gate.name}: {gate.metric}: not in this result; it has {', '.join(m for m in METRICS if m in block)}"
        )
    value = math.nan if block[gate.metric] is None else float(block[gate.metric])
    return undefined_sharpe if math.isnan(value) and gate.metric == "sharpe" else value


def turned(value: float, noise: Any, falls: bool) -> tuple[float, tuple[float, float] | None]:
    """Turns the sign of value and interval for a fall; None for an interval that is missing or not finite."""
    known = noise is not None and all(x is not None and math.isfinite(x) for x in noise)
    low, high = noise if known else (math.nan, math.nan)
    if falls:
        value, low, high = -value, -high, -low
    return value, (low, high) if known else None


def describe(gate: Gate, outcome: GateResult) -> str:
    """Formats the outcome as a line."""
    metric = f"{gate.metric} minus the other run's" if gate.relative_to else gate.metric
    word = "PASS" if outcome.passed else "FAIL"
    noise = "no interval"
    if outcome.interval is not None:
        low, high = outcome.interval
        noise = f"95 % interval {low:.3f} to {high:.3f}"
    doubt = ", inside the noise: this sample cannot tell" if outcome.inside_noise else ""
    value = "undefined" if math.isnan(outcome.value) else f"{outcome.value:.3f}"
    relation = f"{value} {gate.comparison}" if outcome.passed else f"{value}, not {gate.comparison}"
    return f"{word} {outcome.name}: {metric} {relation} {gate.threshold:g} ({noise}{doubt})"
