"""Puts the page of a report together from assets/, and writes the parts of it that are no plots."""

from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files
from string import Template
from typing import Any, NamedTuple

from train.reporting import formats
from train.reporting.formats import FORMS, sentence
from train.reporting.packing import pack

DASH = "–"  # of what is undefined
TRIPS_WON, FEWEST_TRIPS = "win_rate_trip", 5  # share of the trips that made money; of fewer it says nothing


def document(title: str, header: str, found: Iterable[tuple[str, str]], footer: str) -> str:
    """Puts a page together that needs nothing from elsewhere: assets/ and the library of the plots are inside.

    Args:
        title: of the window.
        header: HTML.
        found: heading and HTML of each section; those without HTML are left out.
        footer: what made it, text.
    """
    from plotly.offline import get_plotlyjs

    sections = [(name, body) for name, body in found if body]
    return Template(asset("page.html")).substitute(
        title=escape(title),
        style=asset("page.css"),
        header=header,
        links="".join(f'<a href="#s{i}">{escape(name)}</a>' for i, (name, _) in enumerate(sections)),
        sections="".join(f'<section id="s{i}"><h2>{escape(k)}</h2>{x}</section>' for i, (k, x) in enumerate(sections)),
        footer=escape(footer),
        library=pack(get_plotlyjs()),
        script=asset("page.js"),
    )


def asset(name: str) -> str:
    """Reads a file of assets/."""
    return (files("train.reporting") / "assets" / name).read_text(encoding="utf-8")


def table(heads: Iterable[str], rows: Iterable[str], note: str = "", kind: str = "") -> str:
    """Writes a table that scrolls sideways where it is too wide."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' if text else "<td></td>" for text in heads)
    below = tag("p", note, "note") if note else ""
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    scroll = '<div class="scroll" tabindex="0" role="region" aria-label="table">'
    return f'{scroll}<table class="{kind}">{body}</table></div>{below}'


class Words(NamedTuple):
    """A cell of words, in a class of page.css: text, pass or fail."""

    text: str
    kind: str = "text"


def row(name: Any, *cells: Any, kind: str = "", small: str = "") -> str:
    """Writes a row of a table: its head, with small words beside it, and its cells.

    Args:
        name: head of the row.
        cells: values, or `Words`.
        kind: class of the row in page.css.
        small: beside the head.
    """
    beside = f" <small>{small}</small>" if small else ""
    rest = "".join(tag("td", *cell) if isinstance(cell, Words) else tag("td", str(cell)) for cell in cells)
    return f'<tr{class_of(kind)}><th scope="row">{escape(str(name))}{beside}</th>{rest}</tr>'


def class_of(kind: str) -> str:
    """Writes the attribute of a class; nothing without one."""
    return f' class="{kind}"' if kind else ""


def tag(name: str, text: str, kind: str = "") -> str:
    """Writes an element that holds a text alone."""
    return f"<{name}{class_of(kind)}>{escape(text)}</{name}>"


def paragraph(text: str, kind: str = "") -> str:
    """Writes a text as a sentence of its own; nothing where there is none."""
    return tag("p", f"{sentence(text)}.", kind) if text else ""


def heading(what: str, title: str, reason: str) -> str:
    """Writes the head of a page: what it is of, the outcome, and a sentence that explains it."""
    return tag("p", what, "what") + tag("h1", title) + tag("p", f"{reason}.", "reason")


def pairs(values: Mapping[str, Any]) -> str:
    """Writes names and values as a list."""
    items = "".join(f"<div>{tag('dt', str(k))}{tag('dd', plain(v))}</div>" for k, v in values.items())
    return f"<dl>{items}</dl>" if items else ""


def plain(value: Any) -> str:
    """Formats a setting."""
    if isinstance(value, float):
        return f"{value:.8g}"
    if isinstance(value, list):
        return ", ".join(" to ".join(map(str, x)) if isinstance(x, list) else plain(x) for x in value) or "-"
    return "-" if value is None else str(value)


def number(value: Any, form: str) -> str:
    """Formats a number or an interval; a dash where it is undefined."""
    if isinstance(value, list):
        return DASH if None in value else " to ".join(number(x, form) for x in value)
    return formats.number(value, form, DASH)


def numbers(block: Mapping[str, Any], keys: Iterable[str]) -> list[str]:
    """Formats values of a block, each in its own form."""
    return [trips_won(block) if key == TRIPS_WON else number(block.get(key), FORMS[key]) for key in keys]


def trips_won(block: Mapping[str, Any]) -> str:
    """Formats the share of round trips that made money and their number; a dash where they are too few to say."""
    trips = block.get("trips")
    text = number(block.get(TRIPS_WON), FORMS[TRIPS_WON])
    if trips is None:  # an older result
        return text
    return DASH if trips < FEWEST_TRIPS else f"{text} of {trips:,}"
