"""Writes the sections of a report as HTML."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from himari_jax.statistics.metric_table import METRICS
from train.config.serialize import flatten
from train.reporting.by_year import year_by_year
from train.reporting.chance import rank_text
from train.reporting.evidence_plots import histogram_of_samples, power_curves
from train.reporting.facts import OF_SEVERAL, bars_per_year, market_of, rival_of, symbols_of, windows_of
from train.reporting.figure import Figure, figures
from train.reporting.learning_curves import curve_advice, curve_summary, draw_curves
from train.reporting.page import Words, number, numbers, pairs, paragraph, row, table
from train.reporting.plots import (
    distribution,
    drawdown,
    equity,
    forest,
    rolling_sharpe,
    sensitivity,
)
from train.reporting.positions import MOST_PRICES, multiplier, position, weights
from train.reporting.run_files import Extra, Run
from train.reporting.walk_forward.plots import permutation_null
from train.reporting.walk_forward.sections import walk_sections

COLUMNS = {  # heading: key of a block
    heading: key
    for metric in METRICS.values()
    for heading, key in (
        (metric.label, metric.name),
        *([("95 % interval", "sharpe_interval")] if metric.name == "sharpe" else []),
    )
}
OF_SYMBOLS = {  # heading: key of a block
    "decisions": "decisions",
    "Sharpe": "sharpe",
    "base": "base_sharpe",
    "constant": "constant_sharpe",
    "timing value": "timing_value",
    "one bar late": "late_sharpe",
    "mean multiplier": "multiplier",
    **{METRICS[name].label: name for name in ("cagr", "max_drawdown", "turnover")},
}
BEST = {"first": "the best is the first", "between": "the best", "last": "the best is the last"}  # beside its mark


def all_sections(run: Run, extra: Extra) -> Iterator[tuple[str, str]]:
    """Yields headings and contents, empty where there is no input."""
    result = run.result
    yield "Agent and baselines", comparison(run)
    yield from walk_sections(run)
    yield "Permutations", figures([permutation_null(result.get("permutations"))])
    yield "Each symbol's own account", symbols_alone(result)
    yield "Year by year", year_by_year(run.frame, bars_per_year(run), result.get("power"))
    yield "What the policy decided", figures([multiplier(run.frame)] if run.frame is not None else [])
    yield "Over the span", figures(span_figures(run, extra))
    yield "What the verdict rests on", figures(evidence(run, extra), "pair") + delays(run, extra)
    yield "Audits", audits(extra.audits or result.get("audits") or ())
    yield "Policies", policies(result)
    yield "Known optimum", pairs(result.get("oracle") or {})
    yield "Seeds", seeds(run)
    yield "Training", learning_curves(run)
    yield "Data", data_report(run.data) + base_positions(run.data.get("base"))
    yield "Settings and fingerprints", settings(run)


def comparison(run: Run) -> str:
    """Writes the table of agent and baselines, and their intervals as a plot."""
    result = run.result
    agent = f"agent ({result['policy']})" if "policy" in result else "agent"
    blocks = {agent: result["agent"], **result["baselines"]}
    columns = {k: v for k, v in COLUMNS.items() if any(v in block for block in blocks.values())}
    if len(symbols_of(run)) == 1:
        columns = {k: v for k, v in columns.items() if v not in OF_SEVERAL}
    best = (result["agent"].get("sharpe_difference") or {}).get("baseline")
    rows, marked = [], "rival" if result.get("rivals") else "best"
    for name, block in blocks.items():
        kind, small = "agent" if block is result["agent"] else "", marked if name == best else ""
        rows.append(row(name, *numbers(block, columns.values()), kind=kind, small=small))
    note = "Costs included; annual figures; the interval is of the Sharpe, by stationary bootstrap."
    if rank := rank_text(result):
        note += f" {rank[0].upper()}{rank[1:]}."
    if windows := windows_of(run):
        note += f" The whole span at once; the means over {windows} are in the figures against cost and delay."
    if run.result.get("synthetic"):
        note = f"SYNTHETIC candles. {note}"
    figure = forest("Sharpe and its interval", blocks, "Overlap says little: the paired difference decides.")
    return table(["", *columns], rows, note, "numbers") + figures([figure])


def symbols_alone(result: Mapping[str, Any]) -> str:
    """Writes the table of a pool's symbols, one account each."""
    blocks = result.get("by_symbol") or {}
    rows = [row(symbol, *numbers(block, OF_SYMBOLS.values())) for symbol, block in blocks.items()]
    note = "constant holds the account's own mean weight; timing value is the Sharpe ratio minus that one's."
    return table(["symbol", *OF_SYMBOLS], rows, note, "numbers") if rows else ""


def span_figures(run: Run, extra: Extra) -> Iterator[Figure | None]:
    """Draws what became of the money over the span."""
    if run.frame is None:
        return
    best = rival_of(run)
    whole = f" The whole span, not one of the {windows}." if (windows := windows_of(run)) else ""
    for figure in (equity(run.frame, best), drawdown(run.frame, best)):
        yield figure._replace(caption=f"{figure.caption}{whole}".strip())
    yield weights(run.frame)
    if extra.prices is not None:
        for symbol in symbols_of(run)[:MOST_PRICES]:
            yield position(run.frame, extra.prices, symbol)
    yield rolling_sharpe(run.frame, bars_per_year(run), best)
    yield distribution(run.frame, best)


def evidence(run: Run, extra: Extra) -> Iterator[Figure | None]:
    """Draws bootstrap distribution, power and sensitivity."""
    result = run.result
    if extra.samples is not None:
        interval = np.quantile(extra.samples, [0.025, 0.975]).tolist()
        yield histogram_of_samples(extra.samples, rival_of(run) or "the best baseline", result, interval)
    yield power_curves(result.get("power"))
    if extra.backtest is not None and len(extra.backtest):
        market = market_of(run)
        own = 1e4 * market.get("commission_rate", 0.001) + market.get("slippage_bps", 0.0)
        costs = extra.backtest["cost"].unique().to_numpy()
        delays = extra.backtest["delay"].unique().to_numpy()
        delay = delays[np.abs(delays - market.get("delay", 0)).argmin()]
        named = extra.agent, windows_of(run)
        yield sensitivity(extra.backtest, "cost", float(delay), *named)
        yield sensitivity(extra.backtest, "delay", float(costs[np.abs(costs - own).argmin()]), *named)


def delays(run: Run, extra: Extra) -> str:
    """Writes the Sharpe ratio on time and one bar later, where no backtest has more."""
    late = run.result.get("delay")
    if extra.backtest is not None or not late:
        return ""
    agent = run.result["agent"]
    best = rival_of(run) or "the best baseline"
    now = (agent.get("sharpe_difference") or {}).get("value")
    rows = [
        row("on time", number(agent.get("sharpe"), ".2f"), number(now, "+.2f")),
        row("one bar later", number(late.get("sharpe"), ".2f"), number(late.get("sharpe_difference"), "+.2f")),
    ]
    return table(["decision", "Sharpe", f"minus {best}'s"], rows, "A Sharpe that lives on time alone is a leak.")


def audits(found: Sequence[Mapping[str, Any]]) -> str:
    """Writes each audit with its outcome."""
    words = {True: Words("✓ passed", "pass"), False: Words("✗ failed", "fail"), None: Words("– info")}
    rows = [row(each["name"], words[each["passed"]], Words(str(each.get("detail", "")))) for each in found]
    return table(["audit", "", ""], rows, "", "words") if rows else ""


def policies(result: Mapping[str, Any]) -> str:
    """Writes all policies of a backtest side by side, where there is more than one."""
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
    """Writes the Sharpe ratio of every seed with its interval, where there is more than one."""
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


def learning_curves(run: Run) -> str:
    """Draws the learning curves, the best evaluations marked, under the advice that follows from their position."""
    result = run.result
    numbers = [block.get("seed", k) for k, block in enumerate(result.get("seeds") or [])]
    curve = curve_summary(result, run.metrics)
    marks = {}
    for k, place in enumerate(curve["best_by_seed"] if curve else ()):
        if place is not None:
            words = BEST[place] if numbers[k] == result["chosen_seed"] else ""
            marks[k] = (result["best_update"][k], words)
    drawn = figures(draw_curves(run.metrics, numbers, marks), "grid")
    advice = curve_advice(result, curve)
    return (paragraph(advice) if drawn else "") + drawn


def data_report(data: Mapping[str, Any]) -> str:
    """Writes what the checks found in the candles."""
    if not data:
        return ""
    facts = {key: value for key, value in data.items() if key not in ("findings", "base")}
    found = data.get("findings") or []
    heads = ["symbol", "kind", "count", "detail"]
    rows = []
    for item in found:
        symbol, *rest = (str(item.get(key, "")) for key in heads)
        rows.append(row(symbol, *map(Words, rest)))
    return pairs(facts) + table(heads, rows, "" if rows else "Nothing amiss.", "words")


def base_positions(base: Mapping[str, Any] | None) -> str:
    """Writes the origin of the base, and how often the multiplier, or its upper half, changes nothing."""
    if not base:
        return ""
    rows = [
        row(symbol, name, number(shares["zero"], ".1%"), number(shares["at_cap"], ".1%"))
        for name, span in base["idle"].items()
        for symbol, shares in span.items()
    ]
    note = f"Base position: {base['sizing']}. Where it is 0 no multiplier does anything, at the cap none above 1 does."
    if "file" in base:
        note += (
            f" It comes from {base['file']} (SHA-256 {base['sha256'][:12]}): the audit of causality cannot say "
            "what the file knew; policy and the baseline base multiply the same positions."
        )
    heads = ["symbol", "span", "base is 0", f"base at the cap of {base['cap']}"]
    return table(heads, rows, note, "words")


def settings(run: Run) -> str:
    """Writes every flag, version, fingerprint, span and timing, folded."""
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
        "Walk-forward": made_by.pop("walk_forward", None) or {},
        "Flags": flags,
        "Made by": made_by,
        "Result": {key: result[key] for key in kept if key in result},
    }
    folded = [f"<details><summary>{k}</summary>{pairs(flatten(v))}</details>" for k, v in groups.items() if v]
    return "".join(folded)
