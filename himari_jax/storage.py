"""Folders in Google Cloud Storage: list, upload, download; every fault is one line.

The client checks the checksum of each file and repeats what failed for a while; google-cloud-storage is the extra
`cloud`. STORAGE_EMULATOR_HOST leads it to an emulator.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from himari_jax.errors import InputError, StorageError

SCHEME = "gs://"
PATIENCE = 60.0  # seconds for which a request is repeated
TIMEOUT = 20.0  # seconds of one try


def split_address(address: str) -> tuple[str, str]:
    """`gs://bucket/some/prefix` as bucket and `some/prefix`.

    Raises:
        InputError: it is no such address.
    """
    bucket, _, prefix = address.removeprefix(SCHEME).partition("/")
    prefix = prefix.strip("/")
    parts = PurePosixPath(prefix).parts
    if not address.startswith(SCHEME) or not bucket or ".." in parts or "//" in prefix:
        raise InputError(f"{address}: allowed is gs://BUCKET/PREFIX")
    return bucket, prefix


def list_files(address: str) -> dict[str, int]:
    """Names below a prefix and their sizes in bytes; empty where there is nothing.

    Raises:
        StorageError: the bucket cannot be read.
    """
    return {name: int(blob.size) for name, blob in _blobs(address).items()}


def upload_folder(folder: Path, address: str, last: Sequence[str] = ()) -> list[str]:
    """Copies the files of a folder below a prefix; those named in `last` follow when the others are there.

    Returns:
        the names, in the order in which they were written.

    Raises:
        StorageError: a file could not be written; the ones in `last` were not, if another failed.
    """
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    names = [name for name in names if name not in last] + [name for name in last if name in names]
    bucket, prefix = _open(address)
    for name in names:
        with _one_line(address):
            blob = bucket.blob(f"{prefix}/{name}" if prefix else name)
            blob.upload_from_filename(str(folder / name), timeout=TIMEOUT, retry=_retry())
    return names


def download_folder(address: str, folder: Path, most_bytes: int) -> list[str]:
    """Copies what lies below a prefix into a folder.

    Args:
        address: gs://BUCKET/PREFIX.
        folder: is made where it is missing.
        most_bytes: of all files together.

    Returns:
        the names.

    Raises:
        InputError: there is nothing, too much, or a name that leads out of the folder.
        StorageError: the bucket cannot be read.
    """
    blobs = _blobs(address)
    if not blobs:
        raise InputError(f"{address}: nothing is there")
    if (total := sum(int(blob.size) for blob in blobs.values())) > most_bytes:
        raise InputError(f"{address}: {total} bytes; allowed are up to {most_bytes}")
    for name, blob in blobs.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name:
            raise InputError(f"{address}: {name!r} leads out of its folder")
        with _one_line(address):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            # The generation that was listed: files of two versions are never mixed.
            blob.download_to_filename(
                str(folder / name), timeout=TIMEOUT, retry=_retry(), if_generation_match=blob.generation
            )
    return list(blobs)


def _blobs(address: str) -> dict[str, Any]:
    """Everything below a prefix by its name there; the markers of empty folders are left out."""
    bucket, prefix = _open(address)
    start = f"{prefix}/" if prefix else ""
    with _one_line(address):
        found = list(bucket.list_blobs(prefix=start, timeout=TIMEOUT, retry=_retry()))
    return {blob.name.removeprefix(start): blob for blob in found if not blob.name.endswith("/")}


def _open(address: str) -> tuple[Any, str]:
    """The bucket, not yet asked for anything, and the prefix."""
    name, prefix = split_address(address)
    try:
        from google.cloud import storage
    except ImportError as error:
        raise StorageError(f"{address}: needs the extra: pip install 'himari-jax[cloud]'") from error
    with _one_line(address):
        return storage.Client().bucket(name), prefix


def _retry() -> Any:
    """The library's own retries, bounded."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_timeout(PATIENCE)


@contextlib.contextmanager
def _one_line(address: str) -> Iterator[None]:
    """What the library raises as one line."""
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
    from google.cloud.storage.exceptions import DataCorruption
    from requests.exceptions import RequestException

    try:
        yield
    except DefaultCredentialsError as error:
        hint = "gcloud auth application-default login, or GOOGLE_APPLICATION_CREDENTIALS"
        raise StorageError(f"{address}: no credentials of Google Cloud were found; {hint}") from error
    except (GoogleAPIError, GoogleAuthError, RequestException, DataCorruption, OSError) as error:
        told = getattr(error, "message", "") or str(error) or type(error).__name__
        raise StorageError(f"{address}: {' '.join(str(told).split())[:300]}") from error
