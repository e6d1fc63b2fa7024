"""Says where the best evaluation of a training run stands among all of them, and what to do about it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple


class Finding(NamedTuple):
    """Where the best evaluation of a seed stands in the order of training."""

    best: Literal["first", "between", "last"]
    advice: str | None  # what to do; None between first and last


def judge_course(
    updates: Sequence[int], sharpes: Sequence[float | None], best: int, total_steps: int
) -> Finding | None:
    """Finds the best evaluation of a seed among all of them; None where that says nothing: a single one, or not there.

    Args:
        updates: at which validation was measured, in order, (E,).
        sharpes: measured there, None or not finite where undefined, (E,).
        best: update of the best one, the first of equals.
        total_steps: that the run was trained for.
    """
    finite = {update: x for update, x in zip(updates, sharpes, strict=True) if x is not None and math.isfinite(x)}
    if len(finite) < 2 or best not in finite:
        return None
    order, values = list(finite), list(finite.values())
    if best == updates[-1]:
        return Finding(
            "last",
            f"best validation is the last of {len(order)} evaluations (Sharpe {values[-1]:+.2f}, {values[-2]:+.2f} "
            f"before it): still improving; train longer with --total-steps {2 * total_steps}, in a new run",
        )
    if best == order[0]:
        after = "only unlearned" if values[-1] < values[0] else "improved nothing"
        return Finding(
            "first",
            f"best validation is the first of {len(order)} evaluations (Sharpe {values[0]:+.2f}, {values[-1]:+.2f} at "
            f"the end): training after it {after}; try more --weight-decay, a lower --learning-rate or another --bar",
        )
    return Finding("between", None)


def describe_course(
    metrics: Sequence[Mapping[str, Any]], best_update: Sequence[int], chosen: int, total_steps: int
) -> dict[str, Any]:
    """Words the course of a run's training, as `course` of result.json holds it.

    Args:
        metrics: lines of metrics.jsonl, of every part of the run.
        best_update: of each seed, (K,).
        chosen: index of the seed that the advice is about.
        total_steps: that the run was trained for.
    """
    updates = [line["update"] for line in metrics if "update" in line]
    found = []
    for k, best in enumerate(best_update):
        sharpes = [sharpe_of(line, k) for line in metrics if "update" in line]
        found.append(judge_course(updates, sharpes, best, total_steps))
    mine = found[chosen]
    return {
        "best": mine and mine.best,
        "best_by_seed": [finding and finding.best for finding in found],
        "advice": mine and mine.advice,
    }


def course_of(result: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Reads `course` off a result, or finds it for a run of 0.1.0, which has none; None for what did not train.

    Args:
        result: as result.json.
        metrics: lines of metrics.jsonl.
    """
    if "course" in result or "best_update" not in result:
        return result.get("course")
    chosen = [block["seed"] for block in result["seeds"]].index(result["chosen_seed"])
    return describe_course(metrics, result["best_update"], chosen, result["timings"]["steps"])


def course_line(result: Mapping[str, Any], course: Mapping[str, Any] | None) -> str:
    """Words the advice on the course of training, by seed where there are several; empty where there is none."""
    if course is None or course["advice"] is None:
        return ""
    of = f"seed {result['chosen_seed']}: " if len(result["seeds"]) > 1 else ""
    return f"{of}{course['advice']}"


def sharpe_of(line: Mapping[str, Any], seed: int) -> float | None:
    """Reads the validation Sharpe of a seed off a line of metrics.jsonl; None where it has none."""
    measured = line.get("validation_sharpe_by_seed") or []
    return measured[seed] if seed < len(measured) else None
