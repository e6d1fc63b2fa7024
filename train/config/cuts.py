"""The two cuts of `--split`, at which validation and test begin. Light: no jax."""

import contextlib
from collections.abc import Sequence

from himari_jax.command import require
from himari_jax.errors import InputError
from himari_jax.times import parse_moment

ALLOWED = "two rising shares between 0 and 1, or two rising dates such as 2017-01-01 2018-01-01"


def read_cuts(words: Sequence[float | str]) -> tuple[float, float]:
    """Returns the cuts at which validation and test begin: shares below 1, or epoch milliseconds.

    Args:
        words: two shares or two dates.

    Raises:
        InputError: the words are no cuts; names the ones most likely meant.
    """
    given = " ".join(word if isinstance(word, str) else f"{word:g}" for word in words)
    if meant := meant_cuts(words):
        low, high = meant
        spans = f"train {low:g}, validation {high - low:.6g}, test {1 - high:.6g}"
        raise InputError(f"--split {given}: name the two cuts, as shares: --split {low:g} {high:g} ({spans})")
    require(len(words) == 2 and len({isinstance(word, str) for word in words}) == 1, "--split", given, ALLOWED)
    low, high = (parse_moment(word, "--split") if isinstance(word, str) else word for word in words)
    require(0 < low < high < 1 or 1 < low < high, "--split", given, ALLOWED)
    return low, high


def meant_cuts(words: Sequence[float | str]) -> tuple[float, float] | None:
    """Converts percent or lengths of the spans to cuts (60 80, 60/20/20, 0.6 0.2 0.2); None for other words.

    Two rising shares are cuts already: None.
    """
    parts = [part for word in words for part in str(word).replace("/", " ").replace(",", " ").split()]
    numbers: list[float] = []
    with contextlib.suppress(ValueError):
        numbers = [float(part.removesuffix("%")) for part in parts]
    whole = 100.0 if any(number > 1 for number in numbers) else 1.0
    shares = [round(number / whole, 9) for number in numbers]
    if len(shares) not in (2, 3) or not all(0 < share < 1 for share in shares):
        return None
    if len(shares) == 3:
        return (shares[0], round(shares[0] + shares[1], 9)) if abs(sum(shares) - 1) < 1e-6 else None
    low, high = shares
    if low >= high:  # lengths of training and validation
        return (low, round(low + high, 9)) if low + high < 1 else None
    return None if tuple(words) == (low, high) else (low, high)
