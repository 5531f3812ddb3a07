import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from scipy.optimize import LinearConstraint, minimize

from figures import style

heights = st.lists(st.floats(-0.3, 1.3), min_size=1, max_size=7).map(sorted)


@given(heights=heights, gap=st.floats(0.0, 0.3))
def test_names_are_a_gap_apart_inside_the_axes_and_stay_where_they_can(heights, gap):
    found = np.array(style.apart(heights, gap))
    least = min(gap, 1 / max(1, len(heights) - 1))
    assert np.all(np.diff(found) >= least - 1e-9)
    assert np.all((found >= -1e-9) & (found <= 1 + 1e-9))
    if np.all(np.diff(heights) >= gap) and heights[0] >= 0 and heights[-1] <= 1:
        np.testing.assert_allclose(found, heights, atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_names_move_as_little_as_least_squares_allow(seed):
    rng = np.random.default_rng(seed)
    wanted, gap = np.sort(rng.uniform(-0.1, 1.1, size=6)), 0.15
    differences = np.diff(np.eye(6), axis=0)
    best = minimize(
        lambda x: np.sum((x - wanted) ** 2),
        np.linspace(0, 1, 6),
        bounds=[(0, 1)] * 6,
        constraints=[LinearConstraint(differences, gap, np.inf)],
        method="SLSQP",
        options={"ftol": 1e-14},
    )
    np.testing.assert_allclose(style.apart(list(wanted), gap), best.x, atol=1e-5)


def test_names_stand_at_the_ends_of_curves_on_a_log_scale():
    figure = Figure(figsize=(4, 4))
    axes = figure.add_axes((0.1, 0.1, 0.5, 0.8))
    axes.set(yscale="log", ylim=(1, 100))
    style.name_ends(axes, [(1.0, "low", "red", False), (10.0, "middle", "blue", True)])
    places = {text.get_text(): text for text in axes.texts}
    assert places["low"].xy == pytest.approx((1.0, 0.0))
    assert places["middle"].xy == pytest.approx((1.0, 0.5))
    assert places["middle"].get_position()[1] == pytest.approx(0.5)
    assert places["middle"].get_fontweight() == "bold"


def test_a_difference_has_a_typographic_sign():
    assert [style.signed(value) for value in (-0.126, 0.5)] == ["−0.13", "+0.50"]
