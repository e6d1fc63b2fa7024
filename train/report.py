"""`python -m train.report`: a run folder as one self-contained page, report.html; light: no jax."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import tyro

from himari_jax.candles import YEAR_MS
from himari_jax.errors import InputError, StorageError
from train import report_plots as plots
from train.cli import parse, run_command
from train.config import parse_bar
from train.report_page import SCRIPT, STYLE, number, pairs, row, table
from train.report_plots import Figure
from train.stored import flatten

PROG = "python -m train.report"
MEANING = {
    "EDGE": "On candles it never saw, costs included, the policy did better than the best simple rule, "
    "by more than chance explains, and it still does when it sees the market one bar later.",
    "NO EDGE": "On candles it never saw, costs included, nothing here is worth more than a simple rule.",
    "INCONCLUSIVE": "On candles it never saw, costs included, this sample can neither confirm nor exclude an edge.",
}
COLUMNS = {  # heading: (key, form)
    "Sharpe": ("sharpe", ".2f"), "95 % interval": ("sharpe_interval", ".2f"), "Sortino": ("sortino", ".2f"),
    "CAGR": ("cagr", ".1%"), "Calmar": ("calmar", ".2f"), "max DD": ("max_drawdown", ".1%"),
    "CVaR 5 %": ("cvar_5", ".2%"), "win rate, bars": ("win_rate_bar", ".1%"),
    "win rate, trips": ("win_rate_trip", ".1%"), "turnover/y": ("turnover", ".1f"),
    "cost drag/y": ("cost_drag", ".2%"), "exposure": ("exposure", ".2f"),
    "Herfindahl": ("herfindahl", ".2f"), "divers.": ("diversification", ".2f"), "final equity": ("final_equity", ".3f"),
}  # fmt: skip


@dataclass(frozen=True)
class Extra:
    """What a report shows beyond the run folder; whatever is absent is left out of the page."""

    prices: pl.DataFrame | None = None
    """`time` (close of the bar, as in equity.parquet) and a column of closes for each symbol."""
    backtest: pl.DataFrame | None = None
    """`policy`, `cost` (bps), `delay` (bars), `sharpe`, a row for each seed and window."""
    agent: str | None = None
    """The policy in `backtest` that this run is; None: every one that is no baseline."""
    samples: np.ndarray | None = None
    """Bootstrap samples of the Sharpe difference to the best baseline, (num_samples,)."""
    audits: Sequence[Mapping[str, Any]] | None = None
    """`name`, `passed`, `detail` of each audit."""


class Run(NamedTuple):
    """What was read from a run folder."""

    name: str
    result: dict[str, Any]
    config: dict[str, Any]
    data: dict[str, Any]
    metrics: list[dict[str, Any]]
    frame: pl.DataFrame | None  # equity.parquet


def write_report(folder: Path, extra: Extra | None = None) -> Path:
    """Writes `report.html` of a finished run, at once or not at all.

    Args:
        folder: with result.json; config.json, data_report.json, metrics.jsonl, equity.parquet where present.
        extra: what else is shown.

    Raises:
        InputError: no result is there, or a file is damaged.
        StorageError: it could not be read or written.
    """
    path = folder / "report.html"
    write_text(path, page(read_run(folder), extra or Extra()))
    return path


def write_page(
    path: Path,
    result: dict[str, Any],
    config: dict[str, Any],
    data: dict[str, Any],
    metrics: list[dict[str, Any]],
    frame: pl.DataFrame,
    extra: Extra,
) -> None:
    """Writes the report of something that is no run folder, from what such a folder would hold.

    Args:
        path: of the page.
        result: as result.json.
        config: as config.json.
        data: as data_report.json.
        metrics: as metrics.jsonl.
        frame: as equity.parquet.
        extra: what else is shown.

    Raises:
        StorageError: it could not be written.
    """
    run = Run(str(result.get("name", path.parent.name)), result, config, data, metrics, frame)
    write_text(path, page(run, extra))


def write_text(path: Path, text: str) -> None:
    """Writes a file at once or not at all."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(text.encode("utf-8", "replace"))
        part.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}; make room or fix the permission") from error


def read_run(folder: Path) -> Run:
    """The files of a run folder; only result.json must be there."""
    text = read_text(folder / "result.json")
    if text is None:
        raise InputError(f"{folder}: no finished run is there (result.json is missing)")
    config, data = (read_text(folder / f"{name}.json") or "{}" for name in ("config", "data_report"))
    try:
        result = dict(json.loads(text))
        if missing := [name for name in ("verdict", "agent", "baselines") if not isinstance(result.get(name), dict)]:
            raise ValueError(f"result.json has no {missing[0]}")
        return Run(
            folder.resolve().name,
            result,
            dict(json.loads(config)),
            dict(json.loads(data)),
            read_metrics(folder),
            read_equity(folder / "equity.parquet"),
        )
    except (ValueError, TypeError) as error:
        raise InputError(f"{folder}: a file is damaged ({type(error).__name__}: {error})") from error


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Lines of metrics.jsonl of a run; none where there is no such file."""
    return [dict(json.loads(row)) for row in (read_text(folder / "metrics.jsonl") or "").splitlines()]


def read_text(path: Path) -> str | None:
    """A file's text, None where there is no such file."""
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: damaged, not UTF-8") from error
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error


def read_equity(path: Path) -> pl.DataFrame | None:
    """equity.parquet, None where there is no such file or no row in it."""
    if not path.exists():
        return None
    try:
        frame = pl.read_parquet(path, glob=False)
        frame.select("time", "equity")
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{path}: damaged ({' '.join(str(error).split())})") from error
    except OSError as error:
        raise StorageError(f"{path}: {error}") from error
    return frame if len(frame) else None


def page(run: Run, extra: Extra) -> str:
    """The whole page."""
    from plotly.offline import get_plotlyjs

    sections = [(name, body) for name, body in all_sections(run, extra) if body]
    links = "".join(f'<a href="#s{i}">{escape(name)}</a>' for i, (name, _) in enumerate(sections))
    parts = [f'<section id="s{i}"><h2>{escape(k)}</h2>{text}</section>' for i, (k, text) in enumerate(sections)]
    title = f"{run.result['verdict'].get('word', '-')}: {' '.join(symbols_of(run))}, {run.name}"
    commit = str(run.config.get("commit") or "-")[:12]
    made_by = f"HIMARI JAX {run.config.get('himari_jax', '-')}, commit {commit}, run {run.name}"
    library = get_plotlyjs().replace("</script", "<\\/script")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'unsafe-inline'; "
        "style-src 'unsafe-inline'; img-src data: blob:\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>"
        f"<header>{top(run)}</header><nav aria-label='sections'>{links}</nav><main>{''.join(parts)}</main>"
        f"<footer>{escape(made_by)}. Nothing here is investment advice.</footer>"
        "<noscript><p>The plots need JavaScript; nothing is fetched.</p></noscript>"
        f"<script>{library}</script><script>{SCRIPT}</script></body></html>\n"
    )


def all_sections(run: Run, extra: Extra) -> Iterator[tuple[str, str]]:
    """Headings and contents, empty where there is no input."""
    result = run.result
    yield "Agent and baselines", comparison(run)
    yield "Course of the test span", plots.figures(course(run, extra))
    yield "What the verdict rests on", plots.figures(evidence(run, extra), "pair") + delays(run, extra)
    yield "Audits", audits(extra.audits or result.get("audits") or ())
    yield "Policies", policies(result)
    yield "Known optimum", pairs(result.get("oracle") or {})
    yield "Seeds", seeds(run)
    numbers = [block.get("seed", k) for k, block in enumerate(result.get("seeds") or [])]
    yield "Training", plots.figures(plots.training(run.metrics, numbers), "grid")
    yield "Data", data_report(run.data)
    yield "Settings and fingerprints", settings(run)


def top(run: Run) -> str:
    """The verdict and why, in words."""
    verdict, result = run.result["verdict"], run.result
    word = str(verdict.get("word", "-"))
    kind = word.lower().replace(" ", "-") if word in MEANING else "other"
    synthetic = '<p class="synthetic"><strong>SYNTHETIC</strong> These candles were made by chance.</p>'
    name = str(result.get("span", "test"))
    test = (result.get("spans") or {}).get(name)
    called = f"{name} span" if name.isalpha() else "span"
    when = f", {called} {test[0][0][:10]} to {test[-1][1][:10]}" if test else ""
    what = f"{' '.join(symbols_of(run))}, policy {result.get('policy', '-')}{when}"
    reason = str(verdict.get("reason", ""))
    points = "".join(f"<li>{escape(sentence)}</li>" for sentence in notes(run))
    return (
        f'<p class="what">{escape(what)}</p><h1 class="{kind}">{escape(word)}</h1>'
        f'<p class="reason">{escape(reason[:1].upper() + reason[1:])}.</p><p>{escape(MEANING.get(word, ""))}</p>'
        f"{synthetic if run.result.get('synthetic') else ''}<ul>{points}</ul>"
    )


def notes(run: Run) -> Iterator[str]:
    """Sentences under the verdict."""
    result = run.result
    difference = result["agent"].get("sharpe_difference")
    told = str(result["verdict"].get("reason", ""))
    if difference and None not in difference["interval"] and f"{difference['value']:+.2f}" not in told:
        low, high = difference["interval"]
        yield (
            f"Sharpe minus that of {difference['baseline']}, the best baseline: {difference['value']:+.2f}, "
            f"95 % interval {low:+.2f} to {high:+.2f} (paired stationary bootstrap)."
        )
    smallest = result.get("minimum_detectable_sharpe")
    if smallest is not None and "could confirm" not in told:
        yield f"The smallest Sharpe that this sample could confirm: {smallest:.2f}."
    if (value := result.get("deflated_sharpe")) is not None:
        yield f"The probability that its true Sharpe is above what the best of all trials owes to chance: {value:.3f}."
    elif (value := result.get("probabilistic_sharpe")) is not None:
        yield f"The probability that its true Sharpe is above 0: {value:.3f}."
    yield from (f"Advice: {text}." for text in result.get("advice") or ())


def comparison(run: Run) -> str:
    """The table of agent and baselines, and their intervals as a plot."""
    result = run.result
    agent = f"agent ({result['policy']})" if "policy" in result else "agent"
    blocks = {agent: result["agent"], **result["baselines"]}
    columns = {k: v for k, v in COLUMNS.items() if any(v[0] in block for block in blocks.values())}
    best = (result["agent"].get("sharpe_difference") or {}).get("baseline")
    rows = []
    for name, block in blocks.items():
        cells = "".join(f"<td>{number(block.get(key), form)}</td>" for key, form in columns.values())
        mark = " <small>best</small>" if name == best else ""
        kind = ' class="agent"' if block is result["agent"] else ""
        rows.append(f'<tr{kind}><th scope="row">{escape(name)}{mark}</th>{cells}</tr>')
    note = "Costs included; annual figures; the interval is of the Sharpe, by stationary bootstrap."
    if run.result.get("synthetic"):
        note = f"SYNTHETIC candles. {note}"
    figure = plots.forest("Sharpe and its interval", blocks, "Overlap says little: the paired difference decides.")
    return table(["", *columns], rows, note, "numbers") + plots.figures([figure])


def course(run: Run, extra: Extra) -> Iterator[Figure | None]:
    """Plots over the test span."""
    if run.frame is None:
        return
    best = best_baseline(run)
    yield plots.equity(run.frame)
    yield plots.drawdown(run.frame, best)
    yield plots.weights(run.frame)
    if extra.prices is not None:
        for symbol in symbols_of(run)[: plots.MOST_PRICES]:
            yield plots.position(run.frame, extra.prices, symbol)
    yield plots.rolling_sharpe(run.frame, bars_per_year(run), best)
    yield plots.distribution(run.frame, best)


def evidence(run: Run, extra: Extra) -> Iterator[Figure | None]:
    """Bootstrap distribution and sensitivity."""
    if extra.samples is not None:
        interval = np.quantile(extra.samples, [0.025, 0.975]).tolist()
        yield plots.histogram_of_samples(extra.samples, best_baseline(run) or "the best baseline", interval)
    if extra.backtest is not None and len(extra.backtest):
        market = (run.config.get("flags") or {}).get("market") or {}
        own = 1e4 * market.get("commission_rate", 0.001) + market.get("slippage_bps", 0.0)
        costs = extra.backtest["cost"].unique().to_numpy()
        delays = extra.backtest["delay"].unique().to_numpy()
        delay = delays[np.abs(delays - market.get("delay", 0)).argmin()]
        yield plots.sensitivity(extra.backtest, "cost", float(delay), extra.agent)
        yield plots.sensitivity(extra.backtest, "delay", float(costs[np.abs(costs - own).argmin()]), extra.agent)


def delays(run: Run, extra: Extra) -> str:
    """Sharpe on time and one bar later, where no backtest says more."""
    late = run.result.get("delay")
    if extra.backtest is not None or not late:
        return ""
    agent = run.result["agent"]
    best = best_baseline(run) or "the best baseline"
    now = (agent.get("sharpe_difference") or {}).get("value")
    rows = [
        row("on time", number(agent.get("sharpe"), ".2f"), number(now, "+.2f")),
        row("one bar later", number(late.get("sharpe"), ".2f"), number(late.get("sharpe_difference"), "+.2f")),
    ]
    return table(["decision", "Sharpe", f"minus {best}'s"], rows, "A Sharpe that lives on time alone is a leak.")


def audits(found: Sequence[Mapping[str, Any]]) -> str:
    """Each audit with its outcome."""
    words = {
        True: '<td class="pass">✓ passed</td>',
        False: '<td class="fail">✗ failed</td>',
        None: '<td class="text">– told</td>',
    }
    rows = [
        f'<tr><th scope="row">{escape(str(audit["name"]))}</th>{words[audit["passed"]]}'
        f'<td class="text">{escape(str(audit.get("detail", "")))}</td></tr>'
        for audit in found
    ]
    return table(["audit", "", ""], rows, "", "words") if rows else ""


def policies(result: Mapping[str, Any]) -> str:
    """All policies of a backtest side by side, where there is more than one."""
    found, many = result.get("policies") or [], result.get("many") or {}
    rows = []
    for one in found:
        difference = one["sharpe_difference"]
        gap = f"{number(difference['value'], '+.2f')} to {difference['baseline']}"
        cells = one["word"], number(one["sharpe"], ".2f"), number(one["sharpe_interval"], ".2f"), gap
        rows.append(row(one["name"], *cells, number(difference["interval"], "+.2f")))
    heads = ["policy", "verdict", "Sharpe", "95 % interval", "difference", "95 % interval"]
    facts = {
        "policies, seeds counted": many.get("policies"),
        "benchmark": many.get("benchmark"),
        "SPA p-value": number(many.get("spa_pvalue"), ".3f"),
        "superior (StepM)": ", ".join(many.get("superior") or []) or "none",
        "model confidence set, 95 %": ", ".join(many.get("confidence_set") or []),
    }
    return (table(heads, rows, "", "words") if rows else "") + (pairs(facts) if many else "")


def seeds(run: Run) -> str:
    """Sharpe of every seed with its interval, where there is more than one."""
    blocks, across = run.result.get("seeds") or [], run.result.get("across_seeds") or {}
    if len(blocks) < 2:
        return ""
    chosen = run.result.get("chosen_seed")
    ordered = sorted(blocks, key=lambda block: block.get("seed") != chosen)
    named = {f"seed {block.get('seed', k)}": block for k, block in enumerate(ordered)}
    alarm = "ALARM: the seeds collapsed into one policy; they count as one." if across.get("collapsed") else ""
    caption = f"Marked: seed {chosen}, the best on validation; everything above is of that seed. {alarm}"
    facts = {k.replace("_", " "): number(v, ".2f") for k, v in across.items() if k != "collapsed"}
    return plots.figures([plots.forest(f"{len(blocks)} seeds on the test span", named, caption)]) + pairs(facts)


def data_report(data: Mapping[str, Any]) -> str:
    """What was found in the candles."""
    if not data:
        return ""
    facts = {key: value for key, value in data.items() if key != "findings"}
    found = data.get("findings") or []
    rows = [row(*(item.get(key, "") for key in ("symbol", "kind", "count", "detail")), text=True) for item in found]
    return pairs(facts) + table(["symbol", "kind", "count", "detail"], rows, "" if rows else "Nothing amiss.", "words")


def settings(run: Run) -> str:
    """Every flag, version, fingerprint, span and timing, folded."""
    result, flags = run.result, run.config.get("flags") or {}
    made_by = {key: value for key, value in run.config.items() if key != "flags"}
    kept = (
        "fingerprint",
        "spans",
        "timings",
        "chosen_seed",
        "best_update",
        "validation_sharpe",
        "trials",
        "checkpoint",
        "windows",
        "own_cost",
        "own_delay",
    )
    asked = made_by.pop("backtest", None) or {}
    groups = {
        "Backtest": asked,
        "Flags": flags,
        "Made by": made_by,
        "Result": {key: result[key] for key in kept if key in result},
    }
    folded = [f"<details><summary>{k}</summary>{pairs(flatten(v))}</details>" for k, v in groups.items() if v]
    return "".join(folded)


def symbols_of(run: Run) -> list[str]:
    """The assets, in their order."""
    named = run.result.get("symbols") or run.data.get("symbols")
    held = [] if run.frame is None else [c[7:] for c in run.frame.columns if c.startswith("weight_")]
    return [str(symbol) for symbol in named or held]


def best_baseline(run: Run) -> str | None:
    """The baseline that the agent is measured against, where its curve is known."""
    name = (run.result["agent"].get("sharpe_difference") or {}).get("baseline")
    return name if run.frame is None or f"baseline_{name}" in run.frame.columns else None


def bars_per_year(run: Run) -> float:
    """As the account counts them: 365 days where the market never closes, else as many as the data show."""
    if run.data.get("calendar", "continuous") != "continuous" and run.frame is not None and len(run.frame) > 1:
        time = plots.epoch(run.frame)
        return float(365.25 / 365 * YEAR_MS * (len(time) - 1) / (time[-1] - time[0]))
    return YEAR_MS / parse_bar(str(run.data.get("bar", "1h")))


@dataclass(frozen=True)
class ReportConfig:
    """Write the report of a finished run again."""

    run: tyro.conf.Positional[Path] = field()
    """Run folder, with result.json in it."""
    debug: bool = False
    """Show the traceback of an error."""


def main(args: Sequence[str]) -> int:
    """Writes the page and says where it is."""
    print(write_report(parse(ReportConfig, args, PROG).run))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
