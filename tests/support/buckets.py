"""A bucket to try things on, the way to it, machines that use it; a plugin."""

import contextlib
import os
import socket
import threading

import pytest
from remote_runs import PLACE

from train.artifacts.uploads import mirror_of


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


class Line:
    """A connection to the emulator that can be cut after some requests, the next one in its middle."""

    def __init__(self, port: int):
        self.port, self.left = port, None
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.carry, args=(client,), daemon=True).start()

    def carry(self, client):
        """One request: the emulator closes the connection behind each."""
        if self.left is not None:
            self.left -= 1
        # A try that comes after the end of a test finds no emulator any more; a caller may have given up.
        gone = contextlib.suppress(ConnectionRefusedError, ConnectionResetError)
        with client, gone, socket.create_connection(("127.0.0.1", self.port)) as server:
            if self.left is not None and self.left < 0:
                server.sendall(client.recv(200) if self.left == -1 else b"")
                return
            back = threading.Thread(target=pump, args=(server, client), daemon=True)
            back.start()
            threading.Thread(target=pump, args=(client, server), daemon=True).start()
            back.join()


def pump(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass


@pytest.fixture
def line(bucket, monkeypatch):
    """The way to the bucket, and little patience."""
    line = Line(int(os.environ["STORAGE_EMULATOR_HOST"].rpartition(":")[2]))
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", line.address)
    monkeypatch.setattr("himari_jax.storage.PATIENCE", 0.1)
    yield line
    line.socket.close()


@pytest.fixture
def machine(bucket, tmp_path, monkeypatch):
    """`machine(name)`: from now on this is another machine, with a disk of its own."""

    def change(name):
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / name)
        return mirror_of(PLACE)

    change("first")
    return change
