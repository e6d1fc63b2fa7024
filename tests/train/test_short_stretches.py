"""Stretches of the training span that no episode fits into are named, with what would use them."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
from worlds import TINY_RUN

from envs.market import build_market
from envs.trading import make_params
from himari_jax.candles import DataReport
from himari_jax.command import parse
from himari_jax.splits import decision_rows
from train.config.ppo import Config
from train.data.spans import note_short_stretches
from train.training.candles_task import CandlesTask
from train.training.session import prepare, session_of

DAY = 86_400_000


def test_what_is_named_is_what_no_episode_reaches_and_the_flag_that_is_named_reaches_it(candles):
    market = candles(1, 400)
    rng = np.random.default_rng(0)
    for _ in range(50):
        edges = np.sort(rng.choice(np.arange(5, 395), 7, replace=False))
        span = tuple(range(int(a), int(b) - 1) for a, b in pairwise(edges) if b > a + 2)
        steps = max(len(each) for each in span) - int(rng.integers(0, 5))

        def reached(steps, span=span):
            starts = make_params(build_market(market), span, episode_steps=steps).starts
            return set((np.asarray(starts)[:, None] + np.arange(steps)).ravel().tolist())

        report = DataReport()
        note_short_stretches(span, steps, market, report)
        missing = set(decision_rows(span).tolist()) - reached(steps)
        assert bool(report.entries) == bool(missing)
        if missing:
            (entry,) = report.entries
            assert entry["count"] == sum(not missing.isdisjoint(each) for each in span)
            assert f"{len(missing):,} of {len(decision_rows(span)):,} decisions" in entry["detail"]
            some, *every = (int(part.split()[0].rstrip(",")) for part in entry["detail"].split("--episode-steps ")[1:])
            assert missing & reached(some)
            assert missing - reached(some + 1) == missing
            assert missing <= reached((every or [some])[0])


def test_a_run_says_so_before_it_trains():
    config = parse(Config, [*TINY_RUN, "--synthetic.num-bars", "4000"], "x")
    prepared = prepare(config)
    (candles,) = prepared.candles
    row = np.arange(4000)
    parts = np.searchsorted([430, 1400], row, side="right")  # the first stretch has 30 bars after its look-back
    broken = replace(candles, time=candles.time + parts * DAY, segment=parts.astype(np.int32))
    session = session_of(config, replace(prepared, candles=(broken,)))
    (entry,) = [x for x in session.report.entries if x["kind"] == "short stretches"]
    assert entry["count"] == 1
    assert any(
        "short stretches (1)" in line and "--episode-steps 29" in line for line in CandlesTask(session).headline()
    )
