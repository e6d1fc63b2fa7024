"""Jobs of the benchmark by device, the most important first, and the memory of the device."""

import jax

from himari_jax.errors import InputError
from train.benchmarks.gpu.config import GPUConfig
from train.benchmarks.gpu.others import backtest_jobs, peer_jobs
from train.benchmarks.gpu.programs import Job, training_jobs

# Environments (0: the default), those of peers, columns and lanes of backtests; of a CPU and of an accelerator.
SIZES = {
    "cpu": ((0,), (512,), (1, 1000), 96),
    "gpu": ((0, 4096, 32_768), (512, 4096), (1, 1000, 10_000), 1000),
}
RETRAININGS = {"cpu": (16, 65_536), "gpu": (1000, 100_000)}  # trainings, steps of each
NAMES = "retrainings"


def kind() -> str:
    """`cpu`, or `gpu` for everything else."""
    return "cpu" if jax.default_backend() == "cpu" else "gpu"


def jobs_of(bench: GPUConfig) -> list[Job]:
    """Lists the jobs that the flags ask for, training first, small sizes before large ones.

    Raises:
        InputError: --only names none.
    """
    envs, peers, columns, lanes = SIZES[kind()]
    training = training_jobs(envs)
    first = [job for job in training if job.size <= 512]
    rest = [job for job in training if job.size > 512]
    jobs = [*first, *peer_jobs(peers), *backtest_jobs(columns, lanes), *rest]
    if not bench.only:
        return jobs
    wanted = tuple(bench.only)
    chosen = [job for job in jobs if job.name.startswith(wanted)]
    if not chosen and not NAMES.startswith(wanted):
        names = dict.fromkeys(job.name.split(",")[0].split(" ")[0] for job in jobs)
        raise InputError(f"--only {' '.join(bench.only)}: no row begins so; there are {', '.join([*names, NAMES])}")
    return chosen


def retraining_of(bench: GPUConfig) -> tuple[int, int] | None:
    """Number and steps of the retrainings; None where they are not asked for."""
    return RETRAININGS[kind()] if not bench.only or NAMES.startswith(tuple(bench.only)) else None
