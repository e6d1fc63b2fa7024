"""A plug-in is one new file or one new function: here one of each kind, in a copy of the packages."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from cache import CACHE

from himari_jax.errors import InputError
from himari_jax.plugins import Functions, Modules
from train.config import defaults
from train.config.backtest import BacktestConfig, CompareConfig
from train.config.market import DataConfig, MarketConfig
from train.config.ppo import Config, PolicyConfig, PPOConfig
from train.config.serialize import config_hash, from_json, to_json

ROOT = Path(__file__).parent.parent
NEW_FILES = {
    "himari_jax/policies/lone_layer.py": '''
"""One layer, from outside."""

from himari_jax.policies.mlp import MLPCore

DEFAULTS = {"num_envs": 16, "lookahead": 1}


def make(hidden_dim):
    """One layer under linear heads."""
    return MLPCore(widths=(hidden_dim,)), ()
''',
    "himari_jax/sources/waves.py": '''
"""Waves, from outside."""

from dataclasses import dataclass

import numpy as np

from himari_jax.candles import RawCandles


@dataclass(frozen=True)
class Options:
    """How the waves run."""

    period: int = 24
    """Bars of a wave."""


def load(request):
    """Hourly candles of a sine."""
    row = np.arange(1, 3001)
    close = 100 + 5 * np.sin(2 * np.pi * row / request.options.period) + np.sin(row * row)
    prices = np.append(100.0, close[:-1]), np.maximum(100, close) + 9, np.minimum(100, close) - 9, close
    note = f"waves of {request.options.period} bars"
    return [RawCandles("WAVE", "waves", row, 3_600_000 * row, *prices, np.ones(len(row)), (note,))]
''',
    "envs/oracles/loud_leak.py": '''
"""A leak of larger returns, from outside."""

from dataclasses import dataclass

from envs.oracles.leak import Leak


@dataclass(frozen=True)
class LoudLeak(Leak):
    """The same with another deviation."""

    sigma: float = 0.03


MARKET = LoudLeak
''',
}
NEW_FUNCTIONS = {
    "himari_jax/positions/base_sizings.py": '''

def a_tenth(candles, rules):
    """A tenth of equity in each asset, from outside."""
    return np.full(candles.close.shape, 0.1)
''',
    "himari_jax/features/feature_sets.py": '''

@feature_set("wick", lookback=lambda bar_ms: 1)
def wicks(candles: Candles) -> np.ndarray:
    """The range of a bar, from outside."""
    return np.log(candles.high / candles.low)[..., None]
''',
    "envs/rewards.py": '''

def patience(outcome, params):
    """Minus a thousandth of what is held, from outside."""
    return -0.001 * outcome.trade.held.sum(-1)
''',
    "himari_jax/positions/baselines.py": '''

def half_cash(setting: Setting) -> np.ndarray:
    """Half of equity, shared out evenly, from outside."""
    return np.full(setting.candles.close.shape, 0.5 / setting.candles.close.shape[1])
''',
}
TINY = "--rollout-steps 8 --num-minibatches 2 --episode-steps 50 --total-steps 256 --hidden-dim 8 --device cpu"
COMMANDS = [
    f"train.ppo --run-dir run --policy lone_layer --source waves --waves.period 36 --base-sizing a-tenth "
    f"--features wicks base "
    f"--reward log_return patience=0.5 {TINY}",
    "train.backtest run --baselines half_cash --costs 10 --delays 0 --equity none --device cpu",
    f"train.ppo --run-dir market --env loud-leak --policy lone_layer {TINY}",
]
DRIVER = """
import importlib, sys
from himari_jax.command import run_command
for line in sys.argv[1:]:
    module, *args = line.split()
    code = run_command(importlib.import_module(module).main, args)
    if code:
        sys.exit(code)
"""


def run_in(folder, *args):
    """Python in the copy, with its packages before all others: what it printed."""
    env = os.environ | {"PYTHONPATH": str(folder), "JAX_COMPILATION_CACHE_DIR": str(CACHE)}
    done = subprocess.run([sys.executable, *args], cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A folder with the packages and a plug-in of each kind; nothing else is touched."""
    folder = tmp_path_factory.mktemp("copy")
    for package in ("himari_jax", "envs", "train"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "*.parquet"))
    for path, text in NEW_FILES.items():
        assert not (folder / path).exists()
        (folder / path).write_text(text.lstrip())
    for path, text in NEW_FUNCTIONS.items():
        with (folder / path).open("a") as file:
            file.write(text)
    assert str(folder) in run_in(folder, "-c", "import train; print(train.__file__)")
    return folder


def test_help_lists_every_plugin_with_the_first_line_of_its_docstring(copy):
    found = {module: run_in(copy, "-m", module, "--help") for module in ("train.ppo", "train.backtest")}
    for line in (
        "lone_layer: One layer, from outside.",
        "waves: Waves, from outside.",
        "loud-leak: A leak of larger returns, from outside.",
        "a-tenth: A tenth of equity in each asset, from outside.",
        "patience: Minus a thousandth of what is held, from outside.",
        "wicks: The range of a bar, from outside.",
        "(default: 512; 16 for lone_layer; 256 for lstm; see --preset)",
        "--waves.period INT",
        "Bars of a wave. (default: 24)",
    ):
        assert line in " ".join(found["train.ppo"].split())
    for line in ("half_cash: Half of equity, shared out evenly, from outside.", "waves: Waves, from outside."):
        assert line in " ".join(found["train.backtest"].split())


def test_a_plugin_of_each_kind_is_used_by_its_name(copy):
    run_in(copy, "-c", DRIVER, *COMMANDS)
    flags = json.loads((copy / "run" / "config.json").read_text())["flags"]
    assert flags["waves"] == {"period": 36}
    sets = json.loads((copy / "run" / "config.json").read_text())["data"]["features"]["sets"]
    assert (list(sets), sets["wicks"]) == (["wicks", "base"], ["wick"])
    notes = (copy / "run" / "data_report.json").read_text()
    assert "waves of 36 bars" in notes
    result = json.loads((copy / "run" / "result.json").read_text())
    assert "half_cash" in result["baselines"]
    assert result["timings"]["updates"] == 2  # 256 steps, of 8 bars in the core's own 16 environments
    rows = pl.read_parquet(copy / "run" / "backtest" / "backtest.parquet")
    assert set(rows["policy"]) == {"run", "half_cash"}
    assert json.loads((copy / "market" / "result.json").read_text())["env"] == "loud-leak"


def test_a_new_source_leaves_other_runs_and_their_hashes_as_they_are(copy):
    plain = Config()
    code = (
        "import json, sys\n"
        "from train.config.ppo import Config\n"
        "from train.config.serialize import config_hash, from_json, to_json\n"
        "old = from_json(json.loads(sys.argv[1]))\n"
        "assert old == Config() and 'waves' in to_json(old)\n"
        "print(config_hash(old))"
    )
    assert run_in(copy, "-c", code, json.dumps(to_json(plain))).strip() == config_hash(plain)


def test_the_options_of_the_chosen_source_count_in_the_hash():
    values = to_json(Config())
    other = from_json(values | {"synthetic": values["synthetic"] | {"seed": 1}})
    assert config_hash(other) != config_hash(from_json(values))


def test_a_source_with_the_name_of_another_group_is_refused():
    with pytest.raises(InputError, match="--source market: rename the source"):
        Config(source_options={"market": None})


def test_a_file_is_a_plugin_by_what_it_defines_and_a_function_by_being_public(tmp_path, monkeypatch):
    package = tmp_path / "parts"
    package.mkdir()
    (package / "__init__.py").write_text('"""Parts."""\n')
    (package / "b_part.py").write_text('"""B.\n\nMore."""\nimport no_such_library\nSIZE = 3\ndef make(): ...\n')
    (package / "a_part.py").write_text("WIDE = [1, 2]\nmake = print\n")
    (package / "helper.py").write_text("def other(): ...\n")
    (package / "_hidden.py").write_text("def make(): ...\n")
    (package / "functions.py").write_text('def z(): "Z."\ndef _y(): ...\ndef x_1(): ...\nclass W: ...\n')
    monkeypatch.syspath_prepend(tmp_path)
    modules = Modules("--part", "parts", hyphens=True, entry="make")
    assert modules.summaries == {"a-part": "", "b-part": "B."}
    assert (modules.constant("b-part", "SIZE"), modules.constant("a-part", "SIZE")) == (3, None)
    assert Functions("--part", "parts.functions").summaries == {"z": "Z.", "x_1": ""}
    with pytest.raises(InputError, match="--part helper: must be one of a-part, b-part"):
        modules.load("helper")
    with pytest.raises(InputError, match=r"--part a_prt: must be .*; did you mean a-part\?"):
        modules.find("a_prt")
    assert Functions("--part", "parts.functions").find("x-1") == "x_1"
    assert modules.find("a_part") == "a-part"


def test_names_of_plugins_may_have_hyphens_or_underscores_on_every_flag():
    assert MarketConfig(base_sizing="vol_target") == MarketConfig(base_sizing="vol-target")
    assert BacktestConfig(("run",), baselines=("vol-target", "base")).shown_baselines == ("vol_target", "base")
    assert CompareConfig(("run",), against="buy-and-hold").against == "buy_and_hold"
    assert DataConfig(env="hidden_drift").env == "hidden-drift"


@pytest.mark.parametrize("preset", defaults.PRESETS)
def test_a_preset_sets_flags_whose_defaults_depend_on_others(preset):
    assert set(defaults.PRESETS[preset].defaults) <= set(defaults.DEPENDENT)


def test_a_flag_comes_before_the_core_the_core_before_the_preset_the_preset_before_the_common_default():
    def sizes(**ppo):
        return [Config(PolicyConfig(core), ppo=PPOConfig(**ppo)).num_envs for core in ("mlp", "lstm")]

    assert sizes() == [512, 256]
    assert sizes(preset="quick") == [128, 256]
    assert sizes(preset="quick", num_envs=64) == [64, 64]
    assert [Config(ppo=PPOConfig(preset=name)).initial_log_std(True) for name in ("common", "fees")] == [0.5, -5.0]
    assert [Config(PolicyConfig(core)).hidden_dim(3) for core in ("mlp", "lstm")] == [256, 128]


def test_ppo_explores_widely_and_learns_slowly_on_candles_alone():
    def rates(costly=True, assets=1, env=None, **ppo):
        found = [Config(PolicyConfig(core), DataConfig(env=env), ppo=PPOConfig(**ppo)) for core in ("mlp", "lstm")]
        return [(c.initial_log_std(costly, assets), c.learning_rate(assets)) for c in found]

    assert rates() == rates(costly=False) == [(0.5, 1e-3), (0.5, 5e-4)]
    assert rates(assets=3) == [(1.0, 5e-4), (1.0, 5e-4)]
    assert rates(algorithm="pathwise") == rates(env="merton") == [(-2.0, 2e-3)] * 2
    assert rates(costly=False, env="merton") == [(0.0, 2e-3)] * 2
    assert rates(preset="fees") == [(-5.0, 2e-3)] * 2
    assert rates(learning_rate=0.1) == [(0.5, 0.1)] * 2


def test_a_core_that_states_another_default_is_refused_by_name(monkeypatch):
    stated = {"DEFAULTS": {"gamma": 0.9}}
    monkeypatch.setattr(Modules, "constant", lambda self, name, variable: stated.get(variable))
    with pytest.raises(InputError, match="--policy mlp: states a default of gamma; must be one of num_envs"):
        defaults.default("num_envs", "mlp", "common")
