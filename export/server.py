"""`python -m export.server`: answers with an exported policy over HTTP."""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    # Before any import that a file in the working directory could shadow.
    sys.path[0] = __file__.rpartition("export")[0]

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from export.contents.finding import find_bundle
from export.serving.requests.cors import is_origin
from himari_jax.cli import invocation, look_elsewhere
from himari_jax.command import auto, parse, require, run_command
from himari_jax.errors import StorageError

if TYPE_CHECKING:
    from socket import socket

    from export.serving.app import Settings
    from export.serving.requests.keys import KeyFile
    from export.serving.telemetry.telemetry import Log, QueuedLog

PROG = invocation("export.server")
ON_CLOUD = ("AIP_HTTP_PORT", "K_SERVICE")  # variables that Vertex AI and Cloud Run set in a container


@dataclass(frozen=True)
class ServerConfig:
    """Serve a bundle; a changed bundle is verified and exchanged while requests go on."""

    bundle: Annotated[tyro.conf.Positional[str], auto("$AIP_STORAGE_URI")] = ""
    """A bundle, or a folder of versions: the one that its file CURRENT names, else the newest. A bundle at
    gs://BUCKET/PREFIX is fetched once, at the start."""
    host: Annotated[str | None, auto("127.0.0.1, this machine alone; 0.0.0.0 on Vertex AI and Cloud Run")] = None
    """Address to listen on; 0.0.0.0 is every network of this machine."""
    port: Annotated[int | None, auto("$AIP_HTTP_PORT, then $PORT, then 8080")] = None
    """Port to listen on; 0 takes a free one and says which."""
    workers: int = 1
    """Processes; more than one needs --token-key-file."""
    token_key_file: Path | None = None
    """File of keys for recurrent tokens, one a line, at least 16 bytes each: the first signs, all are accepted.
    Replicas share it. Read again on change."""
    api_key_file: Path | None = None
    """File of keys, one a line; callers must send one, as X-API-Key or Authorization: Bearer. Read again on change."""
    cors_origin: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Origin of web pages that browsers let ask this server, such as https://desk.example.com; * is any.
    Without it no page of another origin is let in."""
    max_age_bars: float = 2.0
    """Bars since the end of the newest candle beyond which candles are stale; 0 takes any."""
    max_body_bytes: int = 2**20
    """Largest body of a request, compressed or not."""
    max_rows: int = 1024
    """Most rows of a request, history included."""
    max_connections: int = 1024
    """Most open connections of a process; beyond them all but probes are answered 503."""
    read_timeout: float = 10.0
    """Seconds for the headers of a request, and again for its body."""
    keep_alive: float = 620.0
    """Seconds that a connection may wait for its next request; more than the balancer in front waits (Google: 600)."""
    drain_seconds: float = 3.0
    """Seconds after SIGTERM in which the server is not ready but takes new connections, until balancers look away: 3
    fits the 10 s of Cloud Run, 10 is safer on Kubernetes. Requests in flight get 5 s more."""
    candidate_mb: int = 512
    """Most memory that verifying a bundle may take, MB: in a process of its own, while the old model serves."""
    allow_features_code: bool = False
    """Run the code for features that a bundle carries, with the rights of this process: for bundles of your own."""
    quiet: bool = False
    """Log no requests."""
    debug: bool = False
    """Show the traceback of an error."""

    def __post_init__(self):
        require(self.port is None or 0 <= self.port <= 65535, "--port", self.port, "0 to 65535")
        require(1 <= self.workers <= 256, "--workers", self.workers, "1 to 256")
        for origin in self.cors_origin:
            require(is_origin(origin), "--cors-origin", origin, "scheme://host[:port] without a path, or *")
        require(0 <= self.max_age_bars < 1e9, "--max-age-bars", self.max_age_bars, "0 or more bars")
        require(1024 <= self.max_body_bytes <= 2**28, "--max-body-bytes", self.max_body_bytes, "1024 to 268435456")
        require(1 <= self.max_rows <= 65536, "--max-rows", self.max_rows, "1 to 65536")
        require(1 <= self.max_connections <= 65536, "--max-connections", self.max_connections, "1 to 65536")
        require(0.1 <= self.read_timeout <= 3600, "--read-timeout", self.read_timeout, "0.1 to 3600 seconds")
        require(1 <= self.keep_alive <= 86400, "--keep-alive", self.keep_alive, "1 to 86400 seconds")
        require(64 <= self.candidate_mb <= 2**20, "--candidate-mb", self.candidate_mb, "64 to 1048576")
        require(0 <= self.drain_seconds <= 3600, "--drain-seconds", self.drain_seconds, "0 to 3600 seconds")
        shared = self.workers == 1 or self.token_key_file is not None
        require(shared, "--workers", self.workers, "1 without --token-key-file: workers must share a key")


def chosen_port(config: ServerConfig, environment: dict[str, str]) -> int:
    """Returns --port, else AIP_HTTP_PORT, then PORT, then 8080.

    Raises:
        InputError: a variable that is no port.
    """
    if config.port is not None:
        return config.port
    for name in ("AIP_HTTP_PORT", "PORT"):
        text = environment.get(name, "")
        if text:
            require(text.isdigit() and 0 < int(text) <= 65535, f"${name}", text, "1 to 65535")
            return int(text)
    return 8080


def chosen_host(config: ServerConfig, environment: dict[str, str]) -> str:
    """Returns --host, else every network in a container of Vertex AI or Cloud Run, else this machine."""
    if config.host is not None:
        return config.host
    return "0.0.0.0" if any(environment.get(name) for name in ON_CLOUD) else "127.0.0.1"


def who_may_ask(host: str, has_key: bool) -> str:
    """Describes who can reach the server, and how to change that."""
    if host in ("localhost", "::1") or host.startswith("127."):
        return "this machine alone can ask; --host 0.0.0.0 lets others in, with --api-key-file those who have the key"
    return f"whoever reaches {host} can ask" + (", with the key" if has_key else "; --api-key-file asks for a key")


def chosen_route(name: str, default: str, environment: dict[str, str]) -> str:
    """Returns a path of Vertex AI's environment.

    Raises:
        InputError: it is no plain path.
    """
    route = environment.get(name, "") or default
    plain = route.startswith("/") and not set(route) & set(" ?#{}\"'<>\\%")
    require(plain, f"${name}", repr(route), "a path that starts with /")
    return route


def read_keys(path: Path | None, flag: str, least: int, log: "Log") -> "KeyFile | None":
    """Reads the keys of a file; warns where every user may read it.

    Raises:
        InputError: the file cannot be read, or holds no key of so many bytes.
    """
    from export.serving.requests.keys import KeyFile

    if path is None:
        return None
    keys = KeyFile(path, flag, least)
    if keys.open_to_all():
        what = f"{path}: every user of this machine can read it; chmod 600 keeps it to its owner"
        log("WARNING", "key_file", flag=flag, message=what)
    return keys


def settings_of(config: ServerConfig, environment: dict[str, str], log: "Log") -> "Settings":
    """Makes the application's settings from flags and environment variables."""
    import secrets

    from export.serving.answers.predict import PredictSettings
    from export.serving.app import Settings, check_routes
    from export.serving.requests.keys import Keys

    token_keys: Keys | None = read_keys(config.token_key_file, "--token-key-file", 16, log)
    if token_keys is None:
        token_keys = Keys(secrets.token_bytes(32))
        log("NOTICE", "token_key", message="random: recurrent tokens hold for this process alone; --token-key-file")
    predict_route = chosen_route("AIP_PREDICT_ROUTE", "/predict", environment)
    health_route = chosen_route("AIP_HEALTH_ROUTE", "/health/ready", environment)
    check_routes(predict_route, health_route)
    return Settings(
        predict_settings=PredictSettings(token_keys, config.max_age_bars, config.max_rows),
        api_keys=read_keys(config.api_key_file, "--api-key-file", 8, log),
        predict_route=predict_route,
        health_route=health_route,
        max_body=config.max_body_bytes,
        read_seconds=config.read_timeout,
        max_connections=config.max_connections,
        project=environment.get("GOOGLE_CLOUD_PROJECT", ""),
        log_requests=not config.quiet,
        cors_origins=config.cors_origin,
    )


def main(args: Sequence[str]) -> int:
    """Serves until a signal ends the process."""
    config = parse(ServerConfig, args, PROG)
    environment = dict(os.environ)
    port = chosen_port(config, environment)
    with ExitStack() as stack:
        address = config.bundle or environment.get("AIP_STORAGE_URI", "")
        config = replace(config, bundle=str(find_bundle(address, stack)))
        if config.workers > 1:
            from export.serving.telemetry.shared_metrics import shared_folder

            # Read when the library is imported.
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = stack.enter_context(shared_folder())
        return serve_on(config, chosen_host(config, environment), port, environment)


def serve_on(config: ServerConfig, host: str, port: int, environment: dict[str, str]) -> int:
    """Listens and serves, as one process or several."""
    # The libraries of the server are imported here, after the flags are known to be good.
    from export.serving.processes.listener import listen
    from export.serving.telemetry.telemetry import QueuedLog

    log = QueuedLog()
    try:
        settings = settings_of(config, environment, log)
        try:
            sock = listen(host, port)
        except OSError as error:
            what = f"{error.strerror}; choose another --host or --port"
            raise StorageError(f"--host {host} --port {port}: {what}") from error
        address = sock.getsockname()
        reach = who_may_ask(host, settings.api_keys is not None)
        log("NOTICE", "listening", host=address[0], port=address[1], predict=settings.predict_route, message=reach)
        return run_processes(config, sock, settings, log)
    finally:
        log.close()


def run_processes(config: ServerConfig, sock: "socket", settings: "Settings", log: "QueuedLog") -> int:
    """Runs one process, or a supervisor and its workers."""
    from export.serving.models.candidates import Candidates, Limits, Verdicts
    from export.serving.processes.process import ProcessSettings, work
    from export.serving.processes.uvicorn_server import ShutdownSettings
    from export.serving.processes.workers import Supervisor, SupervisorLink
    from export.serving.requests.keys import KeyFile
    from export.serving.telemetry.telemetry import QueuedLog

    files = tuple(
        keys for keys in (settings.api_keys, settings.predict_settings.token_keys) if isinstance(keys, KeyFile)
    )
    verdicts = Verdicts() if config.workers > 1 else None
    candidates = Candidates(config.allow_features_code, config.max_rows, Limits(config.candidate_mb), verdicts)

    def plan(shutdown: ShutdownSettings) -> ProcessSettings:
        return ProcessSettings(Path(config.bundle), candidates, config.read_timeout, config.keep_alive, shutdown, files)

    if config.workers == 1:
        return work(plan(ShutdownSettings(config.drain_seconds)), sock, settings, log)

    def be_worker(place: int, link: SupervisorLink) -> int:
        shutdown = ShutdownSettings(config.drain_seconds, alone=False, abandoned=lambda: link.is_cut)
        return work(plan(shutdown), sock, settings, QueuedLog(), place)

    return Supervisor(config.workers, be_worker, sock, log, config.drain_seconds).run()


if __name__ == "__main__":
    look_elsewhere()
    sys.exit(run_command(main))
