"""A training on Vertex AI: the folders that it names in a container, and the message that starts one. No jax.

Sources: Vertex AI API, the messages `CustomJob`, `CustomJobSpec`, `Scheduling` and `MachineSpec`.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from himari_jax.errors import InputError
from himari_jax.google_api import Service, call
from himari_jax.storage import split_address

# Vertex AI sets the three where a job has a baseOutputDirectory: BASE/checkpoints/, BASE/model/, BASE/logs/.
CHECKPOINTS, MODEL, LOGS = "AIP_CHECKPOINT_DIR", "AIP_MODEL_DIR", "AIP_TENSORBOARD_LOG_DIR"
SERVICE = Service(
    role="roles/aiplatform.user, and roles/iam.serviceAccountUser on the job's account",
    no_answer="was it sent? see the console",
    try_again="try again",
)


class OutputFolders(NamedTuple):
    """Addresses gs://... that Vertex AI names for the results of a training; None where it names none."""

    run: str | None  # the run folder: its checkpoints/ is what AIP_CHECKPOINT_DIR names
    model: str | None  # the bundle
    logs: str | None  # events for TensorBoard


def output_folders(environment: Mapping[str, str]) -> OutputFolders:
    """Reads the folders that the environment of a training container names.

    Raises:
        InputError: a variable names no folder in a bucket, or the folder of checkpoints has another name.
    """
    named = {name: environment.get(name, "").rstrip("/") or None for name in (CHECKPOINTS, MODEL, LOGS)}
    for name, address in named.items():
        if address is not None:
            check_address(name, address)
    checkpoints = named[CHECKPOINTS]
    if checkpoints is None:
        return OutputFolders(None, named[MODEL], named[LOGS])
    run, _, last = checkpoints.rpartition("/")
    if last != "checkpoints" or run == "gs:/":
        raise InputError(f"${CHECKPOINTS} {checkpoints}: must be gs://BUCKET/.../checkpoints, or give --run-dir")
    return OutputFolders(run, named[MODEL], named[LOGS])


def check_address(name: str, address: str) -> None:
    """Raises InputError, naming the variable, where its value is no address."""
    try:
        split_address(address)
    except InputError as error:
        raise InputError(f"${name} {error}") from error


@dataclass(frozen=True)
class Machines:
    """Machines of a job."""

    image: str
    machine_type: str
    accelerator: str | None  # None: no GPU
    accelerator_count: int
    replicas: int
    spot: bool
    max_hours: float  # after which the service ends the job
    service_account: str | None
    tensorboard: str | None  # projects/P/locations/R/tensorboards/ID
    network: str | None


def custom_job(name: str, machines: Machines, output: str, args: Sequence[str]) -> dict[str, Any]:
    """Builds the message `CustomJob` of a training.

    The first worker pool has one replica, the process that writes; further replicas are the second pool.

    Args:
        name: shown in the console, up to 128 characters.
        machines: of the job.
        output: gs://BUCKET/PREFIX, the folder under which the three variables lie.
        args: flags of `train.ppo`.
    """
    machine: dict[str, Any] = {"machineType": machines.machine_type}
    if machines.accelerator is not None:
        machine |= {"acceleratorType": machines.accelerator, "acceleratorCount": machines.accelerator_count}
    counts = [1, machines.replicas - 1] if machines.replicas > 1 else [1]
    pools = [
        {
            "machineSpec": machine,
            "replicaCount": str(count),  # int64, which JSON of Google's APIs writes as a text
            "containerSpec": {"imageUri": machines.image, "args": list(args)},
        }
        for count in counts
    ]
    spec: dict[str, Any] = {
        "workerPoolSpecs": pools,
        "scheduling": {
            "strategy": "SPOT" if machines.spot else "STANDARD",
            "timeout": f"{round(machines.max_hours * 3600)}s",
            # Processes that train together cannot go on without one; a job of one process only starts again.
            "restartJobOnWorkerRestart": True,
        },
        "baseOutputDirectory": {"outputUriPrefix": output},
    }
    further = {
        "serviceAccount": machines.service_account,
        "tensorboard": machines.tensorboard,
        "network": machines.network,
    }
    spec |= {key: value for key, value in further.items() if value is not None}
    return {"displayName": name, "labels": {"app": "himari-train"}, "jobSpec": spec}


def send_job(session: Any, project: str, region: str, job: dict[str, Any]) -> dict[str, Any]:
    """Sends a message `CustomJob` and returns the service's answer.

    Args:
        session: of `google_api.open_session`.
        project: of Google Cloud.
        region: such as us-central1.
        job: the message.

    Raises:
        InputError: the service refused the message.
        StorageError: it could not be reached, or the account may not send it.
    """
    address = f"https://{region}-aiplatform.googleapis.com/v1/projects/{project}/locations/{region}/customJobs"
    return call(session, SERVICE, "POST", address, job)


def gcloud_line(project: str, region: str, name: str, file: str) -> str:
    """Words the command of Google's own tool that sends a job.

    Args:
        project: of Google Cloud.
        region: such as us-central1.
        name: of the job.
        file: that holds the job's `jobSpec`, as JSON.
    """
    words = ["gcloud", "ai", "custom-jobs", "create", f"--project={project}", f"--region={region}"]
    return shlex.join([*words, f"--display-name={name}", f"--config={file}"])
