"""Tables of text on the console: too wide ones go on below in groups of columns; no number is ever cut."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from rich.console import Console

LEAST_WORDS = 20  # columns below which a cell of words goes to the next group rather than being wrapped
FAIR_LABEL, LEAST_LABEL = 16, 8  # columns that a label keeps where it is wrapped for one group, and for any number


@dataclass
class Grid:
    """A table of text; the first `labels` columns say what a row is of and stand again in every group of columns."""

    title: str
    heads: Sequence[str]
    labels: int = 1
    words: frozenset[str] = frozenset()  # heads of the columns, besides labels, that are words: they may be wrapped
    right: frozenset[str] = frozenset()  # heads of the labels that are numbers
    left: frozenset[str] = frozenset()  # heads of other columns whose cells, such as dates, stand to the left
    gap: int = 2  # blanks between columns
    rows: list[tuple[tuple[str, ...], bool]] = field(default_factory=list)  # cells, and whether they stand out

    def add(self, *cells: str, bold: bool = False) -> None:
        """Adds a row.

        Raises:
            ValueError: it has more or fewer cells than there are columns.
        """
        if len(cells) != len(self.heads):
            raise ValueError(f"{len(cells)} cells for {len(self.heads)} columns")
        self.rows.append((cells, bold))

    def wrapped(self, column: int) -> bool:
        """Whether the cells of a column may go over several lines: words do, numbers never."""
        head = self.heads[column]
        return head not in self.right if column < self.labels else head in self.words

    def wanted(self, column: int) -> int:
        """Columns that a head and the cells below it take on one line."""
        return max(len(self.heads[column]), self.widest(column))

    def least(self, column: int) -> int:
        """Columns without which a column goes to the next group."""
        return min(self.wanted(column), LEAST_WORDS) if self.wrapped(column) else self.wanted(column)

    def widest(self, column: int) -> int:
        """Columns that the widest cell below a head takes."""
        return max((len(cells[column]) for cells, _ in self.rows), default=0)


def print_grid(out: Console, grid: Grid) -> None:
    """Prints a table as wide as the console allows."""
    for line, bold in lines(grid, out.width):
        out.print(line, soft_wrap=True, style="bold" if bold else None)


def lines(grid: Grid, width: int) -> Iterator[tuple[str, bool]]:
    """Lines of a table, none wider than `width` while its widest number and a short label fit; and which stand out."""
    for text in grid.title.splitlines():
        yield from ((line, False) for line in in_words(text, width))
    for number, group in enumerate(groups(grid, width)):
        if number:
            yield "", False
        yield from ((line, False) for line in row_lines(grid, grid.heads, group, heads=True))
        for cells, bold in grid.rows:
            yield from ((line, bold) for line in row_lines(grid, cells, group))


def groups(grid: Grid, width: int) -> Iterator[dict[int, int]]:
    """Columns that stand side by side with their widths: the labels, and as many others as fit beside them."""
    labels = label_widths(grid, width)
    left = width - sum(each + grid.gap for each in labels.values())
    group, free = dict(labels), left
    for column in range(grid.labels, len(grid.heads)):
        wanted = grid.wanted(column)
        if grid.least(column) > free and len(group) > len(labels):
            yield group
            group, free = dict(labels), left
        # A head may be wrapped where it alone is too wide, a number may not.
        fitting = min(wanted, free) if grid.wrapped(column) else max(grid.widest(column), min(wanted, free))
        group[column] = max(fitting, 1)
        free -= group[column] + grid.gap
    yield group


def label_widths(grid: Grid, width: int) -> dict[int, int]:
    """Widths of the labels: what they need, but one that is words makes room for everything, or for any one number."""
    found = {k: grid.wanted(k) for k in range(grid.labels)}
    others = [grid.least(k) for k in range(grid.labels, len(grid.heads))]
    names = [k for k in found if grid.wrapped(k)]
    room = width - sum(each + grid.gap for each in found.values())
    everything = sum(others) + grid.gap * (len(others) - 1) - room
    one = max(others, default=0) - room
    for excess, least in ((everything, FAIR_LABEL), (one, LEAST_LABEL)):
        if names and excess > 0 and found[names[-1]] - excess >= least:
            found[names[-1]] -= excess
            return found
    if names and one > 0:
        found[names[-1]] = min(found[names[-1]], LEAST_LABEL)
    return found


def row_lines(grid: Grid, cells: Sequence[str], group: dict[int, int], heads: bool = False) -> Iterator[str]:
    """Lays out a row of a group of columns, over as many lines as its longest cell of words takes."""
    columns = [
        in_words(cells[k], each, hyphens=True) if heads or grid.wrapped(k) else [cells[k]] for k, each in group.items()
    ]
    for parts in zip_longest(*columns, fillvalue=""):
        placed = [
            f"{text:<{each}}" if grid.wrapped(k) or grid.heads[k] in grid.left else f"{text:>{each}}"
            for text, (k, each) in zip(parts, group.items(), strict=True)
        ]
        yield (" " * grid.gap).join(placed).rstrip()


def in_words(text: str, width: int, hyphens: bool = False) -> list[str]:
    """Breaks a text into lines between words, or after hyphens; inside a word where it alone is too long."""
    return textwrap.wrap(text, max(width, 1), break_on_hyphens=hyphens) or [""]
