"""A bucket to try things on; a plugin."""

import socket

import pytest


@pytest.fixture
def bucket(monkeypatch):
    """An empty bucket of an emulator, also for the processes that a test starts."""
    from gcp_storage_emulator.server import create_server

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    server = create_server("127.0.0.1", port, in_memory=True, default_bucket="desk")
    server.start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    yield "gs://desk"
    server.stop()
