"""Folder for test data that is costly to make."""

import os
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "himari-jax-tests"
