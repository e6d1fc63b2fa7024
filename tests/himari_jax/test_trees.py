"""Selections in pytrees, and the one line of an error."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from himari_jax.errors import first_line
from himari_jax.trees import select_tree


@settings(deadline=None, max_examples=30)
@given(lead=st.sampled_from([[], [1], [3], [2, 3]]), seed=st.integers(0, 99))
def test_rows_that_are_set_come_from_the_new_tree_and_the_others_from_the_old(lead, seed):
    rng = np.random.default_rng(seed)
    shapes = {"a": (*lead, 2), "b": (tuple(lead), (*lead, 3, 1))}
    is_shape = lambda x: isinstance(x, tuple) and all(isinstance(n, int) for n in x)  # noqa: E731
    new, old = (jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s)), shapes, is_leaf=is_shape) for _ in range(2))
    where = rng.random(lead) < 0.5
    found = select_tree(jnp.asarray(where), new, old)
    for a, b, c in zip(*map(jax.tree.leaves, (new, old, found)), strict=True):
        a, b, c = map(np.asarray, (a, b, c))
        for place in np.ndindex(*lead):
            np.testing.assert_array_equal(c[place], a[place] if where[place] else b[place])


def test_nothing_stays_nothing():
    assert select_tree(jnp.ones(3, bool), (), ()) == ()


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("\n one \ntwo"), "one "),
        (ValueError(), "ValueError"),
        (ValueError("x" * 999), "x" * 200),
        (KeyError("a"), "'a'"),
    ],
)
def test_the_first_line_of_an_error_is_one_short_line(error, line):
    assert first_line(error) == line
    assert first_line(error, most=None).startswith(line)
