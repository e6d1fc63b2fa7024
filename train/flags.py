"""What the flags of every command share: hints, checks in one line, bars."""

import math
import re
from typing import Any

import tyro

from himari_jax.errors import InputError

BAR_UNITS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}


def auto(hint: str) -> Any:
    """Marks a flag whose default depends on others; the help says on what."""
    return tyro.conf.arg(help_behavior_hint=f"(default: {hint})")


def require(holds: bool, flag: str, value: object, allowed: str) -> None:
    """Raises one line that names flag, value and what is allowed."""
    if not holds:
        raise InputError(f"{flag} {value}: allowed is {allowed}")


def flag(name: str) -> str:
    """The flag of a field."""
    return "--" + name.replace("_", "-")


def parse_number(where: str, text: str, number: str) -> float:
    """A finite float out of a flag's value."""
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    require(math.isfinite(value), where, text, "NAME or NAME=WEIGHT with a finite weight")
    return value


def parse_bar(text: str) -> int:
    """Milliseconds of a bar such as 1h, 15m or 1d."""
    found = re.fullmatch(r"(\d{1,6})([mhd])", text)
    length = int(found[1]) * BAR_UNITS[found[2]] if found else 0
    require(length > 0, "--bar", text, "a number and m, h or d, such as 15m, 1h, 1d")
    return length
