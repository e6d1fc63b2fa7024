"""The report: what stands in it, what is left out, what it must never do."""

import errno
import json
import os

import pytest
from plotly.offline import get_plotlyjs
from report_runs import BASELINES, EVIL, block, make_extra, make_result, make_run, read

from himari_jax.command import run_command
from himari_jax.errors import StorageError
from train.report import main
from train.reporting.report import write_report


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A report with everything in it."""
    return write_report(make_run(tmp_path_factory.mktemp("report") / "run"), make_extra())


def test_the_verdict_comes_first_then_the_table_then_the_plots(whole):
    text = whole.read_text()
    places = [
        text.index(x)
        for x in (
            "<h1",
            "The interval does not exclude 0.",
            "<table",
            'class="plot"',
            ">Multiplier<",
            ">Equity<",
            'id="library"',
        )
    ]
    assert places == sorted(places)
    assert read(whole).headings[0] == "INCONCLUSIVE"


def test_every_baseline_is_a_row_with_its_interval_and_undefined_is_a_dash(whole):
    table = whole.read_text().split('<table class="numbers"')[1].split("</table>")[0]
    for name in BASELINES:
        row = table.split(f'<th scope="row">{name}')[1].split("</tr>")[0]
        assert "-0.50 to 2.50" in row
        assert (">–<" in row) == (name == "cash")
    assert "SYNTHETIC" in " ".join(read(whole).words)


def test_of_a_single_asset_no_concentration_is_shown(whole, tmp_path):
    run = make_run(tmp_path / "run", rows=900)
    result = json.loads((run / "result.json").read_text())
    for symbols, shown in ((["BTC-USD"], False), (["BTC-USD", "ETH-USD"], True)):
        (run / "result.json").write_text(json.dumps(result | {"symbols": symbols}))
        table = write_report(run).read_text().split('<table class="numbers"')[1].split("</table>")[0]
        assert (">Herfindahl<" in table) == (">divers.<" in table) == shown
        assert ">turnover/y<" in table


def test_nothing_is_fetched_and_the_library_is_inlined_once(whole):
    page, text = read(whole), whole.read_text()
    assert page.packed.count(get_plotlyjs()) == 1
    assert page.packed[-1] == get_plotlyjs()
    assert not [tag for tag, _ in page.tags if tag in ("link", "iframe", "img", "object", "embed", "base")]
    for tag, attributes in page.tags:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            assert attributes.get(name, "#").startswith("#"), (tag, attributes)
    style = text.split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy


def test_text_from_data_is_never_markup(tmp_path):
    verdict = {"word": EVIL, "reason": EVIL}
    result = {"advice": [EVIL], "policy": EVIL, "verdict": verdict, "baselines": {EVIL: block(), "base": block()}}
    run = make_run(tmp_path / "a&b<i>", symbols=(EVIL, "x\" onload='alert(2)"), rows=900, **result)
    page = read(write_report(run, make_extra((EVIL,), 900)))
    runs = [text for kind, text in page.scripts if kind is None]
    assert len(runs) == 1  # the page's own
    assert "alert(" not in runs[0]
    assert {kind for kind, _ in page.scripts} == {None, "text/plain"}
    assert all(json.loads(text) for text in page.packed[:-1])
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert EVIL in " ".join(page.words)


@pytest.mark.parametrize(
    ("file", "gone"),
    [
        ("equity.parquet", ["Multiplier", "Equity", "Weights over time", "Position against price: SYN1"]),
        ("metrics.jsonl", ["Training", "Validation Sharpe"]),
        ("data_report.json", ["Data"]),
    ],
)
def test_a_missing_file_leaves_its_sections_out(whole, tmp_path, file, gone):
    run = make_run(tmp_path / "run", rows=900)
    (run / file).unlink()
    headings = read(write_report(run, make_extra(rows=900))).headings
    assert set(gone) <= set(read(whole).headings)
    assert not set(gone) & set(headings)


def test_what_extra_lacks_is_left_out_and_the_delays_stand_in_for_a_backtest(whole, tmp_path):
    optional = {"Position against price: SYN1", "Bootstrap of the difference", "Sharpe against cost", "Audits"}
    page = read(write_report(make_run(tmp_path / "run", rows=900)))
    assert optional <= set(read(whole).headings)
    assert not optional & set(page.headings)
    assert "one bar later" in page.words
    assert "one bar later" not in read(whole).words


def test_one_seed_has_no_section_of_seeds(whole, tmp_path):
    one = make_result(("SYN1",))["seeds"][:1]
    page = read(write_report(make_run(tmp_path / "run", rows=900, seeds=one, across_seeds=None)))
    assert "Seeds" in read(whole).headings
    assert "Seeds" not in page.headings


def disk_is_full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    run = make_run(tmp_path / "run", rows=900)
    before = write_report(run).read_bytes()
    monkeypatch.setattr(os, "fsync", disk_is_full)
    with pytest.raises(StorageError, match=r"report\.html: No space left"):
        write_report(run)
    assert (run / "report.html").read_bytes() == before
    assert not list(run.glob("*.part"))


def test_the_command_writes_the_report_again(tmp_path, capsys):
    run = make_run(tmp_path / "run", rows=900)
    assert run_command(main, [str(run)]) == 0
    assert capsys.readouterr().out.strip() == str(run / "report.html")
    assert not list(run.glob("*.part"))


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("result.json", None, "result.json is missing"),
        ("result.json", "{", "damaged"),
        ("result.json", "{}", "no verdict"),
        ("result.json", "[1]", "damaged"),
        ("config.json", "[1]", "damaged"),
        ("metrics.jsonl", "{\n", "damaged"),
        ("equity.parquet", "no parquet", "damaged"),
    ],
)
def test_a_folder_that_is_no_finished_run_is_one_line_and_exit_2(tmp_path, capsys, file, content, says):
    run = make_run(tmp_path / "run", rows=900)
    (run / file).unlink()
    if content is not None:
        (run / file).write_text(content)
    assert run_command(main, [str(run)]) == 2
    info = capsys.readouterr().err
    assert says in info
    assert info.count("\n") == 1
    assert not (run / "report.html").exists()


def test_windows_of_a_backtest_are_named_where_they_count_and_the_curves_say_that_they_are_the_whole_span(tmp_path):
    run = make_run(tmp_path / "run", rows=900, windows={"number": 4, "steps": 200})
    text = write_report(run, make_extra(rows=900)).read_text()
    assert text.count("4 windows of 200 decisions") == 5  # table, equity, drawdown, cost, delay
    one = make_run(tmp_path / "one", rows=900, windows={"number": 1, "steps": 900})
    assert "windows of" not in write_report(one, make_extra(rows=900)).read_text()
