"""Servers in processes of their own."""

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager

from serving import ROOT, wait_for

from export.benchmarks.processes import family


@contextmanager
def started(*args, python=sys.executable, cwd=ROOT, **environment):
    """A server in its own process: the process, its port, its lines; it is ended in the end."""
    process = subprocess.Popen(
        [python, "-m", "export.server", *map(str, args)],
        cwd=cwd,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = []

    # Lines come while the process lives, so a thread gathers them.
    def gather():
        for line in process.stdout:
            lines.append(json.loads(line))

    thread = threading.Thread(target=gather, daemon=True)
    thread.start()
    try:
        wait_for(lambda: process.poll() is not None or any(x["event"] == "listening" for x in lines))
        listening = [x for x in lines if x["event"] == "listening"]
        yield process, listening[0]["port"] if listening else None, lines
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        thread.join(5)


def ask(port, method, path, body=None, headers=None):
    """Status and body over a new connection."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    link.request(method, path, body, headers or {})
    reply = link.getresponse()
    return reply.status, reply.read()


def metrics_of(port):
    """Samples of a server by name and labels."""
    lines = ask(port, "GET", "/metrics")[1].decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def children(pid):
    """Ids of the children of a process."""
    return family(pid)[1:]


def ready(port):
    try:
        return ask(port, "GET", "/health/ready")[0] == 200
    except OSError:
        return False


def free_port():
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]
