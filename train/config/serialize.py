"""Flags as JSON: what `config.json` remembers, and what may change when a run goes on."""

import dataclasses
import hashlib
import json
from typing import Any

from himari_jax.command import flag
from himari_jax.errors import InputError
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


def path_flag(path: str) -> str:
    """The flag of a dotted field: groups are left out, but for the options of a source or a market."""
    group, name = path.split(".", 1)
    return flag(f"{group}.{name}" if group in ("synthetic", "oracle") else name)


def to_json(config: Config) -> dict:
    """The flags as nested dictionaries."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_json(values: dict) -> Config:
    """The flags that `to_json` wrote.

    Raises:
        InputError: a key or value that this version does not know.
    """
    kinds: dict[str, Any] = {f.name: f.default_factory for f in dataclasses.fields(Config)}
    try:
        groups = {}
        for name, kind in kinds.items():
            group = {k: tuple(v) if isinstance(v, list) else v for k, v in values[name].items()}
            if missing := {field.name for field in dataclasses.fields(kind)} - set(group):
                raise KeyError(", ".join(sorted(missing)))
            groups[name] = kind(**group)
        return Config(**groups)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"config.json was written by another version: {error}") from error


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
    """SHA-256 of everything that shapes the result but the seed, as hex."""
    ignored = MAY_CHANGE - {"ppo.total_steps", "ppo.num_episodes"} | {"run.seed", "run.num_seeds"}
    kept = {key: value for key, value in flatten(to_json(config)).items() if key not in ignored}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
