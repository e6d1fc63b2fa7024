"""Packed data of a page: it is unpacked as it was, is no markup, and curves keep their shape."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_runs import read, unpack_text

from train.reporting import packing
from train.reporting.figure import packed


def curve(described):
    """The numbers that steps tell."""
    steps = described["steps"]
    known = [step for step in steps if step is not None]
    values = np.full(len(steps), np.nan)
    places = [k for k, step in enumerate(steps) if step is not None]
    values[places] = described["start"] + described["unit"] * np.cumsum(np.int64(known))
    return values


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(codec="utf-8"), max_size=400))
def test_a_packed_text_comes_back_and_holds_no_markup(text, tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "page.html"
    path.write_text(packing.pack(text))
    assert read(path).packed == [text]
    inside = path.read_text().split(">", 1)[1].removesuffix("</script>")
    assert not set(inside) & set("&<>\r\n\0")


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(st.floats(-1e6, 1e6, width=32) | st.just(float("nan")), min_size=1, max_size=200),
)
def test_a_curve_keeps_its_gaps_and_its_shape(values):
    values = np.float32(values)
    found = curve(packing.as_steps(values))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(values))
    if np.isfinite(values).any():
        room = np.nanmax(values.astype(float)) - np.nanmin(values.astype(float))
        assert np.nanmax(np.abs(found - values)) <= 0.51 * room / packing.LEVELS + 1e-9


@pytest.mark.parametrize("bar", [60_000, 3_600_000, 86_400_000])
def test_times_are_exact(bar):
    times = 1_577_836_800_000 + bar * np.cumsum(np.random.default_rng(0).integers(1, 90, 500))
    np.testing.assert_array_equal(curve(packing.as_steps(times)), times)
    np.testing.assert_array_equal(curve(packing.lean({"x": packed(times, "f8")})["x"]), times)


def test_a_small_positive_value_is_kept_for_the_log_scale():
    values = np.array([0.01, 0.011, 50.0])
    np.testing.assert_allclose(curve(packing.as_steps(values)), values, rtol=1e-3)


def test_letters_are_dense():
    data = np.random.default_rng(0).integers(0, 0x500, 20_000)
    text = "".join(map(chr, data))
    element = packing.pack(text)
    size = int(element.split('data-bytes="')[1].split('"')[0])
    inside = element.split(">", 1)[1].removesuffix("</script>")
    assert unpack_text(inside, size) == text
    assert len(inside) <= 16 / 13 * size + 2
