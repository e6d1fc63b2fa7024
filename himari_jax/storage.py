"""Folders in Google Cloud Storage: list, upload, download; every fault is one line.

The client checks the checksum of each file and repeats what failed for a while; google-cloud-storage is the extra
`cloud`. STORAGE_EMULATOR_HOST leads it to an emulator.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from himari_jax.errors import InputError, StorageError
from himari_jax.extras import how_to_install

SCHEME = "gs://"
PATIENCE = 60.0  # seconds for which a request is repeated
TIMEOUT = 20.0  # seconds of one try
LOG_IN = "gcloud auth application-default login, or GOOGLE_APPLICATION_CREDENTIALS"


def split_address(address: str) -> tuple[str, str]:
    """`gs://bucket/some/prefix` as bucket and `some/prefix`.

    Raises:
        InputError: it is no such address.
    """
    bucket, _, prefix = address.removeprefix(SCHEME).partition("/")
    prefix = prefix.strip("/")
    parts = PurePosixPath(prefix).parts
    if not address.startswith(SCHEME) or not bucket or ".." in parts or "//" in prefix:
        raise InputError(f"{address}: must be gs://BUCKET/PREFIX")
    return bucket, prefix


class Entry(NamedTuple):
    """An object as a bucket lists it."""

    size: int  # bytes
    md5: str  # base64; empty where the bucket does not know it
    generation: int  # the number of its version


class RemoteFolder:
    """A folder in a bucket; every method raises StorageError, in one line.

    Args:
        address: gs://BUCKET/PREFIX.
    """

    def __init__(self, address: str):
        self.address = address
        self.bucket, prefix = _open(address)
        self.start = f"{prefix}/" if prefix else ""

    def list(self) -> dict[str, Entry]:
        """The objects by name; the markers of empty folders are left out."""
        with _one_line(self.address):
            found = list(self.bucket.list_blobs(prefix=self.start, timeout=TIMEOUT, retry=_retry()))
        whole = [blob for blob in found if not blob.name.endswith("/")]
        return {b.name.removeprefix(self.start): Entry(int(b.size), b.md5_hash or "", int(b.generation)) for b in whole}

    def read(self, name: str) -> bytes:
        """The content of an object."""
        with _one_line(f"{self.address}/{name}"):
            return bytes(self._blob(name).download_as_bytes(timeout=TIMEOUT, retry=_retry()))

    def write(self, name: str, content: bytes) -> int:
        """Writes an object atomically and returns its generation."""
        with _one_line(f"{self.address}/{name}"):
            blob = self._blob(name)
            blob.upload_from_string(content, "application/octet-stream", timeout=TIMEOUT, retry=_retry())
            return int(blob.generation)

    def upload(self, path: Path, name: str) -> None:
        """Copies a file to an object, atomically."""
        with _one_line(f"{self.address}/{name}"):
            self._blob(name).upload_from_filename(str(path), timeout=TIMEOUT, retry=_retry())

    def download(self, name: str, path: Path, generation: int | None = None) -> None:
        """Copies an object to a file, whose folder is made where it is missing.

        Args:
            name: of the object.
            path: of the file.
            generation: the version that it must still have; None: any.
        """
        with _one_line(f"{self.address}/{name}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._blob(name).download_to_filename(
                str(path), timeout=TIMEOUT, retry=_retry(), if_generation_match=generation
            )

    def remove(self, name: str) -> None:
        """Removes an object; one that is gone already is fine."""
        from google.api_core.exceptions import NotFound

        with _one_line(f"{self.address}/{name}"), contextlib.suppress(NotFound):
            self._blob(name).delete(timeout=TIMEOUT, retry=_retry())

    def generation(self, name: str) -> int | None:
        """The number of an object's newest version; None where there is no such object."""
        with _one_line(f"{self.address}/{name}"):
            blob = self.bucket.get_blob(self.start + name, timeout=TIMEOUT, retry=_retry())
            return None if blob is None else int(blob.generation)

    def _blob(self, name: str) -> Any:
        return self.bucket.blob(self.start + name)


def named_address(bucket_name: str | None, model_dir: str | None) -> str | None:
    """The address that `--bucket-name` and `--model-dir` name together; None where neither is given.

    Raises:
        InputError: one is given without the other, or they name no address.
    """
    if bucket_name is None and model_dir is None:
        return None
    if bucket_name is None or model_dir is None:
        given, lacking = ("--bucket-name", "--model-dir") if model_dir is None else ("--model-dir", "--bucket-name")
        raise InputError(f"{given}: goes with {lacking}: the two name gs://BUCKET_NAME/MODEL_DIR")
    if not bucket_name or "/" in bucket_name or ":" in bucket_name:
        raise InputError(f"--bucket-name {bucket_name!r}: must be the name of a bucket, without gs:// and folders")
    address = f"{SCHEME}{bucket_name}/{model_dir.strip('/')}".rstrip("/")
    split_address(address)
    return address


def list_files(address: str) -> dict[str, int]:
    """Names below a prefix and their sizes in bytes; empty where there is nothing.

    Raises:
        StorageError: the bucket cannot be read.
    """
    return {name: entry.size for name, entry in RemoteFolder(address).list().items()}


def upload_folder(folder: Path, address: str, last: Sequence[str] = ()) -> list[str]:
    """Copies the files of a folder below a prefix; those named in `last` follow when the others are there.

    Returns:
        the names, in the order in which they were written.

    Raises:
        StorageError: a file could not be written; the ones in `last` were not, if another failed.
    """
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    names = [name for name in names if name not in last] + [name for name in last if name in names]
    remote = RemoteFolder(address)
    for name in names:
        remote.upload(folder / name, name)
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
    remote = RemoteFolder(address)
    found = remote.list()
    if not found:
        raise InputError(f"{address}: nothing is there")
    if (total := sum(entry.size for entry in found.values())) > most_bytes:
        raise InputError(f"{address}: {total} bytes; must be at most {most_bytes}")
    for name, entry in found.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name:
            raise InputError(f"{address}: {name!r} leads out of its folder")
        # The generation that was listed: files of two versions are never mixed.
        remote.download(name, folder / name, entry.generation)
    return list(found)


def _open(address: str) -> tuple[Any, str]:
    """The bucket, not yet asked for anything, and the prefix."""
    name, prefix = split_address(address)
    try:
        from google.cloud import storage
    except ImportError as error:
        raise StorageError(f"{address}: needs another library: {how_to_install('cloud')}") from error
    with _one_line(address):
        return storage.Client(project=None).bucket(name), prefix  # objects belong to no project


def _retry() -> Any:
    """The library's own retries, bounded."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_timeout(PATIENCE)


@contextlib.contextmanager
def _one_line(address: str) -> Iterator[None]:
    """Turns the errors of the Google Cloud library into a `StorageError` of one line."""
    from google.api_core.exceptions import Forbidden, GoogleAPIError, NotFound, RetryError, Unauthorized
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError
    from google.cloud.storage.exceptions import DataCorruption
    from requests.exceptions import RequestException

    try:
        yield
    except DefaultCredentialsError as error:
        raise StorageError(f"{address}: no credentials of Google Cloud were found; {LOG_IN}") from error
    except NotFound as error:
        raise StorageError(f"{address}: not there ({_message(error)}); does the bucket exist?") from error
    except (Forbidden, Unauthorized) as error:
        hint = "the account needs the role roles/storage.objectUser on the bucket"
        raise StorageError(f"{address}: permission denied ({_message(error)}); {hint}") from error
    except RetryError as error:
        last = _message(error.cause) if error.cause else "no answer"
        raise StorageError(f"{address}: {last}; tried for up to {PATIENCE:g} s, check the network") from error
    except GoogleAuthError as error:
        hint = "check the network" if isinstance(error, TransportError) else LOG_IN
        raise StorageError(f"{address}: the credentials could not be used ({_message(error)}); {hint}") from error
    except (GoogleAPIError, RequestException, DataCorruption, OSError) as error:
        raise StorageError(f"{address}: {_message(error)}") from error


def _message(error: BaseException) -> str:
    """The message of a library error, on one line of at most 300 characters."""
    info = " ".join(str(getattr(error, "message", "") or error or type(error).__name__).split())
    if pool := re.search(r"host='([^']+)'.*Caused by \w+\((.*)\)\)$", info):  # the chain of a connection that failed
        return f"{pool[1]}: {pool[2].rsplit('): ', 1)[-1]}".strip("\"'")[:300]
    return info[:300]
