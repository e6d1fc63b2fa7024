"""Several processes that train one policy: discovery, agreement, and the first one, which writes."""

import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from himari_jax.command import code_of
from himari_jax.errors import (
    CheckpointError,
    HimariError,
    InputError,
    NumericalError,
    Preempted,
    StorageError,
    first_line,
)

T = TypeVar("T")
KINDS: dict[int, type[HimariError]] = {
    kind.exit_code: kind for kind in (InputError, NumericalError, CheckpointError, StorageError, Preempted)
}
MOST_BYTES = 4096  # of a text that is broadcast
GRACE = 3.0  # seconds by which the first process, the coordinator, leaves after the others
LOST = re.compile(r"connection (reset|closed|refused)|heartbeat|timed? ?out|aborted|socket closed", re.IGNORECASE)
HEARTBEAT = 30  # seconds without a sign after which a process counts as lost
PATIENCE = 300  # seconds to wait for all processes


@dataclass(frozen=True)
class ProcessPlace:
    """A process among others.

    Args:
        coordinator: HOST:PORT of the first process; None leaves everything to jax's own detection.
        num_processes: all of them.
        process_id: from 0.
    """

    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None


def find_place(
    coordinator: str | None, num_processes: int | None, process_id: int | None, environment: Mapping[str, str]
) -> ProcessPlace | None:
    """Finds the place of this process among others; None where it trains alone.

    It comes from flags, or from the environment of SLURM, Open MPI or Vertex AI where it names more than one process.

    Args:
        coordinator: `--coordinator`: HOST:PORT, `auto` (jax looks for any cluster it knows, Kubernetes too) or None.
        num_processes: `--num-processes`; 1 trains alone whatever the environment says.
        process_id: `--process-id`.
        environment: variables.

    Raises:
        InputError: the environment cannot be understood.
    """
    if num_processes == 1:
        return None
    if coordinator == "auto":
        return ProcessPlace()
    if coordinator is not None:
        return ProcessPlace(coordinator, num_processes, process_id)
    if "CLUSTER_SPEC" in environment:
        return from_cluster_spec(environment["CLUSTER_SPEC"])
    counts = ["SLURM_STEP_NUM_TASKS"]
    if "OMPI_MCA_orte_hnp_uri" in environment:  # by which jax finds the others
        counts.append("OMPI_COMM_WORLD_SIZE")
    if any(environment.get(name, "1") not in ("", "1") for name in counts):
        return ProcessPlace()
    return None


def from_cluster_spec(text: str) -> ProcessPlace | None:
    """Reads the place that Vertex AI names: pools in the order of their numbers, replicas in the order of their list.

    Args:
        text: JSON `{"cluster": {"workerpool0": ["host:port"], ...}, "task": {"type": "workerpool0", "index": 0}}`.

    Raises:
        InputError: it is something else.

    Source: Vertex AI, "Distributed training", format of CLUSTER_SPEC.
    """
    try:
        spec = json.loads(text)
        pools = sorted(spec["cluster"].items(), key=lambda pool: int(re.fullmatch(r"workerpool(\d+)", pool[0])[1]))  # type: ignore[index]
        hosts = [(name, index, host) for name, replicas in pools for index, host in enumerate(replicas)]
        here = (spec["task"]["type"], int(spec["task"]["index"]))
        rank = [(name, index) for name, index, _ in hosts].index(here)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"CLUSTER_SPEC: {type(error).__name__}: {str(error)[:100]}; name the place by --coordinator, "
            "--num-processes and --process-id, or train alone with --num-processes 1"
        ) from error
    return ProcessPlace(hosts[0][2], len(hosts), rank) if len(hosts) > 1 else None


def join(place: ProcessPlace) -> None:
    """Joins the other processes; call it before jax is asked for devices.

    Raises:
        InputError: they were not found.
    """
    import jax

    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM away from us
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    # Where the scheduler left a task one GPU, that one is number 0, whatever the task's own number on its host.
    local = [0] if place.coordinator is None and seen and "," not in seen else None
    try:
        jax.distributed.initialize(
            place.coordinator,
            place.num_processes,
            place.process_id,
            local,
            initialization_timeout=PATIENCE,
            heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=3600,  # the first evaluates while the others wait
        )
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"the processes did not meet ({first_line(error)}); check --coordinator, --num-processes and --process-id, "
            "or train alone with --num-processes 1"
        ) from error


def leave(code: int) -> int:
    """Returns the exit code; a failed process among others ends here, without waiting for them."""
    jax = sys.modules.get("jax")
    if code and jax is not None and jax.distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        if is_first():
            time.sleep(GRACE)
        os._exit(code)
    return code


@contextlib.contextmanager
def report_lost_process() -> Iterator[None]:
    """Turns the runtime's error about a lost process into one line.

    Raises:
        Preempted: a process was lost; the last checkpoint is intact.
    """
    import jax

    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:  # by which call it was noticed
        if jax.process_count() == 1 or not LOST.search(first_line(error, most=None)):
            raise
        raise Preempted(
            f"another process was lost ({first_line(error)}); start all of them again with the same command: "
            "they go on at the newest checkpoint"
        ) from error


def is_first() -> bool:
    """Whether this is the first process, which writes run folder, log and progress."""
    import jax

    return jax.process_index() == 0


def all_gather(values: tuple[int, ...]) -> list[list[int]]:
    """Gathers a row of integers from every process; all must call it."""
    import jax
    import numpy as np
    from jax.experimental.multihost_utils import process_allgather

    if jax.process_count() == 1:
        return [list(values)]
    return process_allgather(np.array(values, np.int32)).tolist()


def broadcast(tree: Any) -> Any:
    """Copies host arrays of the first process to all, bit for bit; shapes and types must be the same everywhere."""
    import jax
    import numpy as np
    from jax.experimental.multihost_utils import broadcast_one_to_all

    if jax.process_count() == 1:
        return tree
    leaves, structure = jax.tree_util.tree_flatten(tree)
    packed = np.concatenate([np.ascontiguousarray(leaf).reshape(-1).view(np.uint8) for leaf in leaves])
    packed = np.asarray(broadcast_one_to_all(packed)).astype(np.uint8)
    ends = np.cumsum([leaf.nbytes for leaf in leaves])
    parts = np.split(packed, ends[:-1])
    pairs = zip(parts, leaves, strict=True)
    return jax.tree_util.tree_unflatten(structure, [part.view(leaf.dtype).reshape(leaf.shape) for part, leaf in pairs])


def broadcast_text(text: str) -> str:
    """Copies a short text of the first process to all."""
    import numpy as np

    data = np.frombuffer(text.encode()[:MOST_BYTES].ljust(MOST_BYTES, b"\0"), np.uint8)
    return broadcast(data).tobytes().rstrip(b"\0").decode()


def on_first_process(work: Callable[[], T]) -> T | None:
    """Calls a function in the first process alone; where it fails, all end with its exit code.

    Returns:
        the function's value; None in the other processes.

    Raises:
        HimariError: it failed, here or there.
    """
    result: T | None = None
    failure: Exception | None = None
    if is_first():
        try:
            result = work()
        except Exception as error:  # the others learn the code of every kind
            failure = error
    code = 0 if failure is None else code_of(failure)[0]
    first_code = all_gather((code,))[0][0]
    if failure is not None:
        raise failure
    if first_code:
        stopped = KINDS.get(first_code, HimariError)("process 0 stopped; its last line says why")
        stopped.exit_code = first_code
        raise stopped
    return result
