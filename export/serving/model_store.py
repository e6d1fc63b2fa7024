"""The store of the served model: a new one is loaded and verified beside the old, then swapped in one assignment."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from export.loading import load
from export.runtime import FILES, MOST_ACCOUNT, Model
from export.serving.schemas import ModelOut
from himari_jax.errors import InputError
from himari_jax.features import ACCOUNT_FEATURES, MOST_MARKET

Signature = tuple[tuple[str, int, int, int], ...]  # path, time, size and number of each file


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A verified model with what every request would otherwise derive again."""

    model: Model
    symbols: tuple[str, ...] = field(init=False)  # of a pool, those of which an instance is about one
    names: tuple[str, ...] = field(init=False)  # of the D numbers of an observation
    limits: np.ndarray = field(init=False)  # (D,) largest magnitude that is an observation
    info: ModelOut = field(init=False)

    def __post_init__(self):
        symbols, assets = self.model.symbols, len(self.model.places)
        limits = np.full(self.model.width, MOST_MARKET)
        market = len(self.model.features.names)
        width = market + len(ACCOUNT_FEATURES)
        for n in range(assets):
            limits[width * n + market : width * (n + 1)] = MOST_ACCOUNT
        if assets > 1:
            limits[-1] = MOST_ACCOUNT  # Herfindahl
        info = ModelOut(self.model.name, self.model.version, self.model.digest)
        for name, value in (("symbols", symbols), ("names", self.model.names), ("limits", limits)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "info", info)


class ModelStore:
    """Loads models from a folder and holds the one that is served.

    A bundle folder, or a folder of version folders: the one that its file CURRENT names, else the newest.

    Args:
        path: of that folder.
        on_load: told of a model that begins to answer.
        on_refuse: told of a bundle that does not hold, and why.
        allow_code: whether to run code for features that a bundle carries.
    """

    def __init__(
        self,
        path: Path,
        on_load: Callable[[ServedModel], None],
        on_refuse: Callable[[Path, str], None],
        allow_code: bool = False,
    ):
        self.path, self.on_load, self.on_refuse, self.allow_code = path, on_load, on_refuse, allow_code
        self.current: ServedModel | None = None
        self.seen: Signature | None = None
        self.stopping = threading.Event()

    def candidate(self) -> Path | None:
        """The bundle folder that should be served; None where there is none.

        Raises:
            InputError: CURRENT names no folder in here.
        """
        if (self.path / "manifest.json").exists():
            return self.path
        pointer = self.path / "CURRENT"
        if pointer.is_file():
            name = pointer.read_text(errors="replace")[:256].strip()
            if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
                raise InputError(f"{pointer}: {name!r}; allowed: the name of a version folder beside it")
            return self.path / name
        versions = [folder for folder in self.path.iterdir() if (folder / "manifest.json").is_file()]
        return max(
            versions, key=lambda folder: ((folder / "manifest.json").stat().st_mtime_ns, folder.name), default=None
        )

    def look(self) -> bool:
        """Loads what should be served and is not yet; True where the model changed.

        A candidate that does not hold is refused once and looked at again when one of its files changes.
        """
        folder, signature = self.path, None
        try:
            found = self.candidate()
            if found is None:
                return False
            folder, signature = found, sign(found)
            if signature == self.seen:
                return False
            served = ServedModel(load(folder, self.allow_code))
        except Exception as error:  # a candidate must never end the server, whatever is wrong with it
            self.refuse(folder, signature, error)
            return False
        self.seen, self.current = signature, served
        self.on_load(served)
        return True

    def refuse(self, folder: Path, signature: Signature | None, error: Exception) -> None:
        """Says once why a candidate is not served."""
        mark = signature or ((f"{folder}: {error}", 0, 0, 0),)
        if mark != self.seen:
            self.seen = mark
            text = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            self.on_refuse(folder, " ".join(text.split())[:500])

    def watch(self, seconds: float) -> threading.Thread:
        """Looks again every so many seconds until `stopping` is set."""

        def loop() -> None:
            while not self.stopping.wait(seconds):
                self.look()

        thread = threading.Thread(target=loop, name="swap", daemon=True)
        thread.start()
        return thread


def sign(folder: Path) -> Signature:
    """Says whether a file of a bundle changed; a missing one counts as 0."""
    parts = []
    for path in (*(folder / name for name in ("manifest.json", *FILES)), *sorted(folder.glob("*.py"))):
        try:
            stat = path.stat()
            parts.append((str(path), stat.st_mtime_ns, stat.st_size, stat.st_ino))
        except OSError:
            parts.append((str(path), 0, 0, 0))
    return tuple(parts)


def now_ms() -> int:
    """The clock, epoch milliseconds."""
    return time.time_ns() // 1_000_000
