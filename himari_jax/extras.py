"""Optional libraries: the extra of pyproject.toml that brings each, and the command that installs it."""

# Libraries of the extras by the name that is imported; an extra that another one holds is named once.
EXTRAS = {
    "google": "cloud",
    "jax2onnx": "export",
    "onnx": "export",
    "onnxruntime": "export,serve",
    "httptools": "serve",
    "msgspec": "serve",
    "prometheus_client": "serve",
    "starlette": "serve",
    "uvicorn": "serve",
    "uvloop": "serve",
    "ccxt": "live",
    "httpx": "live",
    "optuna": "search",
    "numba": "bench",
    "rejax": "bench",
    "sb3_contrib": "bench",
    "stable_baselines3": "bench",
    "torch": "bench",
    "vectorbt": "bench",
}
# What an installation for serving leaves out: libraries and packages of the project itself.
CORE = (
    *("arch", "chex", "envs", "export", "flax", "gymnax", "jax", "optax", "orbax", "plotly", "polars", "rich"),
    *("scipy", "tensorboardX", "train"),
)


def how_to_install(extra: str = "") -> str:
    """The command that installs the project, with an extra where one is named. It is in no package index."""
    what = f"'.[{extra}]'" if extra else "."
    return f"python -m pip install -e {what} in a clone of the project"


def missing(module: str | None) -> str | None:
    """One line for a module that is not installed: what brings it; None where it is none of ours.

    Args:
        module: as `ModuleNotFoundError.name` has it.
    """
    library = (module or "").partition(".")[0]
    if library in EXTRAS:
        return f"{library} is not installed: {how_to_install(EXTRAS[library])}"
    if library in CORE:
        return f"{library} is not installed here, where no more than serving may be: {how_to_install()}"
    return None
