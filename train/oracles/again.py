"""Writes the report of a finished run on a market with a known optimum again."""

from pathlib import Path

from himari_jax.errors import InputError
from train.artifacts.run_folder import read_result, stored_config
from train.artifacts.saved_policies import read_saved
from train.oracles.report import write_oracle_report
from train.oracles.scoring import OraclePath
from train.oracles.task import PLOTTED_BARS, OracleTask, build_setup


def write_report_again(folder: Path) -> Path:
    """Plays the policy that the report shows on its path once more, and writes `report.html`.

    Args:
        folder: of the run, with result.json and the checkpoint that it was made of.

    Raises:
        InputError: result.json is damaged, or the checkpoint is not there.
        CheckpointError: the checkpoint is damaged.
        StorageError: the page could not be written.
    """
    result = read_result(folder)
    if result is None:
        raise InputError(f"{folder}: result.json is damaged; the command that trained the run makes it anew")
    task = OracleTask(build_setup(stored_config(folder)))
    saved = read_saved(folder, str(result["timings"]["updates"]))
    path = task.play_year(saved.variables, task.setup.seeds.index(result["shown_seed"]))
    write_oracle_report(folder, task.env, OraclePath(*(x[:PLOTTED_BARS] for x in path)))
    return folder / "report.html"
