"""Dimensions of a sweep: their grammar, their points, and one line for every mistake."""

import math
import subprocess
import sys
from pathlib import Path

import pytest

from himari_jax.errors import InputError
from train.config.ppo import Config
from train.config.vary import Choices, Range, configure, label, parse_vary, size
from train.studies.sweep.flags import listed_points, read_flags
from train.studies.sweep.points import draw, grid

ROOT = Path(__file__).parents[2]


def test_every_kind_of_flag_is_varied_by_its_name():
    words = ["learning_rate=1e-4,3e-4", "--lstm-hidden-dim=32,64", "policy=mlp,lstm", "clip_value=true,false"]
    words += ["symbols=BTC ETH|BTC  ETH SOL", "reward.volatility=0.5,auto", "synthetic.num_bars=3000,4000"]
    found = parse_vary(words)
    assert [each.name for each in found][-3:] == ["symbols", "reward.volatility", "synthetic.num_bars"]
    point = {each.name: each.texts[-1] for each in found}
    config = configure(Config(), point)
    assert (config.ppo.learning_rate, config.ppo.clip_value) == (3e-4, False)
    assert (config.policy.policy, config.policy.lstm_hidden_dim) == ("lstm", 64)
    assert config.data.symbols == ("BTC", "ETH", "SOL")
    assert config.market.reward == ("log_return", "volatility=auto")
    assert config.source_options["synthetic"].num_bars == 4000
    assert size(found) == 2**7


def test_a_weight_replaces_that_of_a_term_that_is_there_and_keeps_the_others():
    base = configure(Config(), {"reward": "log_return volatility=1 turnover=0.1"})
    assert configure(base, {"reward.volatility": "2"}).market.reward == ("log_return", "turnover=0.1", "volatility=2")


def test_ranges_are_whole_where_the_flag_is():
    whole, dense, log = parse_vary(["hidden_dim=16:64:16", "gamma=0.9:0.99", "learning_rate=log:1e-4:1e-2"])
    assert whole == Range("hidden_dim", 16, 64, 16, whole=True)
    assert whole.count == 4  # 16, 32, 48, 64
    assert dense == Range("gamma", 0.9, 0.99)
    assert dense.count is None
    assert log == Range("learning_rate", 1e-4, 1e-2, log=True)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("learning_rte=1", "learning_rte is not known; did you mean learning_rate?"),
        ("ppo.gama=1", "ppo.gama is not known; did you mean gamma?"),
        ("reward.volatilty=1", "volatilty: must be one of log_return"),
        ("learning_rate=x", "learning_rate x: must be a number"),
        ("hidden_dim=1.5", "hidden_dim 1.5: must be a whole number"),
        ("clip_value=1", "clip_value 1: must be true or false"),
        ("baseline=values", 'must be "mean-action" or "value"'),
        ("symbols=", "symbols '': must be a list of texts"),
        ("gamma=3:1", "must be LOW:HIGH with LOW below HIGH"),
        ("learning_rate=log:0:1", "LOW above 0"),
        ("gamma=0.9,0.90", "0.9 stands there twice"),
        ("gamma", "must be NAME=v1,v2,..."),
        ("seed=1,2", "seed is not varied"),
        ("split=0.5 0.6", "split is not varied: all configurations are compared on one validation span"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_word(word, said):
    with pytest.raises(InputError) as caught:
        parse_vary([word])
    assert str(caught.value).startswith(f"--vary {word}")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_dimension_stands_there_once():
    with pytest.raises(InputError, match="learning_rate is varied twice"):
        parse_vary(["learning_rate=1", "ppo.learning_rate=2"])


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ("--vary gamma=0.9,2", "--vary gamma=2: --gamma 2.0: must be 0 to 1"),
        ("--vary num_envs=8,12 --num-minibatches 8", "--vary num_envs=12: --num-envs 12: must be a multiple of"),
        ("--vary num_envs=8,12 --num-minibatches 8 --search optuna", "--vary num_envs=12: --num-envs 12"),
        ("", "--vary: says what differs"),
        ("--vary gamma=0.9:0.99", "a range has no grid; list its values, or --search random"),
        ("--vary gamma=0.9 --num-trials 3", "a grid is tried whole"),
        ("--vary gamma=0.9 --storage x", "belong to --search optuna"),
        ("--vary gamma=0.9 --halving 20 --batch-size 16", "--halving 20: must be at most --batch-size 16"),
        ("--vary gamma=0.9 --env merton", "a sweep is on candles"),
        ("--vary gamma=0.9 --run-dir gs://b/x", "a sweep keeps its folder on this machine"),
        ("--vary gamma=0.9 --devices 2", "among all devices; leave it out"),
        ("--vary gamma=0.9 --permutations 9", "a sweep has none; give them to a run of the chosen one"),
        ("--vary gamma=0.9 --num-processes 2", "--num-processes 2"),
        ("--vary gamma=0.9 --serch grid", "did you mean --search"),
        ("--resume --run-dir /nowhere", "no sweep is there (sweep.json is missing)"),
    ],
)
def test_flags_that_do_not_fit_are_one_line(args, said):
    with pytest.raises(InputError) as caught:
        read_flags(args.split())
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_grid_is_every_combination_the_first_dimension_slowest():
    found = grid([Choices("a", ("1", "2")), Choices("b", ("x", "y", "z"))])
    assert [label(point) for point in found] == ["a=1 b=x", "a=1 b=y", "a=1 b=z", "a=2 b=x", "a=2 b=y", "a=2 b=z"]


def test_more_draws_begin_with_the_same_ones_and_none_comes_twice():
    space = parse_vary(["learning_rate=log:1e-4:1e-2", "hidden_dim=1:3", "policy=mlp,lstm"])
    many, few = draw(space, 50, seed=1), draw(space, 20, seed=1)
    assert many[:20] == few
    assert draw(space, 20, seed=2) != few
    discrete = parse_vary(["hidden_dim=1:3", "policy=mlp,lstm"])
    assert len({tuple(point.values()) for point in draw(discrete, 6, seed=0)}) == 6


def test_draws_lie_in_their_range_and_log_draws_spread_over_the_decades():
    space = parse_vary(["learning_rate=log:1e-4:1e-2", "hidden_dim=log:1:100", "gamma=0.5:0.9:0.1"])
    found = draw(space, 400, seed=0)
    rates = [float(point["learning_rate"]) for point in found]
    widths = [int(point["hidden_dim"]) for point in found]
    assert min(rates) >= 1e-4
    assert max(rates) <= 1e-2
    # Half of the draws lie in each of two decades: 200 of 400, whose deviation is 10.
    assert abs(sum(rate < 1e-3 for rate in rates) - 200) < 50
    # Widths 1 to 9 have the logarithm's share log(9.5 / 0.5) / log(100.5 / 0.5) = 0.555 of the draws: 222.
    expected = 400 * math.log(9.5 / 0.5) / math.log(100.5 / 0.5)
    assert abs(sum(width < 10 for width in widths) - expected) < 50
    assert {point["gamma"] for point in found} == {"0.5", "0.6", "0.7", "0.8", "0.9"}


def test_a_random_search_has_no_more_trials_than_there_are():
    sweep, _ = read_flags("--vary hidden_dim=1:3 policy=mlp,lstm --search random --num-trials 100".split())
    assert len(listed_points(sweep)) == 6


def test_help_is_printed_before_jax_is_imported():
    code = "import sys\nfrom train.sweep import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
    run = subprocess.run(
        [sys.executable, "-c", code + "print(*sys.modules)"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "--halving" in run.stdout
    loaded = set(run.stdout.splitlines()[-1].split())
    assert not {"jax", "flax", "polars", "talib", "optuna", "sqlalchemy"} & loaded
