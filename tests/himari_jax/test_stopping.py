"""Signals are answered with a line and 75, also where one call of a library keeps the main thread."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# One call of C of an hour, which lets other threads run, as those of numpy and jax do.
LONG_CALL = "import hashlib; print('begun', flush=True); hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)"
SOON = "from himari_jax import stopping; stopping.PATIENCE = 0.3; "


def stopped(code: str, number: int = signal.SIGTERM) -> tuple[int, str, float]:
    """Exit code, what was said on stderr and seconds of a process that gets a signal when it says that it has begun."""
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "begun\n"
        time.sleep(0.5)  # so that the long call has begun
        sent = time.monotonic()
        process.send_signal(number)
        _, error = process.communicate(timeout=30)
    finally:
        process.kill()
    return process.returncode, error, time.monotonic() - sent


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_inside_a_long_call_is_answered_at_once(number):
    code, error, seconds = stopped(f"{SOON} stopping.exit_at_signals('bye'); {LONG_CALL}", number)
    assert (code, error) == (75, "bye\n")
    assert seconds < 5


def test_a_command_that_cleans_up_is_ended_where_it_does_not_hear_in_time():
    code, error, seconds = stopped(f"{SOON} stopping.stop_at_signals('bye'); {LONG_CALL}")
    assert (code, error) == (75, "bye\n")
    assert seconds < 5


def test_a_command_that_hears_has_time_to_clean_up():
    code, error, _ = stopped(
        f"{SOON}\nimport sys, time\nfrom himari_jax.errors import Preempted\nstopping.stop_at_signals('bye')\n"
        "try:\n    print('begun', flush=True)\n    time.sleep(30)\n"
        "except Preempted as error:\n    time.sleep(1)\n    sys.exit(f'{error}, cleaned up')"
    )
    assert (code, error) == (1, "bye, cleaned up\n")


def test_work_that_asks_in_time_ends_where_it_asks_and_work_that_does_not_is_ended():
    asks = (
        f"{SOON}\nimport time\nfrom train.training import signals\nsignals.PATIENCE = 0.3\n"
        "with signals.StopSignals('kept') as stop:\n    print('begun', flush=True)\n"
    )
    code, error, _ = stopped(asks + "    while True:\n        time.sleep(0.05)\n        stop.check()")
    assert code == 1  # here nobody turns the error into a line
    assert error.strip().endswith("Preempted: kept")
    code, error, seconds = stopped(asks + f"    {LONG_CALL.partition('; ')[0]}; {LONG_CALL.rpartition('; ')[2]}")
    assert code == 75
    assert error.endswith("kept\n")
    assert seconds < 5
