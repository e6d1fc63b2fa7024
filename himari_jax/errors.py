"""Errors that a user can cause: one clear line each, with the exit code of its kind."""

from collections.abc import Sequence
from typing import NamedTuple


def first_line(error: BaseException, most: int | None = 200) -> str:
    """The first line of an error's text, at most so many letters of it; the name of its kind where it has no text."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:most]


def last_line(text: str, otherwise: str) -> str:
    """The last line that a process wrote, which says why it failed; `otherwise` where it wrote none."""
    return (text.strip().splitlines() or [otherwise])[-1]


class HimariError(Exception):
    """Base of the errors that a user can cause; its text is one line: the fault, its place and the remedy."""

    exit_code = 2


class InputError(HimariError):
    """Bad input or a bad setting: nothing was written or overwritten."""

    exit_code = 2


class Fault(NamedTuple):
    """One thing that is wrong with an input."""

    text: str  # one line: file, row, what is wrong and what is allowed
    flag: str = ""  # the flag that mends it, with its value; empty: none does


class InputFaults(InputError):
    """Several faults of one input: a line that counts them and names the flags, and a line for each."""

    def __init__(self, faults: Sequence[Fault]):
        self.faults = tuple(faults)
        flags = dict.fromkeys(fault.flag for fault in faults if fault.flag)
        mended = sum(bool(fault.flag) for fault in faults)
        how = "no flag mends them" if not flags else f"mended by {' '.join(flags)}"
        if flags and mended < len(faults):
            how = f"{mended} of them {how}"
        super().__init__("\n".join([f"{len(faults)} faults, {how}:", *(fault.text for fault in faults)]))


def refuse_faults(faults: Sequence[Fault]) -> None:
    """Refuses an input that has faults, all of them at once; of those that one flag mends the first stands for all.

    Raises:
        InputError: the only one.
        InputFaults: several.
    """
    distinct = list(dict.fromkeys(faults))
    alike = [fault.flag for fault in distinct if fault.flag]
    found: dict[str, Fault] = {}
    for fault in distinct:
        others = alike.count(fault.flag) - 1
        more = f" (and {others} more that it mends)" if others > 0 else ""
        found.setdefault(fault.flag or fault.text, Fault(fault.text + more, fault.flag))
    if len(found) == 1:
        raise InputError(next(iter(found.values())).text)
    if found:
        raise InputFaults(list(found.values()))


class NumericalError(HimariError):
    """Training left the finite numbers; the last good step is kept."""

    exit_code = 3


class CheckpointError(HimariError):
    """No usable checkpoint."""

    exit_code = 4


class StorageError(HimariError):
    """Permission, disk or bucket."""

    exit_code = 5


class SourceError(StorageError):
    """A source of candles on the network does not answer, or its answer cannot be true."""


class Preempted(HimariError):
    """A signal ended the run; the state is saved and the same command goes on."""

    exit_code = 75
