"""`--config FILE`: a file of settings as defaults, flags beside it win, what is wrong is named by file and key."""

import contextlib
import json
import re

import pytest
from commands import TINY, command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from himari_jax.command import run_command
from himari_jax.errors import HimariError, InputError
from train.config.config_file import as_type
from train.config.ppo import Config
from train.config.serialize import flatten, from_json, to_json
from train.ppo import main
from train.training.resume import read_flags

pytest_plugins = ["finished_run"]


@pytest.fixture
def read(tmp_path):
    """`read(content, *flags)`: the configuration of a file of settings with flags beside it."""

    def configuration(content, *flags):
        path = tmp_path / "settings.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return read_flags(["--config", str(path), *flags])[0]

    return configuration


def test_a_file_of_some_groups_gives_defaults_and_flags_win(read):
    content = {"ppo": {"gamma": 0.9, "num_envs": 64}, "market": {"reward": ["turnover=0.1"], "slippage_bps": 5}}
    assert read(content) == read_flags(
        ["--gamma", "0.9", "--num-envs", "64", "--reward", "turnover=0.1", "--slippage-bps", "5"]
    )[0]  # fmt: skip
    config = read(content, "--gamma", "0.8", "--num-envs=32")
    assert (config.ppo.gamma, config.num_envs, config.market.slippage_bps) == (0.8, 32, 5.0)
    assert read({}) == Config()


def test_flags_and_file_are_checked_together(read):
    # 512 environments do not fall into 3 parts, 9 do.
    assert read({"ppo": {"num_minibatches": 3}}, "--num-envs", "9").num_envs == 9
    with pytest.raises(InputError, match="--num-envs 512"):
        read({"ppo": {"num_minibatches": 3}})


def test_a_length_in_the_other_unit_and_another_folder_replace_those_of_the_file(read):
    config = read({"ppo": {"total_steps": 5}, "run": {"run_dir": "here"}}, "--num-episodes", "7", "--bucket-name", "b",
                  "--model-dir", "m")  # fmt: skip
    assert (config.ppo.total_steps, config.ppo.num_episodes) == (None, 7)
    assert config.run.address == "gs://b/m"


def test_a_switch_of_the_file_can_be_given_again_and_taken_back(read):
    content = {"ppo": {"clip_value": True}}
    assert read(content).ppo.clip_value
    assert read(content, "--clip-value").ppo.clip_value
    assert not read(content, "--no-clip-value").ppo.clip_value


def test_the_config_of_a_run_gives_its_flags_and_neither_its_folder_nor_its_start(finished):
    stored = from_json(json.loads((finished / "config.json").read_text())["flags"])
    config, folder = read_flags(["--config", str(finished / "config.json")])
    assert folder is None
    assert stored.run.run_dir == str(finished)
    assert config.run.run_dir is None
    changed = {key for key, value in flatten(to_json(stored)).items() if flatten(to_json(config))[key] != value}
    assert changed == {"run.run_dir"}


def test_a_run_by_the_config_of_another_is_that_run(finished, tmp_path):
    args = ["--config", str(finished / "config.json"), "--run-dir", str(tmp_path / "again")]
    assert run_command(main, args) == 0
    first, second = (json.loads((x / "result.json").read_text()) for x in (finished, tmp_path / "again"))
    assert first["agent"] == second["agent"]
    flags = [json.loads((x / "config.json").read_text())["flags"] for x in (finished, tmp_path / "again")]
    assert {**flags[0], "run": None} == {**flags[1], "run": None}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"ppo": {"gama": 0.9}}, "ppo.gama is not known; did you mean ppo.gamma?"),
        ({"ppo": {"learning-rate": 0.9}}, "ppo.learning-rate is not known; did you mean ppo.learning_rate?"),
        ({"policy": {"gamma": 0.9}}, "policy.gamma is not known; did you mean ppo.gamma?"),
        ({"gamma": 0.9}, "gamma is not known; did you mean ppo.gamma?"),
        ({"markets": {}}, "markets is not known; did you mean market?"),
        ({"verdict": {"word": "EDGE"}}, "no file of flags: verdict is none of policy, "),
        ({"flags": {"ppo": {"gama": 0.9}}}, "ppo.gama is not known; did you mean ppo.gamma?"),
        ({"ppo": {"gamma": "high"}}, 'ppo.gamma "high": must be a number'),
        ({"ppo": {"gamma": True}}, "ppo.gamma true: must be a number"),
        ({"ppo": {"gamma": 10**400}}, "ppo.gamma 1000"),
        ({"ppo": {"num_envs": 2.5}}, "ppo.num_envs 2.5: must be a whole number or null"),
        ({"ppo": {"gamma": 2}}, "ppo.gamma 2.0: must be 0 to 1"),
        ({"ppo": {"learning_rate": float("nan")}}, "ppo.learning_rate nan: must be a number above 0"),
        ({"policy": {"policy": "gru"}}, "policy.policy gru: must be one of lstm, mlp"),
        ({"data": {"split": [0.5]}}, "data.split 0.5: must be two rising shares"),
        ({"data": {"repair": ["sort", "guess"]}}, 'data.repair ["sort", "guess"]: must be a list of "sort"'),
        ({"market": {"reward": "log_return"}}, 'market.reward "log_return": must be a list of texts'),
        ({"synthetic": {"num_bars": -1}}, "synthetic.num_bars -1"),
        ({"run": {"run_dir": "a", "bucket_name": "b"}}, "run.run_dir and run.bucket_name"),
        ({"run": {"resume": True}}, "run.resume true: must be given on the command line, as --resume"),
        ({"ppo": 3}, "ppo 3: must be an object"),
        ({"flags": 3}, "flags must be an object"),
        ([], "must be a JSON object of the groups policy, data"),
        ("{", "line 1, column 2"),
        ('{"ppo": {"gamma": 0.9, "gamma": 0.8}}', "gamma stands there twice"),
        (b"\xff\xfe".decode("latin1"), "settings.json"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_is_one_line_with_file_and_key(read, content, said):
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        read(content)
    assert "settings.json" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--config", "nowhere.json"], "--config nowhere.json: No such file"),
        (["--config", "."], "is a folder; name a file"),
        (["--config"], "--config"),
        (["--config", "a.json", "--resume"], "--config a.json and --resume"),
        (["--resume", "--config=a.json"], "--config a.json and --resume"),
    ],
)
def test_what_is_wrong_with_the_flag_is_one_line_with_exit_2(args, said, tmp_path, capsys):
    assert run_command(main, [*TINY, *args]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def test_a_file_that_is_refused_writes_nothing(tmp_path):
    (tmp_path / "settings.json").write_text('{"ppo": {"gama": 0.9}}')
    assert command(tmp_path / "run", "--config", str(tmp_path / "settings.json")) == 2
    assert not (tmp_path / "run").exists()


def test_every_setting_survives_a_file(read):
    config = read(to_json(Config()))
    assert config == Config()
    assert as_type([1, 2.5], tuple[float, ...]) == (1.0, 2.5)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
PLACES = [tuple(path.split(".")) for path in flatten(to_json(Config()))]


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(place=st.sampled_from(PLACES), value=VALUES)
def test_no_value_in_a_file_gives_a_traceback(read, place, value):
    with contextlib.suppress(HimariError):
        assert to_json(read({place[0]: {place[1]: value}}))
