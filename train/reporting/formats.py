"""Formats the numbers and sentences of a result, for console and report."""

from collections.abc import Iterable, Mapping
from typing import Any

from himari_jax.statistics.metric_table import METRICS

FORMS = {  # of the values in a block of result.json, by their keys, as `format` takes them
    **{metric.name: metric.form for metric in METRICS.values()},
    **dict.fromkeys(("sharpe_interval", "base_sharpe", "constant_sharpe", "late_sharpe"), METRICS["sharpe"].form),
    **dict.fromkeys(("difference", "late_difference", "timing_value"), "+.2f"),
    "multiplier": ".2f",
    "decisions": ",d",
    "symbols": "d",
}


def number(value: float | None, form: str, dash: str = "-") -> str:
    """Formats a number; a dash where it is undefined."""
    return dash if value is None else format(value, form)


def numbers(block: Mapping[str, Any], keys: Iterable[str]) -> list[str]:
    """Formats values of a block, each in its own form."""
    return [number(block.get(key), FORMS[key]) for key in keys]


def signed(value: float | None) -> str:
    """Formats a difference; a dash where it is undefined."""
    return number(value, "+.2f")


def sentence(text: str) -> str:
    """Begins a text as a sentence does."""
    return text[:1].upper() + text[1:]
