"""Saves and restores the whole state with its meta data, by Orbax; a wrong digest is never restored."""

import contextlib
import hashlib
import json
import logging
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from himari_jax.errors import CheckpointError, InputError, StorageError, first_line
from train.learning.sharding import is_key

SCHEMA = 2
Names = tuple[str, ...]  # keys of a leaf's path
# By the schema of the change: leaves that older schemas lack, with the value by which the program does as they did;
# leaves that were dropped.
ADDED: dict[int, dict[Names, float]] = {2: {("runner", "hyper", "weight_decay"): 0.0}}
DROPPED: dict[int, set[Names]] = {2: {("runner", "guard", "norms")}}


def to_host(state: Any) -> Any:
    """Copies a state to numpy, keys as their data; a copy, because the device buffers are donated to the next chunk."""
    plain = jax.tree.map(lambda x: jax.random.key_data(x) if is_key(x) else x, state)
    return jax.tree.map(lambda x: np.array(x, copy=True), jax.device_get(plain))


def to_device(state: Any, like: Any) -> Any:
    """Copies a host state to the device, with the keys and types of `like`: the inverse of `to_host`."""

    def restore(leaf: np.ndarray, target: Any) -> jax.Array:
        return (
            jax.random.wrap_key_data(jax.numpy.asarray(leaf))
            if is_key(target)
            else jax.numpy.asarray(leaf, target.dtype)
        )

    return jax.tree.map(restore, state, like)


def leaves(state: Any) -> dict[str, np.ndarray]:
    """Lists the leaves of a host state by path."""
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state)}


def describe(leaf: np.ndarray) -> dict[str, Any]:
    """Measures a leaf: shape, type and SHA-256 of its bytes."""
    digest = hashlib.sha256(np.ascontiguousarray(leaf).tobytes()).hexdigest()
    return {"shape": list(leaf.shape), "dtype": str(leaf.dtype), "sha256": digest}


def digest_of(meta: dict) -> str:
    """Hashes meta data by SHA-256, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()


def first_process_alone() -> ocp.options.MultiprocessingOptions:
    """Returns Orbax options by which the first of several processes does everything, without waiting for the others."""
    if jax.process_count() == 1:
        return ocp.options.MultiprocessingOptions()
    return ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0}, barrier_sync_key_prefix="first")


class Manager(ocp.CheckpointManager):
    """Orbax's manager without its preemption service: the trainer sees signals itself."""

    def reached_preemption(self, step: int) -> bool:
        """Returns False: the trainer handles signals itself."""
        return False


class Checkpoints:
    """Keeps the checkpoints of a run folder; a step is the number of updates done.

    Args:
        folder: `checkpoints/` of the run.
        keep: newest steps to keep.
    """

    def __init__(self, folder: Path, keep: int = 3):
        self.folder, self.keep = folder, keep
        self.open()

    def open(self) -> None:
        """Opens Orbax's manager of the folder, anew where it is open."""
        # Orbax logs every save, warns of options chosen here and prints the stack of its errors.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=self.keep,
            cleanup_tmp_directories=True,
            create=jax.process_count() == 1,  # Orbax refuses both; the folder is made below
            enable_async_checkpointing=False,
            multiprocessing_options=first_process_alone(),
        )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.manager = Manager(self.folder.absolute(), options=options)
        except OSError as error:
            raise StorageError(
                f"{self.folder}: cannot be written ({error.strerror}); choose another --run-dir"
            ) from error

    def steps(self) -> list[int]:
        """Lists the steps that were saved, oldest first."""
        return sorted(self.manager.all_steps())

    def save(self, step: int, state: Any, meta: dict) -> None:
        """Writes a step and waits for it.

        Raises:
            StorageError: it could not be written; older steps are intact.
        """
        if step in self.steps():  # Orbax either returns False or raises here, depending on the step
            raise StorageError(f"{self.folder}: checkpoint {step} exists already; is another process training here?")
        host = to_host(state)
        meta = {**meta, "schema": SCHEMA, "step": step, "leaves": {k: describe(v) for k, v in leaves(host).items()}}
        meta["sha256"] = digest_of(meta)
        args = ocp.args.Composite(state=ocp.args.StandardSave(host), meta=ocp.args.JsonSave(meta))
        try:
            saved = self.manager.save(step, args=args)
            self.manager.wait_until_finished()
        except (OSError, ValueError) as error:
            shutil.rmtree(self.folder / str(step), ignore_errors=True)
            raise StorageError(
                f"{self.folder}: checkpoint {step} could not be written ({error}); older ones are intact: "
                "make room or fix the permission and run the same command again"
            ) from error
        if not saved:
            raise StorageError(f"{self.folder}: checkpoint {step} was not written; is another process training here?")

    def meta(self, step: int) -> dict:
        """Reads the meta data of a step."""
        return self.manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"]

    def restore(self, like: Any, step: int | None = None) -> tuple[int, Any, dict]:
        """Restores the newest usable step, or a given one: step, state on the device, meta data.

        A step that cannot be read or whose digests are wrong moves to `quarantine/`, and the next older one is taken.

        Args:
            like: arrays or shapes of the state.

        Raises:
            InputError: the state has other leaves or shapes than `like`; nothing is moved.
            CheckpointError: no usable step is left.
        """
        target = jax.tree.map(host_shape, like)
        for candidate in reversed(self.steps() if step is None else [step]):
            try:
                meta = self.meta(candidate)
                if meta.pop("sha256") != digest_of(meta) or meta["step"] != candidate:
                    raise ValueError("wrong digest of the meta data")
                described = dict(meta["leaves"])
            except Exception as error:  # Orbax raises many kinds for damaged files
                self.quarantine(candidate, error)
                continue
            compare(target, described, int(meta["schema"]), f"{self.folder}/{candidate}")
            try:
                host = self.read(candidate, target, described, int(meta["schema"]))
            except Exception as error:
                self.quarantine(candidate, error)
                continue
            return candidate, to_device(host, like), meta
        raise CheckpointError(f"{self.folder}: no usable checkpoint; start anew with another --run-dir")

    def read(self, step: int, target: Any, described: dict[str, dict], schema: int) -> Any:
        """Reads the state of a step on the host and checks its digests; leaves that its schema lacks are added.

        Raises:
            ValueError: a digest is wrong; Orbax raises other kinds.
        """
        form = ocp.args.StandardRestore(target) if schema == SCHEMA else ocp.args.StandardRestore()
        state = self.manager.restore(step, args=ocp.args.Composite(state=form))["state"]
        found = {names(path): np.asarray(leaf) for path, leaf in leaves(state).items()}
        for path, leaf in described.items():
            if describe(found[names(path)]) != leaf:
                raise ValueError(f"wrong digest of {path}")
        if schema == SCHEMA:
            return state
        added = changes(ADDED, schema)
        paths, tree = jax.tree_util.tree_flatten_with_path(target)
        wanted = [(names(jax.tree_util.keystr(path)), leaf) for path, leaf in paths]
        filled = [np.full_like(leaf, added[k]) if k in added else found[k] for k, leaf in wanted]
        return jax.tree_util.tree_unflatten(tree, filled)

    def quarantine(self, step: int, error: Exception) -> None:
        """Moves a damaged step to `quarantine/` and warns."""
        folder = self.folder.parent / "quarantine"
        folder.mkdir(exist_ok=True)
        names = (f"{step}{end}" for end in ("", *(f"-{k}" for k in range(2, 1000))))
        place = next(folder / name for name in names if not (folder / name).exists())
        with contextlib.suppress(FileNotFoundError):
            shutil.move(self.folder / str(step), place)
        self.manager.close()
        self.open()
        print(f"warning: checkpoint {step} is damaged ({first_line(error)}); moved to {place}", file=sys.stderr)

    def close(self) -> None:
        """Releases Orbax's threads."""
        self.manager.close()


def host_shape(leaf: Any) -> np.ndarray:
    """Makes an empty array of the shape and type in which a leaf is stored."""
    shape = jax.eval_shape(jax.random.key_data, leaf) if is_key(leaf) else leaf
    return np.empty(shape.shape, shape.dtype)


def names(path: str) -> Names:
    """Splits a leaf's path into its keys, whatever kind of container they belong to."""
    return tuple(re.findall(r"\w+", path))


def changes(table: dict[int, Any], schema: int) -> dict[Names, float]:
    """Merges the leaves of a table for all schemas after the given one."""
    return {
        leaf: (known[leaf] if isinstance(known, dict) else 0.0)
        for s, known in table.items()
        if s > schema
        for leaf in known
    }


def compare(target: Any, described: dict[str, dict], schema: int, where: str) -> None:
    """Refuses a checkpoint whose leaves are not those of the program, but for changes of the schema.

    Raises:
        InputError: names the first that differs.
    """
    wanted = {path: [list(leaf.shape), str(leaf.dtype)] for path, leaf in leaves(target).items()}
    stored = {path: [leaf["shape"], leaf["dtype"]] for path, leaf in described.items()}
    explained = changes(ADDED, schema).keys() | changes(DROPPED, schema).keys()
    for path in sorted(path for path in wanted.keys() | stored.keys() if names(path) not in explained):
        if wanted.get(path) != stored.get(path):
            raise InputError(
                f"{where}: leaf {path} is {stored.get(path, 'absent')} in the checkpoint and "
                f"{wanted.get(path, 'absent')} in the program; it was written by another version or with other flags"
            )
