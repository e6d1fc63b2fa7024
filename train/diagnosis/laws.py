"""Laws that hold on every device: each is measured as a deviation and compared with the largest that rounding makes."""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.market import Market
from himari_jax.account import Costs
from himari_jax.extras import missing
from himari_jax.onnx.graph import policy_graph
from himari_jax.policies.policy import act, mean_action, squash
from himari_jax.statistics.metrics import max_drawdown, sharpe
from himari_jax.statistics.significance import probabilistic_sharpe
from train.artifacts.checkpoint import Checkpoints, leaves, to_host
from train.diagnosis.references import keep_ledger, play
from train.diagnosis.subject import Subject
from train.learning.population import Episodes, compile_update, spread_members, stack_episodes, without_episodes
from train.learning.rollout import RolloutState, collect_rollout, draw
from train.simulation.engine import make_tape
from train.simulation.returns import run_returns

ROUGH = 1e-5  # relative error of products beyond which the device does not multiply in full float32
BARS = 500  # of the account
RATE = 0.001  # that its trades cost
PROBES = 64  # observations for the graph
HOURS = 8760.0


class Deviation(NamedTuple):
    """Measured deviation from a law."""

    error: float
    most: float  # largest that rounding explains
    note: str = ""


class Skipped(Exception):
    """Raised where a law cannot be checked on this machine; the message holds reason and remedy."""


def product_error() -> float:
    """Relative error of a product of float32 matrices beside float64: 1e-7 in full precision, 1e-4 to 1e-3 in TF32."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 128, 128)).astype(np.float32)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    found = np.asarray(jax.jit(jnp.matmul)(a, b), np.float64)
    return float(np.abs(found - exact).max() / np.abs(exact).max())


def products() -> Deviation:
    """Products of float32 are those of float32, or of TF32, which has as many digits as training needs."""
    error = product_error()
    return Deviation(error, 1e-3, "TF32" if error > ROUGH else "")


def ratio(subject: Subject, rough: bool = False) -> Deviation:
    """Measures the ratio of new to old probability in the first minibatch of an update, after some updates: it is 1.

    Args:
        subject: a model.
        rough: whether the device multiplies in less than float32.
    """
    learned, _ = subject.train(2)
    _, info = subject.train(1, learned)
    return Deviation(float(info.first_ratio_error[0]), 5e-3 if rough else 2e-5)


def replay(env: Any, params: Any, policy: Any, variables: dict, players: RolloutState, steps: int = 16) -> Deviation:
    """Recorded actions through the environment, step by step: the observations, rewards and ends of the rollout.

    Args:
        env, params, policy, variables, players: as `collect_rollout` takes them.
        steps: bars.
    """
    collect = jax.jit(lambda variables, players: collect_rollout(env, params, policy, variables, players, steps))
    keys = jax.jit(lambda keys: draw(keys, steps, env.num_assets)[2])(players.keys)
    step = jax.jit(jax.vmap(lambda *inputs: env.step(inputs[0], inputs[1], squash(inputs[2]), params)))
    recorded = collect(variables, players)[1]
    played, state, obs, errors = jax.device_get(recorded), players.env_state, players.obs, []
    for t in range(steps):
        errors.append(np.abs(np.asarray(obs) - played.obs[t]).max())
        obs, state, *found, _ = step(keys[t], state, recorded.action[t])
        reward, terminated, truncated = jax.device_get(found)
        errors.append(np.abs(reward - played.reward[t]).max())
        same = (terminated == played.terminated[t]) & (truncated == played.truncated[t])
        errors.append(np.float32(~same).max())
    return Deviation(float(np.max(errors)), 2e-5)


def replay_of(subject: Subject) -> Deviation:
    """`replay` of a model at its first state."""
    learner, runner = subject.setup.learner, jax.tree.map(lambda x: x[0], subject.runner)
    return replay(learner.env, subject.setup.params, learner.policy, runner.variables, runner.players)


def population(subject: Subject, rough: bool = False) -> Deviation:
    """Two seeds of a population learn what each learns in a run of its own: distance, as a share of what was learned.

    Args:
        subject: a model.
        rough: whether the device multiplies in less than float32.
    """
    setup = subject.setup
    scalars = jax.tree.map(lambda x: jnp.stack([x, x]), without_episodes(setup.params))
    market, number = stack_episodes([Episodes.of(setup.params)]), np.zeros(2, np.int32)
    update = compile_update(setup.learner, spread_members(1))
    together, _ = update(jax.tree.map(jnp.copy, subject.both), scalars, market, number, np.int32(1))
    shares = []
    for k in range(2):
        first = jax.tree.map(lambda x, k=k: x[k : k + 1], subject.both)
        alone, _ = subject.train(1, first)
        one = flat(jax.tree.map(lambda x, k=k: x[k], together.variables["params"]))
        own, start = flat(alone.variables["params"]), flat(first.variables["params"])
        shares.append(np.linalg.norm(one - own) / np.linalg.norm(own - start))
    return Deviation(float(max(shares)), 0.1 if rough else 1e-3)


def flat(tree: Any) -> np.ndarray:
    """Concatenates all numbers of a tree, in float64."""
    return np.concatenate([np.asarray(x, np.float64).ravel() for x in jax.tree.leaves(tree)])


def differing(one: Any, other: Any) -> list[str]:
    """Paths of the leaves of two states that are not the same bit for bit."""
    pages = leaves(to_host(one)), leaves(to_host(other))
    return [path for path, leaf in pages[0].items() if leaf.tobytes() != pages[1][path].tobytes()]


def resume(subject: Subject) -> Deviation:
    """Two updates, and one, a checkpoint and another: leaves that are not the same bit for bit.

    Raises:
        Skipped: the device does not repeat itself, so that nothing can be compared.
    """
    whole, _ = subject.train(2)
    half, _ = subject.train(1)
    with tempfile.TemporaryDirectory(prefix="himari-doctor-") as scratch:
        kept = Checkpoints(Path(scratch) / "checkpoints")
        try:
            kept.save(1, half, {})
            _, restored, _ = kept.restore(jax.eval_shape(lambda: half))
        finally:
            kept.close()
    if wrong := differing(half, restored):
        return Deviation(len(wrong), 0, wrong[0])
    resumed, _ = subject.train(1, restored)
    wrong = differing(whole, resumed)
    if wrong and differing(whole, subject.train(2)[0]):
        raise Skipped("sums come in any order here; with train.ppo --deterministic they do not")
    return Deviation(len(wrong), 0, wrong[0] if wrong else "")


def graph(subject: Subject) -> Deviation:
    """The exported policy in onnxruntime beside Flax, on observations and memories of chance.

    Raises:
        Skipped: the extra is not installed.
    """
    try:
        from himari_jax.onnx.session import open_session

        policy = subject.setup.learner.policy
        variables = jax.tree.map(lambda x: x[0], subject.train(1)[0].variables)
        session = open_session(policy_graph(policy, variables, subject.setup.width))
    except ModuleNotFoundError as error:
        raise Skipped(missing(error.name) or str(error)) from error
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(PROBES, subject.setup.width)).astype(np.float32)
    memories, tree = jax.tree.flatten(policy.initial_carry(PROBES))
    carry = [rng.uniform(-1, 1, leaf.shape).astype(np.float32) for leaf in memories]
    with jax.default_matmul_precision("highest"):  # it is the graph that is looked at, not the device
        after, output = jax.jit(partial(act, policy))(variables, jax.tree.unflatten(tree, carry), obs)
    exact = [mean_action(output), output.value, *jax.tree.leaves(after)]
    found = session.run(None, {"observation": obs} | {f"carry_{i}": leaf for i, leaf in enumerate(carry)})
    return Deviation(max(float(np.abs(a - b).max()) for a, b in zip(exact, found, strict=True)), 2e-5)


def tape_of_chance() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Target weights, moves to the fill and to the mark, (L, 3) each, float64."""
    rng = np.random.default_rng(5)
    return rng.dirichlet(np.ones(4), BARS)[:, :3], *rng.normal(0, 0.01, (2, BARS, 3))


def account() -> Deviation:
    """The account in float32 beside units and cash in float64: log equity, over some hundred bars of three assets."""
    target, to_fill, to_mark = tape_of_chance()
    after, _ = play(
        *(jnp.asarray(x, jnp.float32) for x in (target, to_fill, to_mark)), jnp.ones((BARS, 3), bool), fees()
    )
    equity = keep_ledger(*prices(to_fill, to_mark), target, np.ones((BARS, 3), bool), RATE)["equity"]
    return Deviation(float(np.abs(np.asarray(after.log_equity) - np.log(equity)).max()), 1e-5)


def statistics() -> Deviation:
    """Sharpe ratio, drawdown and probabilistic Sharpe ratio of a backtest in float32 beside the ledger in float64."""
    target, to_fill, to_mark = tape_of_chance()
    fill, mark = (x.astype(np.float32) for x in (to_fill, to_mark))
    blank, yes = np.zeros((BARS, 3), np.float32), np.ones((BARS, 3), bool)
    market = Market(fill, mark, np.zeros((BARS, 3, 12), np.float32), np.zeros((BARS, 3), np.float32), blank, yes)
    tape = make_tape(jax.tree.map(jnp.asarray, market), (range(BARS),))
    costs = Costs(np.full(1, RATE, np.float32), np.float32(0))
    wanted = target.astype(np.float32)[..., None]
    returns = np.asarray(run_returns(wanted, np.ones((1, 1, 1), bool), tape, np.int32(0), costs))[:, 0]
    page = keep_ledger(*prices(to_fill, to_mark), target, yes, RATE)
    equity = page["equity"].copy()
    equity[-1] *= 1 - RATE * page["weights"][-1].sum()  # at the end all is sold
    exact = equity / np.concatenate([[1.0], equity[:-1]]) - 1
    pairs = [
        (measure(returns.astype(np.float64)), measure(exact))
        for measure in (lambda r: sharpe(r, HOURS), max_drawdown, probabilistic_sharpe)
    ]
    return Deviation(max(abs(a - b) / abs(b) for a, b in pairs), 1e-4)


def fees() -> Costs:
    """Costs of the account."""
    return Costs(jnp.float32(RATE), jnp.float32(0))


def prices(to_fill: np.ndarray, to_mark: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Prices of the fills and of the marks, (L, N), from 100 on."""
    mark = 100 * np.cumprod((1 + to_fill) * (1 + to_mark), axis=0)
    return mark / (1 + to_mark), mark
