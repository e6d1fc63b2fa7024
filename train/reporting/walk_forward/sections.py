"""Writes the sections of a walk-forward test as HTML, from the files of its folder alone."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from train.reporting.figure import figures
from train.reporting.formats import FORMS
from train.reporting.page import DASH, Words, number, numbers, paragraph, row, table
from train.reporting.run_files import Run
from train.reporting.walk_forward.plots import by_block, by_symbol, permutation_null, track
from train.reporting.walk_sentences import labels, pooled, schedule_of, seeds, symbols, trend, trials, whole_track

OF_BLOCKS = {  # heading: key of a block
    "decisions": "decisions",
    "symbols": "symbols",
    "Sharpe": "sharpe",
    "base": "base_sharpe",
    "constant": "constant_sharpe",
    "difference": "difference",
    "one bar late": "late_difference",
    "turnover/y": "turnover",
    "mean multiplier": "multiplier",
}


def walk_sections(run: Run) -> Iterator[tuple[str, str]]:
    """Yields headings and contents; nothing for a run that was trained once."""
    result = run.result
    walk = result.get("walk_forward")
    if not walk or not walk.get("blocks"):
        return
    drawn = [track(run.frame, result)] if run.frame is not None else []
    yield "Walk-forward", paragraph(schedule_of(walk)) + figures([*drawn, by_block(result)])
    yield "Test blocks", block_table(result) + training_table(walk["blocks"])
    heat = figures([by_symbol(result)])
    yield "Blocks and symbols", heat and paragraph(symbols(result)) + heat
    yield "Permutations and placebo", nulls(result, walk)
    yield "Ensemble and trend rule", seeds_and_rule(result, walk)


def block_table(result: Mapping[str, Any]) -> str:
    """Writes the table of the test blocks, with the whole track below them."""
    rows = []
    for block in result["walk_forward"]["blocks"]:
        rows.append(row(days(block["test"]), *numbers(block, OF_BLOCKS.values())))
    whole = whole_track(result)
    cells = [number(whole[key], FORMS[key]) if key in whole else "" for key in OF_BLOCKS.values()]
    rows.append(row("all", *cells, kind="agent"))
    note = "Difference: Sharpe minus that of the constant multiplier of the same mean exposure; annual, costs included."
    return table(["test", *OF_BLOCKS], rows, note, "numbers")


def training_table(blocks: Sequence[Mapping[str, Any]]) -> str:
    """Writes on what each block's policy was trained and chosen, and what validation said, seed by seed."""
    rows = []
    for name, block in zip(labels(blocks), blocks, strict=True):
        scores = ", ".join(number(x, ".2f") for x in block.get("validation_sharpe") or [])
        updates = ", ".join(number(x, "d") for x in block.get("best_update") or [])
        rows.append(row(name, days(block["train"]), days(block["val"]), scores or DASH, updates or DASH))
    note = "First and last decision of each span. A policy knows nothing from after its validation span."
    heads = ["test block", "trained on", "chosen on", "validation Sharpe by seed", "best update by seed"]
    return table(heads, rows, note)


def days(ends: Sequence[str] | None) -> str:
    """Writes a span by its first and last day."""
    return f"{ends[0][:10]} to {ends[1][:10]}" if ends else DASH


def nulls(result: Mapping[str, Any], walk: Mapping[str, Any]) -> str:
    """Writes what is left where there is nothing to find: on permuted candles, and with inputs of other years."""
    drawn = figures([permutation_null(walk.get("permutations"))])
    shifted = placebo_table(walk.get("placebo") or [])
    return drawn + shifted + paragraph(trials(result), "note") if drawn or shifted else ""


def placebo_table(found: Sequence[Mapping[str, Any]]) -> str:
    """Writes how the policy does where its inputs are those of other years."""
    rows = []
    for each in found:
        ends = each.get("interval") or [None, None]
        if None in ends:
            mark = Words(DASH)
        elif ends[0] > 0:
            mark = Words("✗ above 0", "fail")
        else:  # wrong inputs may well cost something
            mark = Words("✓ flat", "pass") if ends[1] >= 0 else Words("– below 0")
        cells = number(each.get("sharpe"), ".2f"), number(each.get("difference"), "+.2f"), number(ends, "+.2f")
        rows.append(row(each["shift"], *cells, mark))
    note = (
        "Placebo: the policy sees the inputs of another time, shifted by so much, and trades the prices of this one. "
        "Its difference to the constant must be flat: an interval above 0 is a gain without knowledge."
    )
    heads = ["shift of the inputs", "Sharpe", "difference", "95 % interval", ""]
    return table(heads, rows, note) if rows else ""


def seeds_and_rule(result: Mapping[str, Any], walk: Mapping[str, Any]) -> str:
    """Writes the evaluated policy beside its seeds one by one, and beside the rule without parameters."""
    keys = ("sharpe", "difference")
    own = {"sharpe": result["agent"].get("sharpe"), "difference": pooled(result).get("difference")}
    rows = [row("evaluated", *numbers(own, keys), kind="agent")]
    found = walk.get("seeds") or []
    if len(found) > 1:
        rows += [row(f"seed {each['seed']} alone", *numbers(each, keys)) for each in found]
    if rule := walk.get("trend_rule"):
        rows.append(row("trend rule", *numbers(rule, keys)))
    if len(rows) < 2:
        return ""
    note = "Each minus the Sharpe of its own constant multiplier. The trend rule learns nothing."
    words = paragraph(seeds(found)) + paragraph(trend(walk))
    return words + table(["", "Sharpe", "difference"], rows, note)
