"""Two workers at full load while models are swapped and workers are killed, and a SIGTERM in the end.

HIMARI_SOAK_SECONDS=600 is the long version: ten minutes, 20 swaps, 10 kills; shorter ones have fewer of both.
"""

import json
import os
import random
import signal
import time

import pytest
from processes import children, metrics_of, ready, started
from reconnecting import Clients, request_of
from serving import KEY, Desk, copy_bundle, point, wait_for

pytest_plugins = ["server_fixtures"]
pytestmark = pytest.mark.slow

SECONDS = float(os.environ.get("HIMARI_SOAK_SECONDS", "30"))
KILLS = max(2, min(10, round(SECONDS / 12)))
SWAPS = 2 * KILLS
CLIENTS = 6  # of each kind
AFTERMATH = 2.0  # seconds in which the connections of a killed worker are found to be gone


def samples(port, name):
    """Values of a metric by its labels."""
    return {key: value for key, value in metrics_of(port).items() if key.startswith(name)}


def events(random_numbers):
    """Moments of swaps and kills, spread over the run, in order."""
    moments = []
    for what, count in (("swap", SWAPS), ("kill", KILLS)):
        moments += [((k + random_numbers.uniform(0.2, 0.8)) * SECONDS / count, what) for k in range(count)]
    return sorted(moments)


def test_swaps_and_kills_under_load_lose_nothing_but_the_connections_of_the_killed(bundles, tmp_path):
    folder, key, numbers = tmp_path / "bundles", tmp_path / "key", random.Random(1)
    key.write_bytes(KEY)
    for name in ("one", "two"):
        copy_bundle(bundles["mlp"], folder / name, version=name)
    point(folder, "one")
    request = request_of(json.dumps({"instances": [Desk(folder).seen_of("one")]}).encode())
    flags = ("--port", 0, "--workers", 2, "--token-key-file", key)
    with started(folder, *flags) as (process, port, lines):
        wait_for(lambda: ready(port) and sum(x["event"] == "model" for x in lines) == 2)
        crowds = [Clients(port, request, CLIENTS, kept) for kept in (False, True)]
        answered = lambda: sum(crowd.answered for crowd in crowds)  # noqa: E731
        wait_for(lambda: answered() > 2000, 60)
        memory = [sum(samples(port, "process_resident_memory_bytes").values())]
        begun, killed, version = time.monotonic(), [], "one"
        for moment, what in events(numbers):
            time.sleep(max(0.0, begun + moment - time.monotonic()))
            if what == "kill":
                wait_for(lambda: children(process.pid), 60)
                killed.append(time.monotonic())
                os.kill(numbers.choice(children(process.pid)), signal.SIGKILL)
            else:
                version = "two" if version == "one" else "one"
                point(folder, version)
        time.sleep(max(0.0, begun + SECONDS - time.monotonic()))
        wait_for(lambda: len(children(process.pid)) == 2, 60)
        wait_for(lambda: [f'version="{version}"' in x for x in samples(port, "himari_model_info")] == [True], 60)
        memory.append(sum(samples(port, "process_resident_memory_bytes").values()))
        before = answered()
        counted = samples(port, 'himari_requests_total{route="/predict",status="200"}').popitem()[1]
        lost = [when for crowd in crowds for when, _ in crowd.lost]
        assert before <= counted <= answered() + len(lost) + 2 * CLIENTS
        assert all(thread.is_alive() for crowd in crowds for thread in crowd.threads)  # nobody was refused
        seconds, signaled = time.monotonic() - begun, time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
        ended = time.monotonic() - signaled
        for crowd in crowds:
            crowd.join()
    statuses = sum((crowd.statuses for crowd in crowds), crowds[0].statuses.__class__())
    lost = [when for crowd in crowds for when, _ in crowd.lost]
    strange = [when for when in lost if not any(0 <= when - kill < AFTERMATH for kill in killed)]
    megabytes = [round(x / 1e6, 1) for x in memory]
    print(
        f"\n{seconds:.0f} s, {len(killed)} kills, {SWAPS} swaps: {dict(statuses)} answers, "
        f"{answered() / seconds:.0f} a second, "
        f"{len(lost)} lost with killed workers, {len(strange)} otherwise; "
        f"{megabytes[0]} to {megabytes[1]} MB; "
        f"ended {ended:.1f} s after SIGTERM"
    )
    assert set(statuses) == {200}
    assert strange == []
    assert len(lost) <= 2 * CLIENTS * len(killed)
    assert sum(x["event"] == "worker_fell" for x in lines) == len(killed)
    assert memory[1] < 1.15 * memory[0]
