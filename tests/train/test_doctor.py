"""The doctor can fail: each law that is broken, and each fault of a machine, is exit 1 and the right line."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from himari_jax.account import Costs
from himari_jax.command import run_command
from himari_jax.policies.policy import squash
from train.diagnosis import examination, findings, laws
from train.diagnosis.examination import check_law
from train.diagnosis.laws import Deviation, Skipped
from train.diagnosis.machine import Machine
from train.diagnosis.subject import default_config, make_subject
from train.diagnosis.table import finding_lines, machine_lines, verdict_lines
from train.doctor import main

SMALL = {"num_envs": 16, "rollout_steps": 8, "num_minibatches": 2, "episode_steps": 10, "update_epochs": 1}


def machine(**changes):
    """A sound one with a card."""
    known = {
        "versions": {"python": "3.12.1", "jax": "0.10.2", "jaxlib": "0.10.2", "jax-cuda12-plugin": "0.10.2"},
        "requirements": ("jax<0.11,>=0.7", 'jax[cuda12]<0.11,>=0.7; extra == "cuda"'),
        "cores": 2,
        "host_mb": 16_000.0,
        "cards": 1,
        "driver": "550.54.15",
        "environment": {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
        "cache": Path(__file__).parent,
        "now": 1.8e9,
        "newest": 1.8e9,
        "platform": "gpu",
        "device": "Tesla T4",
        "devices": 1,
        "runtime": "cuda 12080",
        "device_mb": 14_000.0,
    }
    return Machine(**known | changes)


FAULTS = [
    ({"platform": "cpu", "versions": {"jax": "0.10.2"}}, "plug-in is not installed", ".[cuda]"),
    ({"platform": "cpu"}, "though its CUDA plug-in is installed", "says why"),
    ({"platform": "", "driver": None}, "driver unknown", "says why"),
    ({"platform": "cpu", "environment": {"JAX_PLATFORMS": "cpu"}}, "looks for cpu alone", "unset JAX_PLATFORMS"),
    ({"platform": "cpu", "environment": {"CUDA_VISIBLE_DEVICES": ""}}, "hides them", "unset CUDA_VISIBLE_DEVICES"),
    ({"versions": {"jaxlib": "0.10.2", "jax-cuda12-pjrt": "0.10.1"}}, "pjrt 0.10.1 beside jaxlib 0.10.2", ".[cuda]"),
    ({"host_mb": 900.0}, "900 MB of memory", "--num-envs 64"),
    ({"device_mb": 300.0}, "300 MB of the card", "nvidia-smi"),
    ({"now": 1e6}, "the clock says 1970-01-12", "set the clock"),
    ({"cache": Path(__file__) / "cache"}, "cache: cannot be written", "JAX_COMPILATION_CACHE_DIR"),
    ({"environment": {"HIMARI_DATA": "/nowhere"}}, "HIMARI_DATA=/nowhere: no such folder", "unset it"),
]


def test_a_sound_machine_has_no_findings():
    assert findings.examine(machine()) == []
    assert findings.examine(machine(platform="cpu", cards=0, environment={}, versions={})) == []


@pytest.mark.parametrize(("changes", "text", "remedy"), FAULTS)
def test_each_fault_is_found_first_with_its_remedy(changes, text, remedy):
    first = findings.examine(machine(**changes))[0]
    assert text in first.text
    assert remedy in first.remedy
    assert first.wrong


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"versions": {"jax": "0.11.2"}}, "jax 0.11.2: tested is <0.11,>=0.7"),
        ({"environment": {}}, "jax reserves 14,000 MB"),
    ],
)
def test_what_is_worth_knowing_is_said_and_is_no_fault(changes, text):
    (found,) = findings.examine(machine(**changes))
    assert text in found.text
    assert not found.wrong


def test_lines_fit_80_columns():
    lines = [line for each in FAULTS for one in findings.examine(machine(**each[0])) for line in finding_lines(one)]
    lines += machine_lines(machine()) + machine_lines(machine(platform=""))
    lines += verdict_lines(check_law("x" * 50, lambda: Deviation(0.123456, 2e-5, "some words " * 20)))
    assert max(map(len, lines)) <= 80


def test_a_law_that_misses_or_raises_or_is_not_a_number_does_not_hold():
    def fall():
        raise RuntimeError("the device is gone")

    def skip():
        raise Skipped("not installed")

    assert check_law("a", lambda: Deviation(1e-6, 2e-5)).state == "ok"
    assert check_law("a", lambda: Deviation(3e-5, 2e-5)).state == "WRONG"
    assert check_law("a", lambda: Deviation(float("nan"), 2e-5)).state == "WRONG"
    assert "the device is gone" in check_law("a", fall).note
    assert check_law("a", fall).state == "WRONG"
    assert check_law("a", skip).state == "skipped"


def test_the_account_and_its_statistics_are_seen_to_be_wrong(monkeypatch):
    assert check_law("account", laws.account).state == check_law("statistics", laws.statistics).state == "ok"
    with monkeypatch.context() as patch:
        patch.setattr(laws, "fees", lambda: Costs(jnp.float32(0.0011), jnp.float32(0)))
        assert check_law("account", laws.account).state == "WRONG"
    honest = laws.run_returns
    monkeypatch.setattr(laws, "run_returns", lambda *args: honest(*args) + 1e-6)
    assert check_law("statistics", laws.statistics).state == "WRONG"


def test_products_of_fewer_digits_than_tf32_are_wrong(monkeypatch):
    assert check_law("products", laws.products).state == "ok"
    monkeypatch.setattr(laws.jnp, "matmul", lambda a, b: a.astype(jnp.bfloat16) @ b.astype(jnp.bfloat16))
    assert check_law("products", laws.products).state == "WRONG"


def test_a_broken_law_is_exit_1_and_its_line_and_a_sound_one_exit_0(monkeypatch, tmp_path, capsys):
    error = [0.0]

    def examine(subjects):
        yield check_law("the law", lambda: Deviation(error[0], 0.1))

    monkeypatch.setattr(examination, "examine_laws", examine)
    monkeypatch.setattr(examination, "compile_models", lambda models: {})
    monkeypatch.delenv("HIMARI_DATA", raising=False)
    args = ["--device", "cpu", "--json", str(tmp_path / "x.json")]
    codes, found = [], []
    for error[0] in (0.0, 0.5):
        codes.append(run_command(main, args))
        found.append(json.loads((tmp_path / "x.json").read_text()))
    shown = capsys.readouterr().out
    assert codes == [0, 1]
    assert "all well\n" in shown
    assert f"  WRONG   {'the law':52}     0.5 of 0.1\n" in shown
    assert shown.endswith("1 wrong\n")
    assert [page["well"] for page in found] == [True, False]
    assert "environment" not in found[0]["machine"]
    monkeypatch.setenv("HIMARI_DATA", str(tmp_path / "nothing"))
    error[0] = 0.0
    assert run_command(main, args) == 1
    assert "nothing: no such folder -> name a folder" in " ".join(capsys.readouterr().out.split())


def test_a_folder_that_is_not_there_is_refused_before_anything_runs(capsys):
    assert run_command(main, ["--json", "nowhere/x.json"]) == 2
    assert "there is no folder nowhere" in capsys.readouterr().err


# Each law on a small LSTM, honest and broken where the code that it is about is bent.


@pytest.fixture(scope="module")
def small():
    """A subject that compiles as fast as one can."""
    return make_subject("lstm", default_config("lstm", 1, **SMALL))


def bend(tree):
    """Numbers a hundredth off."""
    return jax.tree.map(lambda x: x * 1.01 if x.dtype == np.float32 else x, tree)


@pytest.mark.slow
@pytest.mark.parametrize("law", [laws.ratio, laws.replay_of, laws.population, laws.resume, laws.graph])
def test_each_law_holds(law, small):
    assert check_law("law", lambda: law(small)).state == "ok"


@pytest.mark.slow
def test_a_replay_that_forgets_less_than_the_rollout_breaks_the_ratio(monkeypatch):
    from train.learning import ppo

    honest = ppo.unroll
    monkeypatch.setattr(ppo, "unroll", lambda p, v, carry, obs, reset: honest(p, v, carry, obs, reset & False))
    bent = make_subject("lstm", default_config("lstm", 1, **SMALL))
    assert check_law("ratio", lambda: laws.ratio(bent)).state == "WRONG"


@pytest.mark.slow
def test_actions_that_are_not_those_that_were_played_break_the_replay(small, monkeypatch):
    from train.learning import lanes

    monkeypatch.setattr(lanes, "squash", lambda u: squash(u + 0.01))
    assert check_law("replay", lambda: laws.replay_of(small)).state == "WRONG"


@pytest.mark.slow
def test_members_that_pay_another_fee_break_the_population(small, monkeypatch):
    from train.learning import population

    population.compile_update.cache_clear()
    honest = population.params_of
    monkeypatch.setattr(
        population, "params_of", lambda *args: honest(*args).replace(commission_rate=jnp.float32(0.0015))
    )
    assert check_law("population", lambda: laws.population(small)).state == "WRONG"
    population.compile_update.cache_clear()


@pytest.mark.slow
def test_a_checkpoint_that_loses_a_bit_breaks_the_resuming(small, monkeypatch):
    from train.artifacts import checkpoint

    honest = checkpoint.to_device
    monkeypatch.setattr(checkpoint, "to_device", lambda state, like: honest(bend(state), like))
    found = check_law("resume", lambda: laws.resume(small))
    assert found.state == "WRONG"
    assert found.error > 1


@pytest.mark.slow
def test_a_graph_of_another_policy_breaks_the_export(small, monkeypatch):
    honest = laws.policy_graph
    monkeypatch.setattr(laws, "policy_graph", lambda policy, v, width: honest(policy, bend(v), width))
    assert check_law("graph", lambda: laws.graph(small)).state == "WRONG"


@pytest.mark.slow
def test_without_the_extra_the_graph_is_skipped_with_the_command_that_installs_it(small, monkeypatch):
    def lacking(*args):
        raise ModuleNotFoundError("No module named 'jax2onnx'", name="jax2onnx")

    monkeypatch.setattr(laws, "policy_graph", lacking)
    found = check_law("graph", lambda: laws.graph(small))
    assert (found.state, found.error) == ("skipped", None)
    assert ".[export]" in found.note


@pytest.mark.slow
def test_the_whole_examination_is_well(monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("HIMARI_DATA", raising=False)
    monkeypatch.setattr(examination, "DEFAULTS", {"base": default_config("mlp", 1, **SMALL)})
    assert run_command(main, ["--device", "cpu", "--json", str(tmp_path / "x.json")]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    found = json.loads((tmp_path / "x.json").read_text())
    assert [each["state"] for each in found["laws"]] == ["ok"] * 8
    assert found["speed"][0]["steps_per_second"] > 0
