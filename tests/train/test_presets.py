"""Laws of presets that set other flags: before the flags, after nothing else."""

import json

import pytest
from commands import command

from himari_jax.errors import InputError
from train.config.config_file import GROUPS
from train.config.defaults import PRESETS, TREND
from train.config.serialize import to_json
from train.training.resume import read_flags


def read(*args):
    return read_flags(args)[0]


@pytest.mark.parametrize("name", PRESETS)
def test_settings_of_a_preset_are_flags_at_other_values_than_their_defaults(name):
    for group, settings in PRESETS[name].settings.items():
        common = json.loads(json.dumps(to_json(read())))[group]
        assert set(settings) <= set(common)
        assert all(common[key] != value for key, value in settings.items())
        assert group in GROUPS


def test_trend_sets_its_flags_and_every_flag_beside_it_wins():
    plain, config = to_json(read()), json.loads(json.dumps(to_json(read("--preset", "trend"))))
    for group, values in config.items():
        expected = {**plain[group], **TREND.get(group, {})}
        assert values == json.loads(json.dumps(expected | ({"preset": "trend"} if group == "ppo" else {})))
    other = read("--preset=trend", "--algorithm", "ppo", "--decide-every", "7d", "--total-steps", "5000")
    assert (other.ppo.algorithm, other.market.decide_every, other.ppo.total_steps) == ("ppo", "7d", 5000)
    assert other.data.pool
    assert other.learning_rate(1) == 1e-3


def test_a_file_of_settings_wins_over_the_preset_that_it_names(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"ppo": {"preset": "trend", "num_envs": 64}, "market": {"min_trade": 0.1}}))
    config = read("--config", str(path))
    assert (config.num_envs, config.market.min_trade, config.data.pool) == (64, 0.1, True)
    assert read("--config", str(path), "--min-trade", "0.2").market.min_trade == 0.2


def test_a_preset_without_a_name_is_refused():
    with pytest.raises(InputError, match=r"--preset trends: must be one of common, fees, quick, trend"):
        read("--preset", "trends")


def test_the_config_of_a_run_says_what_the_preset_set(tmp_path):
    args = ["--preset", "trend", "--symbols", "SYN1", "SYN2", "--decide-every", "6h", "--synthetic.num-bars", "18000"]
    assert command(tmp_path / "run", *args) == 0
    flags = json.loads((tmp_path / "run" / "config.json").read_text())["flags"]
    assert flags["data"]["pool"] is True
    assert flags["market"]["features"] == ["base", "trend"]
    assert flags["ppo"]["preset"] == "trend"
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert set(result["by_symbol"]) == {"SYN1", "SYN2"}
