"""Puts the page of a report together from assets/, and writes the parts of it that are no plots."""

from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from train.reporting.packing import pack


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
    below = f'<p class="note">{escape(note)}</p>' if note else ""
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    scroll = '<div class="scroll" tabindex="0" role="region" aria-label="table">'
    return f'{scroll}<table class="{kind}">{body}</table></div>{below}'


def row(name: Any, *cells: Any, text: bool = False) -> str:
    """Writes a row of a table: its head and its cells."""
    kind = ' class="text"' if text else ""
    rest = "".join(f"<td{kind}>{escape(str(value))}</td>" for value in cells)
    return f'<tr><th scope="row">{escape(str(name))}</th>{rest}</tr>'


def pairs(values: Mapping[str, Any]) -> str:
    """Writes names and values as a list."""
    items = "".join(f"<div><dt>{escape(str(k))}</dt><dd>{escape(plain(v))}</dd></div>" for k, v in values.items())
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
        return "–" if None in value else " to ".join(number(x, form) for x in value)
    return "–" if value is None else format(value, form)
