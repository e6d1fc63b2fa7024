"""PPO: rollout -> advantages -> epochs of minibatches, one seed; `vmap` makes many of it."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from himari_jax.policies.policy import Policy, unroll
from train.guard import Guard, choose, new_guard, watch
from train.losses import Batch, LossTerms, branch_errors, compared_advantage, gae, ppo_loss, temporal_difference
from train.rollout import Players, Transition, reset_players, rollout

BLOCKS = 8  # the shuffle stays inside this many blocks of environments, so that devices need not exchange them


class Hyperparameters(NamedTuple):
    """What a sweep may vary: traced scalars, () each."""

    learning_rate: jax.Array
    final_learning_rate: jax.Array  # share of the learning rate that is left at the end
    total_updates: jax.Array  # over which the learning rate is annealed
    gamma: jax.Array
    gae_lambda: jax.Array
    clip_eps: jax.Array
    ent_coef: jax.Array
    vf_coef: jax.Array
    max_grad_norm: jax.Array
    final_std: jax.Array  # share of the exploration's deviation that annealing leaves at the end


@dataclass(frozen=True)
class Sizes:
    """What shapes the program; static."""

    num_envs: int
    rollout_steps: int
    update_epochs: int
    num_minibatches: int
    episode_steps: int
    clip_value: bool = False
    lookahead: int = 0  # bars over which an action is compared with the mean action; 0: with the value
    num_devices: int = 1

    @property
    def steps_per_update(self) -> int:
        """S * B."""
        return self.num_envs * self.rollout_steps

    @property
    def slots(self) -> int:
        """The most time limits an environment can meet in a rollout."""
        return -(-self.rollout_steps // self.episode_steps)

    @property
    def blocks(self) -> int:
        """Blocks of environments inside which minibatches are drawn: on 2, 4 and 8 devices mostly those of one."""
        per_minibatch = self.num_envs // self.num_minibatches
        most = min(max(BLOCKS, self.num_devices), per_minibatch)
        fitting = [n for n in range(most, 0, -1) if per_minibatch % n == 0]
        return next((n for n in fitting if n % self.num_devices == 0), fitting[0])


class Runner(NamedTuple):
    """Everything that training needs to go on: the checkpoint, whole."""

    variables: dict  # params (learned) and constants (the normaliser's)
    opt_state: Any
    players: Players
    key: jax.Array  # () shuffles
    update: jax.Array  # () int32, updates done
    reward_scale: jax.Array  # () 1 / root mean square of the rewards of the first rollout
    hyper: Hyperparameters
    guard: Guard  # steps of the optimiser that were not taken


class Metrics(NamedTuple):
    """What a chunk tells the host, () each, means over its updates."""

    reward: jax.Array  # mean reward of a step, unscaled
    episodes: jax.Array  # episodes that ended
    terminated: jax.Array  # share of them that ended in ruin
    explained_variance: jax.Array  # of the returns by the value
    log_std: jax.Array  # mean over assets
    grad_norm: jax.Array  # before clipping
    first_ratio_error: jax.Array  # largest |ratio - 1| in the first minibatch of an update: 0 up to rounding
    skipped: jax.Array  # steps of the optimiser that were not taken
    terms: LossTerms  # means over minibatches


@dataclass(frozen=True)
class Learner:
    """PPO of a policy in an environment.

    Args:
        env: a gymnax environment, hashable.
        policy: the module.
        sizes: shapes.
    """

    env: Any
    policy: Policy
    sizes: Sizes

    def init_policy(self, key: jax.Array, width: int, constants: dict | None = None) -> dict:
        """Variables of one policy before its first update.

        Not to be batched by `vmap`: orthogonal matrices come from QR, and several batched QR in one program
        wait for each other for ever on a CPU with as many threads (seen with jaxlib 0.10.2 on two cores).

        Args:
            key: of the initialisation.
            width: D.
            constants: the normaliser's; the identity where None.
        """
        variables: Any = self.policy.init(key, self.policy.initial_carry(1), jnp.zeros((1, width)))
        return variables if constants is None else {**variables, "constants": constants}

    def init(self, key: jax.Array, params: Any, hyper: Hyperparameters, variables: dict) -> Runner:
        """A runner before its first update.

        Args:
            key: seeds environments and shuffles.
            params: of the environment.
            hyper: scalars.
            variables: of the policy.
        """
        key, key_envs, key_scale = jax.random.split(key, 3)
        env_keys = jax.random.split(key_envs, self.sizes.num_envs)
        players = reset_players(self.env, params, self.policy, env_keys)
        scale = self.measure_reward_scale(key_scale, params, variables)
        opt_state = optimiser(hyper).init(variables["params"])
        return Runner(variables, opt_state, players, key, jnp.int32(0), scale, hyper, new_guard())

    def measure_reward_scale(self, key: jax.Array, params: Any, variables: dict) -> jax.Array:
        """`1 / sqrt(mean(r^2))` of one rollout of the first policy: values of order 1 whatever the market, ()."""
        keys = jax.random.split(key, self.sizes.num_envs)
        players = reset_players(self.env, params, self.policy, keys)
        _, played = self.play(params, variables, players)
        size = jnp.sqrt(jnp.nanmean(played.reward**2))  # one bad bar must not spoil the scale of all others
        return jnp.where(size > 0, 1 / jnp.where(size > 0, size, 1), 1.0)

    def play(self, params: Any, variables: dict, players: Players) -> tuple[Players, Transition]:
        """One rollout."""
        sizes = self.sizes
        return rollout(
            self.env, params, self.policy, variables, players, sizes.rollout_steps, sizes.slots, sizes.lookahead
        )

    def update(self, runner: Runner, params: Any) -> tuple[Runner, Metrics]:
        """One rollout and its epochs of minibatches."""
        first_carry = runner.players.carry
        players, played = self.play(params, runner.variables, runner.players)
        batch = self.judge(played, runner)
        key, key_shuffle = jax.random.split(runner.key)
        learned = (runner.variables, runner.opt_state, runner.guard)
        epoch = partial(self.epoch, batch=batch, first_carry=first_carry, runner=runner)
        learned, (terms, norms) = jax.lax.scan(epoch, learned, jax.random.split(key_shuffle, self.sizes.update_epochs))
        variables, opt_state, guard = learned
        variables = cool(variables, runner.hyper)
        after = runner._replace(
            variables=variables, opt_state=opt_state, players=players, key=key, update=runner.update + 1, guard=guard
        )
        return after, summarise(played, batch, variables, terms, norms, guard.skipped - runner.guard.skipped)

    def judge(self, played: Transition, runner: Runner) -> Batch:
        """Advantages and returns of a rollout, in units of the reward scale."""
        gamma, scale = runner.hyper.gamma, runner.reward_scale
        advantage = gae(
            played.reward * scale,
            played.value,
            played.next_value,
            played.terminated,
            played.truncated,
            gamma,
            runner.hyper.gae_lambda,
        )
        returns = advantage + played.value
        if self.sizes.lookahead:
            delta = temporal_difference(
                played.reward * scale, played.value, played.next_value, played.terminated, gamma
            )
            beside = branch_errors(played.branches.reward * scale, played.branches.value, played.value, gamma)
            advantage = compared_advantage(delta, beside, played.branches.alive, gamma)
        return Batch(
            obs=played.obs,
            reset=played.reset,
            action=played.action,
            log_prob=played.log_prob,
            value=played.value,
            advantage=advantage,
            returns=returns,
        )

    def epoch(self, learned: tuple, key: jax.Array, batch: Batch, first_carry: Any, runner: Runner):
        """One pass over the rollout in minibatches of environments, time in order."""
        index = shuffle(key, self.sizes)

        def minibatch_step(learned: tuple, index: jax.Array):
            part = jax.tree.map(lambda x: pick(x, index, axis=1), batch)
            carry = jax.tree.map(lambda x: pick(x, index, axis=0), first_carry)
            return self.minibatch(learned, part, carry, runner)

        return jax.lax.scan(minibatch_step, learned, index)

    def minibatch(self, learned: tuple, batch: Batch, carry: Any, runner: Runner):
        """One step of the optimiser."""
        variables = learned[0]
        hyper = runner.hyper

        def loss(weights: dict) -> tuple[jax.Array, LossTerms]:
            now = {**variables, "params": weights}
            _, output = unroll(self.policy, now, carry, batch.obs, batch.reset)
            terms = ppo_loss(output, batch, hyper.clip_eps, hyper.ent_coef, hyper.vf_coef, self.sizes.clip_value)
            return terms.loss, terms

        grads, terms = jax.grad(loss, has_aux=True)(variables["params"])
        learned, good, norm = descend(learned, grads, terms.loss, runner)
        # What a step that is not taken says would spoil the means.
        return learned, choose(good, (terms, norm), jax.tree.map(jnp.zeros_like, (terms, norm)))


def descend(learned: tuple, grads: dict, loss: jax.Array, runner: Runner) -> tuple[tuple, jax.Array, jax.Array]:
    """One step of the optimiser, unless its numbers are bad.

    Args:
        learned: variables, state of the optimiser, guard.
        grads: of the parameters.
        loss: ().
        runner: of the update.

    Returns:
        learned; whether the step was taken, () bool; norm of the gradient, ().
    """
    variables, opt_state, guard = learned
    norm = optax.tree.norm(grads)
    guard, good = watch(guard, loss, norm, runner.update)
    steps, after = optimiser(runner.hyper).update(grads, opt_state)
    rate = learning_rate(runner.hyper, runner.update)
    weights = jax.tree.map(lambda w, s: w - rate * s, variables["params"], steps)
    weights, opt_state = choose(good, (weights, after), (variables["params"], opt_state))
    return ({**variables, "params": weights}, opt_state, guard), good, norm


def optimiser(hyper: Hyperparameters) -> optax.GradientTransformation:
    """Clipping by global norm, then Adam; the learning rate is applied outside."""
    return optax.chain(optax.clip_by_global_norm(hyper.max_grad_norm), optax.scale_by_adam(eps=1e-5))


def learning_rate(hyper: Hyperparameters, update: jax.Array) -> jax.Array:
    """Linear from the learning rate to its final share over `total_updates`."""
    done = jnp.clip(update / hyper.total_updates, 0, 1)
    return hyper.learning_rate * (1 - done * (1 - hyper.final_learning_rate))


def cool(variables: dict, hyper: Hyperparameters) -> dict:
    """Variables with the deviation of the exploration lowered by one update's share of its annealing.

    Noise that the squash bends biases what is learned; what is found with much of it is finished with little.
    """
    params = variables["params"]
    step = jnp.log(hyper.final_std) / hyper.total_updates
    return {**variables, "params": {**params, "log_std": params["log_std"] + step}}


def shuffle(key: jax.Array, sizes: Sizes) -> jax.Array:
    """Environments of each minibatch as places inside their blocks, (M, blocks, B / M / blocks)."""
    per_block = sizes.num_envs // sizes.blocks
    keys = jax.random.split(key, sizes.blocks)
    order = jax.vmap(lambda k: jax.random.permutation(k, per_block))(keys)  # (blocks, per_block)
    return order.reshape(sizes.blocks, sizes.num_minibatches, -1).transpose(1, 0, 2)


def pick(x: jax.Array, index: jax.Array, axis: int) -> jax.Array:
    """Environments of one minibatch out of an array that has B of them along an axis.

    Args:
        x: of the whole rollout.
        index: (blocks, B / M / blocks) places inside the blocks.
        axis: of the environments.
    """
    blocks, count = index.shape
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    parts = x.reshape(*before, blocks, -1, *after)
    # Block by block: what lies on one device is picked there, and the compiler knows.
    picked = jax.vmap(lambda part, i: jnp.take(part, i, axis=axis), in_axes=(axis, 0), out_axes=axis)(parts, index)
    return picked.reshape(*before, blocks * count, *after)


def summarise(
    played: Transition, batch: Batch, variables: dict, terms: LossTerms, norms: jax.Array, skipped: jax.Array
) -> Metrics:
    """Scalars of one update."""
    done = played.terminated | played.truncated
    episodes = done.sum(dtype=jnp.float32)
    unexplained = (batch.returns - batch.value).var() / (batch.returns.var() + 1e-12)
    return Metrics(
        reward=played.reward.mean(),
        episodes=episodes,
        terminated=played.terminated.sum(dtype=jnp.float32) / jnp.maximum(episodes, 1),
        explained_variance=1 - unexplained,
        log_std=variables["params"]["log_std"].mean(),
        grad_norm=norms.mean(),
        first_ratio_error=terms.ratio_error[0, 0],
        skipped=skipped.astype(jnp.float32),
        terms=jax.tree.map(jnp.mean, terms),
    )


def train_chunk(learner: Learner, runner: Runner, params: Any, updates: jax.Array) -> tuple[Runner, Metrics]:
    """Runs `updates` updates (traced: any number without a new trace) and averages their metrics."""
    _, shapes = jax.eval_shape(learner.update, runner, params)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

    def step(_: jax.Array, state: tuple[Runner, Metrics]) -> tuple[Runner, Metrics]:
        runner, total = state
        runner, metrics = learner.update(runner, params)
        return runner, jax.tree.map(jnp.add, total, metrics)

    runner, total = jax.lax.fori_loop(0, updates, step, (runner, zeros))
    return runner, jax.tree.map(lambda x: x / updates, total)
