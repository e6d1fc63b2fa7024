"""Writes pictures as SVG, without a plotting library."""

from collections.abc import Iterable
from html import escape
from typing import Any

INK, SOFT, GRID = "#16191d", "#5b6470", "#d9dde3"  # of headings, of words, of lines of a scale


def element(name: str, content: str = "", **attributes: Any) -> str:
    """Writes an element; an underscore in the name of an attribute is a hyphen.

    Args:
        name: such as rect.
        content: SVG inside the element.
        attributes: numbers are rounded to a hundredth; those that are None are left out.
    """
    written = "".join(
        f' {key.replace("_", "-")}="{value_of(value)}"' for key, value in attributes.items() if value is not None
    )
    return f"<{name}{written}>{content}</{name}>" if content else f"<{name}{written}/>"


def value_of(value: Any) -> str:
    """Formats the value of an attribute."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else escape(str(value))


def text(x: float, y: float, words: str, color: str | None = SOFT, **look: Any) -> str:
    """Writes words at a place."""
    return element("text", escape(words), x=x, y=y, fill=color, **look)


def horizontal(left: float, right: float, y: float, color: str = GRID) -> str:
    """Draws a line across a panel."""
    return element("line", x1=left, x2=right, y1=y, y2=y, stroke=color)


def points(places: Iterable[tuple[float, float]]) -> str:
    """Formats the places of a curve or an area, as `points` of an element takes them."""
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def document(width: int, height: int, parts: Iterable[str], label: str | None = None, **look: Any) -> str:
    """Puts a picture together on white ground.

    Args:
        width: pixels.
        height: pixels.
        parts: elements, the lowest first.
        label: description for those who cannot see the picture.
        look: attributes of the words in it.
    """
    ground = element("rect", width=width, height=height, fill="#fff")
    named = {} if label is None else {"role": "img", "aria_label": label}
    inside = "\n".join(["", ground, *parts, ""])
    place = {"xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {width} {height}"}
    return element("svg", inside, **place, font_family="system-ui, sans-serif", **look, **named) + "\n"
