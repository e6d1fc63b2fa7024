"""`python -m train.benchmarks.models.worker JOB`: trains once, prints what it cost as the last line, JSON.

A process of its own, so that its largest memory and its start are those of one training.
"""

import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from himari_jax.command import run_command
from himari_jax.errors import InputError, last_line
from train.distributed.devices import choose_device
from train.reporting.stages import peak_memory_mb
from train.training.resume import read_flags

EXTRA = ("jax2onnx", "onnx", "onnxruntime")  # of `himari-jax[export]`


def main(args: Sequence[str]) -> int:
    """Runs a job: `flags` of train.ppo, `folder` of the run, `decisions` whose latency is measured (0: none)."""
    job = json.loads(args[0])
    found = train_once(job["flags"], Path(job["folder"]))
    if job["decisions"]:
        found |= measure_decisions(Path(job["folder"]), job["decisions"])
    print("\n" + json.dumps(found), flush=True)
    return 0


def train_once(flags: list[str], folder: Path) -> dict[str, Any]:
    """Runs train.ppo and prints what it took.

    `ended` is on the clock that all processes of a machine share, so that the start of this one can be counted too.
    """
    config, _ = read_flags([*flags, "--run-dir", str(folder)])
    choose_device(config.run.device, config.run.deterministic)
    # Everything heavy is imported here: jax must not be there before its device is chosen.
    from train.training.run import train

    train(config)
    ended = time.monotonic()
    import jax

    from train.artifacts.run_folder import stored_json
    from train.benchmarks.models.machine import describe_device, describe_processor, describe_tools

    used = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    report = json.loads((folder / "data_report.json").read_text())
    timings = json.loads((folder / "result.json").read_text())["timings"]
    info = {name: timings[name] for name in ("steps", "compile_seconds", "train_seconds", "steps_per_second")}
    return info | {
        "ended": ended,
        "host_mb": peak_memory_mb(),
        "device_mb": None if used is None else used / 2**20,
        "device": describe_device(),
        "processor": describe_processor(),
        "made_by": describe_tools(stored_json(folder)),
        "data": f"{' '.join(report['symbols'])}, {report['rows']:,} bars of {report['bar']}",
        "episode_steps": config.ppo.episode_steps,
    }


def measure_decisions(folder: Path, decisions: int) -> dict[str, Any]:
    """Parameters of the trained policy, and the latency of its decisions in jax and, where it is installed, in ONNX."""
    import jax

    from train.benchmarks.models.latency import decide_by_jax, decide_by_onnx, percentiles, width_of
    from train.simulation.trained import load_agent

    agent = load_agent(folder)
    width = width_of(agent)
    sizes = [leaf[0].size for leaf in jax.tree.leaves(agent.variables["params"])]
    p50, p99 = percentiles(decide_by_jax(agent), width, decisions)
    info = {"parameters": sum(sizes), "jax_p50_ms": p50, "jax_p99_ms": p99, "onnx_p50_ms": None, "onnx_p99_ms": None}
    if all(importlib.util.find_spec(name) for name in EXTRA):
        graph = export(folder) / "policy.onnx"
        p50, p99 = percentiles(decide_by_onnx(agent, graph), width, decisions)
        info |= {"onnx_p50_ms": p50, "onnx_p99_ms": p99}
    return info


def export(folder: Path) -> Path:
    """Exports the bundle of a run, beside it.

    Raises:
        InputError: it could not be made.
    """
    out = folder.with_name(f"{folder.name}-bundle")
    command = [sys.executable, "-m", "export.bundle", str(folder), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise InputError(last_line(done.stderr, f"export.bundle ended with {done.returncode}").removeprefix("error: "))
    return out


if __name__ == "__main__":
    sys.exit(run_command(main))
