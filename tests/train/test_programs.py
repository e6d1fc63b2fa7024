"""The programs that a run compiles are few, counted, and shared by runs that differ in scalars alone."""

import json
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console
from worlds import TINY_RUN

from himari_jax.command import run_command
from train.learning.setup import compile_chunk, first_state
from train.ppo import main
from train.reporting.programs import counting_programs, print_programs
from train.training.resume import read_flags
from train.training.session import build_session


def test_every_program_is_counted_once_by_name_in_whichever_thread_it_is_made():
    def fresh(x):
        return x * 2 + 1

    x, y = np.ones(3, np.float32), np.ones(4, np.float32)
    with counting_programs() as programs:
        made = jax.jit(fresh)
        made(x), made(x)
        thread = threading.Thread(target=made, args=(y,))
        thread.start()
        thread.join()
    made(np.ones(5, np.float32))  # nobody counts any more
    found = programs.timings()
    assert programs.costs.keys() == {"fresh"}
    assert found["programs_compiled"] + found["programs_from_cache"] == 2
    assert all(found[f"programs_{step}_seconds"] > 0 for step in ("trace", "lower", "compile"))


def test_the_table_of_programs_fits_80_columns_and_names_the_costly_first(capsys):
    with counting_programs() as programs:
        for step, seconds in (("jaxpr_trace", 1.0), ("backend_compile", 2.0)):
            programs.note_seconds(f"/jax/core/compile/{step}_duration", seconds, fun_name="jit(large)")
        programs.note_event("/jax/compilation_cache/cache_hits")
        programs.note_seconds("/jax/core/compile/backend_compile_duration", 0.5, fun_name="jit(small)")
        programs.note_seconds("/jax/some/other_duration", 9.0)
    print_programs(Console(width=80), programs, 1.5)
    title, heads, large, small = capsys.readouterr().out.strip().splitlines()
    assert title.endswith("(imports before: 1.5 s)")
    assert large.split() == ["large", "1.00", "0.00", "2.00", "1", "0"]
    assert small.split() == ["small", "0.00", "0.00", "0.50", "0", "1"]
    assert max(map(len, (title, heads, large, small))) <= 80


@pytest.fixture(scope="module")
def session():
    """A tiny session."""
    return build_session(read_flags([*TINY_RUN, "--run-dir", "unused"])[0])


def test_the_first_state_is_two_programs_and_nothing_of_it_shares_memory(session):
    make = first_state(session)
    with counting_programs() as programs:
        state = make()
    assert programs.costs.keys() <= {"first_policy", "first_learners"}  # none of many small ones
    kept = [x.unsafe_buffer_pointer() for x in jax.tree.leaves(state.best.variables)]
    given_away = [x.unsafe_buffer_pointer() for x in jax.tree.leaves(state.runner.variables)]
    assert not set(kept) & set(given_away)


def test_a_chunk_compiled_from_shapes_takes_the_first_state(session):
    state = first_state(session)()
    chunk = compile_chunk(session, jax.eval_shape(first_state(session)).runner, session.params)
    runner, metrics = chunk(state.runner, session.params, np.int32(1))
    assert int(runner.update[0]) == 1
    assert jnp.isfinite(metrics.reward).all()


OTHER = (
    "--seed 7 --learning-rate 0.003 --final-learning-rate 0.5 --gamma 0.9 --gae-lambda 0.8 --clip-eps 0.3 "
    "--ent-coef 0.02 --vf-coef 0.3 --max-grad-norm 0.7 --slippage-bps 3 --commission-rate 0.002 "
    "--max-position-pct 0.4 --min-trade 0.01 --ruin 0.4 --total-steps 4096"
).split()


@pytest.mark.slow
def test_a_run_with_other_scalars_compiles_nothing_anew(runs, tmp_path):
    args = [*TINY_RUN, "--run-dir", str(tmp_path / "run"), "--symbols", "SYN1", "SYN2", "--num-seeds", "2", *OTHER]
    assert run_command(main, args) == 0
    timings = json.loads((tmp_path / "run" / "result.json").read_text())["timings"]
    assert timings["programs_compiled"] == 0
    assert timings["programs_from_cache"] >= 1  # the chunk of updates; the others are still in this process
