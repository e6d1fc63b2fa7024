"""Flags as JSON: the content of `config.json`, and the flags that may change when a run goes on."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from himari_jax.command import flag
from himari_jax.errors import InputError
from himari_jax.sources.registry import option_kinds
from train.config.market import MarketConfig
from train.config.ppo import Config, default_options

MAY_CHANGE = {
    "ppo.total_steps",
    "ppo.num_episodes",
    "run.run_dir",
    "run.bucket_name",
    "run.model_dir",
    "run.ledger",
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
    "run.worthwhile",
    "run.permutations",
    "run.permute",
    "run.debug",
    "data.until",
    "data.data",  # the fingerprint says whether the candles are the same
    "market.base_positions",  # and the file's SHA-256 whether these are
}

# Flags that came after 0.1.0, by dotted field, with the value that means what was done before there was the flag: a
# config.json without them reads so, and at that value they leave the hash of a configuration as it was.
LATER: dict[str, Any] = {
    "data.embargo": "lookback",
    "data.pool": False,
    "data.skip_short": False,
    "data.no_volume": False,
    "data.since": None,
    "data.until": None,
    "market.base_positions": None,
    "market.base_max_age": "7d",
    "market.decide_every": None,
    "market.decide_phase": "0h",
    "market.draw_phase": False,
    "market.features": ("base",),
    "ppo.weight_decay": 0.0,
    "run.worthwhile": 0.1,
    "run.permutations": 0,
    "run.permute": "bars",
    "run.ledger": None,
}

ALWAYS_HASHED = "synthetic"  # a source whose options count whatever the source is: so it was in 0.1.0


def path_flag(path: str) -> str:
    """Returns the flag of a dotted field: groups are left out, but for the options of a source or a market."""
    group, name = path.split(".", 1)
    return flag(f"{group}.{name}" if group in {"oracle", *option_kinds()} else name)


def to_json(config: Config) -> dict[str, Any]:
    """Converts flags to nested dictionaries; the options of a source are a group of its name."""
    groups: dict[str, Any] = {}
    for name, group in json.loads(json.dumps(dataclasses.asdict(config))).items():
        groups |= group if name == "source_options" else {name: group}
    return groups


def from_json(values: dict) -> Config:
    """Reads the flags that `to_json` wrote; options of a source that came later are at their defaults.

    Raises:
        InputError: a key or value that this version does not know.
    """
    try:
        kinds = {name: kind for name, kind in group_kinds().items() if name in values or name not in option_kinds()}
        read = {name: read_group(name, kind, values[name]) for name, kind in kinds.items()}
        if "base_positions" not in values["market"]:
            read["market"] = constant_of_before(read["market"], len(values["data"]["symbols"]) or 1)
        if read["data"].env is not None:  # a market of its own, of which nothing is cut
            read["data"] = dataclasses.replace(read["data"], embargo=None)
        return Config(**config_fields(read))
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"config.json was written by another version: {error}") from error


def group_kinds() -> dict[str, Any]:
    """Returns the dataclass of each group of flags by the group's name in config.json."""
    kinds: dict[str, Any] = {}
    for field in dataclasses.fields(Config):
        kinds |= option_kinds() if field.name == "source_options" else {field.name: field.default_factory}
    return kinds


def config_fields(groups: Mapping[str, Any]) -> dict[str, Any]:
    """Arranges groups of flags as fields of `Config`; a source that is left out has defaults.

    Args:
        groups: by their names in config.json.
    """
    options = {name: group for name, group in groups.items() if name in option_kinds()}
    return {name: group for name, group in groups.items() if name not in options} | {
        "source_options": default_options() | options
    }


def constant_of_before(market: MarketConfig, assets: int) -> MarketConfig:
    """Restores the account of a run of 0.1.0, whose constant base could lie on the gross cap."""
    differs = market.max_position_pct / 2 > market.max_gross / (assets + 1)
    on_cap = market.base_sizing == "constant" and differs
    return dataclasses.replace(market, base_sizing="constant-on-cap") if on_cap else market


def read_group(name: str, kind: Any, values: dict) -> Any:
    """Makes a group of flags of its values; a flag that came later has the value of before.

    Raises:
        KeyError: one of them is missing.
        TypeError: one of them is unknown.
    """
    before = {path.partition(".")[2]: value for path, value in LATER.items() if path.startswith(f"{name}.")}
    group = before | {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    if missing := {field.name for field in dataclasses.fields(kind)} - set(group):
        raise KeyError(", ".join(sorted(missing)))
    return kind(**group)


def differences(old: Config, new: Config) -> list[str]:
    """Lists the flags that differ and must not, as `--flag old -> new`."""
    pairs = zip(flatten(to_json(old)).items(), flatten(to_json(new)).values(), strict=True)
    return [
        f"{path_flag(path)} {before} -> {after}"
        for (path, before), after in pairs
        if before != after and path not in MAY_CHANGE
    ]


def flatten(values: dict, prefix: str = "") -> dict[str, Any]:
    """Flattens nested dictionaries, keys joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def config_hash(config: Config, base_sha256: str | None = None, features: Sequence[str] | None = None) -> str:
    """Hashes all flags that change the result, but for the seed: SHA-256 as hex.

    Args:
        config: flags.
        base_sha256: of the file of --base-positions: another file is another configuration.
        features: marks of the feature sets, where they are known: a user's file counts by its SHA-256, not by its path.

    The options of sources that are not chosen do not count: a new source leaves the hashes of other runs as they are.
    """
    ignored = MAY_CHANGE - {"ppo.total_steps", "ppo.num_episodes"} | {"run.seed", "run.num_seeds"}
    unused = set(config.source_options) - {ALWAYS_HASHED, config.data.chosen_source}
    groups = {name: group for name, group in to_json(config).items() if name not in unused}
    if features is not None:
        groups["market"]["features"] = list(features)
    kept = {key: value for key, value in flatten(groups).items() if key not in ignored and not as_before(key, value)}
    if base_sha256 is not None:
        kept["market.base_positions"] = base_sha256
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def as_before(path: str, value: Any) -> bool:
    """Whether a flag that came later has the value of before."""
    return path in LATER and json.loads(json.dumps(LATER[path])) == value
