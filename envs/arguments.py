"""Arguments of `envs.make`: their names in messages, rewards as text."""

import contextlib
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from numbers import Real

from envs.rewards import Term
from himari_jax.command import flag, parse_number, require
from himari_jax.errors import InputError
from himari_jax.spelling import hint

Reward = str | Term | Sequence[str | Term] | Mapping[str | Term, float]
OF_COMMANDS = (  # flags on candles and account that `envs.make` has no argument for
    *("env", "source", "since", "until", "embargo", "pool", "skip_short"),
    *("draw_phase", "base_positions", "base_max_age", "initial_capital"),
)
FLAG = re.compile(r"--[a-z][a-z-]*[a-z]")


def refuse_unknown(given: Collection[str], names: Sequence[str]) -> None:
    """Refuses arguments that `envs.make` does not have.

    Args:
        given: names of arguments.
        names: those of `envs.make`.

    Raises:
        InputError: one that it does not have; says which one is meant, or lists all.
    """
    for name in sorted(set(given) - set(names)):
        meant = "it is candles here" if name == "data" else hint(name, [flag(each) for each in names])
        every = f"envs.make has {', '.join(names)}"
        if name in OF_COMMANDS:
            raise InputError(f"{name} is a flag of the commands; {every}")
        raise InputError(f"envs.make has no argument {name}; {meant or every}")


@contextlib.contextmanager
def as_arguments(names: Collection[str]) -> Iterator[None]:
    """Inside the block messages that name a flag name the argument of `envs.make` instead."""

    def replaced(found: re.Match) -> str:
        name = "candles" if found[0] == "--data" else found[0].lstrip("-").replace("-", "_")
        return name if name in names else found[0]

    try:
        yield
    except InputError as error:
        error.args = (FLAG.sub(replaced, str(error)),)
        raise


def reward_terms(reward: Reward) -> tuple[tuple[str | Term, ...], tuple[float, ...]]:
    """Terms of a reward and the weight of each.

    Args:
        reward: a term by name, `NAME=WEIGHT` or function; several of them; or weights by term.

    Raises:
        InputError: no term, or a weight that is not finite.
    """
    if isinstance(reward, Mapping):
        pairs = list(reward.items())
    else:
        several = [reward] if isinstance(reward, str) or callable(reward) else reward
        require(isinstance(several, Sequence), "reward", reward, "a term by name, a function, or several with weights")
        pairs = [named_weight(term) for term in several]
    require(bool(pairs), "reward", reward, "at least one term")
    for term, weight in pairs:
        require(isinstance(weight, Real) and math.isfinite(weight), f"reward {term}", weight, "a finite weight")
    return tuple(term for term, _ in pairs), tuple(float(weight) for _, weight in pairs)


def named_weight(term: str | Term) -> tuple[str | Term, float]:
    """A term and its weight, which `NAME=WEIGHT` says; 1 else."""
    if not isinstance(term, str):
        return term, 1.0
    name, equals, weight = term.partition("=")
    return name.replace("-", "_"), parse_number("reward", term, weight if equals else "1")
