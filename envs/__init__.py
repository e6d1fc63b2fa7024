"""Markets as pure functions: `envs.make` for candles, `envs.oracles` for markets with a known optimum."""

__all__ = ["make"]


def __getattr__(name: str):  # without a type, so that a type checker takes what it gives for anything
    """Imports `make` when it is asked for: `import envs` loads neither jax nor a reader of files."""
    if name == "make":
        from envs.factory import make

        return make
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
