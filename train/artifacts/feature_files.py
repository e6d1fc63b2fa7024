"""The user's own features in a run folder: the copies that resume, backtest and export use."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from himari_jax.candles import Candles
from himari_jax.errors import InputError, StorageError
from himari_jax.features.market import BASE, Features
from himari_jax.features.own_features import load_features, restore_features
from train.artifacts.run_folder import stored_json


def describe_features(features: Features) -> dict[str, Any]:
    """Describes features for `config.json`: names by set, the SHA-256 of each file."""
    files = {name: hashlib.sha256(code).hexdigest() for name, code in features.files.items()}
    return {"sets": {one.name: list(one.names) for one in features.sets}, "files": files}


def find_features(wanted: Sequence[str], candles: Candles, resumed: Path | None) -> Features:
    """Loads the features of a run: by its flags, or from the copies in the folder of a run that goes on.

    Args:
        wanted: names of sets, and paths of files.
        candles: of the run.
        resumed: that folder; None for a run by its flags.

    Raises:
        InputError: a set, a file or a copy is not there or not good.
    """
    return load_features(wanted, candles) if resumed is None else features_of_run(resumed, stored_json(resumed))


def features_of_run(folder: Path, stored: Mapping[str, Any]) -> Features:
    """Loads the features of a run from its own copies; a run of 0.1.0 has `base`.

    Args:
        folder: of the run.
        stored: its config.json.

    Raises:
        InputError: a copy is missing or was altered, or config.json is damaged.
    """
    known = stored["data"].get("features")
    if known is None:
        return BASE
    try:
        sets, digests = dict(known["sets"]), dict(known["files"])
        codes = {name: read_copy(folder / Path(name).name, digest) for name, digest in digests.items()}
        return restore_features(sets, codes, str(folder))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{folder}/config.json: data.features is damaged ({type(error).__name__}: {error})") from error


def read_copy(path: Path, digest: str) -> bytes:
    """Reads the copy of a user's file in a run folder.

    Raises:
        InputError: it is missing, or not the file that the run was trained with.
    """
    try:
        code = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path}: missing; the run was trained with it, put it back") from error
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error
    if hashlib.sha256(code).hexdigest() != digest:
        raise InputError(f"{path}: altered since the run was trained with it; put the file of then back")
    return code


def refuse_other_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Refuses to continue a run with a user's file of another content.

    Raises:
        InputError: names the file and both hashes.
    """
    if not (folder / "config.json").exists():
        return
    known = dict((stored_json(folder)["data"].get("features") or {}).get("files", {}))
    for name, code in files.items():
        ours, theirs = hashlib.sha256(code).hexdigest(), known.get(name)
        if theirs is not None and ours != theirs:
            raise InputError(
                f"--features {name}: not that of the run in {folder} (SHA-256 {ours[:12]}, {theirs[:12]} then); "
                "--resume goes on with the copy of then, or use another --run-dir"
            )
