"""`python -m train.sweep` in this process, on the devices that jax has here."""

from himari_jax.command import run_command
from train.studies import sweep_run
from train.studies.sweep_flags import read_flags


def sweep_command(*args):
    """Runs the command: the exit code."""
    return run_command(lambda words: sweep_run.sweep(*read_flags(words)), args)
