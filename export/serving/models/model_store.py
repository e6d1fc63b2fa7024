"""The store of the served model: a new one is verified and loaded beside the old, then swapped in one assignment."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

import numpy as np

from export.contents.files import read_regular
from export.loading import load
from export.runtime import FILES, MOST_ACCOUNT, Model
from export.serving.models.candidates import Abandoned, Candidates, Signature
from export.serving.requests.schemas import ModelOut
from himari_jax.errors import HimariError, InputError, StorageError
from himari_jax.features.market import ACCOUNT_FEATURES, MOST_MARKET

MOST_POINTER = 1024  # bytes of CURRENT
GROSS_MARGIN = 2.0  # times the gross of training, which price moves can reach
MOST_ANSWERED = 512  # answers of a second whose inputs are counted, the newest: what drifts shows in far fewer
FIRST_PAUSE, MOST_PAUSE = 1.0, 60.0  # seconds before a candidate is tried again


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A verified model with precomputed limits, indices and names for its requests."""

    model: Model
    symbols: tuple[str, ...] = field(init=False)  # of a pool, those of which an instance is about one
    names: tuple[str, ...] = field(init=False)  # of the D numbers of an observation
    limits: np.ndarray = field(init=False)  # (D,) largest magnitude that is an observation
    weight_places: np.ndarray = field(init=False)  # (N,) indices of the account's weights in an observation
    most_gross: float = field(init=False)  # of an account: beyond it the numbers are wrong
    info: ModelOut = field(init=False)
    answered: deque[np.ndarray] = field(init=False)  # (D,) or (B, D) observations that were answered, to be counted

    def __post_init__(self):
        symbols, assets = self.model.symbols, len(self.model.places)
        limits = np.full(self.model.width, MOST_MARKET)
        market = len(self.model.features.names)
        width = market + len(ACCOUNT_FEATURES)
        for n in range(assets):
            limits[width * n + market : width * (n + 1)] = MOST_ACCOUNT
        places = width * np.arange(assets) + market + ACCOUNT_FEATURES.index("position")
        gross = GROSS_MARGIN * max(1.0, self.model.rules.max_gross)  # without debt a fall leaves it below 1
        if assets > 1:
            limits[-1] = MOST_ACCOUNT  # Herfindahl
        info = ModelOut(self.model.name, self.model.version, self.model.digest)
        made = {"symbols": symbols, "names": self.model.names, "limits": limits, "info": info}
        made |= {"answered": deque(maxlen=MOST_ANSWERED), "weight_places": places, "most_gross": gross}
        for name, value in made.items():
            object.__setattr__(self, name, value)


class ModelStore:
    """Loads models from a folder and holds the one that is served.

    A bundle folder, or a folder of version folders: the one that its file CURRENT names, else the newest.

    Args:
        path: of that folder.
        on_load: called with each model that begins to answer.
        on_refuse: called with the folder of a bundle that does not hold, and the reason.
        allow_code: whether to run code for features that a bundle carries.
        candidates: how a bundle is verified; None: in this process, without limits.
    """

    def __init__(
        self,
        path: Path,
        on_load: Callable[[ServedModel], None],
        on_refuse: Callable[[Path, str], None],
        allow_code: bool = False,
        candidates: Candidates | None = None,
    ):
        self.path, self.on_load, self.on_refuse = path, on_load, on_refuse
        self.allow_code, self.candidates = allow_code, candidates
        self.current: ServedModel | None = None
        self.last_seen: Signature | None = None  # of the newest candidate
        self.serving: Signature | None = None  # of what is served
        self.refusal = ""  # the newest refusal
        self.retry_at, self.pause = inf, FIRST_PAUSE
        self.stopping = threading.Event()

    def candidate(self) -> Path | None:
        """Finds the bundle folder that should be served; None where there is none.

        Raises:
            InputError: CURRENT names no folder in here.
            OSError: it cannot be read at the moment.
        """
        if (self.path / "manifest.json").exists():
            return self.path
        pointer = self.path / "CURRENT"
        if os.path.lexists(pointer):
            name = read_regular(pointer, MOST_POINTER).decode(errors="replace").strip()
            if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
                raise InputError(f"{pointer}: {name[:64]!r} must be the name of a version folder beside it")
            return self.path / name
        versions = [folder for folder in self.path.iterdir() if (folder / "manifest.json").is_file()]
        return max(
            versions, key=lambda folder: ((folder / "manifest.json").stat().st_mtime_ns, folder.name), default=None
        )

    def refresh(self) -> bool:
        """Loads the bundle that should be served, if it is not yet; returns whether the model changed.

        A candidate that does not hold is refused once and looked at again when one of its files changes; one that
        could not be verified for a reason that may pass is tried again after a pause, each twice as long.
        """
        folder, signature = self.path, None
        try:
            found = self.candidate()
            if found is None:
                return False
            folder, signature = found, bundle_signature(found)
            if signature == self.serving:
                self.last_seen, self.retry_at = signature, inf
                return False
            if signature == self.last_seen and time.monotonic() < self.retry_at:
                return False
            served = ServedModel(self.load(folder, signature))
        except Abandoned:
            return False
        except Exception as error:  # a candidate must never end the server, whatever is wrong with it
            self.refuse(folder, signature, error)
            return False
        self.last_seen, self.serving, self.current = signature, signature, served
        self.retry_at, self.pause, self.refusal = inf, FIRST_PAUSE, ""
        self.on_load(served)
        return True

    def load(self, folder: Path, signature: Signature) -> Model:
        """Loads the verified model of a folder."""
        if self.candidates is None:
            return load(folder, self.allow_code)
        return self.candidates.load(folder, signature, lambda: self.stopping.is_set() or self.has_moved(signature))

    def has_moved(self, signature: Signature) -> bool:
        """Whether another bundle should be served by now."""
        try:
            found = self.candidate()
            return found is not None and bundle_signature(found) != signature
        except (OSError, InputError):
            return False

    def refuse(self, folder: Path, signature: Signature | None, error: Exception) -> None:
        """Reports once why a candidate is not served, and schedules the next try where the cause may pass."""
        text = str(error) if isinstance(error, HimariError) else f"{type(error).__name__}: {error}"
        mark = signature or ((f"{folder}: {text}", 0, 0, 0),)
        passing = isinstance(error, StorageError | OSError | MemoryError)
        if mark != self.last_seen:
            self.last_seen, self.refusal, self.pause = mark, "", FIRST_PAUSE
        self.retry_at = time.monotonic() + self.pause if passing else inf
        self.pause = min(2 * self.pause, MOST_PAUSE)
        text = " ".join(text.split())[:500] + ("; it is tried again" if passing else "")
        if text != self.refusal:
            self.refusal = text
            self.on_refuse(folder, text)

    def watch(self, seconds: float, also: Callable[[], None]) -> threading.Thread:
        """Starts a thread that refreshes the store and calls `also` at intervals, until `stopping` is set."""

        def loop() -> None:
            while not self.stopping.wait(seconds):
                self.refresh()
                also()

        thread = threading.Thread(target=loop, name="swap", daemon=True)
        thread.start()
        return thread


def bundle_signature(folder: Path) -> Signature:
    """Returns time, size and number of each file of a bundle, which change with it; 0 where one is missing."""
    parts = []
    for path in (*(folder / name for name in ("manifest.json", *FILES)), *sorted(folder.glob("*.py"))):
        try:
            stat = path.stat()
            parts.append((str(path), stat.st_mtime_ns, stat.st_size, stat.st_ino))
        except OSError:
            parts.append((str(path), 0, 0, 0))
    return tuple(parts)
