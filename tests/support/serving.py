"""Tiny bundles, the server in process, and requests that it should answer: what the tests of the server share."""

import asyncio
import hashlib
import io
import json
import shutil
import socket
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import numpy as np

from export.loading import load
from export.serving.answers.predict import PredictSettings
from export.serving.app import Application, Settings
from export.serving.models.model_store import ModelStore
from export.serving.requests.keys import Keys
from export.serving.telemetry.telemetry import Log, Metrics
from himari_jax.candles import COLUMNS
from himari_jax.times import HOUR_MS

KEY = b"the key of all tests, 32 bytes.."


class Desk:
    """An application on a bundle, asked without a socket, at the time just after its golden candles."""

    def __init__(self, path, predict_settings=None, allow_code=False, candidates=None, **settings):
        self.path, self.lines, self.refused = path, io.StringIO(), []
        self.metrics = Metrics()
        refuse = lambda folder, reason: self.refused.append(reason)  # noqa: E731
        self.store = ModelStore(path, self.metrics.use_model, refuse, allow_code, candidates)
        self.store.refresh()
        predict_settings = {"token_key": KEY} | (predict_settings or {})
        predict_settings["token_keys"] = Keys(predict_settings.pop("token_key"))
        settings = {"clock": self.clock} | settings
        if "api_key" in settings:
            settings["api_keys"] = Keys(settings.pop("api_key"))
        self.app = Application(
            self.store, Settings(PredictSettings(**predict_settings), **settings), self.metrics, Log(self.lines)
        )
        self.now = None

    @property
    def model(self):
        return self.store.current.model

    @property
    def golden(self):
        return golden_of(self.path if (self.path / "golden.npz").exists() else self.path / "one")

    @property
    def symbols(self):
        """Those of the golden rows."""
        return self.golden["symbols"].tolist()

    def clock(self):
        return int(self.golden["time"][-1]) + HOUR_MS + 1000 if self.now is None else self.now

    def ask(self, path, body=None, headers=(), method=None, parts=None):
        """Status, headers and body of one request."""
        return asyncio.run(self.call(path, body, dict(headers), method, parts))

    async def call(self, path, body, headers, method, parts):
        sent, parts = [], [body or b""] if parts is None else list(parts)
        queue = [{"type": "http.request", "body": x, "more_body": i < len(parts) - 1} for i, x in enumerate(parts)]

        async def receive():
            if not queue:
                await asyncio.sleep(3600)
            return queue.pop(0)

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": method or ("GET" if body is None else "POST"), "path": path}
        scope |= {"headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()], "query_string": b""}
        await self.app(scope, receive, send)
        return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]

    def predict(self, *instances, **more):
        """Status and JSON of `/predict`."""
        body = msgspec.json.encode({"instances": instances, **more})
        status, _, answer = self.ask("/predict", body)
        return status, json.loads(answer)

    def one(self, instance):
        """The only prediction of an instance that must be answered."""
        status, answer = self.predict(instance)
        assert status == 200, answer
        return answer["predictions"][0]

    def candles(self, step=-1, rows=None):
        """Candles of a request up to a golden step."""
        stop = int(self.golden["row"][step]) + 1
        start = 0 if rows is None else stop - rows
        return {
            symbol: {"time": self.golden["time"][start:stop].tolist()}
            | {name: self.golden[name][start:stop, n].tolist() for name in COLUMNS}
            for n, symbol in enumerate(self.symbols)
        }

    def account(self, step=-1, equity=1e5):
        """The account of the golden rollout at a step."""
        close = self.golden["close"][self.golden["row"][step]].tolist()
        weights, ratio = self.golden["weights"][step].tolist(), self.golden["entry_ratio"][step].tolist()
        positions = {
            symbol: {"units": weights[n] * equity / close[n], "entry_price": close[n] / ratio[n]}
            for n, symbol in enumerate(self.symbols)
            if weights[n] > 0
        }
        return {"equity": equity, "positions": positions}

    def asked(self, step=-1, **more):
        """An instance of candles at a golden step."""
        return {"candles": self.candles(step), "account": self.account(step), **more}

    def seen(self, step=-1, **more):
        """An instance of an observation at a golden step."""
        numbers = self.golden["observation"][step].tolist()
        return {"observation": numbers, "features_hash": self.model.features_hash, **more}

    def seen_of(self, version, step=-1):
        """An instance of an observation out of a version's golden rows."""
        numbers = golden_of(self.path / version)["observation"][step].tolist()
        return {"observation": numbers, "features_hash": self.model.features_hash}

    def at(self, step):
        """Sets the clock to just after a golden step's bar."""
        self.now = int(self.golden["time"][self.golden["row"][step]]) + HOUR_MS + 1000


STORED = {}


def golden_of(path):
    """golden.npz of a bundle, read once."""
    if path not in STORED:
        STORED[path] = read_golden(path)
    return STORED[path]


def read_golden(path):
    """golden.npz of a bundle that a test may alter."""
    with np.load(path / "golden.npz") as stored:
        return {name: stored[name] for name in stored.files}


def multipliers(prediction):
    """(N,) in the order of the answer."""
    return np.array([asset["multiplier"] for asset in prediction["symbols"].values()])


def copy_bundle(source, target, **changes):
    """A bundle under another name or version: as verified as its source."""
    shutil.copytree(source, target)
    manifest = json.loads((target / "manifest.json").read_text()) | changes
    (target / "manifest.json").write_text(json.dumps(manifest))
    load(target)
    return target


def name_hashes(folder):
    """Puts the hashes of the files into the manifest."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in ("policy.onnx", "golden.npz"):
        if (folder / name).is_file():
            manifest["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def point(folder, name):
    """Changes CURRENT in one step."""
    (folder / "CURRENT.new").write_text(name)
    (folder / "CURRENT.new").replace(folder / "CURRENT")


@contextmanager
def running(app):
    """The server on a free port in a thread; gives the port."""
    from export.serving.processes.listener import listen
    from export.serving.processes.uvicorn_server import Server, ShutdownSettings, configure

    sock = listen("127.0.0.1", 0)
    port = sock.getsockname()[1]
    server = Server(configure(app, 620), app, ShutdownSettings(0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    wait_for(lambda: server.started)
    try:
        yield port
    finally:
        server.should_exit = server.force_exit = True
        thread.join(10)


def wait_for(condition, seconds=20.0):
    """Waits until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def talk(port, data, pause=0.0, seconds=20.0):
    """Sends bytes over a socket, in parts with pauses where `data` is a list; everything that comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as sock:
        got = b""
        with suppress(ConnectionResetError, BrokenPipeError):
            for part in data if isinstance(data, list) else [data]:
                sock.sendall(part)
                time.sleep(pause)
        with suppress(ConnectionResetError):
            while part := sock.recv(65536):
                got += part
        return got


def http(path, body, **headers):
    """The bytes of a request that closes its connection."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = "\r\n".join([f"POST {path} HTTP/1.1", "host: here", "connection: close", *lines])
    return head.encode() + b"\r\ncontent-length: %d\r\n\r\n" % len(body) + body


ROOT = Path(__file__).parents[2]


def put(path, value):
    """Sets what lies at a path of a request."""

    def change(request):
        *way, last = path
        place = request["instances"][0]
        for step in way:
            place = place[step]
        place[last] = value

    return change
