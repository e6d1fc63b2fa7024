"""Markets as pure functions: `envs.make` for candles, `envs.oracles.make_oracle` for markets with a known optimum."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envs.factory import make

__all__ = ["make"]


def __getattr__(name: str) -> Any:
    """Imports `make` when it is asked for: `import envs` loads neither jax nor a reader of files."""
    if name == "make":
        from envs.factory import make

        return make
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
