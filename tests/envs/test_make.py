"""`envs.make`: from candles to an environment, as flags of the same names would; what does not fit is refused."""

import os
import re
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

import envs
from envs.arguments import OF_COMMANDS
from envs.factory import ARGUMENTS
from envs.market import build_market
from envs.rewards import log_return
from himari_jax.errors import HimariError, InputError
from himari_jax.positions.sizing import SizingRules
from himari_jax.splits import SplitRules, split_rows
from train.config.market import DataConfig, MarketConfig
from train.config.ppo import Config
from train.training.resume import read_flags
from train.training.session import build_session

ROOT = Path(__file__).parents[2]
EXAMPLE = re.compile(r"<!-- library example: runs as a test -->\s*```python\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def history(candles):
    """Candles of two assets."""
    return candles(2, 1500)


@pytest.fixture(scope="module")
def folder(history, tmp_path_factory):
    """The same candles as files."""
    place = tmp_path_factory.mktemp("candles")
    for n, symbol in enumerate(history.symbols):
        columns = {name: getattr(history, name)[:, n] for name in ("open", "high", "low", "close", "volume")}
        time = pl.Series(history.time.astype("datetime64[ms]")).dt.replace_time_zone("UTC")
        pl.DataFrame({"timestamp": time, **columns}).write_parquet(place / f"{symbol}.parquet")
    return place


def test_importing_envs_imports_nothing_heavy():
    code = "import sys, envs; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    assert not {name.split(".")[0] for name in loaded.split()} & {
        "jax", "flax", "gymnax", "polars", "numpy", "talib", "tyro", "himari_jax",
    }  # fmt: skip
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        envs.nothing  # noqa: B018


def test_files_a_folder_and_candles_make_the_same_environment(history, folder):
    paths = [folder / f"{symbol}.parquet" for symbol in history.symbols]
    made = [
        envs.make(history, episode_steps=20),
        envs.make(folder, history.symbols, episode_steps=20),
        envs.make(paths, list(history.symbols), episode_steps=20, bar="1h"),
        envs.make([str(path) for path in paths], history.symbols, episode_steps=20),
    ]
    for env, params in made:
        chex.assert_trees_all_equal(params, made[0][1])
        assert env.default_params is params
        assert env.shared == made[0][0].shared
    turned = envs.make(folder, history.symbols[::-1], episode_steps=20)[1]
    np.testing.assert_array_equal(turned.market.features, made[0][1].market.features[:, ::-1])
    one = envs.make(folder, history.symbols[1], episode_steps=20)
    assert one[0].num_assets == 1
    assert envs.make(paths[0], episode_steps=20)[0].num_assets == 1


def test_parameters_are_those_of_the_command_line_under_the_same_names():
    words = (
        "--commission-rate 0.002 --slippage-bps 3 --max-position-pct 0.4 --max-gross 0.9 --min-trade 0.01 --ruin 0.3 "
        "--base-sizing kelly --kelly-fraction 0.5 --fill same-close --delay 2 --reward log_return turnover=0.5 "
        "--episode-steps 100 --split 0.5 0.7"
    ).split()
    config = read_flags(words)[0]
    ours = envs.make(
        span="train", split=(0.5, 0.7), episode_steps=100, commission_rate=0.002, slippage_bps=3, max_position_pct=0.4,
        max_gross=0.9, min_trade=0.01, ruin=0.3, base_sizing="kelly", kelly_fraction=0.5, fill="same-close", delay=2,
        reward={"log_return": 1, "turnover": 0.5},
    )  # fmt: skip
    theirs = build_session(config)
    chex.assert_trees_all_equal(ours[1], theirs.params)
    assert ours[0].shared == theirs.learner.env


def test_decisions_every_few_bars_are_those_of_the_command_line():
    config = read_flags("--decide-every 6h --decide-phase 2h --episode-steps 50 --delay 1".split())[0]
    ours = envs.make(span="train", decide_every="6h", decide_phase="2h", episode_steps=50, delay=1)[1]
    chex.assert_trees_all_equal(ours, build_session(config).params)


def test_every_flag_on_candles_and_account_is_an_argument_or_one_of_the_commands():
    flags = {field.name for kind in (DataConfig, MarketConfig) for field in fields(kind)}
    assert flags - {"data", *ARGUMENTS} == set(OF_COMMANDS)


def test_a_weight_may_be_written_as_in_the_flag(history):
    texts = envs.make(history, reward=["log_return", "differential-sharpe=0.5"])
    weights = envs.make(history, reward={"log_return": 1, "differential_sharpe": 0.5})
    assert texts[0].terms == weights[0].terms
    chex.assert_trees_all_equal(texts[1], weights[1])
    assert envs.make(history, reward="drawdown=0.1")[1].reward_weights.tolist() == [np.float32(0.1)]


def test_defaults_are_those_of_the_command_line():
    ours, theirs = envs.make(span="train")[1], build_session(Config()).params
    chex.assert_trees_all_equal(ours, theirs)


def test_spans_are_all_rows_with_a_look_back_or_those_of_the_split(history):
    split = split_rows(history, SplitRules((0.4, 0.7), embargo=24))
    for name, expected in {"all": (range(400, 1499),), **split.spans}.items():
        params = envs.make(history, span=name, split=(0.4, 0.7), episode_steps=10)[1]
        assert (params.starts.min(), params.starts.max()) == (expected[0].start, expected[0].stop - 10)
    params = envs.make(history, span=((500, 520), (700, 715)), episode_steps=15)[1]
    assert params.starts.tolist() == [*range(500, 506), 700]
    assert np.flatnonzero(params.last).tolist() == [519, 714]


def test_the_base_position_is_that_of_the_named_sizing(history):
    rules = SizingRules(max_position_pct=0.3, max_gross=0.5)
    expected = build_market(history, "vol-target", rules, "same-close", 1)
    market = envs.make(
        history, base_sizing="vol-target", fill="same-close", delay=1, max_position_pct=0.3, max_gross=0.5
    )[1].market
    chex.assert_trees_all_equal(jax.tree.map(np.asarray, market), expected)


def test_a_reward_is_a_name_a_function_or_several_with_weights(history):
    def squared(outcome, params):
        """Minus the square of the log return, by the commission: a term sees parameters."""
        return -(outcome.trade.log_return**2) * params.commission_rate

    action, key = jnp.array([1.5, 0.5]), jax.random.key(0)
    plain, own, mixed = (
        envs.make(history, reward=reward)[0]
        for reward in ("log_return", squared, {log_return: 2.0, squared: 3.0, "turnover": 0.5})
    )
    _, state = plain.reset(key)
    (_, _, r, _, _, info), (_, _, square, *_), (_, _, total, *_) = (
        env.step(key, state, action) for env in (plain, own, mixed)
    )
    assert float(square) == pytest.approx(-(float(r) ** 2) * 0.001, rel=1e-5)
    assert float(total) == pytest.approx(float(2 * r + 3 * square - 0.5 * jnp.abs(info["delta"]).sum()))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"comission_rate": 0.1}, "no argument comission_rate; did you mean commission_rate?"),
        ({"episodes": 5}, "did you mean episode_steps?"),
        ({"xyzzy": 5}, "no argument xyzzy; envs.make has candles, symbols, span, split, episode_steps, reward, base"),
        ({"pool": True}, "pool is a flag of the commands; envs.make has candles, symbols"),
        ({"data": "candles/"}, "no argument data; it is candles here"),
        ({"fee": 0.1}, "no argument fee; it is commission_rate (0.001 is 0.1 %) here"),
        ({"commission_rate": 1.0}, "commission_rate 1.0: must be a share from 0 up to"),
        ({"commission_rate": float("nan")}, "commission_rate nan"),
        ({"max_gross": 2}, "max_gross 2: must be a share above 0, up to 1"),
        ({"max_gross": "all"}, "max_gross all"),
        ({"episode_steps": 0}, "episode_steps 0: must be 1 or more"),
        ({"episode_steps": 2.5}, "episode_steps 2.5: must be a whole number"),
        ({"episode_steps": 5000}, "5000: the span has 1099 decisions"),
        ({"delay": -1}, "delay -1: must be 0 to 100 bars"),
        ({"fill": "yesterday"}, "next-open, same-close"),
        ({"span": "tomorrow"}, "span tomorrow: must be all, train, val, test"),
        ({"span": ((0, 500),)}, "row 0 has no look-back or no next bar"),
        ({"span": ((500, 1500),)}, "row 1499 has no look-back or no next bar"),
        ({"span": ((500, 500),)}, "stretches of at least one row"),
        ({"span": ()}, "stretches of at least one row"),
        ({"span": "train", "split": (0.8, 0.6)}, "split (0.8, 0.6)"),
        ({"reward": "profit"}, "reward profit: must be one of log_return"),
        ({"reward": {}}, "at least one term"),
        ({"reward": 5}, "reward 5: must be a term by name, a function"),
        ({"reward": "drawdown=much"}, "reward drawdown=much: must be NAME or NAME=WEIGHT"),
        ({"reward": lambda outcome, params: min(outcome.trade.log_return, 0)}, "reward <lambda>: is traced by jax"),
        ({"reward": lambda outcome, params: np.sqrt(outcome.trade.held)}, "reward <lambda>: is traced by jax"),
        ({"reward": lambda outcome, params: float(outcome.trade.cost)}, "must use jax.numpy instead of numpy"),
        ({"base_sizing": "martingale"}, "base_sizing martingale: must be one of constant"),
        ({"decide_every": "90m"}, "decide_every 90m: must be a whole number of bars of 1h"),
        ({"decide_phase": "1h"}, "decide_phase 1h: must be given beside decide_every"),
        ({"decide_every": "4h", "span": ((500, 600),)}, "must be all, train, val or test beside decide_every"),
        ({"reward": {"turnover": float("inf")}}, "reward turnover inf: must be a finite weight"),
        (
            {"reward": lambda outcome, params: outcome.trade.held},
            "reward <lambda> float32 of shape (2,): must be one",
        ),
        ({"symbols": ("A", "B")}, "symbols ('A', 'B'): belongs to files"),
        ({"bar": "1h"}, "bar 1h: belongs to files"),
    ],
)
def test_an_argument_that_does_not_fit_is_refused_in_one_line(history, settings, said):
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        envs.make(history, **settings)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("place", "settings", "said"),
    [
        ("nowhere", {}, "nowhere: no such file or folder"),
        ("", {}, "symbols is needed"),
        ("", {"symbols": ("A", "Z")}, "Z"),
        ("A.parquet", {"bar": "2h"}, "candles of 2 h"),
        ("A.parquet", {"bar": "x"}, "bar x"),
        ("A.parquet", {"repair": "guess"}, "repair guess"),
    ],
)
def test_files_that_do_not_fit_are_refused_in_one_line(folder, place, settings, said):
    with pytest.raises(HimariError, match=re.escape(said)) as caught:
        envs.make(folder / place, **settings)
    assert len(str(caught.value).splitlines()) == 1


def test_what_is_no_candles_is_refused(history):
    with pytest.raises(InputError, match="candles DataFrame: must be Candles, or paths"):
        envs.make(pl.DataFrame({"close": [1.0]}))
    names = ("time", "open", "high", "low", "close", "volume", "tradable", "segment")
    short = replace(history, **{name: getattr(history, name)[:300] for name in names})
    with pytest.raises(InputError, match="300 bars hold no stretch of 402"):
        envs.make(short)
    with pytest.raises(InputError, match="allowed bars divide an hour"):
        envs.make(replace(history, bar_ms=7 * 60_000))


def test_the_example_of_the_readme_prints_a_mean_return():
    found = EXAMPLE.search((ROOT / "README.md").read_text())
    if found is None:
        pytest.skip("README.md has no library example yet")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error:::envs"}
    run = subprocess.run(
        [sys.executable, "-c", found[1]], capture_output=True, text=True, env=environment, check=False, timeout=300
    )
    assert run.returncode == 0, run.stderr
    assert re.search(r"[+-]?\d+\.\d+", run.stdout), run.stdout


def test_the_examples_of_the_docs_make_environments():
    section = (ROOT / "docs" / "market.md").read_text().split("## As a library")[1]
    blocks = re.findall(r"^```python\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    for block in blocks:
        found = {}
        exec(block, found)
        assert found["env"].default_params is found["params"]
    assert found["env"].terms[0] is found["losses_double"]
