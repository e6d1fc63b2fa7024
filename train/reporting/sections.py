"""The sections of a report: headings and contents, empty where there is no input."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from himari_jax.times import YEAR_MS, parse_bar
from train.config.serialize import flatten
from train.reporting.figure import Figure, figures
from train.reporting.page import number, pairs, row, table
from train.reporting.plots import (
    distribution,
    drawdown,
    epoch,
    equity,
    forest,
    histogram_of_samples,
    rolling_sharpe,
    sensitivity,
    training,
)
from train.reporting.positions import MOST_PRICES, multiplier, position, weights
from train.reporting.run_files import Extra, Run

COLUMNS = {  # heading: (key, form)
    "Sharpe": ("sharpe", ".2f"), "95 % interval": ("sharpe_interval", ".2f"), "Sortino": ("sortino", ".2f"),
    "CAGR": ("cagr", ".1%"), "Calmar": ("calmar", ".2f"), "max DD": ("max_drawdown", ".1%"),
    "CVaR 5 %": ("cvar_5", ".2%"), "win rate, bars": ("win_rate_bar", ".1%"),
    "win rate, trips": ("win_rate_trip", ".1%"), "turnover/y": ("turnover", ".1f"),
    "cost drag/y": ("cost_drag", ".2%"), "exposure": ("exposure", ".2f"),
    "Herfindahl": ("herfindahl", ".2f"), "divers.": ("diversification", ".2f"), "final equity": ("final_equity", ".3f"),
}  # fmt: skip


def all_sections(run: Run, extra: Extra) -> Iterator[tuple[str, str]]:
    """Headings and contents, empty where there is no input."""
    result = run.result
    yield "Agent and baselines", comparison(run)
    yield "What the policy decided", figures([multiplier(run.frame)] if run.frame is not None else [])
    yield "Course over the span", figures(course(run, extra))
    yield "What the verdict rests on", figures(evidence(run, extra), "pair") + delays(run, extra)
    yield "Audits", audits(extra.audits or result.get("audits") or ())
    yield "Policies", policies(result)
    yield "Known optimum", pairs(result.get("oracle") or {})
    yield "Seeds", seeds(run)
    numbers = [block.get("seed", k) for k, block in enumerate(result.get("seeds") or [])]
    yield "Training", figures(training(run.metrics, numbers), "grid")
    yield "Data", data_report(run.data)
    yield "Settings and fingerprints", settings(run)


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
    figure = forest("Sharpe and its interval", blocks, "Overlap says little: the paired difference decides.")
    return table(["", *columns], rows, note, "numbers") + figures([figure])


def course(run: Run, extra: Extra) -> Iterator[Figure | None]:
    """Plots over the test span."""
    if run.frame is None:
        return
    best = best_baseline(run)
    yield equity(run.frame)
    yield drawdown(run.frame, best)
    yield weights(run.frame)
    if extra.prices is not None:
        for symbol in symbols_of(run)[:MOST_PRICES]:
            yield position(run.frame, extra.prices, symbol)
    yield rolling_sharpe(run.frame, bars_per_year(run), best)
    yield distribution(run.frame, best)


def evidence(run: Run, extra: Extra) -> Iterator[Figure | None]:
    """Bootstrap distribution and sensitivity."""
    if extra.samples is not None:
        interval = np.quantile(extra.samples, [0.025, 0.975]).tolist()
        yield histogram_of_samples(extra.samples, best_baseline(run) or "the best baseline", interval)
    if extra.backtest is not None and len(extra.backtest):
        market = (run.config.get("flags") or {}).get("market") or {}
        own = 1e4 * market.get("commission_rate", 0.001) + market.get("slippage_bps", 0.0)
        costs = extra.backtest["cost"].unique().to_numpy()
        delays = extra.backtest["delay"].unique().to_numpy()
        delay = delays[np.abs(delays - market.get("delay", 0)).argmin()]
        yield sensitivity(extra.backtest, "cost", float(delay), extra.agent)
        yield sensitivity(extra.backtest, "delay", float(costs[np.abs(costs - own).argmin()]), extra.agent)


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
        None: '<td class="text">– info</td>',
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
    return figures([forest(f"{len(blocks)} seeds on the test span", named, caption)]) + pairs(facts)


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
        time = epoch(run.frame)
        return float(365.25 / 365 * YEAR_MS * (len(time) - 1) / (time[-1] - time[0]))
    return YEAR_MS / parse_bar(str(run.data.get("bar", "1h")))
