"""The default programs run on a card of the class of a T4: nothing in them needs bfloat16, a newer chip, or 15 GB."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from himari_jax.command import run_command
from himari_jax.errors import InputError
from himari_jax.policies import lstm
from train.bench_models import main
from train.benchmarks.models.estimate import CARDS, MEASURED, Work, estimate, measured_on, render
from train.benchmarks.models.operations import count_operations
from train.benchmarks.models.rows import read_rows
from train.diagnosis.subject import MODELS, default_config, make_subject
from train.learning.ppo import train_chunk
from train.learning.setup import first_state
from train.training.session import build_session

# As XLA itself brings them on every chip, or as marks without code.
HARMLESS = re.compile(r"^(cu_threefry2x32.*|Sharding|annotate_device_placement|cu(blas|dnn|solver)\w*|xla\.\w+)$")
T4, H200 = CARDS["t4"], MEASURED[0]


def lowered(model):
    """The training of a model at its defaults, as it is handed to the compiler of a GPU."""
    setup = build_session(default_config(*MODELS[model]))
    runner = jax.eval_shape(first_state(setup)).runner
    chunk = jax.jit(jax.vmap(partial(train_chunk, setup.learner), (0, None, None)))
    return chunk.trace(runner, setup.params, np.int32(1)).lower(lowering_platforms=("cuda",)).as_text()


@pytest.mark.parametrize("model", ["base", *(pytest.param(m, marks=pytest.mark.slow) for m in ("lstm", "multi"))])
def test_the_default_training_has_no_half_precision_and_no_kernel_of_a_newer_chip(model, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(jax, "default_backend", lambda: "gpu")
        form = lstm.default_form()
    monkeypatch.setenv(lstm.VARIABLE, form)
    text = lowered(model)
    types = set(re.findall(r"x?(bf16|f16|f8\w*|f64|f32|tf32)>", text))
    assert types == {"f32"}
    assert not re.search(r"precision = \[\w*(BF16|TF32)", text)
    called = set(re.findall(r"custom_call @([\w.$]+)", text))
    assert not [name for name in called if not HARMLESS.match(name)]


def test_such_types_and_kernels_would_be_seen():
    half = jax.jit(lambda x: x.astype(jax.numpy.bfloat16) @ x.T.astype(jax.numpy.bfloat16)).lower(np.ones((8, 8), "f4"))
    assert re.findall(r"x?(bf16)>", half.as_text())
    assert not HARMLESS.match("__gpu$xla.gpu.triton")
    assert not HARMLESS.match("mosaic_gpu_v2")


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_the_default_training_needs_a_small_part_of_the_cards_memory(model):
    needed = make_subject(model).program_mb
    assert 1 < needed < T4.memory_mb / 10


HLO = """HloModule x, entry_computation_layout={()->f32[]}

%fused (p: f32[4]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  ROOT %n = f32[4]{0} negate(%p)
}

%inner (t: (s32[], f32[4])) -> (s32[], f32[4]) {
  %t = (s32[], f32[4]{0}) parameter(0)
  %x = f32[4]{0} get-tuple-element(%t), index=1
  %f = f32[4]{0} fusion(%x), kind=kLoop, calls=%fused
  %d = f32[4]{0} custom-call(%f), custom_call_target="x"
  ROOT %r = (s32[], f32[4]{0}) tuple(%i, %d)
}

%outer (t: (s32[], f32[4])) -> (s32[], f32[4]) {
  %t = (s32[], f32[4]{0}) parameter(0)
  %c = f32[4]{0} copy(%y)
  ROOT %w = (s32[], f32[4]{0}) while(%t), condition=%c1, body=%inner, backend_config={"known_trip_count":{"n":"10"}}
}

ENTRY %main (a: f32[4]) -> f32[4] {
  %a = f32[4]{0} parameter(0)
  %w = (s32[], f32[4]{0}) while(%a), condition=%c2, body=%outer, backend_config={"known_trip_count":{"n":"3"}}
  ROOT %s = f32[4]{0} fusion(%w), kind=kLoop, calls=%fused
}
"""


def test_operations_of_loops_in_loops_by_hand():
    assert count_operations(HLO) == 3 * (1 + 10 * 2) + 1
    assert count_operations(HLO.replace(', backend_config={"known_trip_count":{"n":"3"}}', "")) == (1 + 10 * 2) + 1


def test_operations_of_a_scan_grow_with_its_length():
    def scan(length):
        body = lambda c, _: (jax.numpy.sin(c @ c), None)  # noqa: E731
        run = jax.jit(lambda x: jax.lax.scan(body, x, length=length)[0])
        return count_operations(run.lower(np.ones((32, 32), "f4")).compile().as_text())

    assert scan(40) - scan(20) == pytest.approx(20 * (scan(20) / 20), rel=0.2)


def test_no_program_is_refused():
    with pytest.raises(ValueError, match="optimized HLO"):
        count_operations("hello")


def work(model, operations=1000, flops=0.0, moved=0.0):
    return Work(model, 1000, operations, flops, moved, 20.0)


def test_the_estimate_by_hand():
    # 2 us an operation where it was measured; 81 GFLOP are 10 ms of the card at its peak, 6.4 GB 20 ms.
    works = [work("base"), work("multi", flops=81e9, moved=6.4e9)]
    base, multi = estimate(works, T4, H200, {"base": 2e-6})
    assert base.low == pytest.approx(2e-3)
    assert base.high == pytest.approx(4e-3)
    assert multi.tau == pytest.approx(2e-6)
    assert multi.low == pytest.approx(2e-3 + 10e-3)
    assert multi.high == pytest.approx(2 * (2e-3 + 20e-3))
    shown = render([base, multi], T4, H200, 10_000)
    assert "an estimate and no measurement" in shown
    assert "0.02 to 0.04" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_without_a_row_of_a_known_card_there_is_no_estimate(capsys):
    with pytest.raises(InputError, match="no row of an H200 or H100"):
        measured_on([])
    assert run_command(main, ["--estimate", "t4"]) == 2
    assert "--estimate t4: needs --merge" in capsys.readouterr().err


def test_the_rows_of_the_documentation_calibrate_and_those_with_other_flags_do_not():
    rows = read_rows(Path(__file__).parents[2] / "docs" / "bench-models.json")
    known, seconds = measured_on(rows)
    assert known in MEASURED
    assert all(1e-8 < each < 1e-4 for each in seconds.values())
    with pytest.raises(InputError):
        measured_on([replace(row, flags="--hidden-dim 8") for row in rows])
