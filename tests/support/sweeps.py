"""`python -m train.sweep` in this process, on the devices that jax has here."""

from himari_jax.command import run_command
from train.studies.sweep import run
from train.studies.sweep.flags import read_flags


def sweep_command(*args):
    """Runs the command: the exit code."""
    return run_command(lambda words: run.sweep(*read_flags(words)), args)
