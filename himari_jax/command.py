"""The shell around every command: flags by tyro, errors as one line, exit codes."""

import atexit
import contextlib
import gc
import io
import math
import re
import shlex
import shutil
import sys
import textwrap
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar, cast

import tyro

from himari_jax.errors import HimariError, InputError, InputFaults, first_line
from himari_jax.extras import missing
from himari_jax.flag_errors import FLAG, explain
from himari_jax.spelling import REGISTRY, to_our_spelling

T = TypeVar("T")
COLLECT_EVERY = (50_000, 20, 20)  # new objects, and collections of the younger generation


def parse(kind: type[T], args: Sequence[str], prog: str, default: T | None = None) -> T:
    """Parses flags into a configuration; `--help` prints and exits 0.

    Raises:
        InputError: one line that names the flag and, where there is one, the flag that was meant.
    """
    words = to_our_spelling(args)
    found, printed, complaint = ask_tyro(kind, words, prog, default)
    if found is not None:
        return found
    if not complaint:
        print(tidy_help(printed))
        raise SystemExit(0)
    raise InputError(explain(complaint, words, prog, lambda: flags_of(cast(Any, kind))))


@cache
def flags_of(kind: type) -> frozenset[str]:
    """The flags of a configuration."""
    return frozenset(FLAG.findall(ask_tyro(kind, ["--help"], "", None)[1]))


def tidy_help(text: str) -> str:
    """Trims the help of a command to the width of the console, without empty defaults."""
    text = re.sub(r"\s+\(default:\s+(None)?\s*\)", "", text)
    width = shutil.get_terminal_size().columns
    lines = [line.rstrip() for line in text.splitlines()]
    wide = [line if line.startswith(" ") else textwrap.fill(line, width) for line in lines]
    return "\n".join(wide)


def ask_tyro(kind: type[T], words: Sequence[str], prog: str, default: T | None) -> tuple[T | None, str, str]:
    """Parses words by tyro: returns the configuration, or None with the help or the error that tyro prints."""
    complaint, printed = io.StringIO(), io.StringIO()
    markers = (tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone)
    start = tyro.MISSING_NONPROP if default is None else default
    try:
        with contextlib.redirect_stderr(complaint), contextlib.redirect_stdout(printed):
            return tyro.cli(kind, args=words, prog=prog, config=markers, default=start, registry=REGISTRY), "", ""
    except SystemExit as stop:
        return None, printed.getvalue(), "" if stop.code in (0, None) else complaint.getvalue()


def run_command(command: Callable[[Sequence[str]], int | None], args: Sequence[str] | None = None) -> int:
    """Runs a command and turns errors into one line on stderr and an exit code.

    `--debug` shows the traceback as well.
    """
    args = list(sys.argv[1:] if args is None else args)
    collect_seldom()
    if not isinstance(sys.stdout, RobustOutput):
        sys.stdout = RobustOutput(sys.stdout)
    try:
        return command(args) or 0
    except Exception as error:
        code, line = code_of(error)
        if "--debug" in args:
            traceback.print_exception(error)
        several = isinstance(error, InputFaults)
    first, *rest = (" ".join(part.split()) for part in (line.splitlines() if several else [line]))
    print(first if code == 75 else f"error: {first}", *(f"  {part}" for part in rest), sep="\n", file=sys.stderr)
    return code


def collect_seldom() -> None:
    """Runs the garbage collector seldom, and not at all at the end of the process.

    Imports and traces make a million objects that live on; to search them again and again costs more than it frees.
    """
    gc.set_threshold(*COLLECT_EVERY)
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)


def code_of(error: Exception) -> tuple[int, str]:
    """Exit code and line of an error."""
    if isinstance(error, HimariError):
        return error.exit_code, str(error)
    if isinstance(error, MemoryError):
        return 2, f"out of memory ({error}); use fewer environments or smaller layers"
    if isinstance(error, ModuleNotFoundError) and (lacking := missing(error.name)):
        return 2, lacking
    if isinstance(error, OSError):
        return 5, f"{error.filename or 'storage'}: {error.strerror or error}"
    return unexpected(error)


def unexpected(error: Exception) -> tuple[int, str]:
    """Exit code and line of an unexpected error."""
    first = first_line(error, most=300)
    if "RESOURCE_EXHAUSTED" in str(error) or "out of memory" in str(error).lower():
        return 2, f"the device has too little memory ({first}); use fewer environments or smaller layers"
    return 1, f"unexpected {type(error).__name__}: {first}; --debug shows where, please report it"


class RobustOutput(io.TextIOBase):
    """Standard output that a closed pipe, a full disk or an odd encoding cannot turn into a lost run."""

    def __init__(self, stream: Any):
        self.stream = stream
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self.stream is not None and self.stream.isatty()

    def write(self, text: str) -> int:
        """Writes what can be written."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flushes what can be flushed."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self.stream.flush()


def auto(hint: str) -> Any:
    """Marks a flag whose default depends on others; the help says on what."""
    return tyro.conf.arg(help_behavior_hint=f"(default: {hint})")


def choice(intro: str, summaries: Mapping[str, str], hint: str | None = None) -> Any:
    """Marks a flag that takes names of a table: the help lists each with its summary.

    Args:
        intro: what the flag is for.
        summaries: of what may be chosen, by name.
        hint: on what the default depends, where it does.
    """
    lines = [intro, *(f"{name}: {summary}" for name, summary in summaries.items()), ""]
    return tyro.conf.arg(help="\n".join(lines), help_behavior_hint=None if hint is None else f"(default: {hint})")


def require(holds: bool, flag: str, value: object, allowed: str) -> None:
    """Raises one line that names flag, value and what is allowed."""
    if not holds:
        raise InputError(f"{flag} {value}: must be {allowed}")


def split_words(flag: str, text: str) -> list[str]:
    """The words of a flag whose value holds flags of another command, as a shell splits them.

    Raises:
        InputError: a quote that is not closed.
    """
    try:
        return shlex.split(text)
    except ValueError as error:
        raise InputError(f"{flag} {text}: {error}") from error


def flag(name: str) -> str:
    """The flag of a field."""
    return "--" + name.replace("_", "-")


def parse_number(where: str, text: str, number: str) -> float:
    """A finite float out of a flag's value."""
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    require(math.isfinite(value), where, text, "NAME or NAME=WEIGHT with a finite weight")
    return value
