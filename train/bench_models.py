"""`python -m train.bench_models`: what the three models cost in time, memory and latency, by device."""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from himari_jax.cli import invocation
from himari_jax.command import parse, run_command
from himari_jax.errors import InputError
from himari_jax.stopping import stop_at_signals
from train.benchmarks.models.config import ModelsConfig
from train.benchmarks.models.measure import check_flags, measure
from train.benchmarks.models.rows import Row, merged, priced, read_rows, write_rows
from train.benchmarks.models.table import render

PROG = invocation("train.bench_models")


def main(args: Sequence[str]) -> int:
    """Measures each model in processes of its own, one after the other, and prints the tables."""
    bench = parse(ModelsConfig, args, PROG)
    rows = read_all(bench)
    if bench.estimate:
        print(estimated(bench, rows))
        return 0
    if bench.merge:
        rows = priced(rows, bench.price_per_hour)
        keep(bench, rows)
    else:
        check_flags(bench, rows)
        stop_at_signals("stopped; --out keeps the models that were measured")
        rows = measure_all(bench, rows)
    print(render(rows, bench.markdown))
    return 0


def read_all(bench: ModelsConfig) -> list[Row]:
    """The rows of --out, where it exists, and of --merge.

    Raises:
        InputError: a file is none of this command, or --out cannot be written.
    """
    rows: list[Row] = []
    if bench.out is not None:
        if not bench.out.absolute().parent.is_dir():
            raise InputError(f"--out {bench.out}: there is no folder {bench.out.parent}")
        rows = read_rows(bench.out) if bench.out.exists() else []
    for path in bench.merge:
        rows = merged(rows, read_rows(path), f"--merge {path}")
    return rows


def estimated(bench: ModelsConfig, rows: list[Row]) -> str:
    """The table of --estimate.

    Raises:
        InputError: the rows hold no card to calibrate with.
    """
    from train.distributed.devices import choose_device

    choose_device("cpu")
    from train.benchmarks.models.estimate import CARDS, count, estimate, measured_on
    from train.benchmarks.models.estimate import render as render_estimate

    known, seconds = measured_on(rows)
    card = CARDS[str(bench.estimate)]
    works = [count(model) for model in bench.models]
    return render_estimate(estimate(works, card, known, seconds), card, known, rows[0].steps)


def measure_all(bench: ModelsConfig, rows: list[Row]) -> list[Row]:
    """The rows with those of this machine, each kept as soon as it is measured."""
    for model in bench.models:
        with tempfile.TemporaryDirectory(prefix="himari-bench-") as scratch:
            rows = merged(rows, [measure(model, bench, Path(scratch))], f"--out {bench.out}")
        keep(bench, rows)
    return rows


def keep(bench: ModelsConfig, rows: Sequence[Row]) -> None:
    """Writes the rows to --out."""
    if bench.out is not None:
        write_rows(bench.out, rows)


if __name__ == "__main__":
    sys.exit(run_command(main))
