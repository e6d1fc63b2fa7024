"""The shell around every command: flags by tyro, errors as one line, exit codes."""

import contextlib
import io
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import TypeVar

import tyro

from himari_jax.errors import HimariError, InputError

T = TypeVar("T")


def parse(kind: type[T], args: Sequence[str], prog: str, default: T | None = None) -> T:
    """Flags into a configuration; `--help` prints and exits 0.

    Raises:
        InputError: one line that names the flag and, where there is one, the flag that was meant.
    """
    complaint, printed = io.StringIO(), io.StringIO()
    markers = (tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone)
    start = tyro.MISSING_NONPROP if default is None else default
    try:
        with contextlib.redirect_stderr(complaint), contextlib.redirect_stdout(printed):
            return tyro.cli(kind, args=list(args), prog=prog, config=markers, default=start)
    except SystemExit as stop:
        if stop.code in (0, None):
            print(printed.getvalue(), end="")
            raise
        raise InputError(summarise(complaint.getvalue(), prog)) from None


def summarise(box: str, prog: str) -> str:
    """The parser's box of an error as one line with its suggestion."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box)
    lines = [re.sub(r"[│╭╮╰╯─]+|-{4,}", " ", line).strip() for line in plain.splitlines()]
    lines = [re.sub(r"\s+", " ", line) for line in lines if line.strip()]
    end = next((i for i, x in enumerate(lines) if x.startswith(("Argument helptext", "For full helptext"))), len(lines))
    body = lines[1:end] or lines
    meant = [i for i, line in enumerate(body) if line.startswith("Perhaps you meant")]
    text = " ".join(body[: meant[0]] if meant else body)
    if meant:
        options = [line.split()[0] for line in body[meant[0] + 1 :] if line.startswith("--")]
        text += f"; did you mean {' or '.join(options)}?"
    return f"{text.rstrip('.')}; see {prog} --help"


def run_command(command: Callable[[Sequence[str]], int | None], args: Sequence[str] | None = None) -> int:
    """Runs a command and turns errors into one line on stderr and an exit code.

    `--debug` shows the traceback as well.
    """
    args = list(sys.argv[1:] if args is None else args)
    try:
        return command(args) or 0
    except HimariError as error:
        if "--debug" in args:
            traceback.print_exc()
        line = " ".join(str(error).split())
        print(line if error.exit_code == 75 else f"error: {line}", file=sys.stderr)
        return error.exit_code
