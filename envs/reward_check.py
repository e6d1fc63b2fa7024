"""Checks reward terms by their shapes, before anything is compiled: one number each, of jax."""

import jax
import jax.numpy as jnp

from envs.rewards import StepOutcome, Term
from envs.state import EnvParams, EnvState
from envs.trading import TradingEnv
from himari_jax.command import require
from himari_jax.errors import HimariError, InputError, first_line

NOT_TRACEABLE = (
    *(jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError),
    *(jax.errors.TracerIntegerConversionError, jax.errors.NonConcreteBooleanIndexError),
)


def check_reward(env: TradingEnv, params: EnvParams) -> None:
    """Traces one step of an environment and checks what each of its reward terms returns; computes nothing.

    Raises:
        InputError: a term is no jax code, fails, or returns something else than one number; names it.
    """

    def trace(state: EnvState, action: jax.Array) -> None:
        outcome = env.step_outcome(state, action, params)
        for term in env.terms:
            check_term(term, outcome, params)

    state = jax.eval_shape(env.state_at, jnp.int32(0))
    jax.eval_shape(trace, state, jax.ShapeDtypeStruct((env.num_assets,), jnp.float32))


def check_term(term: Term, outcome: StepOutcome, params: EnvParams) -> None:
    """Traces one reward term and checks its value.

    Raises:
        InputError: it is no jax code, fails, or returns something else than one number.
    """
    name = term_name(term)
    try:
        value = jnp.asarray(term(outcome, params))
    except HimariError:
        raise
    except NOT_TRACEABLE as error:
        raise InputError(
            f"reward {name}: is traced by jax, where numbers are not yet known: must use jax.numpy instead of numpy, "
            "jnp.where instead of if, and no float(), int() or bool()"
        ) from error
    except Exception as error:
        raise InputError(f"reward {name}: failed: {type(error).__name__}: {first_line(error)}") from error
    single = value.shape == () and not jnp.issubdtype(value.dtype, jnp.complexfloating)
    require(single, f"reward {name}", f"{value.dtype} of shape {value.shape}", "one number, float ()")


def term_name(term: Term) -> str:
    """Name of a reward term's function."""
    return getattr(term, "__name__", type(term).__name__)
