"""Flags of a training, and the run that `--resume` goes on with."""

import dataclasses
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, TypeVar

from himari_jax.cli import invocation
from himari_jax.command import auto, parse
from himari_jax.errors import InputError
from himari_jax.storage import named_address
from train.config.config_file import GROUPS, new_start, read_config_file
from train.config.defaults import PRESETS
from train.config.market import two_bases
from train.config.ppo import Config
from train.config.serialize import flatten, path_flag, to_json
from train.distributed.vertex import output_folders

PROG = invocation("train.ppo")


@dataclass(frozen=True)
class Flags(Config):
    """Train a position-sizing policy by PPO and evaluate it on candles it never saw."""

    config: Annotated[str | None, auto("none")] = None
    """Defaults of all other flags: the config.json of a run, or a JSON file with some of its groups, such as
    {"ppo": {"gamma": 0.9}, "market": {"reward": ["log_return"]}}. Flags beside it win."""

    def __post_init__(self):
        pass  # `parse_flags` checks the whole, when flags have replaced what they replace


F = TypeVar("F", bound=Flags)


def read_flags(args: Sequence[str]) -> tuple[Config, Path | None]:
    """Reads the flags, and the folder to go on with: that of `--resume`, or the mirror of a run in a bucket."""
    from train.artifacts.downloads import local_run
    from train.artifacts.run_folder import stored_config
    from train.artifacts.unfinished import newest_unfinished
    from train.artifacts.uploads import mirror_of

    args = [hyphened(word) for word in args]
    if "--resume" not in args:
        config = begin_flags(args, os.environ)
        return config, None if config.run.address is None else mirror_of(config.run.address)
    refuse_config(args, "run")
    wanted = named_address(named(args, "--bucket-name"), named(args, "--model-dir")) or named(args, "--run-dir")
    wanted = wanted or output_folders(os.environ).run
    folder = local_run(wanted) if wanted else newest_unfinished(Path("runs"))
    if not wanted and (address := stored_config(folder).run.address) is not None:  # it is the mirror of a bucket
        folder = local_run(address)
    config = parse_flags(args, as_default(stored_config(folder), args))
    if config.run.address is not None and folder != mirror_of(config.run.address):
        raise InputError(f"--resume: {folder} is not the mirror of {config.run.address}; give one of them")
    print(f"resuming {config.run.address or folder}")
    return config, folder


def resumed_folder(args: Sequence[str], kind: str, newest: Callable[[Path], Path]) -> Path:
    """Finds the folder that `--resume` goes on with: that of `--run-dir`, else the newest one under `runs/`.

    Args:
        args: flags with hyphens.
        kind: word for what goes on.
        newest: finds the newest folder that is not finished.

    Raises:
        InputError: there is none, or `--config` is given, too.
    """
    refuse_config(args, kind)
    given = named(args, "--run-dir")
    return Path(given) if given else newest(Path("runs"))


def refuse_config(args: Sequence[str], kind: str) -> None:
    """Refuses `--config` beside `--resume`.

    Raises:
        InputError: it is given.
    """
    if (file := named(args, "--config")) is not None:
        raise InputError(f"--config {file} and --resume: a {kind} that goes on keeps its own flags; give one of them")


def begin_flags(args: Sequence[str], environment: Mapping[str, str]) -> Config:
    """Reads the flags of a run that is begun; without a folder it is the one that Vertex AI names.

    Args:
        args: flags with hyphens.
        environment: variables.
    """
    config = parse_flags(args, file_defaults(args))
    folder = output_folders(environment).run
    if folder is None or config.run.run_dir is not None or config.run.address is not None:
        return config
    return dataclasses.replace(config, run=dataclasses.replace(config.run, run_dir=folder))


def parse_flags(args: Sequence[str], default: Flags | None) -> Config:
    """Parses flags over defaults and checks them as a whole; a switch that is on may be given again."""
    return Config(**fields_of(parse_kind(Flags, args, PROG, default)))


def parse_kind(kind: type[F], args: Sequence[str], prog: str, default: F | None) -> F:
    """Parses the flags of `train.ppo`, or of a command with more of them; does not check them as a whole.

    Args:
        kind: dataclass of the command's flags.
        args: flags with hyphens.
        prog: the command.
        default: defaults of the flags.
    """
    sizing, positions = named(args, "--base-sizing"), named(args, "--base-positions")
    if sizing and positions:
        raise two_bases(sizing, positions)
    on = set()
    if default is not None:
        own: Any = Flags(**fields_of(default))
        on = {path_flag(path) for path, value in flatten(to_json(own)).items() if value is True}
    found = parse(kind, [word for word in args if word not in on], prog, default=default)
    for line in found.market.doubts():
        print(f"note: {line}", file=sys.stderr)
    return found


def fields_of(config: Config) -> dict[str, Any]:
    """Returns the fields of a configuration: groups of flags by name."""
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(Config)}


def file_defaults(args: Sequence[str]) -> Flags | None:
    """Reads the file of `--config` and the settings of a preset as defaults; None without either.

    Raises:
        InputError: names file and key.
    """
    path = named(args, "--config")
    if not path or path.startswith("--"):  # the parser says what is missing
        path = None
    preset = named(args, "--preset")
    if path is None and (preset not in PRESETS or not PRESETS[preset].settings):
        return None
    fields = {} if path is None else read_config_file(Path(path))
    preset = preset or (fields["ppo"].preset if "ppo" in fields else None)
    return give_way(Flags(**with_preset(fields, preset)), args)


def with_preset(fields: Mapping[str, Any], preset: str | None) -> dict[str, Any]:
    """Sets the settings of a preset in fields of `Config` that have their common defaults."""
    found = dict(fields)
    for group, settings in PRESETS[preset].settings.items() if preset in PRESETS else ():
        given, common = found.get(group) or GROUPS[group](), GROUPS[group]()
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
        own = {key: value for key, value in values.items() if getattr(given, key) == getattr(common, key)}
        found[group] = dataclasses.replace(given, **own)
    return found


def hyphened(word: str) -> str:
    """Replaces underscores in the name of a flag by hyphens."""
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value if name.startswith("--") else word


def as_default(stored: Config, args: Sequence[str]) -> Flags:
    """Makes defaults of the flags of a run: without those of its start, but with its folder."""
    where = {name: getattr(stored.run, name) for name in ("run_dir", "bucket_name", "model_dir")}
    run = dataclasses.replace(new_start(stored.run), **where)
    return give_way(Flags(**fields_of(stored) | {"run": run}), args)


def give_way(default: Flags, args: Sequence[str]) -> Flags:
    """Removes defaults that flags of other names replace.

    A length in steps or episodes replaces one in either unit; likewise the flags of the run folder and of the base.
    """
    run, ppo, market = default.run, default.ppo, default.market
    if named(args, "--base-positions"):
        market = dataclasses.replace(market, base_sizing="constant")
    if named(args, "--base-sizing"):
        market = dataclasses.replace(market, base_positions=None, base_max_age="7d")
    if any(named(args, name) for name in ("--run-dir", "--bucket-name", "--model-dir")):
        run = dataclasses.replace(run, run_dir=None, bucket_name=None, model_dir=None)
    if named(args, "--total-steps") or named(args, "--num-episodes"):
        ppo = dataclasses.replace(ppo, total_steps=None, num_episodes=None)
    return dataclasses.replace(default, run=run, ppo=ppo, market=market)


def named(args: Sequence[str], name: str) -> str | None:
    """Returns the value of a flag before the flags are parsed; None where it is not given."""
    for flag, value in pairwise([*args, ""]):
        if flag == name:
            return value
        if flag.startswith(name + "="):
            return flag.partition("=")[2]
    return None
