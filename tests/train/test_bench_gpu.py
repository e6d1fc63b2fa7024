"""The measurement of a device ends in time, says what it did not reach, and keeps every row as it comes."""

import json
import threading
import time

import pytest

from himari_jax.command import run_command
from train.bench_gpu import main
from train.benchmarks.gpu import schedule, table, work
from train.benchmarks.gpu.config import GPUConfig
from train.benchmarks.gpu.programs import Job, Program, recurrences, training_jobs
from train.benchmarks.gpu.schedule import Compiling, Row, time_all


def job(name, build, size=8):
    return Job(name, size, "envs", "steps/s", build)


def instant(seconds=0.0, **known):
    """A program that takes so long each time."""
    return lambda: Program(lambda: time.sleep(seconds), 100, 0.5, **known)


def fall():
    raise RuntimeError("it does not compile")


def measured(jobs, seconds=5.0, most_mb=None, threads=2):
    """The rows of jobs by name, after all of them were built."""
    compiled = Compiling(jobs, threads, lambda line: None)
    compiled.wait(time.monotonic() + 5, time.monotonic() + 5)
    return {row.name: row for row in time_all(jobs, compiled, time.monotonic() + seconds, most_mb)}


def test_a_row_has_the_rate_of_its_program_and_a_failure_is_no_end():
    rows = measured([job("bad", fall), job("good", instant(0.01))])
    assert "it does not compile" in rows["bad"].why
    assert 3000 < rows["good"].rate <= 10_000  # 100 in 10 ms or more
    assert rows["good"].compile_seconds == 0.5


def test_what_needs_more_memory_than_there_is_is_never_run():
    ran = []
    large = Program(lambda: ran.append(1), 1, 0.1, program_mb=20_000.0)
    rows = measured([job("large", lambda: large), job("small", instant(program_mb=10.0))], most_mb=15_000.0)
    assert rows["large"].why == "needs 20,000 MB of 15,000"
    assert rows["small"].rate
    assert not ran


def test_a_size_that_would_take_too_long_is_not_begun():
    jobs = [job("mlp", instant(0.02), 10), job("mlp", instant(20.0), 10_000)]
    began = time.monotonic()
    compiled = Compiling(jobs, 1, lambda line: None)
    compiled.wait(began + 5, began + 5)
    small, large = time_all(jobs, compiled, time.monotonic() + 2, None)
    assert small.rate
    assert large.why == "not reached in time"
    assert time.monotonic() - began < 5


def test_nothing_compiles_after_its_share_of_the_time_and_nobody_waits_for_what_hangs():
    hang, begun = threading.Event(), []
    jobs = [job("hangs", hang.wait), job("later", lambda: begun.append(1))]
    compiled = Compiling(jobs, 1, lambda line: None)
    started = time.monotonic()
    compiled.wait(started, started + 0.2)
    assert time.monotonic() - started < 2
    assert compiled.busy
    rows = list(time_all(jobs, compiled, time.monotonic() + 1, None))
    hang.set()
    assert [row.why for row in rows] == ["not compiled in time"] * 2
    assert not begun
    shown = " ".join(table.missed(rows))
    assert "not reached: later, 8 envs; hangs, 8 envs" in shown


def test_what_compiles_late_is_timed_last_where_there_is_time():
    gate = threading.Event()
    jobs = [job("late", lambda: gate.wait() and instant()()), job("soon", instant(0.01))]
    compiled = Compiling(jobs, 2, lambda line: None)
    compiled.wait(time.monotonic(), time.monotonic() + 0.2)
    rows = time_all(jobs, compiled, time.monotonic() + 5, None)
    first = next(rows)
    gate.set()
    assert [first.name, next(rows).name] == ["soon", "late"]


def test_lines_fit_80_columns():
    for name in (job.name for job in training_jobs((0, 32_768))):
        full = Row(name, 32_768, "columns", "steps/s", 123_456_789.0, 5, 123.4, 12_345.0)
        assert len(table.line_of(full)) <= 80
        assert len(table.line_of(Row(name, 32_768, "envs", "steps/s", why="it failed " * 20))) <= 80
    assert len(table.HEAD) <= 80


def test_every_form_of_the_recurrence_has_a_row_at_every_size():
    jobs = training_jobs((0, 4096))
    for form in recurrences():
        title = f"lstm, {form}" if form else "lstm"
        assert [job.size for job in jobs if job.name == title] == [256, 4096]
    assert len({job.title for job in jobs}) == len(jobs)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ("--minutes 0", "--minutes 0"),
        ("--threads 99", "--threads 99"),
        ("--only mpl", "no row begins so; there are mlp"),
    ],
)
def test_a_wrong_flag_is_one_line(args, said, capsys, tmp_path):
    out = ["--out", str(tmp_path / "x.json"), "--device", "cpu"]
    assert run_command(main, [*args.split(), *out]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_rows_are_printed_and_kept(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(work, "jobs_of", lambda bench: [job("good", instant(0.001)), job("bad", fall)])
    monkeypatch.setattr(work, "retraining_of", lambda bench: (3, 10))
    monkeypatch.setattr(table, "retrain", lambda number, steps, end: (2.0, 1.0, 99.0))
    out = tmp_path / "new" / "x.json"
    assert run_command(main, ["--device", "cpu", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "bad, 8 envs: unexpected RuntimeError: it does not compile" in " ".join(shown.split())
    assert "3 retrainings of 10 steps: 2.0 s, of it compiling 1.0 s" in shown
    kept = json.loads(out.read_text())
    assert [row["name"] for row in kept["rows"]] == ["good", "bad", "retrainings"]
    assert kept["rows"][0]["rate"] > 0


def test_retrainings_stop_when_the_time_is_over(monkeypatch):
    from train.benchmarks.gpu.others import Deadline, OutOfTime

    with pytest.raises(OutOfTime):
        Deadline(time.monotonic() - 1).check()

    def late(number, steps, end):
        raise OutOfTime

    monkeypatch.setattr(table, "retrain", late)
    line, row = table.retrainings(3, 10, 0.0)
    assert "not done within" in line
    assert row["why"] == "not reached in time"


def test_only_picks_rows_by_the_beginning_of_their_name():
    names = {job.name for job in work.jobs_of(GPUConfig(only=("pathwise", "account")))}
    assert names == {"pathwise mlp", "pathwise lstm", "account, himari_jax", "account, bare lax.scan"}
    assert work.retraining_of(GPUConfig(only=("mlp",))) is None
    assert work.retraining_of(GPUConfig()) == work.RETRAININGS["cpu"]


@pytest.mark.slow
def test_real_rows_of_a_cpu(tmp_path, monkeypatch):
    monkeypatch.setattr(work, "SIZES", {"cpu": ((0,), (512,), (1,), 8)})
    monkeypatch.setattr(schedule, "SECONDS", 0.1)
    out = tmp_path / "x.json"
    args = ["--device", "cpu", "--minutes", "9", "--only", "mlp", "lstm", "account", "loop mlp, 1", "--out", str(out)]
    assert run_command(main, args) == 0
    rows = json.loads(out.read_text())["rows"]
    assert [row["name"] for row in rows if not row["rate"]] == [
        "lstm, kernel"
    ]  # a form of cards alone, with its reason
    assert len(rows) == 2 + len(recurrences()) + 2 + 2  # account and scan; loop and forward
