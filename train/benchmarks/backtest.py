"""Bars per second of a backtest: the account alone beside other engines, a policy in the loop beside its bare pass."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.market import Market
from himari_jax.account import Costs
from himari_jax.extras import how_to_install
from himari_jax.features.market import observation_width
from himari_jax.policies.policy import Policy, act
from himari_jax.policies.registry import make_core
from train.simulation.engine import Limits, Tape, make_lanes, make_tape, run_policy
from train.simulation.placement import CARD, HOST, Form
from train.simulation.returns import place_returns, returns_in_batches, run_returns
from train.simulation.walk import kernel_fault

BARS = 17_520  # two years of hours
FEE = 0.001
LANES = 1000
COLUMNS = (1, LANES, 10 * LANES)  # of given weights
WIDTH = 14  # of a column of the table
POLICY_LANES = {"cpu": (96, LANES), "card": (96, LANES, 10 * LANES)}
POLICIES = (("mlp", 1, 128), ("mlp", 3, 256), ("lstm", 1, 128))  # core, assets, width of those in the loop
STEPS = {"mlp": 500, "lstm": 100}  # bars of a window with a policy in the loop


def bench_backtest(repeats: int) -> None:
    """Prints a table of the account alone and one of policies in the loop."""
    print(f"\naccount alone: weights given, one asset, {BARS:,} bars, fill at the same close; million bars a second")
    heads = [f"{columns:,} column{'s' if columns > 1 else ''}" for columns in COLUMNS]
    print(f"{'engine':16} {' '.join(f'{head:>{WIDTH}}' for head in heads)}   deviation of equity from ours")
    for name, make in account_engines().items():
        print(engine_line(name, make, repeats), flush=True)
    device = jax.local_devices()[0]
    if device.platform != "cpu" and (fault := kernel_fault(device)):
        print(f"ours, one kernel: not measured: {fault}")
    print("\npolicy in the loop: million bars a second, and as a share of the bare forward pass of the same batch")
    print(f"{'model':22} {'lanes':>6} {'in the loop':>12} {'forward pass':>13} {'share':>6}")
    for core, assets, width in POLICIES:
        for lanes in POLICY_LANES["cpu" if jax.default_backend() == "cpu" else "card"]:
            print(policy_line(core, assets, width, lanes, repeats), flush=True)


def account_engines() -> dict[str, Callable[..., Callable[[], Any]]]:
    """Engines of the account alone that the default device can be measured on, by name; ours is the first.

    Each makes a call without arguments from closes (T + 1,) and target weights (T, columns); see `series`.
    """
    others = {"bare lax.scan": bare_scan, "numba loop": numba_loop, "vectorbt": vectorbt_orders}
    if jax.default_backend() == "cpu":
        return {"himari_jax": ours, **others}
    kernel = {} if kernel_fault(jax.local_devices()[0]) else {"ours, one kernel": one_kernel}
    return {"himari_jax": ours, "ours, on card": on_card, **kernel, **others}


def engine_line(name: str, make: Callable[..., Callable[[], Any]], repeats: int) -> str:
    """One line of the first table; equity is compared on the single column."""
    cells, worst = [], float("nan")
    for columns in COLUMNS:
        if name == "vectorbt" and columns > LANES:  # it takes minutes
            cells.append("-")
            continue
        closes, targets = series(columns)
        calls = 100 if columns == 1 and name != "vectorbt" else 1
        few = 1 if name == "vectorbt" and columns > 1 else repeats  # it takes seconds
        try:
            run = make(closes, targets)
            cells.append(f"{BARS * columns / median_seconds(run, few, calls) / 1e6:,.1f}")
        except ImportError as error:
            blank = " ".join(f"{'-':>{WIDTH}}" for _ in COLUMNS)
            return f"{name:16} {blank}   {error.name} is not installed: {how_to_install('bench')}"
        if columns == 1:
            ends = [np.asarray(play(), np.float64).reshape(BARS, -1)[:, 0] for play in (ours(closes, targets), run)]
            curves = [np.cumprod(1 + returns[:-1]) for returns in ends]  # ours sells everything at the last mark
            worst = float(np.abs(curves[1] / curves[0] - 1).max())
    return f"{name:16} {' '.join(f'{cell:>{WIDTH}}' for cell in cells)}   {worst:.0e}"


def series(columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Closes (T + 1,) and target weights (T, columns) that change every bar and leave cash for the fees."""
    rng = np.random.default_rng(0)
    closes = 100 * np.exp(np.cumsum(rng.normal(0, 0.005, BARS + 1)))
    return closes, rng.random((BARS, columns), np.float32) * np.float32(0.9)


def market_of(closes: np.ndarray) -> Tape:
    """Builds a market from closes (T + 1,): fill at the close, mark at the next one."""
    moves = (closes[1:] / closes[:-1] - 1).astype(np.float32)[:, None]
    blank, yes = np.zeros_like(moves), np.ones(moves.shape, bool)
    market = Market(blank, moves, np.zeros((BARS, 1, 12), np.float32), np.zeros((BARS, 0), np.float32), blank, yes)
    return make_tape(jax.tree.map(jnp.asarray, market), (range(BARS),))


def ours(closes: np.ndarray, targets: np.ndarray) -> Callable[[], Any]:
    """The account of this project, where it places such work: returns of every bar, from the host and back."""
    columns = targets.shape[1]
    where = place_returns(BARS, 1, columns)
    tape, wanted, rates = where.put(market_of(closes)), targets[:, None, :], np.full(columns, FEE)
    size = 250 if where.form == HOST else columns
    # Strategies arrive as whole columns; each batch is its own array, as a caller would hold it.
    parts = [np.ascontiguousarray(wanted[..., a : a + size]) for a in range(0, columns, size)]

    def run() -> Any:
        for part in parts:
            for _, returns in returns_in_batches(part, tape, 0, rates[: part.shape[-1]], form=where.form):
                last = returns
        return last

    return run


def on_card(closes: np.ndarray, targets: np.ndarray, form: Form = CARD) -> Callable[[], Any]:
    """The account of this project on the default device, whose memory holds weights and returns."""
    costs = Costs(jnp.full(targets.shape[1], FEE, jnp.float32), jnp.float32(0))
    inputs = jnp.asarray(targets[:, None, :]), jnp.ones((1, 1, 1), bool), market_of(closes), jnp.int32(0), costs
    return lambda: run_returns(*inputs, form=form)


def one_kernel(closes: np.ndarray, targets: np.ndarray) -> Callable[[], Any]:
    """`on_card`, as one kernel that walks each column through time."""
    return on_card(closes, targets, CARD._replace(kernel=True))


def bare_scan(closes: np.ndarray, targets: np.ndarray) -> Callable[[], Any]:
    """The least that a lax.scan can do: no cash limit, no smallest trade, no gaps, no liquidation."""
    moves = jnp.asarray(closes[1:] / closes[:-1] - 1, jnp.float32)
    wanted = jnp.asarray(targets)

    @jax.jit
    def play(wanted: jax.Array, moves: jax.Array) -> jax.Array:
        def bar(weights: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            target, move = inputs
            gain = target * move - FEE * jnp.abs(target - weights)
            return target * (1 + move) / (1 + gain), gain

        return jax.lax.scan(bar, jnp.zeros(wanted.shape[1]), (wanted, moves))[1]

    return lambda: jax.block_until_ready(play(wanted, moves))


def numba_loop(closes: np.ndarray, targets: np.ndarray) -> Callable[[], Any]:
    """The same account as a compiled loop over bars, column by column."""
    import numba

    @numba.njit
    def play(moves: np.ndarray, targets: np.ndarray, returns: np.ndarray) -> None:
        one, fee = np.float32(1), np.float32(FEE)
        for n in range(targets.shape[0]):
            weight = np.float32(0)
            for t in range(targets.shape[1]):
                order = targets[n, t] - weight
                if order > 0 and (one + fee) * order > one - weight:
                    order = (one - weight) / (one + fee)
                held = weight + order
                gain = held * moves[t] - fee * abs(order)
                returns[n, t] = gain
                weight = held * (one + moves[t]) / (one + gain)

    moves = (closes[1:] / closes[:-1] - 1).astype(np.float32)
    columns = np.ascontiguousarray(targets.T)
    returns = np.zeros_like(columns)

    def run() -> Any:
        play(moves, columns, returns)
        return returns.T

    return run


def vectorbt_orders(closes: np.ndarray, targets: np.ndarray) -> Callable[[], Any]:
    """vectorbt's simulation from orders by target percentage; it marks at the close at which it trades."""
    import pandas as pd
    import vectorbt as vbt

    price = pd.Series(closes, pd.date_range("2020-01-01", periods=len(closes), freq="h"))
    last = targets[-1:]  # the bar after the last decision only marks
    size = pd.DataFrame(np.concatenate([targets, np.full_like(last, np.nan)]), index=price.index)

    def run() -> Any:
        portfolio = vbt.Portfolio.from_orders(
            price, size, size_type="targetpercent", fees=FEE, init_cash=1e6, direction="longonly", freq="1h"
        )
        value = portfolio.value().to_numpy().reshape(len(closes), -1)
        return value[1:] / np.concatenate([np.full((1, value.shape[1]), 1e6), value[1:-1]]) - 1

    return run


def policy_line(core: str, assets: int, width: int, lanes: int, repeats: int) -> str:
    """One line of the second table."""
    inside, alone = interleaved_seconds(policy_runs(core, assets, width, lanes), repeats)
    name = f"{core} {'2 x 64' if core == 'lstm' else f'{width}-{width}'}, {assets} asset{'s' if assets > 1 else ''}"
    played = STEPS[core] * lanes / 1e6
    return f"{name:22} {lanes:6,d} {played / inside:10.2f} M {played / alone:11.2f} M {alone / inside:6.0%}"


def policy_runs(core: str, assets: int, width: int, lanes: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """A first policy in the loop over windows of chance, and its bare forward pass over as many observations."""
    rng, steps = np.random.default_rng(0), STEPS[core]
    module, heads = make_core(core, hidden_dim=width, num_layers=2, lstm_hidden_dim=64, lstm_num_layers=2)
    policy = Policy(module, assets, heads)
    size = observation_width(assets)
    obs = jnp.asarray(rng.normal(size=(steps, lanes, size)), jnp.float32)
    variables = policy.init(jax.random.key(0), policy.initial_carry(1), obs[0, :1])
    stacked = jax.tree.map(lambda x: x[None], variables)

    def random(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.01, shape).astype(np.float32)

    pairs = assets * (assets - 1) // 2
    base, yes = np.full((BARS, assets), 0.5 / assets, np.float32), np.ones((BARS, assets), bool)
    moves = random(BARS, assets), random(BARS, assets)
    market = Market(*moves, random(BARS, assets, 12), random(BARS, pairs), base, yes)
    tape = make_tape(jax.tree.map(jnp.asarray, market), (range(BARS),))
    starts = rng.integers(0, BARS - steps, lanes)
    where = make_lanes(starts.tolist(), [0] * lanes, [FEE] * lanes)
    limits = Limits(jnp.float32(0.5), jnp.float32(1), jnp.float32(0))

    @jax.jit
    def forward(variables: Any, obs: jax.Array) -> jax.Array:
        def step(carry: Any, row: jax.Array) -> tuple[Any, jax.Array]:
            carry, output = act(policy, variables, carry, row)
            return carry, output.mean

        return jax.lax.scan(step, policy.initial_carry(lanes), obs)[1]

    loop = run_policy.lower(policy, steps, stacked, tape, where, limits).compile()
    return lambda: loop(stacked, tape, where, limits), lambda: forward(variables, obs)


def median_seconds(run: Callable[[], Any], repeats: int, calls: int) -> float:
    """Seconds of a call, after a warm-up, median."""
    return interleaved_seconds((run,), repeats, calls)[0]


def interleaved_seconds(runs: tuple[Callable[[], Any], ...], repeats: int, calls: int = 1) -> list[float]:
    """Seconds of several calls in turn, each after a warm-up, medians: what slows the machine slows them all.

    A call of less than a millisecond is made `calls` times in a row.
    """
    for run in runs:
        jax.block_until_ready(run())
    seconds: list[list[float]] = [[] for _ in runs]
    for _ in range(repeats):
        for kept, run in zip(seconds, runs, strict=True):
            started = time.perf_counter()
            for _ in range(calls):
                jax.block_until_ready(run())
            kept.append((time.perf_counter() - started) / calls)
    return [statistics.median(kept) for kept in seconds]
