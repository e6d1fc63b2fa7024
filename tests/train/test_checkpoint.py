import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from worlds import TINY_RUN

from himari_jax.command import parse, run_command
from himari_jax.errors import CheckpointError, InputError, StorageError
from train.artifacts.checkpoint import Checkpoints
from train.config.ppo import Config
from train.ppo import main


def state_of(value):
    """Floats, whole numbers, typed keys, nested: what a runner is made of."""
    return {
        "params": {"w": jnp.full((2, 3), value, jnp.float32)},
        "update": jnp.int32(value),
        "flags": jnp.array([True, False]),
        "keys": jax.random.split(jax.random.key(value), 4),
    }


@pytest.fixture
def saved(tmp_path):
    """Three steps."""
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for step in (1, 2, 3):
        checkpoints.save(step, state_of(step), {"note": "x"})
    checkpoints.close()
    return tmp_path / "checkpoints"


def restore(folder, step=None):
    return Checkpoints(folder).restore(jax.eval_shape(lambda: state_of(0)), step)


def test_the_newest_step_comes_back_bit_for_bit(saved):
    step, state, meta = restore(saved)
    assert step == 3
    assert meta["note"] == "x"
    np.testing.assert_array_equal(state["params"]["w"], state_of(3)["params"]["w"])
    np.testing.assert_array_equal(jax.random.key_data(state["keys"]), jax.random.key_data(state_of(3)["keys"]))
    assert state["flags"].tolist() == [True, False]
    assert restore(saved, 2)[0] == 2


def test_only_the_newest_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2)
    for step in (1, 2, 3, 4):
        checkpoints.save(step, state_of(step), {})
    assert checkpoints.steps() == [3, 4]


def data_files(folder):
    """Files of a step that hold numbers."""
    return sorted(path for path in (folder / "state").rglob("*") if path.is_file() and path.stat().st_size > 0)


def test_flipped_bits_are_never_restored(saved, tmp_path, capsys):
    rng = np.random.default_rng(0)
    for trial in range(25):
        copy = tmp_path / f"copy{trial}" / "checkpoints"
        shutil.copytree(saved, copy)
        files = data_files(copy / "3")
        path = files[rng.integers(len(files))]
        content = bytearray(path.read_bytes())
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        path.write_bytes(content)
        step, state, _ = restore(copy)
        assert step in (2, 3)
        # Either the flip met nothing that counts, or the older step was taken: never wrong numbers.
        np.testing.assert_array_equal(state["params"]["w"], state_of(step)["params"]["w"])
        if step == 2:
            assert (copy.parent / "quarantine" / "3").exists()
            assert "damaged" in capsys.readouterr().err


def test_a_wrong_digest_walks_back_to_the_older_step(saved):
    meta = saved / "3" / "meta" / "metadata"
    described = json.loads(meta.read_text())
    described["leaves"]["['params']['w']"]["sha256"] = "0" * 64
    meta.write_text(json.dumps(described))
    assert restore(saved)[0] == 2


def test_a_step_without_its_state_walks_back(saved):
    shutil.rmtree(saved / "3" / "state")
    assert restore(saved)[0] == 2


def test_no_usable_step_is_exit_4_and_nothing_is_deleted(saved):
    for step in (1, 2, 3):
        for path in data_files(saved / str(step)):
            path.write_bytes(path.read_bytes()[:3])
    with pytest.raises(CheckpointError) as error:
        restore(saved)
    assert error.value.exit_code == 4
    assert sorted(path.name for path in (saved.parent / "quarantine").iterdir()) == ["1", "2", "3"]


def test_other_shapes_are_refused_by_name_and_nothing_is_moved(saved):
    other = jax.eval_shape(lambda: {**state_of(0), "params": {"w": jnp.zeros((2, 4))}})
    with pytest.raises(InputError, match=r"\['params'\]\['w'\]"):
        Checkpoints(saved).restore(other)
    assert restore(saved)[0] == 3


def test_a_save_that_fails_is_a_storage_error(saved, monkeypatch):
    checkpoints = Checkpoints(saved)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints.manager, "save", full)
    with pytest.raises(StorageError, match="No space left"):
        checkpoints.save(4, state_of(4), {})
    assert restore(saved)[0] == 3


def test_saving_a_step_twice_is_an_error_and_not_a_silent_nothing(saved):
    with pytest.raises(StorageError, match="exists already"):
        Checkpoints(saved).save(3, state_of(3), {})
    assert restore(saved)[0] == 3


def test_a_checkpoint_is_due_after_so_many_seconds_besides_the_interval(tmp_path):
    rare = [*TINY_RUN, "--save-interval", "100000", "--keep", "100"]
    assert run_command(main, [*rare, "--run-dir", str(tmp_path / "rare")]) == 0
    assert run_command(main, [*rare, "--save-seconds", "1e-9", "--run-dir", str(tmp_path / "often")]) == 0
    steps = [
        sorted(int(path.name) for path in (tmp_path / name / "checkpoints").iterdir() if path.name.isdigit())
        for name in ("rare", "often")
    ]
    assert steps == [[0, 8], [0, 1, 2, 3, 4, 5, 6, 7, 8]]
    described = [json.loads((tmp_path / x / "checkpoints/8/meta/metadata").read_text()) for x in ("rare", "often")]
    assert described[0]["leaves"] == described[1]["leaves"]
    with pytest.raises(InputError, match="--save-seconds 0"):
        parse(Config, ["--save-seconds", "0"], "ppo")
