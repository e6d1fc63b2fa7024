"""Whatever lies in a candidate's folder, the old model serves on, and the server does not grow."""

import os
import shutil

import numpy as np
import pytest
from mutations import mutated
from serving import Desk, copy_bundle, point

from export.benchmarks.processes import resident
from export.serving.models.candidates import Candidates, Limits

pytest_plugins = ["server_fixtures"]

GROWTH = 67  # megabytes that the server may grow by, whatever it was shown
LIMITS = Limits(memory_mb=256, cpu_seconds=10)


def try_candidates(source, folder, numbers):
    """Shows a desk damaged bundles one after the other; how many it took, and its growth."""
    copy_bundle(source, folder / "one", version="one")
    point(folder, "one")
    desk = Desk(folder, candidates=Candidates(limits=LIMITS))
    question = desk.seen_of("one")
    before, start, taken = desk.predict(question), resident(os.getpid()), 0
    assert before[0] == 200
    for number in numbers:
        kind = mutated(source, folder / "two", number)
        point(folder, "two")
        if desk.store.refresh():  # the change was none that matters, such as another name
            taken += 1
            status, answer = desk.predict(question)
            assert status == 200, (number, kind, answer)
            assert np.isfinite(answer["predictions"][0]["value"])
            point(folder, "one")
            assert desk.store.refresh()
        assert desk.predict(question) == before, (number, kind)
        shutil.rmtree(folder / "two")
    return taken, resident(os.getpid()) - start, desk.refused


def test_damaged_bundles_are_refused_and_the_old_model_answers_as_before(bundles, tmp_path):
    taken, growth, refused = try_candidates(bundles["mlp"], tmp_path, range(3, 10))
    assert growth < GROWTH
    assert taken + len(refused) == 7


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "lstm"])
def test_1000_damaged_bundles(bundles, tmp_path, name):
    numbers = range(10_000, 11_000) if name == "mlp" else range(20_000, 21_000)
    taken, growth, refused = try_candidates(bundles[name], tmp_path, numbers)
    print(f"{name}: {taken} taken, {len(refused)} refusals, grew by {growth:.1f} MB")
    assert growth < GROWTH
    assert not [text for text in refused if "\n" in text]
