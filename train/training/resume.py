"""Which run goes on, and with which flags."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from himari_jax.command import parse
from himari_jax.errors import InputError
from himari_jax.storage import named_address
from train.config.ppo import Config

PROG = "python -m train.ppo"


def read_flags(args: Sequence[str]) -> tuple[Config, Path | None]:
    """The flags, and the folder to go on with: what `--resume` found, or the mirror of a run in a bucket."""
    from train.artifacts.downloads import local_run
    from train.artifacts.run_folder import newest_unfinished, stored_config
    from train.artifacts.uploads import mirror_of

    args = [hyphened(word) for word in args]
    if "--resume" not in args:
        config = parse(Config, args, PROG)
        return config, None if config.run.address is None else mirror_of(config.run.address)
    wanted = named_address(named(args, "--bucket-name"), named(args, "--model-dir")) or named(args, "--run-dir")
    folder = local_run(wanted) if wanted else newest_unfinished(Path("runs"))
    if not wanted and (address := stored_config(folder).run.address) is not None:  # it is the mirror of a bucket
        folder = local_run(address)
    config = parse(Config, args, PROG, default=as_default(stored_config(folder), args))
    if config.run.address is not None and folder != mirror_of(config.run.address):
        raise InputError(f"--resume: {folder} is not the mirror of {config.run.address}; give one of them")
    print(f"resuming {config.run.address or folder}")
    return config, folder


def hyphened(word: str) -> str:
    """A flag with hyphens, which may be written with underscores."""
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value if name.startswith("--") else word


def as_default(stored: Config, args: Sequence[str]) -> Config:
    """The flags of a run as defaults: what was said about that one start is forgotten.

    A length given now, in steps or episodes, replaces the stored one whatever its unit.
    """
    run = dataclasses.replace(stored.run, fresh=False, resume=False, debug=False)
    run = dataclasses.replace(run, devices=None, coordinator=None, num_processes=None, process_id=None)
    if any(named(args, name) for name in ("--run-dir", "--bucket-name", "--model-dir")):
        run = dataclasses.replace(run, run_dir=None, bucket_name=None, model_dir=None)
    ppo = stored.ppo
    if named(args, "--total-steps") or named(args, "--num-episodes"):
        ppo = dataclasses.replace(ppo, total_steps=None, num_episodes=None)
    return dataclasses.replace(stored, run=run, ppo=ppo)


def named(args: Sequence[str], name: str) -> str | None:
    """The value of a flag before the flags are parsed."""
    for flag, value in zip(args, [*args[1:], ""], strict=True):
        if flag == name:
            return value
        if flag.startswith(name + "="):
            return flag.partition("=")[2]
    return None
