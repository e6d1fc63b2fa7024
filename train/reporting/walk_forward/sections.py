"""Writes the sections of a walk-forward test as HTML, from the files of its folder alone."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from train.reporting.figure import figures
from train.reporting.page import number, row, table
from train.reporting.run_files import Run
from train.reporting.walk_forward.plots import by_block, by_symbol, permutation_null, track
from train.reporting.walk_words import how, labels, pooled, seeds, symbols, trend, trials, whole_track

OF_BLOCKS = {  # heading: key of a block, form
    "decisions": ("decisions", ",d"),
    "symbols": ("symbols", "d"),
    "Sharpe": ("sharpe", ".2f"),
    "base": ("base_sharpe", ".2f"),
    "constant": ("constant_sharpe", ".2f"),
    "difference": ("difference", "+.2f"),
    "one bar late": ("late_difference", "+.2f"),
    "turnover/y": ("turnover", ".1f"),
    "mean multiplier": ("multiplier", ".2f"),
}


def walk_sections(run: Run) -> Iterator[tuple[str, str]]:
    """Yields headings and contents; nothing for a run that was trained once."""
    result = run.result
    walk = result.get("walk_forward")
    if not walk or not walk.get("blocks"):
        return
    drawn = [track(run.frame, result)] if run.frame is not None else []
    yield "Walk-forward", said(how(walk)) + figures([*drawn, by_block(result)])
    yield "Test blocks", block_table(result) + training_table(walk["blocks"])
    heat = figures([by_symbol(result)])
    yield "Blocks and symbols", heat and said(symbols(result)) + heat
    yield "Permutations and placebo", chance(result, walk)
    yield "Ensemble and trend rule", beside(result, walk)


def said(text: str, kind: str = "") -> str:
    """Writes a line as a sentence of its own; empty where there is none."""
    if not text:
        return ""
    mark = f' class="{kind}"' if kind else ""
    return f"<p{mark}>{escape(text[:1].upper() + text[1:])}.</p>"


def block_table(result: Mapping[str, Any]) -> str:
    """Writes the table of the test blocks, with the whole track below them."""
    rows = []
    for block in result["walk_forward"]["blocks"]:
        cells = [number(block.get(key), form) for key, form in OF_BLOCKS.values()]
        rows.append(row(days(block["test"]), *cells))
    whole = whole_track(result)
    cells = [number(whole[key], form) if key in whole else "" for key, form in OF_BLOCKS.values()]
    rows.append(row("all", *cells).replace("<tr>", '<tr class="agent">', 1))
    note = "Difference: Sharpe minus that of the constant multiplier of the same mean exposure; annual, costs included."
    return table(["test", *OF_BLOCKS], rows, note, "numbers")


def training_table(blocks: Sequence[Mapping[str, Any]]) -> str:
    """Writes on what each block's policy was trained and chosen, and what validation said, seed by seed."""
    rows = []
    for name, block in zip(labels(blocks), blocks, strict=True):
        scores = ", ".join(number(x, ".2f") for x in block.get("validation_sharpe") or [])
        updates = ", ".join(number(x, "d") for x in block.get("best_update") or [])
        rows.append(row(name, days(block["train"]), days(block["val"]), scores or "–", updates or "–"))
    note = "First and last decision of each span. A policy knows nothing from after its validation span."
    heads = ["test block", "trained on", "chosen on", "validation Sharpe by seed", "best update by seed"]
    return table(heads, rows, note)


def days(ends: Sequence[str] | None) -> str:
    """Writes a span by its first and last day."""
    return f"{ends[0][:10]} to {ends[1][:10]}" if ends else "–"


def chance(result: Mapping[str, Any], walk: Mapping[str, Any]) -> str:
    """Writes what is left where there is nothing to find: on permuted candles, and with inputs of other years."""
    drawn = figures([permutation_null(walk.get("permutations"))])
    shifted = placebo_table(walk.get("placebo") or [])
    return drawn + shifted + said(trials(result), "note") if drawn or shifted else ""


def placebo_table(found: Sequence[Mapping[str, Any]]) -> str:
    """Writes how the policy does where its inputs are those of other years."""
    rows = []
    for each in found:
        ends = each.get("interval") or [None, None]
        if None in ends:
            mark = '<td class="text">–</td>'
        elif ends[0] > 0:
            mark = '<td class="fail">✗ above 0</td>'
        else:  # wrong inputs may well cost something
            mark = '<td class="pass">✓ flat</td>' if ends[1] >= 0 else '<td class="text">– below 0</td>'
        cells = number(each.get("sharpe"), ".2f"), number(each.get("difference"), "+.2f"), number(ends, "+.2f")
        rows.append(row(each["shift"], *cells).replace("</tr>", f"{mark}</tr>"))
    note = (
        "Placebo: the policy sees the inputs of another time, shifted by so much, and trades the prices of this one. "
        "Its difference to the constant must be flat: an interval above 0 is a gain without knowledge."
    )
    heads = ["shift of the inputs", "Sharpe", "difference", "95 % interval", ""]
    return table(heads, rows, note) if rows else ""


def beside(result: Mapping[str, Any], walk: Mapping[str, Any]) -> str:
    """Writes the evaluated policy beside its seeds one by one, and beside the rule without parameters."""
    rival = pooled(result)
    rows = [row("judged", number(result["agent"].get("sharpe"), ".2f"), number(rival.get("difference"), "+.2f"))]
    rows[0] = rows[0].replace("<tr>", '<tr class="agent">', 1)
    found = walk.get("seeds") or []
    if len(found) > 1:
        rows += [
            row(f"seed {x['seed']} alone", number(x.get("sharpe"), ".2f"), number(x.get("difference"), "+.2f"))
            for x in found
        ]
    rule = walk.get("trend_rule")
    if rule:
        rows.append(row("trend rule", number(rule.get("sharpe"), ".2f"), number(rule.get("difference"), "+.2f")))
    if len(rows) < 2:
        return ""
    note = "Each minus the Sharpe of its own constant multiplier. The trend rule learns nothing."
    words = said(seeds(found)) + said(trend(walk))
    return words + table(["", "Sharpe", "difference"], rows, note)
