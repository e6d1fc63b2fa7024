"""Retries: a request that failed for a while is made again, later and later, and not for ever."""

import sys
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TypeVar

from himari_jax.errors import SourceError
from himari_jax.live.clock import Clock

T = TypeVar("T")
TRIES = 7  # of one request
FIRST_WAIT = 1.0  # seconds; each further one is twice as long
NOTICE_FROM = 4.0  # seconds of a wait from which on its reason is printed
LONGEST_WAIT = 300.0  # seconds; a longer wait, asked for by the source, ends in an error


class TryAgainError(Exception):
    """A failure that may be over in a while.

    Args:
        text: what failed, in one line.
        after: seconds that the other side asks to wait (Retry-After); None: it does not say.
    """

    def __init__(self, text: str, after: float | None = None):
        super().__init__(text)
        self.after = after


def retry(request: Callable[[], T], clock: Clock, where: str) -> T:
    """Makes a request, up to `TRIES` times where it fails for a while, and returns the answer.

    Args:
        request: makes it; raises TryAgainError.
        clock: waits.
        where: begins the line of an error.

    Raises:
        SourceError: it failed every time, or is to wait for too long.
    """
    waited = 0.0
    for count in range(TRIES):
        try:
            return request()
        except TryAgainError as error:
            last = error
        wait = FIRST_WAIT * 2**count if last.after is None else max(last.after, FIRST_WAIT)
        if wait > LONGEST_WAIT:
            raise SourceError(f"{where}: {last}; it asks to wait {wait:,.0f} s: try again then") from last
        if count < TRIES - 1:
            if wait >= NOTICE_FROM:
                print(f"{where}: {last}; again in {wait:,.0f} s", file=sys.stderr)
            clock.sleep(wait)
            waited += wait
    raise SourceError(f"{where}: {last}; tried {TRIES} times in {waited:,.0f} s: try again later") from last


def retry_after(headers: Mapping[str, str] | None, now_ms: int) -> float | None:
    """Seconds that an answer asks to wait: its Retry-After, a number or a date; None where it says nothing.

    Args:
        headers: of the answer.
        now_ms: epoch milliseconds, for a date.
    """
    text = next((value for name, value in (headers or {}).items() if name.lower() == "retry-after"), None)
    if text is None:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        moment = date_ms({"Date": text})
        return None if moment is None else max(0.0, (moment - now_ms) / 1000)


def date_ms(headers: Mapping[str, str] | None) -> int | None:
    """Time of an answer by the clock of the source, epoch milliseconds: its Date; None where it has none."""
    text = next((value for name, value in (headers or {}).items() if name.lower() == "date"), None)
    try:
        moment = None if text is None else parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment is None:
        return None
    return int((moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).timestamp() * 1000)
