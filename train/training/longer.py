"""The learning-rate schedule of a run that is made longer."""

import jax
import jax.numpy as jnp

from train.learning.optimizer import learning_rate_at
from train.learning.state import Hyperparameters


def longer_line(hyper: Hyperparameters, done: int, total: int) -> str | None:
    """Words learning rate and exploration of a run that goes on beyond its schedule; None within it.

    Args:
        hyper: of the run at its start, leaves (K,).
        done: updates.
        total: updates to do.
    """
    own = jax.tree.map(lambda x: x[0], jax.device_get(hyper))
    schedule = int(own.total_updates)
    if schedule >= total:
        return None
    now, last = (float(learning_rate_at(own, jnp.int32(update))) for update in (done, schedule))
    noise = "" if own.final_std == 1 else f", exploration at what --final-std {own.final_std:.4g} leaves"
    return (
        f"made longer, from {schedule} to {total} updates: the schedule stays that of {schedule}; the learning rate is "
        f"{now:.2g} now and {last:.2g} from update {schedule} on{noise}. A policy of {total} updates with a schedule "
        "of as many needs a new run folder"
    )
