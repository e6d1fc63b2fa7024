"""`python -m train.ppo`: flags -> candles -> chunks of updates -> evaluation -> run folder."""

import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from himari_jax.errors import InputError
from himari_jax.storage import named_address
from train.cli import exit_at_signals, parse, run_command
from train.config import Config
from train.hosts import Place, end, find_place, is_first, join, lead, tell_of_loss

PROG = "python -m train.ppo"
DETERMINISTIC = "--xla_gpu_deterministic_ops=true --xla_gpu_autotune_level=0"


def main(args: Sequence[str]) -> int:
    """Trains and judges; returns the exit code."""
    exit_at_signals("stopped; what was saved is kept: run the same command again")
    config, folder = read_flags(args)
    run = config.run
    place = find_place(run.coordinator, run.num_processes, run.process_id, os.environ)
    choose_device(run.device, run.deterministic, place)
    if place is not None and not is_first():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  for as long as the process lives
    # Everything heavy is imported here, after the flags are known to be good.
    from train.mirror import fetch
    from train.run import train

    with tell_of_loss():
        address = None if run.resume else run.address
        lead(lambda: None if address is None else fetch(address, run.fresh))
        return train(config, folder)


def read_flags(args: Sequence[str]) -> tuple[Config, Path | None]:
    """The flags, and the folder to go on with: what `--resume` found, or the mirror of a run in a bucket."""
    from train.folder import newest_unfinished, stored_config
    from train.mirror import local_run
    from train.remote import mirror_of

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


def choose_device(device: str, deterministic: bool = False, place: Place | None = None) -> None:
    """Tells jax, before it is imported, where to compute, and whether a GPU may sum in any order.

    Args:
        device: `auto`, `cpu` or `cuda`.
        deterministic: whether sums come out the same every time.
        place: among other processes, which are met before jax looks for devices.

    Raises:
        InputError: a GPU was asked for and there is none, or the other processes were not met.
    """
    if deterministic:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DETERMINISTIC}".strip()
    if device != "auto":
        os.environ["JAX_PLATFORMS"] = device
    import jax

    if place is not None:
        join(place)
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # jax asserts where a platform was named and none came up
        raise InputError(
            f"--device {device}: jax finds no such device; install 'himari-jax[cuda]' on a machine with a GPU, "
            "or use --device cpu"
        ) from error
    folder = Path(os.environ.get("JAX_COMPILATION_CACHE_DIR", Path.home() / ".cache" / "himari-jax"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # it only saves time: without it every start compiles anew
    if os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


if __name__ == "__main__":
    sys.exit(end(run_command(main)))
