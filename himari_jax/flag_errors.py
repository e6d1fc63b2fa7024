"""Errors of the flag parser as one line: the flag, its value, what is allowed, what was meant."""

import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from himari_jax.spelling import hint, meant

UNKNOWN = re.compile(r"Unrecognized options: (.+)")
CHOICE = re.compile(r"invalid choice '(.*)' for argument '(.+?)'\. Expected one of \((.*)\)")
TYPE = re.compile(r"Error parsing (\S+): (.+)")
VALUELESS = re.compile(r"Missing value for argument '(.+?)'\. Expected (\d+) values")
NUMBER = re.compile(r"-?\.?\d")
FLAG = re.compile(r"(?:^|\s\s|│ )(--[a-z][\w.-]*\w)", re.MULTILINE)  # in a help of one column or of several
# What a flag takes, by the word for it in the help.
KINDS = {"INT": "a whole number, such as 2000000, 2_000_000 or 2e6", "FLOAT": "a number"}
LISTS = {"INT": "whole numbers with blanks between them", "FLOAT": "numbers with blanks between them"}


class Complaint(NamedTuple):
    """The parts of an error box of the parser."""

    text: str  # what is wrong, in one line
    takes: str  # what the flag takes, as the help has it: INT, [FLOAT [FLOAT ...]]
    missing: str  # flags that must be given, each with its help
    suggested: str  # flags that the parser holds for meant


def explain(box: str, args: Sequence[str], prog: str, flags: Callable[[], Collection[str]]) -> str:
    """Words an error of the parser in one line.

    Args:
        box: the error as the parser prints it.
        args: the words that were parsed.
        prog: the command, as it is called.
        flags: finds those of the command.
    """
    found = take_apart(box)
    if found.missing:
        line = f"missing: {found.missing}"
    elif match := UNKNOWN.match(found.text):
        line = explain_unknown(match[1].split(", "), args, flags(), found.suggested)
    elif match := CHOICE.match(found.text):
        names = [name.strip().strip("'\"") for name in match[3].split(",") if name.strip()]
        shown = f"{match[2]} {match[1]}" if match[2].startswith("--") else match[1]
        line = f"{shown}: must be one of {', '.join(names)}{meant(match[1], names)}"
    elif match := VALUELESS.match(found.text):
        needs = f"{match[1]}: needs {'a value' if match[2] == '1' else f'{match[2]} values'}"
        line = needs if match[1].startswith("--") else f"missing: {match[1].upper()}"
    elif (match := TYPE.match(found.text)) and re.search("INT|FLOAT", found.takes):
        line = explain_type(match[1], values_of(match[1], args), found.takes)
    else:
        line = found.text
    return f"{line.rstrip('.')}; see {prog} --help"


def take_apart(box: str) -> Complaint:
    """Splits an error box, which is drawn with lines and wrapped to the width of the terminal, into its parts."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box)
    lines = [re.sub(r"[│╭╮╰╯─]+|-{4,}", " ", line).rstrip() for line in plain.splitlines()]
    lines = [line for line in lines if line.strip()]
    ends = ("Argument helptext", "For full helptext", "Perhaps you meant")
    stop = next((i for i, line in enumerate(lines) if line.strip().startswith(ends)), len(lines))
    body = lines[1:stop] or lines
    text = " ".join(" ".join(line.split()) for line in body)
    flags = [line.split() for line in lines[stop:] if line.strip().startswith("--")]
    missing = required(body[1:]) if body[0].strip().startswith("Missing from") else ""
    takes = " ".join(flags[0][1:]) if flags else ""
    return Complaint(text, takes, missing, " or ".join(words[0] for words in flags))


def required(lines: Sequence[str]) -> str:
    """Flags that must be given, each with its help; of a word without a flag, whose name is a type, the help alone.

    Names stand less far to the right than the help under them.
    """
    left = min(len(line) - len(line.lstrip()) for line in lines)
    names: list[str] = []
    helps: list[str] = []
    for line in lines:
        if len(line) - len(line.lstrip()) == left:
            names.append(line.strip())
            helps.append("")
        else:
            helps[-1] += f" {line.strip()}"
    tidy = [text.replace("(required)", "").strip().rstrip(".") for text in helps]
    lowered = [text[:1].lower() + text[1:] for text in tidy]
    return "; ".join(
        f"{name} ({text})" if name.startswith("--") else text for name, text in zip(names, lowered, strict=True)
    )


def explain_unknown(words: Sequence[str], args: Sequence[str], flags: Collection[str], suggested: str) -> str:
    """The sentence for words that no flag takes: flags that do not exist, or a value too many."""
    unknown = [word.partition("=")[0] for word in words if word.startswith("-") and not NUMBER.match(word)]
    if not unknown:
        return explain_stray(words[0], args)
    sentences = []
    for name in dict.fromkeys(unknown):
        meant = hint(name, flags) or (f"did you mean {suggested}?" if suggested and len(unknown) == 1 else "")
        sentences.append(f"{name}: no such flag" + (f"; {meant}" if meant else ""))
    return "; ".join(sentences)


def explain_stray(word: str, args: Sequence[str]) -> str:
    """The sentence for a value that no flag takes."""
    places = [i for i, given in enumerate(args) if given == word or given.endswith(f"={word}")]
    too_many = f"{word}: one word too many" + (f"; for candles it is --data {word}" if Path(word).exists() else "")
    if not places:
        return too_many
    before = list(args[: places[-1] + 1])
    if before[-1] != word:
        name = before[-1].partition("=")[0]
        return f"{before[-1]}: {name} is a switch and takes no value"
    given = next((i for i in reversed(range(len(before))) if before[i].startswith("--")), None)
    if given is None:
        return too_many
    name, count = before[given].partition("=")[0], len(before) - given - 2 + ("=" in before[given])
    if count == 0:
        return f"{name} {word}: {name} is a switch and takes no value"
    many = "one value" if count == 1 else f"{count} values"
    return f"{' '.join(before[given:])}: {name} takes {many}"


def values_of(flag: str, args: Sequence[str]) -> list[str]:
    """The words that follow a flag, where it is given last."""
    found: list[str] = []
    inside = False
    for word in args:
        name, equals, value = word.partition("=")
        if word.startswith("--"):
            inside = name.replace("_", "-") == flag
            found = ([value] if equals else []) if inside else found
        elif inside:
            found.append(word)
    return found


def explain_type(flag: str, values: Sequence[str], takes: str) -> str:
    """The sentence for a value that is no number.

    Args:
        flag: that takes it.
        values: that were given.
        takes: what the flag takes, as its help has it.
    """
    kind = "FLOAT" if "FLOAT" in takes else "INT"
    given = " ".join(values)
    line = f"{flag} {given}: must be"
    if "..." in takes:
        parts = [part for value in values for part in value.split(",") if part]
        apart = len(parts) > len(values) and all(NUMBER.match(part) for part in parts)
        return f"{line} {LISTS[kind]}" + (f": {flag} {' '.join(parts)}" if apart else "")
    others = re.findall(r"\{(.+?)\}", takes)
    line += f" {', '.join([*others, ''])}{'or ' if others else ''}{KINDS[kind]}"
    if kind == "FLOAT" and re.fullmatch(r"\d+,\d+", given):
        line += f"; did you mean {given.replace(',', '.')}?"
    if kind == "FLOAT" and re.fullmatch(r"\d+(\.\d+)?%", given):
        line += f"; {given} is {float(given[:-1]) / 100:g}"
    return line
