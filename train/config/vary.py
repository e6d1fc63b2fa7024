"""Dimensions of a sweep, `NAME=v1,v2,...` or `NAME=LOW:HIGH`, and their points as flags. Light: no jax.

Grammar of a dimension, NAME being the field of a flag of `train.ppo` (`learning_rate`), an option of a source
(`synthetic.num_bars`), or the weight of a reward term (`reward.volatility`):

    NAME=v1,v2,...          these values; of a flag that takes a list, | lies between lists: symbols="BTC ETH|BTC SOL"
    NAME=LOW:HIGH[:STEP]    uniform from LOW to HIGH, both included; whole numbers where the flag takes those
    NAME=log:LOW:HIGH       uniform in the logarithm
"""

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from envs.plugins import REWARD_TERMS
from himari_jax.errors import InputError
from himari_jax.sources.registry import option_kinds
from himari_jax.spelling import meant, whole_number
from train.config.config_file import HINTS, in_words, nearest
from train.config.ppo import Config

Point = dict[str, str]  # the value of each dimension by its name, as text that `configure` reads

REWARD = "reward."  # begins the weight of a reward term
# Flags that a sweep holds fixed, with why; so are all of the groups run and oracle.
FIXED = {
    **dict.fromkeys(("split", "embargo"), "all configurations are compared on one validation span"),
    **dict.fromkeys(
        ("data", "source", "assume_utc", "no_volume", "repair", "calendar", "skip_short"), "the candles stay the same"
    ),
    "env": "a sweep is on candles",
    "preset": "it sets other flags; vary those",
    "initial_capital": "nothing depends on it",
}


@dataclass(frozen=True)
class Choices:
    """A dimension of listed values."""

    name: str
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Range:
    """A dimension of numbers from `low` to `high`, both included."""

    name: str
    low: float
    high: float
    step: float | None = None
    log: bool = False  # uniform in the logarithm
    whole: bool = False  # whole numbers

    @property
    def count(self) -> int | None:
        """Number of values; None of a continuous range."""
        step = self.step or (1 if self.whole else None)
        return None if step is None else math.floor((self.high - self.low) / step * (1 + 1e-12)) + 1


Dimension = Choices | Range


def size(dimensions: Sequence[Dimension]) -> int | None:
    """Counts the points; None where they are infinitely many."""
    counts = [len(each.texts) if isinstance(each, Choices) else each.count for each in dimensions]
    return None if None in counts else math.prod(count for count in counts if count is not None)


def parse_vary(words: Sequence[str]) -> tuple[Dimension, ...]:
    """Parses the dimensions of a sweep.

    Args:
        words: of `--vary`.

    Raises:
        InputError: names the word and what it must be.
    """
    found: dict[str, Dimension] = {}
    for word in words:
        name, equals, text = word.partition("=")
        name = name.lstrip("-").replace("-", "_")
        if not equals or not name:
            raise InputError(f"--vary {word}: must be NAME=v1,v2,... or NAME=LOW:HIGH, such as gamma=0.9,0.95")
        dimension = parse_dimension(name, text, f"--vary {word}")
        if dimension.name in found:
            raise InputError(f"--vary {word}: {dimension.name} is varied twice; give all its values at once")
        found[dimension.name] = dimension
    return tuple(found.values())


def parse_dimension(name: str, text: str, where: str) -> Dimension:
    """Parses one dimension; `where` begins the text of an error."""
    name, hint = known_name(name, where)
    kinds = alternatives(hint)
    if ":" in text and {int, float} & set(kinds):
        return parse_range(name, text, int in kinds and float not in kinds, where)
    lists = any(get_origin(kind) is tuple for kind in kinds)
    texts = [" ".join(part.split()) for part in text.split("|" if lists else ",")]
    values = [read_value(part, name, hint, where) for part in texts]
    if twice := [part for part, value in zip(texts, values, strict=True) if values.count(value) > 1]:
        raise InputError(f"{where}: {twice[0]} stands there twice; give each value once")
    return Choices(name, tuple(texts))


def parse_range(name: str, text: str, whole: bool, where: str) -> Range:
    """Parses `[log:]LOW:HIGH[:STEP]`."""
    log = text.startswith("log:")
    parts = text.removeprefix("log:").split(":")
    allowed = "LOW:HIGH with LOW below HIGH, LOW:HIGH:STEP, or log:LOW:HIGH with LOW above 0"
    numbers = [read_number(part, whole) for part in parts]
    fine = 2 <= len(numbers) <= 3 - log and all(math.isfinite(x) for x in numbers) and numbers[0] < numbers[1]
    if not fine or (log and numbers[0] <= 0) or (len(numbers) == 3 and numbers[2] <= 0):
        raise InputError(f"{where}: must be {allowed}{', whole numbers' if whole else ''}")
    low, high, *step = numbers
    return Range(name, low, high, step[0] if step else None, log, whole)


def read_number(text: str, whole: bool) -> float:
    """Parses a number; nan where the text is none."""
    try:
        return int(text) if whole else float(text)
    except ValueError:
        return math.nan


def known_name(name: str, where: str) -> tuple[str, Any]:
    """Returns the name of a dimension as the sweep writes it, and the type of its values.

    Raises:
        InputError: no such flag, or one that a sweep holds fixed.
    """
    if name.startswith(REWARD):
        term = name.removeprefix(REWARD)
        if term not in REWARD_TERMS.names:
            names = REWARD_TERMS.names
            raise InputError(f"{where}: {term}: must be one of {', '.join(names)}{meant(term, names)}")
        return name, float | Literal["auto"] if term == "volatility" else float
    group, field = place_of(name)
    if group is None:
        own = {known: shown for known, shown in shown_names().items() if known not in FIXED}
        raise InputError(f"{where}: {name} is not known; did you mean {nearest(name.rpartition('.')[2], own)}?")
    if group in ("run", "oracle") or field in FIXED:
        why = FIXED.get(field, "it is no setting of what is learned" if group == "run" else FIXED["env"])
        raise InputError(f"{where}: {name} is not varied: {why}")
    return shown_names()[f"{group}.{field}"], HINTS[group][field]


def place_of(name: str) -> tuple[str | None, str]:
    """Splits a name into group and field, as `learning_rate` or `ppo.learning_rate`; group None where it is unknown."""
    group, _, field = name.rpartition(".")
    if group:
        return (group if field in HINTS.get(group, {}) else None), field
    return next((each for each in plain_groups() if field in HINTS[each]), None), field


def plain_groups() -> list[str]:
    """Lists the groups of flags that are written without the name of the group."""
    return [group for group in HINTS if group != "oracle" and group not in option_kinds()]


def shown_names() -> dict[str, str]:
    """Returns the name of each flag in a sweep, by its field and by GROUP.FIELD."""
    plain = plain_groups()
    shown = {f"{group}.{field}": field for group in plain for field in HINTS[group]}
    shown |= {f"{group}.{field}": f"{group}.{field}" for group in HINTS if group not in plain for field in HINTS[group]}
    return shown | {field: field for group in plain for field in HINTS[group]}


def alternatives(hint: Any) -> list[Any]:
    """Lists the types of a field but None, which cannot be written."""
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return [kind for kind in kinds if kind is not NoneType]


def read_value(text: str, name: str, hint: Any, where: str) -> Any:
    """Parses a value to a type of its field.

    Raises:
        InputError: it is of another type.
    """
    for kind in alternatives(hint):
        with contextlib.suppress(ValueError):
            return from_text(text, kind)
    words = " or ".join(in_words(kind) for kind in alternatives(hint))
    raise InputError(f"{where}: {name} {text or repr(text)}: must be {words}")


def from_text(text: str, kind: Any) -> Any:
    """Parses a value of one type; ValueError where the text is none."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {str(part): part for part in parts}[text] if text in map(str, parts) else invalid(text)
    if origin is tuple:
        words = text.split()
        kinds = parts[:1] * len(words) if parts[-1] is Ellipsis else parts
        return tuple(from_text(word, each) for word, each in zip(words, kinds, strict=True)) if words else invalid(text)
    if kind is bool:
        return {"true": True, "false": False}[text] if text in ("true", "false") else invalid(text)
    if kind is int:
        return whole_number(text)
    return kind(text) if kind is float or text else invalid(text)


def invalid(text: str) -> Any:
    """Raises ValueError."""
    raise ValueError(text)


def configure(base: Config, point: Mapping[str, str]) -> Config:
    """Returns the flags of the sweep, replaced by those of a point.

    Args:
        base: flags of the sweep.
        point: values by dimension.

    Raises:
        InputError: the values do not fit each other or the other flags; names the point.
    """
    where = f"--vary {label(point)}"
    changes: dict[str, dict[str, Any]] = {}
    for name, text in point.items():
        if not name.startswith(REWARD):
            group, field = place_of(name)
            assert group is not None
            changes.setdefault(group, {})[field] = read_value(text, name, HINTS[group][field], where)
    if weights := {name.removeprefix(REWARD): text for name, text in point.items() if name.startswith(REWARD)}:
        terms = changes.get("market", {}).get("reward", base.market.reward)
        changes.setdefault("market", {})["reward"] = tuple(weighed(terms, weights))
    fields: dict[str, Any] = {"source_options": dict(base.source_options)}
    try:
        for group, values in changes.items():
            options = group in fields["source_options"]
            changed = dataclasses.replace(base.source_options[group] if options else getattr(base, group), **values)
            fields = (
                fields | {"source_options": fields["source_options"] | {group: changed}}
                if options
                else {**fields, group: changed}
            )
        return dataclasses.replace(base, **fields)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def weighed(terms: Sequence[str], weights: Mapping[str, str]) -> Iterator[str]:
    """Yields reward terms with new weights; new terms come last."""
    for text in terms:
        name = text.partition("=")[0].replace("-", "_")
        if name not in weights:
            yield text
    yield from (f"{name}={weight}" for name, weight in weights.items())


def changes_market(name: str) -> bool:
    """Whether a dimension changes the market or the account, and not only the learning."""
    group, field = place_of(name)
    return group is not None and group not in ("policy", "ppo") and field not in ("reward", "features", "draw_phase")


def label(point: Mapping[str, str]) -> str:
    """Describes a point in words, such as `gamma=0.9 policy=lstm`."""
    return " ".join(f'{name}="{text}"' if " " in text else f"{name}={text}" for name, text in point.items())
