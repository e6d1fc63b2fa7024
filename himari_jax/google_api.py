"""Calls the REST APIs of Google Cloud; every fault is one line. google-auth comes with the extra `cloud`."""

import contextlib
import json
from typing import Any, NamedTuple

from himari_jax.errors import InputError, StorageError
from himari_jax.storage import LOG_IN

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
TIMEOUT = 60.0  # seconds


class Service(NamedTuple):
    """A service of Google Cloud: the role it asks for, advice for its error lines, statuses that may pass."""

    role: str  # that the account needs
    no_answer: str  # what to do where no answer came
    try_again: str  # what to do where the service is at fault
    temporary: tuple[int, ...] = ()  # statuses from 400 to 499 that are no refusal of the message


def open_session() -> Any:
    """Returns a session of requests with the credentials of this machine.

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


def call(
    session: Any, service: Service, method: str, address: str, content: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Sends one request and returns the answer.

    Args:
        session: of `open_session`.
        service: that is called.
        method: GET, POST or PATCH.
        address: https://...
        content: message, sent as JSON.

    Raises:
        InputError: the message was refused.
        StorageError: the service could not be reached, or the account may not.
    """
    from google.auth.exceptions import GoogleAuthError
    from requests.exceptions import RequestException

    where = f"{method} {address}"
    try:
        answer = session.request(method, address, json=content, timeout=TIMEOUT)
    except (GoogleAuthError, RequestException, OSError) as error:
        raise StorageError(f"{where}: {' '.join(str(error).split())[:300]}; {service.no_answer}") from error
    status = answer.status_code
    if status == 200:
        return dict(json.loads(answer.text))
    message = error_message(answer.text)
    if status in (401, 403):
        raise StorageError(f"{where}: permission denied ({message}); the account needs {service.role}")
    if 400 <= status < 500 and status not in service.temporary:
        raise InputError(f"{where}: refused ({status}: {message})")
    raise StorageError(f"{where}: {status}: {message}; {service.try_again}")


def error_message(text: str) -> str:
    """The message of an answer that is an error, on one line of at most 300 characters."""
    with contextlib.suppress(ValueError, KeyError, TypeError):  # an answer that is no JSON is shown as it is
        text = json.loads(text)["error"]["message"]
    return " ".join(str(text).split())[:300]
