"""Claims and locks the folder of a run, and reads its config.json and result.json. Light: no jax."""

import fcntl
import json
import re
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import IO, Any

from himari_jax.cli import invocation
from himari_jax.errors import CheckpointError, InputError, StorageError
from train.config.ppo import Config
from train.config.serialize import differences, from_json, to_json

STEPS = "checkpoints"  # folder of the checkpoints, named by updates done
LONGEST_SYMBOLS = 60  # letters of the symbols in a folder's name
FAILED = "failed.json"  # of a run whose numbers went bad, or that failed before an update, until it is started again


def default_folder(kind: str, symbols: Sequence[str]) -> Path:
    """Names a new folder: `runs/<UTC time>-<kind>-<symbols>`; of a run the kind is its policy."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    return Path("runs") / f"{now}-{kind}-{joined_symbols(symbols)}"


def joined_symbols(symbols: Sequence[str]) -> str:
    """Joins the symbols that fit a folder's name, and the number of the others: `BTC-USD+ETH-USD+8`."""
    clean = [re.sub(r"[^A-Za-z0-9+_.-]", "_", symbol) for symbol in symbols]
    lengths = accumulate(len(symbol) + 1 for symbol in clean)
    fitting = max(1, sum(length <= LONGEST_SYMBOLS for length in lengths))
    rest = [f"{len(clean) - fitting}"] if len(clean) > fitting else []
    return "+".join([clean[0][:LONGEST_SYMBOLS], *clean[1:fitting], *rest])


def stored_config(folder: Path) -> Config:
    """Reads the flags that a run was started with.

    Raises:
        InputError: no run is there.
    """
    return from_json(stored_json(folder)["flags"])


def stored_json(folder: Path) -> dict[str, Any]:
    """Reads `config.json` of a run, with its `flags` and `data`.

    Raises:
        InputError: no run is there, or the file is damaged.
    """
    return read_header(folder, "config.json", "run", ("flags", "data"), ("fingerprint", "symbols", "bar"))


def read_header(folder: Path, name: str, kind: str, keys: Sequence[str], data_keys: Sequence[str]) -> dict[str, Any]:
    """Reads the JSON file that was written at the start of a run or sweep.

    Args:
        folder: of the run or sweep.
        name: of the file.
        kind: word for what the folder holds.
        keys: that the file must have.
        data_keys: that its `data` must have.

    Raises:
        InputError: there is no such file, or it is damaged.
        StorageError: it cannot be read.
    """
    path = folder / name
    try:
        stored = json.loads(path.read_text())
        for key in keys:
            stored[key]
        for key in data_keys:
            stored["data"][key]
        return stored
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"--run-dir {folder}: no {kind} is there ({name} is missing)") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged ({type(error).__name__}: {error}); use another --run-dir") from error
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error


def is_walk_forward(folder: Path) -> bool:
    """Whether a folder is that of a walk-forward test, which has a config.json but is no run."""
    try:
        return "walk_forward" in json.loads((folder / "config.json").read_text())
    except (OSError, ValueError, TypeError):
        return False


def is_on_known_optimum(folder: Path) -> bool:
    """Whether a finished run was on a market with a known optimum instead of candles."""
    try:
        return "env" in json.loads((folder / "result.json").read_text())
    except (OSError, ValueError, TypeError):
        return False


def refuse_walk_forward(folder: Path) -> None:
    """Refuses the folder of a walk-forward test.

    Raises:
        InputError: it is one.
    """
    if is_walk_forward(folder):
        raise InputError(
            f"--run-dir {folder}: a walk-forward test is there, not a run; `{invocation('train.walk_forward')} "
            f"--resume --run-dir {folder}` goes on with it"
        )


def refuse_other_folders(folder: Path, of_bundle: Callable[[Path], str] | None = None) -> None:
    """Refuses a bundle, or a folder of runs, where a run is asked for.

    Args:
        folder: that was named.
        of_bundle: words the fault of a bundle; None: `ask_for_origin`.

    Raises:
        InputError: it is one; says what to name instead.
    """
    if (folder / "config.json").exists():
        return
    if (folder / "manifest.json").exists():
        raise InputError(f"{folder}: {(of_bundle or ask_for_origin)(folder)}")
    if runs := sorted(folder.glob("*/config.json"), key=lambda path: path.stat().st_mtime):
        raise InputError(f"{folder}: a folder of runs; name one, such as {runs[-1].parent}")


def ask_for_origin(bundle: Path) -> str:
    """Words the request for the run of a bundle instead."""
    return f"a bundle, not a run; name the run that it was exported from{origin_of(bundle)}"


def origin_of(bundle: Path) -> str:
    """Names the run of a bundle, with its path where it is found near it or under runs/; empty where unknown."""
    try:
        name = str(json.loads((bundle / "manifest.json").read_text())["name"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    near = bundle.absolute().parent
    places = [Path("runs") / name, bundle.parent / name, near.parent / name, near.parent / "runs" / name]
    found = next((place for place in places if (place / "config.json").exists()), name)
    return f", {found}"


def read_result(folder: Path) -> dict[str, Any] | None:
    """Reads `result.json` of a run; None where there is none, or none that can be read (it is made anew)."""
    path = folder / "result.json"
    try:
        result = json.loads(path.read_text())
        result["timings"]["updates"]
        result["oracle"]["ratio"] if "env" in result else (
            result["verdict"]["word"],
            result["agent"]["sharpe_difference"],
        )
        return result
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"warning: {path} cannot be read ({type(error).__name__}); it is made anew", file=sys.stderr)
        return None


def has_checkpoints(folder: Path) -> bool:
    """Whether a run was begun here and can be continued."""
    return bool(local_steps(folder))


def local_steps(folder: Path) -> list[int]:
    """Lists the checkpoints of a run folder, oldest first."""
    return sorted(int(path.name) for path in (folder / STEPS).glob("*") if path.name.isdigit())


def claim(
    folder: Path, config: Config, fingerprint: str, base_sha256: str | None = None, checkpoints: bool = True
) -> None:
    """Makes the folder of a run, or checks that the run inside may be continued with these flags and candles.

    Args:
        folder: of the run.
        config: flags.
        fingerprint: of the candles.
        base_sha256: of the file of own base positions, where there is one.
        checkpoints: whether a run there goes on from checkpoints.

    Raises:
        InputError: other flags, candles or files, or `--fresh` on a folder that is not empty; nothing is changed.
        StorageError: it cannot be written.
    """
    try:
        filled = folder.exists() and any(folder.iterdir())
    except OSError as error:
        raise StorageError(f"--run-dir {folder}: {error.strerror}; choose another folder") from error
    if filled and config.run.fresh:
        raise InputError(f"--fresh: {folder} is not empty; choose another --run-dir")
    if filled and not (folder / "config.json").exists() and {x.name for x in folder.iterdir()} - {".lock"}:
        raise InputError(f"--run-dir {folder}: not empty and no run; choose another folder")
    if (folder / "config.json").exists():
        refuse_differences(folder, config, fingerprint, base_sha256)
        if checkpoints:
            refuse_lost_checkpoints(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StorageError(f"--run-dir {folder}: {error.strerror}; choose a folder that can be written") from error


def refuse_lost_checkpoints(folder: Path) -> None:
    """Refuses a folder whose run got somewhere and whose checkpoints are gone: it is never begun anew in silence.

    Raises:
        CheckpointError: it is one.
    """
    traces = [name for name in ("result.json", "quarantine") if (folder / name).exists()]
    if not (folder / STEPS).exists() and (folder / "metrics.jsonl").exists():
        traces.append("metrics.jsonl")  # beside an empty folder it only says that the first save was never reached
    if traces and not has_checkpoints(folder):
        found = ", ".join(traces)
        raise CheckpointError(
            f"{folder}: a run was here ({found}) and no checkpoint is left; start anew with another --run-dir"
        )


def lock(folder: Path) -> IO[str]:
    """Holds the folder against other processes until the returned file is closed or the process ends.

    Raises:
        InputError: another process trains there.
        StorageError: the lock cannot be written.
    """
    try:
        file = (folder / ".lock").open("a+")
    except OSError as error:
        raise StorageError(f"{folder}: {error.strerror}; choose a folder that can be written") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise InputError(f"--run-dir {folder}: another process is training there; choose another folder") from error
    return file


def refuse_differences(folder: Path, config: Config, fingerprint: str, base_sha256: str | None) -> None:
    """Refuses to continue a run with other flags, candles or base positions.

    Raises:
        InputError: names what differs.
    """
    stored = stored_config(folder)
    if changed := differences(stored, config):
        raise InputError(
            f"--run-dir {folder}: the run there was started with other flags ({'; '.join(changed)}); "
            "use those or another --run-dir"
        )
    if config.total_updates < stored.total_updates:
        raise InputError(
            f"--run-dir {folder}: the run there goes to {stored.wanted_steps} steps; it can be made longer, not shorter"
        )
    if (begun_on := stored_json(folder)["data"]["fingerprint"]) != fingerprint:
        raise InputError(
            f"--run-dir {folder}: the candles are not those that the run there was started on (fingerprint "
            f"{fingerprint[:12]}, then {begun_on[:12]}); use those or another --run-dir"
        )
    if (base := stored_json(folder)["data"].get("base_sha256")) != base_sha256:
        now, then = (f"SHA-256 {x[:12]}" if x else "no file" for x in (base_sha256, base))
        raise InputError(
            f"--run-dir {folder}: --base-positions is not the file that the run there was started with ({now}, then "
            f"{then}); use that one or another --run-dir"
        )


def describe(config: Config, made_by: dict[str, Any]) -> dict[str, Any]:
    """Puts `config.json` together: the flags as given and what made the run."""
    return {"flags": to_json(config), **made_by}
