"""Runs that are killed, cut off and damaged: nothing finished is lost, nothing wrong is restored, nothing is left."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from worlds import TINY_RUN

from himari_jax.command import run_command
from himari_jax.errors import CheckpointError
from train.artifacts.checkpoint import Checkpoints
from train.ppo import main

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
KILLS, SAVES_HIT = 100, 30
SINS = ("bad", "lost", "leftovers", "quarantined")
# Quick to trace, and 3000 updates, which kills do not let finish.
LONG = ["--total-steps", str(256 * 3000), "--num-layers", "1", "--update-epochs", "1", "--num-minibatches", "1"]


class Survivor:
    """The warm process, and one run of it at a time."""

    def __init__(self, cache: Path):
        environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PLATFORMS": "cpu"}
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "support" / "survivor.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env={**environment, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    def start(self, args: list[str], log: Path, out: Path) -> int:
        """Starts a run: its process id."""
        self.process.stdin.write(json.dumps({"args": args, "log": str(log), "out": str(out)}) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def wait(self) -> int:
        """Its exit code, or minus the signal that ended it."""
        return os.waitstatus_to_exitcode(int(self.process.stdout.readline()))


@pytest.fixture
def survivor(tmp_path) -> Iterator[Survivor]:
    """A warm process with a compilation cache of its own."""
    one = Survivor(tmp_path / "cache")
    yield one
    one.process.stdin.close()
    one.process.wait(timeout=60)


def read_log(log: Path) -> list[dict]:
    """Reads the lines that a run wrote about its saves."""
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def wait_for_work(log: Path, lines: int, pid: int) -> None:
    """Waits until the run has begun to save."""
    until = time.monotonic() + 300
    while not any("begun" in record for record in read_log(log)[lines:]):
        assert time.monotonic() < until
        os.kill(pid, 0)
        time.sleep(0.01)


def check_records(records: list[dict]) -> Counter:
    """Compares what was restored with what had been saved; how many restores, and how many were wrong."""
    saved: dict[int, str] = {}
    last, seen = 0, Counter()
    for record in records:
        if "begun" in record:
            saved[record["begun"]] = record["digest"]
        elif "finished" in record:
            last = record["finished"]
        else:
            seen["restores"] += 1
            seen["bad"] += saved.get(record["restored"]) != record["digest"]
            seen["lost"] += record["restored"] < last
            leftovers = [name for name in record["files"] if "tmp" in name or name.endswith(".part")]
            seen["leftovers"] += len(leftovers)
            seen["quarantined"] += "quarantine" in record["files"]
    return seen


def test_100_kills_lose_no_finished_save_restore_nothing_wrong_and_leave_nothing(survivor, tmp_path):
    rng, folder, log, out = random.Random(0), tmp_path / "run", tmp_path / "log", tmp_path / "out"
    args = [*TINY_RUN, *LONG, "--eval-interval", "100000", "--run-dir", str(folder)]
    often = [*args, "--save-interval", "1"]
    hit = 0
    for kill in range(KILLS):
        pid = survivor.start(often, log, out)
        if rng.random() < 0.1:
            time.sleep(rng.uniform(0, 3))
        else:
            wait_for_work(log, len(read_log(log)), pid)
            time.sleep(rng.uniform(0, 0.5))
        os.kill(pid, signal.SIGKILL)
        assert survivor.wait() == -signal.SIGKILL, (kill, out.read_text())
        hit += any("tmp" in path.name for path in (folder / "checkpoints").glob("*"))
    survivor.start(args, log, out)
    assert survivor.wait() == 0, out.read_text()
    seen = check_records(read_log(log))
    print({"kills": KILLS, "inside a save": hit, "updates": read_log(log)[-1], **seen})
    assert hit >= SAVES_HIT
    assert seen["restores"] >= 0.8 * KILLS
    assert {name: seen[name] for name in SINS} == dict.fromkeys(SINS, 0)
    whole = tmp_path / "whole"
    survivor.start([*args[:-1], str(whole)], tmp_path / "log2", out)
    assert survivor.wait() == 0
    ends = [[r["digest"] for r in read_log(path) if "begun" in r][-1] for path in (log, tmp_path / "log2")]
    assert ends[0] == ends[1]


def state_of(value: int) -> dict:
    """A state of floats, whole numbers and typed keys, nested like a runner; large enough for several files."""
    return {
        "params": {"w": jax.random.normal(jax.random.key(value), (64, 33)), "b": jnp.full(7, value, jnp.float32)},
        "update": jnp.int32(value),
        "keys": jax.random.split(jax.random.key(value), 4),
    }


def kind_of(path: Path, step: Path) -> str:
    """The place of a file in a step, without the random part of its name."""
    parts = path.relative_to(step).parts
    return "/".join("data" if len(part) > 30 else part for part in parts)


def checkpoint_files(step: Path) -> dict[str, list[Path]]:
    """Files of a step by their kind."""
    kinds: dict[str, list[Path]] = {}
    for path in sorted(step.rglob("*")):
        if path.is_file() and path.stat().st_size:
            kinds.setdefault(kind_of(path, step), []).append(path)
    return kinds


def flip(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def cut(path: Path, rng: random.Random) -> None:
    os.truncate(path, rng.randrange(path.stat().st_size))


@pytest.mark.parametrize(("harm", "times"), [(flip, 200), (cut, 50)])
@pytest.mark.parametrize("steps", [(1, 2), (2,)])
def test_damage_in_every_kind_of_file_ends_in_the_older_step_or_exit_4(harm, times, steps, tmp_path, capsys):
    rng, source, seen = random.Random(times), tmp_path / "source" / "checkpoints", Counter()
    checkpoints = Checkpoints(source)
    for step in steps:
        checkpoints.save(step, state_of(step), {"note": "x"})
    checkpoints.close()
    like = jax.eval_shape(lambda: state_of(0))
    kinds = sorted(checkpoint_files(source / "2"))
    for trial in range(times):
        run = tmp_path / "copy"
        shutil.copytree(source.parent, run)
        harm(rng.choice(checkpoint_files(run / "checkpoints" / "2")[kinds[trial % len(kinds)]]), rng)
        capsys.readouterr()
        try:
            step, state, _ = Checkpoints(run / "checkpoints").restore(like)
        except CheckpointError as refusal:
            code, text = refusal.exit_code, str(refusal)
            assert (steps, code, text.count("\n")) == ((2,), 4, 0)
            assert (run / "quarantine" / "2").exists()
            seen["exit 4"] += 1
        else:
            same = jax.tree.map(lambda a, b: np.array_equal(plain(a), plain(b)), state, state_of(step))
            assert all(jax.tree.leaves(same)), f"a silent change in {kinds[trial % len(kinds)]}"
            seen["unharmed" if step == 2 else "older step"] += 1
            assert (step == 2) == (capsys.readouterr().err == "")
        shutil.rmtree(run)
    print({"kinds": kinds, **seen})


def plain(leaf: jax.Array) -> np.ndarray:
    return np.asarray(jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of its own that can be made larger, or read-only."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True)
    if done.returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def remount(place: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", str(place)], check=True)


def newest(folder: Path) -> int:
    return max(int(path.name) for path in (folder / "checkpoints").iterdir() if path.name.isdigit())


def test_a_full_or_read_only_disk_is_exit_5_keeps_the_older_step_and_the_same_command_goes_on(small_disk, capsys):
    folder = small_disk / "run"
    args = [*TINY_RUN, "--total-steps", str(256 * 60), "--save-interval", "1", "--keep", "1000"]
    args += ["--run-dir", str(folder)]
    for _ in range(2):
        assert run_command(main, args) == 5
        info = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(info) == 1
        assert "make room" in info[0]
        assert 0 < newest(folder) < 60
    reached = newest(folder)
    remount(small_disk, "ro")
    assert run_command(main, args) == 5
    assert "read-only" in capsys.readouterr().err.lower()
    remount(small_disk, "rw,size=200m")
    assert run_command(main, args) == 0
    assert f"continuing at update {reached}" in capsys.readouterr().out
    assert newest(folder) == 60
    assert not (folder / "quarantine").exists()
    assert not [path for path in folder.rglob("*") if "tmp" in path.name or path.name.endswith(".part")]


def test_a_limit_on_the_size_of_files_is_exit_5_and_the_same_command_goes_on_without_it(tmp_path):
    args = [*TINY_RUN, "--save-interval", "1", "--hidden-dim", "256", "--run-dir", str(tmp_path / "run")]
    words = " ".join([sys.executable, "-m", "train.ppo", *args])
    limited = f"trap '' XFSZ; ulimit -f 300; {words}"  # blocks of 1 KiB
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        ["bash", "-c", limited], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 5, done.stderr
    assert "make room" in done.stderr
    assert "Traceback" not in done.stderr
    assert run_command(main, args) == 0
