"""Sends a job to Vertex AI; every fault is one line. google-auth comes with the extra `cloud`."""

import contextlib
import json
from typing import Any

from himari_jax.errors import InputError, StorageError

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
TIMEOUT = 60.0  # seconds
LOG_IN = "gcloud auth application-default login, or GOOGLE_APPLICATION_CREDENTIALS"
ROLE = "roles/aiplatform.user, and roles/iam.serviceAccountUser on the job's account"


def open_session() -> Any:
    """A session of requests with the credentials of this machine.

    Raises:
        StorageError: says in one line which are lacking: the library or the credentials.
    """
    try:
        import google.auth
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import AuthorizedSession
    except ImportError as error:
        raise StorageError("google-auth is not installed (extra cloud)") from error
    try:
        credentials, _ = google.auth.default(scopes=[SCOPE])
    except GoogleAuthError as error:
        raise StorageError(f"no credentials of Google Cloud were found ({LOG_IN})") from error
    return AuthorizedSession(credentials)


def send_job(session: Any, project: str, region: str, job: dict[str, Any]) -> dict[str, Any]:
    """Sends a message `CustomJob` and returns the service's answer.

    Args:
        session: of `open_session`.
        project: of Google Cloud.
        region: such as us-central1.
        job: the message.

    Raises:
        InputError: the service refused the message.
        StorageError: it could not be reached, or the account may not send it.
    """
    from google.auth.exceptions import GoogleAuthError
    from requests.exceptions import RequestException

    address = f"https://{region}-aiplatform.googleapis.com/v1/projects/{project}/locations/{region}/customJobs"
    try:
        answer = session.post(address, json=job, timeout=TIMEOUT)
    except (GoogleAuthError, RequestException, OSError) as error:
        raise StorageError(f"{address}: {' '.join(str(error).split())[:300]}; was it sent? see the console") from error
    told = told_by(answer.text)
    if answer.status_code in (401, 403):
        raise StorageError(f"{address}: permission denied ({told}); the account needs {ROLE}")
    if 400 <= answer.status_code < 500:
        raise InputError(f"{address}: refused ({answer.status_code}: {told})")
    if answer.status_code != 200:
        raise StorageError(f"{address}: {answer.status_code}: {told}; try again")
    return dict(json.loads(answer.text))


def told_by(text: str) -> str:
    """The message of an answer that is an error, on one line of at most 300 characters."""
    with contextlib.suppress(ValueError, KeyError, TypeError):  # an answer that is no JSON is shown as it is
        text = json.loads(text)["error"]["message"]
    return " ".join(str(text).split())[:300]
