"""Flags of a walk-forward test: those of `train.ppo` and when is retrained. Light: no jax."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro

from himari_jax.cli import invocation
from himari_jax.command import flag
from himari_jax.errors import InputError
from train.config.ppo import Config
from train.config.walk_forward import WalkForwardConfig
from train.training.resume import (
    Flags,
    as_default,
    fields_of,
    file_defaults,
    hyphened,
    named,
    parse_kind,
    resumed_folder,
)

PROG = invocation("train.walk_forward")


@dataclass(frozen=True)
class WalkForwardFlags(Flags):
    """Retrain before each test block on what lies before it, and evaluate all blocks as one track."""

    walk: tyro.conf.OmitArgPrefixes[WalkForwardConfig] = field(default_factory=WalkForwardConfig)


@dataclass(frozen=True)
class WalkForward:
    """The flags of a walk-forward test, checked."""

    base: Config  # of every training
    walk: WalkForwardConfig


def read_flags(args: Sequence[str]) -> tuple[WalkForward, Path | None]:
    """Reads the flags, and the folder that `--resume` found.

    Raises:
        InputError: one line.
    """
    args = [hyphened(word) for word in args]
    if "--resume" not in args:
        file = named(args, "--config")
        common = file_defaults(args)
        own = None if file is None else stored_walk(Path(file))
        if common is None:
            return parse_flags(args), None
        return parse_flags(args, WalkForwardFlags(**fields_of(common), walk=own or WalkForwardConfig())), None
    folder = resumed_folder(args, "test", newest_unfinished)
    stored = read_stored(folder)
    print(f"resuming {folder}")
    default = WalkForwardFlags(**fields_of(as_default(stored.base, args)), walk=stored.walk)
    return parse_flags(args, default), folder


def parse_flags(args: Sequence[str], default: WalkForwardFlags | None = None) -> WalkForward:
    """Flags beside defaults that they replace, checked as a whole; a switch that is on may be given again."""
    flags = parse_kind(WalkForwardFlags, args, PROG, default)
    found = WalkForward(Config(**fields_of(flags)), flags.walk)
    found.walk.check(found.base)
    return found


def newest_unfinished(root: Path) -> Path:
    """Finds the folder of the walk-forward test under `root` that was started last, has no result and did not fail.

    Raises:
        InputError: there is none.
    """
    from train.artifacts.run_folder import is_walk_forward, read_result
    from train.artifacts.unfinished import newest_to_resume

    def may_go_on(folder: Path) -> bool:
        return is_walk_forward(folder) and read_result(folder) is None

    return newest_to_resume(root, "config.json", "walk-forward test", may_go_on)


def read_stored(folder: Path) -> WalkForward:
    """Reads the flags that a walk-forward test was started with.

    Raises:
        InputError: none is there, or the file is damaged.
    """
    from train.artifacts.run_folder import stored_config

    base, walk = stored_config(folder), stored_walk(folder / "config.json")
    if walk is None:
        raise InputError(
            f"--run-dir {folder}: no walk-forward test is there; `{invocation('train.ppo')}` made this run"
        )
    return WalkForward(base, walk)


def stored_walk(path: Path) -> WalkForwardConfig | None:
    """Reads the schedule of retraining from config.json of a walk-forward test; None in another file.

    Raises:
        InputError: another version wrote it.
    """
    try:
        stored: Mapping[str, Any] = json.loads(path.read_text())["walk_forward"]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # what is wrong with a file of settings is said where they are read
    try:
        values: dict[str, Any] = {**stored, "placebo": tuple(stored["placebo"])}
        return WalkForwardConfig(**values)
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: was written by another version: {error}") from error


def differences(old: WalkForward, new: WalkForward) -> list[str]:
    """Flags that differ and may not, as `--flag old -> new`.

    Among them are lengths that a run may change when it goes on: here finished trainings and null markets stay as they
    are, and all must be of one length.
    """
    pairs = zip(dataclasses.asdict(old.walk).items(), dataclasses.asdict(new.walk).values(), strict=True)
    found = [(name, before, after) for (name, before), after in pairs if name != "batch_size"]
    found.append(("total-steps", old.base.wanted_steps, new.base.wanted_steps))
    found.append(("eval-interval", old.base.run.eval_interval, new.base.run.eval_interval))
    return [f"{flag(name)} {before} -> {after}" for name, before, after in found if before != after]
