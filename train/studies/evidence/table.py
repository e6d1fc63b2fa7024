"""Tables of the evidence out of the tests' result.json, for the console and as Markdown."""

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from train.config.evidence import EVERY, EXPLORED_TRIALS, ROWS, Explored
from train.reporting.formats import number, sentence, signed
from train.reporting.tables import Grid, lines
from train.reporting.walk_sentences import labels, pooled

WIDTH = 80  # columns of a row at most
PEAK = ("2020", "2021")  # years whose share of the gain has a row
SHARE = f"of it {' and '.join(PEAK)}"
BEST = ("2018", *PEAK)
OTHERS = "without " + " ".join(f"'{year[2:]}" for year in BEST)
Result = Mapping[str, Any]
Cells = list[list[str]]  # a table: rows of a label and its cells, the first row of headings


class Found(NamedTuple):
    """The files of a finished test."""

    result: dict[str, Any]  # result.json
    config: dict[str, Any]  # config.json


class Line(NamedTuple):
    """A row of the main table: what stands before it, and the cell of a test."""

    label: str
    cell: Callable[[Result], str]


def ends(interval: Sequence[float | None] | None) -> str:
    """Formats a 95 % interval."""
    return f"{signed(interval[0])} to {signed(interval[1])}" if interval and None not in interval else "-"


def ahead(values: Sequence[float | None]) -> str:
    """Counts the differences above 0 among those that are known."""
    known = [value for value in values if value is not None]
    return f"{sum(value > 0 for value in known)} of {len(known)}" if known else "-"


def permutations(result: Result) -> str:
    """Formats p of the permutation test and the number of its markets."""
    found = result["walk_forward"].get("permutations")
    return f"{found['p']:.3f} ({found['number']})" if found else "-"


def alone(result: Result) -> str:
    """Formats the lowest and highest difference of a seed alone."""
    known = [each["difference"] for each in result["walk_forward"]["seeds"]]
    return f"{signed(min(known))} to {signed(max(known))}"


def share(result: Result) -> str:
    """Computes the share of the years' differences, added up, that the two years of the peak have."""
    years = by_year(result)
    total = sum(block["difference"] for block in years.values())
    peak = [years[year]["difference"] for year in PEAK if year in years]
    return f"{sum(peak) / total:.0%}" if len(peak) == len(PEAK) and total > 0 else "-"


def others(result: Result) -> str:
    """Adds up the differences of the years that are not among the best."""
    years = by_year(result)
    return signed(sum(block["difference"] for year, block in years.items() if year not in BEST)) if years else "-"


def by_year(result: Result) -> dict[str, Mapping[str, Any]]:
    """Names the test blocks."""
    blocks = result["walk_forward"]["blocks"]
    return dict(zip(labels(blocks), blocks, strict=True))


LINES = (
    Line("Sharpe", lambda r: number(r["agent"]["sharpe"], ".2f")),
    Line("constant", lambda r: number(pooled(r).get("sharpe"), ".2f")),
    Line("difference", lambda r: signed(pooled(r).get("difference"))),
    Line("  95 %", lambda r: ends((r.get("timing_value") or {}).get("interval"))),
    Line("  one day late", lambda r: signed(pooled(r).get("late"))),
    Line("  found 4 in 5", lambda r: number((r.get("power") or {}).get("four_in_five"), ".2f")),
    Line("  each seed alone", alone),
    Line("coins ahead", lambda r: ahead([x.get("timing_value") for x in (r.get("by_symbol") or {}).values()])),
    Line("trend rule alone", lambda r: signed(r["walk_forward"]["trend_rule"]["difference"])),
    Line("  95 %", lambda r: ends(r["walk_forward"]["trend_rule"]["interval"])),
    Line("policy - trend rule", lambda r: signed(r["walk_forward"]["trend"]["difference"])),
    Line("  one-sided p", lambda r: number(r["walk_forward"]["trend"]["p"], ".3f")),
    Line("  one day late", lambda r: signed(r["walk_forward"]["trend"]["late"])),
    Line("turnover/y", lambda r: number(r["agent"]["turnover"], ".1f")),
    Line("permuted, p (K)", permutations),
    Line("trials by then", lambda r: f"{r['trials']}"),
    Line("verdict", lambda r: str(r["verdict"]["word"])),
)
LAST = ("permuted, p (K)",)  # the placebos stand before it
MEANING = (
    "difference: Sharpe minus that of the constant multiplier of the same mean exposure of each coin; annual, costs "
    "included, all test years as one track of equal-weighted coins. One day late: every decision a day later. Found 4 "
    "in 5: the true difference that as many years find in 4 samples of 5. Trend rule: clip(1 + mean tanh(momentum), 0, "
    "2), no parameters; alone, to its own constant. Placebo: trained and played on inputs of so much earlier, must "
    "be flat. Permuted: everything trained anew on K markets of permuted bars, p = (1 + those that do as well) / (1 + "
    "K), at best 1 / (1 + K). Trials by then: in the ledger when the test was judged."
)
YEARLY = "difference of each test year (the same one day late)"
BESIDE = "the exploration, and the same flags here"


def main_table(found: Mapping[str, Found]) -> Cells:
    """Tabulates the figures of every test, a column each."""
    results = [each.result for each in found.values()]
    shifts = [each["shift"] for each in results[0]["walk_forward"]["placebo"]]
    rows = [["", *(ROWS[name].inputs for name in found)], ["", *(ROWS[name].algorithm for name in found)]]
    for line in LINES:
        if line.label in LAST:
            rows += [[f"placebo, {shift} late", *(placebo(result, shift) for result in results)] for shift in shifts]
        rows.append([line.label, *(line.cell(result) for result in results)])
    return rows


def placebo(result: Result, shift: str) -> str:
    """Formats the interval of the difference with inputs that are late by a shift."""
    return next((ends(each["interval"]) for each in result["walk_forward"]["placebo"] if each["shift"] == shift), "-")


def year_table(found: Mapping[str, Found]) -> Cells:
    """Tabulates the difference of every test year, a column for each test."""
    years = {name: by_year(each.result) for name, each in found.items()}
    results = [each.result for each in found.values()]
    rows = [["", *(ROWS[name].inputs for name in found)], ["", *(ROWS[name].algorithm for name in found)]]
    for year in sorted({year for own in years.values() for year in own}):
        rows.append([year, *(on_time_and_late(own.get(year)) for own in years.values())])
    rows.append(["years ahead", *(ahead([x["difference"] for x in own.values()]) for own in years.values())])
    rows.append(["sum of the years", *(signed(sum(x["difference"] for x in own.values())) for own in years.values())])
    return [*rows, [SHARE, *map(share, results)], [OTHERS, *map(others, results)]]


def on_time_and_late(block: Mapping[str, Any] | None) -> str:
    """Formats the difference of a year, and one day late."""
    return "-" if block is None else f"{signed(block['difference'])} ({signed(block['late_difference'])})"


def explored_table(found: Mapping[str, Found]) -> Cells:
    """Figures of the exploration, and below each those of the same flags here."""
    rows = [["", "difference", "95 %", "one day late", "turnover/y"]]
    for name, each in found.items():
        row, result = ROWS[name], each.result
        if row.explored is not None:
            rows.append([f"{row.algorithm}, explored", *explored_cells(row.explored)])
        if row.explored is not None or row.beside:
            interval = (result.get("timing_value") or {}).get("interval")
            here = (signed(pooled(result).get("difference")), ends(interval), signed(pooled(result).get("late")))
            called = f"{row.algorithm}, as then" if row.beside else f"{row.algorithm}, here"
            rows.append([called, *here, number(result["agent"]["turnover"], ".1f")])
    return rows if len(rows) > 1 else []


def explored_cells(block: Explored) -> list[str]:
    """Formats the figures of the exploration."""
    return [signed(block.difference), ends(block.interval), signed(block.late), f"{block.turnover:.1f}"]


def notes(found: Mapping[str, Found]) -> Iterator[str]:
    """Says on what, how long and by what the tests were run, and how much was tried."""
    for name, each in found.items():
        yield f"{name}: {note(each)}"
    most = max(each.result["trials"] or 0 for each in found.values())
    daily, hourly = EXPLORED_TRIALS
    yield (
        f"trials: {most} in the ledger of these tests; before them the exploration tried {daily} daily and {hourly} "
        "hourly configurations on the same candles, and they are not in it"
    )


def note(test: Found) -> str:
    """Words on what, how long and by what a test was run."""
    result, walk, timings = test.result, test.result["walk_forward"], test.result["timings"]
    first, last = walk["blocks"][0]["test"][0][:10], walk["blocks"][-1]["test"][1][:10]
    decisions = sum(one["decisions"] for one in (result.get("by_symbol") or {}).values())
    nulls = len(walk["placebo"]) + (walk.get("permutations") or {"number": 0})["number"]
    return (
        f"{len(result['symbols'])} coins, {decisions:,} decisions, {first} to {last}; {walk['members']} trainings, and "
        f"again on {nulls} null markets; the last call {timings['steps'] / 1e6:,.0f} M steps in "
        f"{timings['seconds']:,.0f} s on {timings['device']}; jax {test.config['versions']['jax']}, commit "
        f"{(test.config['commit'] or 'unknown')[:7]}"
    )


def shown(found: Mapping[str, Found]) -> dict[str, Found]:
    """Picks the tests that are columns of the tables."""
    return {name: each for name, each in found.items() if not ROWS[name].beside}


def console_page(found: Mapping[str, Found], width: int = WIDTH) -> str:
    """Formats all tables for a console, up to 80 columns wide."""
    width, columns = min(width, WIDTH), shown(found)
    tables = [("", main_table(columns)), (YEARLY, year_table(columns))] if columns else []
    tables.append((BESIDE, explored_table(found)))
    parts = [aligned(title, cells, width) for title, cells in tables if cells]
    said = [MEANING, *notes(found)]
    parts.append("\n".join("\n".join(textwrap.wrap(line, width, subsequent_indent="  ")) for line in said))
    return "\n\n".join(parts)


def aligned(title: str, cells: Cells, width: int) -> str:
    """Formats a table in columns; those that do not fit go on below."""
    grid = Grid(title, cells[0], gap=1)
    for row in cells[1:]:
        grid.add(*row)
    return "\n".join(line for line, _ in lines(grid, width))


def markdown_page(found: Mapping[str, Found]) -> str:
    """Formats all tables as Markdown, with the commands that made them."""
    columns, parts = shown(found), []
    if columns:
        heads = ["", *(ROWS[name].title for name in columns)]
        parts += [
            f"## The figures\n\n{markdown([heads, *main_table(columns)[2:]])}\n\n{sentence(MEANING)}",
            f"## Year by year\n\n{YEARLY.capitalize()}:\n\n{markdown([heads, *year_table(columns)[2:]])}",
        ]
    if explored := explored_table(found):
        parts.append(f"## Beside the exploration\n\n{BESIDE.capitalize()}:\n\n{markdown(explored)}")
    commands = "\n".join(command(name, each) for name, each in found.items())
    said = "\n".join(f"- {line}" for line in notes(found))
    parts.append(f"## What was run\n\n```bash\n{commands}\n```\n\n{said}")
    return "\n\n".join(parts) + "\n"


def command(name: str, each: Found) -> str:
    """Words the command that runs a test alone."""
    row, result = ROWS[name], each.result
    permuted = result["walk_forward"].get("permutations")
    tested = f" --permutations {permuted['number']} --permute {permuted['kind']}" if permuted else ""
    seeds, first = len(result["walk_forward"]["seeds"]), each.config["walk_forward"]["first_test"]
    return (
        f"python -m train.walk_forward --data daily/ {row.flags} --algorithm {row.algorithm} --first-test {first} "
        f"{EVERY} --num-seeds {seeds}{tested}"
    )


def markdown(rows: Cells) -> str:
    """Formats a table as Markdown; indented labels begin with a dash."""
    lines = [f"| {' | '.join(row)} |".replace("|   ", "| – ") for row in rows]
    return "\n".join([lines[0], f"|---{'|---:' * (len(rows[0]) - 1)}|", *lines[1:]])
