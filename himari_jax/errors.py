"""Errors that a user can cause: one clear line each, with the exit code of its kind."""


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


class NumericalError(HimariError):
    """Training left the finite numbers; the last good step is kept."""

    exit_code = 3


class CheckpointError(HimariError):
    """No usable checkpoint."""

    exit_code = 4


class StorageError(HimariError):
    """Permission, disk or bucket."""

    exit_code = 5


class Preempted(HimariError):
    """A signal ended the run; the state is saved and the same command goes on."""

    exit_code = 75
