"""Counts the operations of a compiled program, loops taken as often as they run."""

import re

HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?[\w.\-]+ = (?:\(.*?\)|\S+) ([a-z][\w\-]*)\(")
TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
CALLED = re.compile(r"(?:to_apply|body|calls|branch_computations)=\{?%?([\w.\-]+)")
# What moves no data, or names what is there.
FREE = frozenset(
    "parameter constant get-tuple-element tuple bitcast after-all partition-id replica-id opt-barrier".split()
)


def count_operations(text: str) -> int:
    """Operations of one call, a fusion being one; a loop whose length the compiler does not know counts once.

    Args:
        text: optimized HLO, as `compiled.as_text()` has it.

    Raises:
        ValueError: it has no entry.
    """
    computations, entry = read(text)
    if entry not in computations:
        raise ValueError("no entry computation: is it optimized HLO?")
    known: dict[str, int] = {}

    def count(name: str) -> int:
        if name not in known:
            known[name] = sum(one(op, line) for op, line in computations[name])
        return known[name]

    def one(op: str, line: str) -> int:
        if op in FREE:
            return 0
        called = CALLED.search(line)
        if op == "while" and called:
            trips = TRIPS.search(line)
            return count(called[1]) * (int(trips[1]) if trips else 1)
        if op in ("call", "conditional") and called and called[1] in computations:
            return count(called[1])
        return 1

    return count(entry)


def read(text: str) -> tuple[dict[str, list[tuple[str, str]]], str]:
    """Instructions of every computation, each with its line, and the name of the entry."""
    computations: dict[str, list[tuple[str, str]]] = {}
    name = entry = ""
    for line in text.splitlines():
        header = HEADER.match(line)
        if header and "->" in line:
            name = header[2]
            computations[name] = []
            entry = name if header[1] else entry
        elif name and (found := INSTRUCTION.match(line)):
            computations[name].append((found[1], line))
    return computations, entry
