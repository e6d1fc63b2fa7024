"""gymnax comes without the plotting libraries that its own games import at once."""

import importlib
import sys

import pytest

from envs.base import PLOTTING, lazy_imports


@pytest.fixture
def rarely(tmp_path, monkeypatch):
    """Name of a module that nobody has imported."""
    (tmp_path / "rarely_used.py").write_text("answer = 42\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "rarely_used"
    sys.modules.pop("rarely_used", None)


def test_a_module_is_imported_when_it_is_first_asked_for_something(rarely):
    with lazy_imports((rarely,)):
        early = importlib.import_module(rarely)
    assert rarely not in sys.modules
    assert early.answer == 42
    assert sys.modules[rarely] is not early
    with pytest.raises(AttributeError, match="nothing"):
        early.nothing  # noqa: B018


def test_a_module_that_is_there_stays_and_a_failure_leaves_no_stand_in(rarely):
    there = importlib.import_module(rarely)
    with lazy_imports((rarely,)):
        assert importlib.import_module(rarely) is there
    assert sys.modules.pop(rarely) is there
    with pytest.raises(ImportError), lazy_imports((rarely,)):
        raise ImportError
    assert rarely not in sys.modules


def test_the_games_of_gymnax_plot_with_the_real_libraries():
    from gymnax.environments.misc import pong

    plotting = [module for module in vars(pong).values() if getattr(module, "__name__", None) in PLOTTING]
    assert plotting
    assert all(
        callable(getattr(module, {"seaborn": "heatmap"}.get(module.__name__, "subplots"))) for module in plotting
    )
