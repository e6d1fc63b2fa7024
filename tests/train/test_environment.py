"""Settings of jax in the environment: training sets aside what it cannot run with, and says so."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import TINY

from train.distributed.devices import no_device
from train.distributed.environment import cache_folder, set_aside

ROOT = Path(__file__).parents[2]
HARMFUL = {
    "JAX_ENABLE_X64": "True",
    "JAX_DEBUG_INFS": "1",
    "JAX_DISABLE_JIT": "1",
    "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    "JAX_TRANSFER_GUARD": "disallow",
}
HARMLESS = {"JAX_ENABLE_X64": "0", "JAX_TRANSFER_GUARD": "log", "JAX_DEBUG_NANS": "1", "XLA_FLAGS": "--a", "HOME": "/"}


def test_what_training_cannot_run_with_is_removed_and_named_in_one_line(capsys):
    environ = dict(HARMFUL)
    set_aside(environ)
    said = capsys.readouterr().err
    assert environ == {}
    assert said.count("\n") == 1
    assert all(f"{name}={value}" in said for name, value in HARMFUL.items())


def test_what_does_no_harm_stays_and_nothing_is_said(capsys):
    environ = dict(HARMLESS)
    set_aside(environ)
    assert environ == HARMLESS
    assert capsys.readouterr().err == ""


def test_the_cache_folder_is_that_of_the_variable_and_an_empty_variable_is_none():
    assert cache_folder({"JAX_COMPILATION_CACHE_DIR": "/cache"}) == Path("/cache")
    assert cache_folder({"JAX_COMPILATION_CACHE_DIR": ""}) == cache_folder({})


def test_a_device_that_is_not_there_is_put_down_to_who_asked_for_it():
    assert no_device("auto", "tpu").startswith("JAX_PLATFORMS=tpu")
    assert no_device("cuda", "cuda").startswith("--device cuda")
    assert no_device("auto", "").startswith("--device auto")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environ", "code"), [(HARMFUL, 0), ({"JAX_PLATFORMS": "nonsense"}, 2), ({"JAX_DEBUG_NANS": "maybe"}, 2)]
)
def test_a_run_trains_or_says_in_a_line_which_variable_to_unset(environ, code, tmp_path):
    words = [word for word in TINY if word not in ("--device", "cpu")]
    process = subprocess.run(
        [sys.executable, "-m", "train.ppo", *words, "--run-dir", str(tmp_path / "run")],
        cwd=ROOT, env={**os.environ, **environ}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert process.returncode == code, process.stderr
    assert process.stderr.count("\n") == 1
    assert all(name in process.stderr for name in environ)
    assert (tmp_path / "run").exists() == (code == 0)
