"""Flags as JSON: what `config.json` remembers, and what may change when a run goes on."""

import dataclasses
import hashlib
import json
from typing import Any

from himari_jax.command import flag
from himari_jax.errors import InputError
from himari_jax.sources.registry import option_kinds
from train.config.ppo import Config

MAY_CHANGE = {
    "ppo.total_steps",
    "ppo.num_episodes",
    "run.run_dir",
    "run.bucket_name",
    "run.model_dir",
    "run.save_interval",
    "run.save_seconds",
    "run.eval_interval",
    "run.keep",
    "run.resume",
    "run.fresh",
    "run.device",
    "run.devices",
    "run.coordinator",
    "run.num_processes",
    "run.process_id",
    "run.deterministic",
    "run.debug",
    "data.data",  # the fingerprint says whether the candles are the same
}


ALWAYS_HASHED = "synthetic"  # a source whose options count whatever the source is: so it was in 0.1.0


def path_flag(path: str) -> str:
    """The flag of a dotted field: groups are left out, but for the options of a source or a market."""
    group, name = path.split(".", 1)
    return flag(f"{group}.{name}" if group in {"oracle", *option_kinds()} else name)


def to_json(config: Config) -> dict[str, Any]:
    """The flags as nested dictionaries; the options of a source are a group of its name.

    Raises:
        InputError: a source has the name of another group.
    """
    groups: dict[str, Any] = {}
    for name, group in json.loads(json.dumps(dataclasses.asdict(config))).items():
        for key, values in group.items() if name == "source_options" else ((name, group),):
            if key in groups:
                raise InputError(f"--source {key}: rename the source; config.json has another group of that name")
            groups[key] = values
    return groups


def from_json(values: dict) -> Config:
    """The flags that `to_json` wrote; options of a source that came later are at their defaults.

    Raises:
        InputError: a key or value that this version does not know.
    """
    kinds: dict[str, Any] = {f.name: f.default_factory for f in dataclasses.fields(Config)}
    del kinds["source_options"]
    try:
        groups = {name: read_group(kind, values[name]) for name, kind in kinds.items()}
        options = {
            name: read_group(kind, values[name]) if name in values else kind() for name, kind in option_kinds().items()
        }
        return Config(**groups, source_options=options)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"config.json was written by another version: {error}") from error


def read_group(kind: Any, values: dict) -> Any:
    """A group of flags from its values.

    Raises:
        KeyError: one of them is missing.
        TypeError: one of them is unknown.
    """
    group = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    if missing := {field.name for field in dataclasses.fields(kind)} - set(group):
        raise KeyError(", ".join(sorted(missing)))
    return kind(**group)


def differences(old: Config, new: Config) -> list[str]:
    """Flags that differ and may not, as `--flag old -> new`."""
    pairs = zip(flatten(to_json(old)).items(), flatten(to_json(new)).values(), strict=True)
    return [
        f"{path_flag(path)} {before} -> {after}"
        for (path, before), after in pairs
        if before != after and path not in MAY_CHANGE
    ]


def flatten(values: dict, prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, keys joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def config_hash(config: Config) -> str:
    """SHA-256 of everything that shapes the result but the seed, as hex.

    The options of sources that are not chosen do not count: a new source leaves the hashes of other runs as they are.
    """
    ignored = MAY_CHANGE - {"ppo.total_steps", "ppo.num_episodes"} | {"run.seed", "run.num_seeds"}
    unused = set(config.source_options) - {ALWAYS_HASHED, config.data.chosen_source}
    groups = {name: group for name, group in to_json(config).items() if name not in unused}
    kept = {key: value for key, value in flatten(groups).items() if key not in ignored}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
