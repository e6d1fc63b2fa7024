"""The step of the optimizer; schedules of learning rate and exploration."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from himari_jax.trees import select_tree
from train.learning.guard import check_step
from train.learning.state import Hyperparameters, LearnerState


def apply_gradients(
    learned: tuple, grads: dict, loss: jax.Array, runner: LearnerState, decays: bool
) -> tuple[tuple, jax.Array, jax.Array]:
    """Takes one step of the optimizer, unless its numbers are not finite.

    Args:
        learned: variables, state of the optimizer, guard.
        grads: of the parameters.
        loss: ().
        runner: of the update.
        decays: whether there is a weight decay; without one the program is that of 0.1.0, to the last bit.

    Returns:
        learned; whether the step was taken, () bool; norm of the gradient, ().
    """
    variables, opt_state, guard = learned
    norm = optax.tree.norm(grads)
    guard, good = check_step(guard, loss, norm, runner.update)
    steps, after = make_optimizer(runner.hyper).update(grads, opt_state)
    rate = learning_rate_at(runner.hyper, runner.update)
    if decays:
        steps = decay_kernels(steps, variables["params"], runner.hyper.weight_decay)
    weights = jax.tree.map(lambda w, s: w - rate * s, variables["params"], steps)
    weights, opt_state = select_tree(good, (weights, after), (variables["params"], opt_state))
    return ({**variables, "params": weights}, opt_state, guard), good, norm


def make_optimizer(hyper: Hyperparameters) -> optax.GradientTransformation:
    """Returns clipping by global norm, then Adam; the learning rate is applied outside."""
    return optax.chain(optax.clip_by_global_norm(hyper.max_grad_norm), optax.scale_by_adam(eps=1e-5))


def decay_kernels(steps: dict, params: dict, weight_decay: jax.Array) -> dict:
    """Adds `weight_decay w` to the step of every kernel; biases and the exploration's deviation do not decay.

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization", 2019.
    """

    def decay(path: Any, step: jax.Array, weight: jax.Array) -> jax.Array:
        return step + weight_decay * weight if path[-1].key == "kernel" else step

    return jax.tree_util.tree_map_with_path(decay, steps, params)


def learning_rate_at(hyper: Hyperparameters, update: jax.Array) -> jax.Array:
    """Anneals the learning rate linearly to its final share over `total_updates`, ()."""
    done = jnp.clip(update / hyper.total_updates, 0, 1)
    return hyper.learning_rate * (1 - done * (1 - hyper.final_learning_rate))


def anneal_log_std(variables: dict, hyper: Hyperparameters, update: jax.Array) -> dict:
    """Lowers the deviation of the exploration by one update's share of its annealing.

    The squashing of noisy actions biases the mean that is learned; less noise at the end removes that. A run beyond its
    schedule keeps the final deviation.

    Args:
        variables: of the policy.
        hyper: scalars.
        update: () int32, updates done before.
    """
    params = variables["params"]
    step = jnp.where(update < hyper.total_updates, jnp.log(hyper.final_std) / hyper.total_updates, 0)
    return {**variables, "params": {**params, "log_std": params["log_std"] + step}}
