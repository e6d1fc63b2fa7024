"""The bundle that a command is given: a folder, or an address in a bucket."""

import tempfile
from contextlib import ExitStack
from pathlib import Path

from himari_jax.cli import invocation
from himari_jax.errors import InputError


def find_bundle(address: str, stack: ExitStack) -> Path:
    """Returns the folder of a bundle that a user names, fetched first if it lies in a bucket.

    Args:
        address: folder, or gs://BUCKET/PREFIX; empty: none was named.
        stack: removes what was fetched at its end.

    Raises:
        InputError: there is none, or it is something else.
        StorageError: the bucket cannot be read.
    """
    from export.contents.files import OVERSIZE, refuse_run  # with numpy and TA-Lib, which flags can do without

    if address.startswith("gs://"):
        from himari_jax.storage import download_folder

        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="himari-bundle-")))
        download_folder(address, folder, 2 * OVERSIZE)
        refuse_run(folder, address)
        return folder
    if not address:
        raise InputError("which bundle? Give its folder or gs://BUCKET/PREFIX, or set AIP_STORAGE_URI")
    folder = Path(address)
    if folder.is_file():
        raise InputError(f"{address}: a file; name the folder of the bundle, {folder.parent}")
    if not folder.is_dir():
        raise InputError(
            f"{address}: no such folder; `{invocation('export.bundle')} RUN --out {address}` makes a bundle"
        )
    refuse_run(folder)
    return folder
