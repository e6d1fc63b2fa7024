"""Keeps the results of a population's members, one file each, so that no finished member is trained again."""

import hashlib
import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from train.artifacts.checkpoint import to_device, to_host
from train.artifacts.files import storage_errors, write_bytes

META = "meta.json"


class Trained(NamedTuple):
    """The result of a member's training."""

    variables: dict  # of the policy that did best on validation, on the host
    sharpe: float  # its score: annual Sharpe ratio on the validation span
    update: int  # at which it was taken
    scores: list[tuple[int, float]]  # (update, score) of every evaluation
    stop: int  # updates done
    failed: bool = False  # whether its numbers went bad; the best before that stays


class Kept:
    """A folder of finished members.

    Args:
        folder: of the files; None: nothing is kept.
    """

    def __init__(self, folder: Path | None):
        self.folder = folder
        if folder is not None:
            with storage_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)

    def trained(self, key: str) -> Trained | None:
        """Reads the result of a member; None where there is none, or a damaged one."""
        found = self.read(f"{key}.npz")
        if found is None:
            return None
        meta, arrays = found
        scores = [(int(update), float(score)) for update, score in meta.pop("scores")]
        return Trained(unflatten_dict(arrays, sep="/"), scores=scores, **meta)

    def keep(self, key: str, trained: Trained) -> None:
        """Writes the result of a member.

        Raises:
            StorageError: it could not be written.
        """
        meta = {name: value for name, value in trained._asdict().items() if name != "variables"}
        self.write(f"{key}.npz", meta, flatten_dict(trained.variables, sep="/"))

    def state(self, key: str, update: int, like: Any) -> Any | None:
        """Reads the state of a member that stopped at an update before its end; None where there is none."""
        found = self.read(f"{key}.state.npz")
        if found is None or found[0]["update"] != update:
            return None
        leaves = [found[1][str(i)] for i in range(len(found[1]))]
        return to_device(jax.tree.unflatten(jax.tree.structure(like), leaves), like)

    def keep_state(self, key: str, update: int, state: Any) -> None:
        """Writes the state of a member that stops before its end.

        Raises:
            StorageError: it could not be written.
        """
        leaves = jax.tree.leaves(to_host(state))
        self.write(f"{key}.state.npz", {"update": update}, {str(i): leaf for i, leaf in enumerate(leaves)})

    def write(self, name: str, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Writes a file with its digest."""
        if self.folder is None:
            return
        meta = meta | {"sha256": digest(arrays)}
        out = io.BytesIO()
        whole: dict[str, Any] = {META: np.frombuffer(json.dumps(meta).encode(), np.uint8), **arrays}
        np.savez(out, **whole)
        write_bytes(self.folder / name, out.getvalue())

    def read(self, name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """Reads a file; a damaged one is warned of and counts as missing: its member is trained again."""
        path = None if self.folder is None else self.folder / name
        if path is None or not path.exists():
            return None
        try:
            with path.open("rb") as stream, np.load(stream) as file:
                arrays = {key: file[key] for key in file.files}
            meta = json.loads(arrays.pop(META).tobytes())
            if meta.pop("sha256") != digest(arrays):
                raise ValueError("wrong digest")
            return meta, arrays
        except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
            print(f"warning: {path} is damaged ({type(error).__name__}: {error}); it is trained anew", file=sys.stderr)
            return None


def digest(arrays: dict[str, np.ndarray]) -> str:
    """Hashes names, types and numbers of arrays."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        found.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        found.update(np.ascontiguousarray(arrays[name]).tobytes())
    return found.hexdigest()
