"""A test session that is stricter than production, and the candles and the ledger that tests share."""

import gc
import os
from pathlib import Path

import jax
import pytest
from accounts import keep_ledger, make_candles
from cache import CACHE
from hypothesis import settings

os.environ["JAX_PLATFORMS"] = "cpu"  # also of what tests start
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
settings.register_profile("laws", deadline=None)  # a law does not depend on how busy the machine is
settings.load_profile("laws")


MOST_MAPS = 45_000  # pieces of memory; Linux gives a process 65,530, and compiled programs take some each


@pytest.fixture(scope="module", autouse=True)
def few_programs():
    """Forgets compiled programs between modules before a process has more of them than the system lets it map."""
    yield
    with open("/proc/self/maps") as maps:
        if sum(1 for _ in maps) < MOST_MAPS:
            return
    from train.learning import population
    from train.simulation import scores

    for kept in (population.compile_init, population.compile_update, scores.compile_scores):
        kept.cache_clear()
    jax.clear_caches()
    gc.collect()


@pytest.fixture(scope="session")
def candles():
    """`candles(num_assets, rows, seed)`: random consistent candles."""
    return make_candles


@pytest.fixture(scope="session")
def ledger():
    """`ledger(fill, mark, target, tradable, rate, ...)`: a plain account of units and cash."""
    return keep_ledger


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real candles that HIMARI_DATA names."""
    named = os.environ.get("HIMARI_DATA")
    if not named:  # empty counts as unset, as in a shell's ${HIMARI_DATA:-}
        pytest.skip("HIMARI_DATA names no folder of real candles")
    assert Path(named).is_dir(), f"HIMARI_DATA={named}: no such folder"
    return Path(named)


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """A folder with two runs on the same candles, `mlp` and `lstm`, two seeds each; only to be read."""
    from worlds import TINY_RUN

    from himari_jax.command import run_command
    from train.ppo import main

    folder = tmp_path_factory.mktemp("runs")
    for name in ("mlp", "lstm"):
        args = [*TINY_RUN, "--run-dir", str(folder / name), "--symbols", "SYN1", "SYN2", "--num-seeds", "2"]
        assert run_command(main, [*args, "--policy", name]) == 0
    return folder
