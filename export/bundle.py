"""`python -m export.bundle`: a trained run as a folder that a server without jax can verify and run."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from export.bundling.config import BundleConfig
from himari_jax.cli import invocation
from himari_jax.command import parse, run_command
from himari_jax.errors import InputError
from himari_jax.pasting import command_line
from himari_jax.stopping import exit_at_signals
from himari_jax.storage import list_files, upload_folder
from train.artifacts.downloads import local_run
from train.artifacts.run_folder import refuse_other_folders
from train.distributed.devices import choose_device

PROG = invocation("export.bundle")


def main(args: Sequence[str]) -> int:
    """Exports a bundle and uploads it where a bucket is named."""
    config = parse(BundleConfig, args, PROG)
    exit_at_signals("stopped; nothing was written")
    choose_device("cpu")
    # Everything heavy is imported here, after the flags are known to be good.
    from export.bundling.exporter import write_bundle

    if config.target is not None and (found := list_files(config.target)):
        raise InputError(f"{config.target}: {next(iter(found))} is there already; choose another prefix")
    run = local_run(config.run)
    refuse_other_folders(run, ask_for_request)
    fetched = config.run.name if run != config.run else None  # a mirror's own name is its whole address
    code = write_bundle(replace(config, run=run, name=config.name or fetched))
    if config.target is not None:
        exit_at_signals(f"stopped; {config.out} is whole, {config.target} is not")
        written = upload_folder(config.out, config.target, last=["manifest.json"])
        print(f"{config.target}: {', '.join(written)}")
    return code


def ask_for_request(bundle: Path) -> str:
    """Describes the next step for a folder that is a bundle already."""
    return f"a bundle already, not a run; next: {command_line('export.request', bundle)}"


if __name__ == "__main__":
    sys.exit(run_command(main))
