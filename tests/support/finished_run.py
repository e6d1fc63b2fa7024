"""A run that went to its end; a plugin, so that a session trains it once."""

import pytest
from commands import command


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A run of two assets that went to its end; only to be read."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert command(folder, "--symbols", "SYN1", "SYN2", "--num-seeds", "2") == 0
    return folder
