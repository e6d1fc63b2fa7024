"""Flags of a sweep: those of `train.ppo`, what is varied and how; which sweep goes on. Light: no jax."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro

from himari_jax.cli import invocation
from himari_jax.errors import InputError
from train.config.ppo import Config
from train.config.serialize import differences, from_json, to_json
from train.config.sweep import SweepConfig, without_password
from train.config.vary import configure
from train.studies.sweep.points import draw, grid
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

PROG = invocation("train.sweep")
FILE = "sweep.json"  # of a sweep's folder; not config.json: that would be a run's, and `train.ppo` would go on with it
MAY_CHANGE = {"num_trials", "storage"}


@dataclass(frozen=True)
class SweepFlags(Flags):
    """Train many configurations in one program, choose on validation, evaluate the chosen one on the test span once."""

    sweep: tyro.conf.OmitArgPrefixes[SweepConfig] = field(default_factory=SweepConfig)


@dataclass(frozen=True)
class Sweep:
    """The flags of a sweep, checked."""

    base: Config  # flags that all configurations share where nothing is varied
    search: SweepConfig


def read_flags(args: Sequence[str]) -> tuple[Sweep, Path | None]:
    """Reads the flags, and the folder that `--resume` found.

    Raises:
        InputError: one line.
    """
    args = [hyphened(word) for word in args]
    if "--resume" not in args:
        common = file_defaults(args)
        return parse_flags(args, None if common is None else SweepFlags(**fields_of(common))), None
    folder = resumed_folder(args, "sweep", newest_unfinished)
    stored = read_stored(folder)
    storage = stored.search.storage
    if storage is not None and "***" in storage and named(args, "--storage") is None:
        raise InputError(f"--resume: give --storage {storage} again, with the password; the folder does not keep it")
    default = SweepFlags(**fields_of(as_default(stored.base, args)), sweep=stored.search)
    print(f"resuming {folder}")
    return parse_flags(args, default), folder


def parse_flags(args: Sequence[str], default: SweepFlags | None) -> Sweep:
    """Flags beside defaults that they replace, checked as a whole; a switch that is on may be given again."""
    flags = parse_kind(SweepFlags, args, PROG, default)
    sweep = Sweep(Config(**fields_of(flags)), flags.sweep)
    sweep.search.check(sweep.base)
    check_points(sweep)
    return sweep


def check_points(sweep: Sweep) -> None:
    """Raises where a listed value, or a combination that will be tried, makes no configuration."""
    if sweep.search.search == "optuna":  # what it proposes is checked when it does
        for each in sweep.search.dimensions:
            for text in getattr(each, "texts", ()):
                configure(sweep.base, {each.name: text})
        return
    for point in listed_points(sweep):
        configure(sweep.base, point)


def listed_points(sweep: Sweep) -> list[dict[str, str]]:
    """Lists the points of a grid or a random search, in their order."""
    search = sweep.search
    if search.search == "grid":
        return grid(search.dimensions)
    return draw(search.dimensions, search.wanted_trials, sweep.base.run.seed)


def describe(sweep: Sweep, made_by: Mapping[str, Any]) -> dict[str, Any]:
    """Describes a sweep as sweep.json holds it: flags without a password, and provenance."""
    search = dataclasses.asdict(sweep.search)
    if sweep.search.storage is not None:
        search["storage"] = without_password(sweep.search.storage)
    return {"flags": to_json(sweep.base), "sweep": search, **made_by}


def read_json(folder: Path) -> dict[str, Any]:
    """Reads sweep.json of a folder.

    Raises:
        InputError: no sweep is there, or the file is damaged.
    """
    from train.artifacts.run_folder import read_header

    return read_header(folder, FILE, "sweep", ("flags", "sweep", "worker", "data"), ("fingerprint",))


def read_stored(folder: Path) -> Sweep:
    """Reads the flags that a sweep was started with."""
    stored = read_json(folder)
    try:
        values: dict[str, Any] = stored["sweep"] | {"vary": tuple(stored["sweep"]["vary"])}
        return Sweep(from_json(stored["flags"]), SweepConfig(**values))
    except (KeyError, TypeError) as error:
        raise InputError(f"{folder / FILE}: was written by another version: {error}") from error


def newest_unfinished(root: Path) -> Path:
    """Finds the folder of the sweep under `root` that was started last and has no result.

    Raises:
        InputError: there is none.
    """
    from train.artifacts.unfinished import newest_to_resume

    return newest_to_resume(root, FILE, "sweep", lambda folder: not (folder / "result.json").exists())


def refuse_differences(folder: Path, sweep: Sweep, fingerprint: str) -> None:
    """Refuses to go on in a folder with other flags or candles.

    Raises:
        InputError: names what differs.
    """
    stored = read_stored(folder)
    changed = differences(stored.base, sweep.base)
    for name, before in dataclasses.asdict(stored.search).items():
        after = getattr(sweep.search, name)
        if before != after and name not in MAY_CHANGE:
            changed.append(f"--{name.replace('_', '-')} {words(before)} -> {words(after)}")
    if stored.base.total_updates != sweep.base.total_updates:
        changed.append(f"--total-steps {stored.base.wanted_steps} -> {sweep.base.wanted_steps}")
    if (stored.base.run.seed, stored.base.run.num_seeds) != (sweep.base.run.seed, sweep.base.run.num_seeds):
        changed.append("--seed or --num-seeds")
    if changed:
        raise InputError(
            f"--run-dir {folder}: the sweep there was started with other flags ({'; '.join(changed)}); use those or "
            "another --run-dir"
        )
    if sweep.search.wanted_trials < stored.search.wanted_trials:
        raise InputError(f"--run-dir {folder}: the sweep there goes to {stored.search.wanted_trials} trials, not fewer")
    if (begun_on := read_json(folder)["data"]["fingerprint"]) != fingerprint:
        raise InputError(
            f"--run-dir {folder}: the candles are not those that the sweep there was started on (fingerprint "
            f"{fingerprint[:12]}, then {begun_on[:12]}); use those or another --run-dir"
        )


def words(value: Any) -> str:
    """Formats the value of a flag."""
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
