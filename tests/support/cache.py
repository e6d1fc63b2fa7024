"""Where tests keep what is costly to make anew."""

import os
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "himari-jax-tests"
