"""Work of a bar in training, counted by the compiler; loops are taken apart, whose bodies it counts only once."""

from typing import Any

import jax
import jax.numpy as jnp

from himari_jax.policies.policy import act
from train.learning.lanes import play_bar
from train.learning.losses import Batch
from train.learning.ppo import Learner
from train.learning.rollout import begin, draw, draw_ahead


def count_work(racer: Any) -> dict[str, Any]:
    """FLOPs and bytes of a bar of PPO: a step of the rollout and of each branch, a bar's gradient for each epoch.

    A minibatch of one bar has no loop; weights that a larger one reads once are counted at every bar, so the bytes
    are an upper bound.
    """
    setup, learner = racer.setup, racer.setup.learner
    if type(learner) is not Learner:
        return {}
    runner = jax.tree.map(lambda x: x[0], racer.runner)
    sizes = learner.sizes
    rollout = cost(lambda r: one_step(learner, setup.params, r), runner)
    gradient = cost(lambda r: one_gradient(learner, r), runner)
    part = sizes.num_envs // sizes.num_minibatches
    work = {
        name: rollout[name] * (1 + sizes.lookahead) / sizes.num_envs + sizes.update_epochs * gradient[name] / part
        for name in ("flops", "bytes")
    }
    return {"work_per_step": work}


def cost(function: Any, *args: Any) -> dict[str, float]:
    """FLOPs and bytes accessed of a function, from XLA's cost analysis."""
    info: Any = jax.jit(function).lower(*args).compile().cost_analysis()
    return {"flops": float(info["flops"]), "bytes": float(info["bytes accessed"])}


def one_step(learner: Learner, params: Any, runner: Any) -> Any:
    """Plays one bar of all environments and of their branches."""
    env, sizes, players = learner.env, learner.sizes, runner.players
    _, noise, keys = draw(players.keys, 1, env.action_space(params).shape[0])
    draws = jax.tree.map(lambda x: x[0], draw_ahead(env, params, noise, keys, sizes.lookahead))
    state = begin(players, sizes.slots, sizes.lookahead)
    return play_bar(env, params, learner.policy, runner.variables, state, draws)


def one_gradient(learner: Learner, runner: Any) -> Any:
    """Takes the gradient of one bar of one minibatch."""
    part = learner.sizes.num_envs // learner.sizes.num_minibatches
    obs, reset = runner.players.obs[None, :part], runner.players.reset[None, :part]
    carry = jax.tree.map(lambda x: x[:part], runner.players.carry)
    _, output = act(learner.policy, runner.variables, carry, obs[0])
    one = jnp.zeros((1, part))
    batch = Batch(obs=obs, reset=reset, action=output.mean[None], log_prob=one, value=one, advantage=one, returns=one)
    return learner.minibatch((runner.variables, runner.opt_state, runner.guard), batch, carry, runner)
