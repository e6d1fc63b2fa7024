"""Measures a model: one start with an empty compilation cache, then starts that find it filled; without jax here.

What starts the processes must stay small: a process inherits the largest memory of the one that started it.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from himari_jax.errors import InputError, last_line
from train.benchmarks.models.config import Model, ModelsConfig
from train.benchmarks.models.rows import Row
from train.training.resume import file_defaults, parse_flags

COPIED = ("device", "processor", "made_by", "data", "episode_steps", "steps")
DECIDED = ("parameters", "jax_p50_ms", "jax_p99_ms", "onnx_p50_ms", "onnx_p99_ms")


def check_flags(bench: ModelsConfig, known: Sequence[Row]) -> None:
    """Refuses, before anything runs, flags that would fail, or whose rows could not share a table with those of --out.

    Raises:
        InputError: flags that train.ppo refuses, or others than those of the known rows.
    """
    for model in bench.models:
        flags = bench.flags_of(model)
        parse_flags(flags, file_defaults(flags))
    for row in known:
        if (row.num_episodes, row.flags) != (bench.num_episodes, bench.flags):
            raise InputError(
                f"--out {bench.out}: has rows of {row.num_episodes} episodes with the flags '{row.flags}', and this is "
                f"of {bench.num_episodes} with '{bench.flags}'; choose another file"
            )


def measure(model: Model, bench: ModelsConfig, scratch: Path) -> Row:
    """Measures a model on this machine; returns its row.

    Args:
        model: base, lstm or multi.
        bench: flags.
        scratch: an empty folder, for runs and compilation cache.

    Raises:
        InputError: a training or the export failed, with the reason.
    """
    flags = bench.flags_of(model)
    cold = start(model, "cold start", flags, scratch, 0)
    # The first warm start is the one whose policy decides.
    warm = [
        start(model, f"warm start {k + 1}", flags, scratch, bench.decisions if k == 0 else 0)
        for k in range(bench.repeats)
    ]

    def middle(name: str) -> float:
        return statistics.median(found[name] for found in warm)

    device_mb = [found["device_mb"] for found in (cold, *warm) if found["device_mb"] is not None]
    return Row(
        model=model,
        flags=bench.flags,
        num_episodes=bench.num_episodes,
        warm_starts=bench.repeats,
        decisions=bench.decisions,
        train_seconds=middle("train_seconds"),
        steps_per_second=middle("steps_per_second"),
        compile_cold=cold["compile_seconds"],
        compile_warm=middle("compile_seconds"),
        command_cold=cold["command_seconds"],
        command_warm=middle("command_seconds"),
        host_mb=max(found["host_mb"] for found in (cold, *warm)),
        device_mb=max(device_mb, default=None),
        price_per_hour=bench.price_per_hour,
        **{name: warm[0][name] for name in (*COPIED, *DECIDED)},
    )


def start(model: Model, what: str, flags: list[str], scratch: Path, decisions: int) -> dict[str, Any]:
    """Trains once in a process of its own; returns its record, with `command_seconds`.

    Raises:
        InputError: it failed.
    """
    folder = scratch / what.replace(" ", "-")
    job = json.dumps({"flags": flags, "folder": str(folder), "decisions": decisions})
    command = [sys.executable, "-m", "train.benchmarks.models.worker", job]
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(scratch / "cache")}
    begun = time.monotonic()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        line = last_line(done.stderr, f"ended with {done.returncode}")
        raise InputError(f"{model}: {line.removeprefix('error: ')}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    found["command_seconds"] = found["ended"] - begun
    print(
        f"{model:5} {what:12} {found['command_seconds']:6.1f} s, of it compiling {found['compile_seconds']:.1f} s, "
        f"training {found['train_seconds']:.2f} s",
        flush=True,
    )
    return found
