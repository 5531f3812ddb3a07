from fractions import Fraction

import numpy as np
import pytest

from tests.theory.claims.helpers import verdicts
from theory.claims import a11_covering as a11
from theory.judge import Verdict


def test_monotonicity_is_refuted_and_the_rest_holds(context):
    found = verdicts(a11.CLAIM, context)
    assert found == {
        "d = 1": Verdict.CORRECTED,
        "Lemma B.3": Verdict.HOLDS,
        "attained": Verdict.CORRECTED,
        "nets cover": Verdict.HOLDS,
        "every subset": Verdict.CORRECTED,
        "monotone": Verdict.REFUTED,
    }


def test_a_bound_with_the_radius_for_the_diameter_fails(context, monkeypatch):
    monkeypatch.setattr(a11.sample_bounds, "covering_number", lambda r, e, d: (1 + r / e) ** d)
    found = verdicts(a11.CLAIM, context)
    assert found["attained"] is found["every subset"] is Verdict.FAILS


def test_a_bound_without_the_one_fails(context, monkeypatch):
    monkeypatch.setattr(a11.sample_bounds, "covering_number", lambda r, e, d: (2 * r / e) ** d)
    found = verdicts(a11.CLAIM, context)
    assert found["Lemma B.3"] is found["attained"] is Verdict.FAILS


def test_a_wasteful_cover_is_not_the_covering_number(context, monkeypatch):
    cover = a11.interval_cover
    monkeypatch.setattr(a11, "interval_cover", lambda r, e: cover(r, e / 2))
    assert verdicts(a11.CLAIM, context)["d = 1"] is Verdict.FAILS


def test_a_net_that_is_not_maximal_does_not_cover(context, monkeypatch):
    net = a11.maximal_net
    monkeypatch.setattr(a11, "maximal_net", lambda x, e: net(x, e)[:-1] if len(x) > 1 else x)
    found = verdicts(a11.CLAIM, context)
    assert found["nets cover"] is found["attained"] is Verdict.FAILS


def test_a_net_that_is_not_separated_is_too_large(context, monkeypatch):
    net = a11.maximal_net
    monkeypatch.setattr(a11, "maximal_net", lambda x, e: net(x, 0.6 * e))
    found = verdicts(a11.CLAIM, context)
    assert found["attained"] is found["every subset"] is Verdict.FAILS


def test_external_covering_numbers_are_monotone(context, monkeypatch):
    monkeypatch.setattr(a11, "covering_number", lambda points, _: min(len(points), 1))
    assert verdicts(a11.CLAIM, context)["monotone"] is Verdict.NOT_REFUTED


@pytest.mark.parametrize("eighths", range(1, 40))
def test_interval_cover_covers_from_inside_with_as_few_balls_as_its_length_allows(eighths):
    radius, spacing = Fraction(eighths, 8), Fraction(1, 4)
    centers = a11.interval_cover(radius, spacing)
    assert all(-radius <= center <= radius for center in centers)
    ends = [-radius, *[c + spacing for c in centers]]
    assert all(c - spacing <= end for c, end in zip(centers, ends[:-1], strict=True))
    assert ends[-1] >= radius
    # one ball fewer could not: each covers a length of at most 2 epsilon
    assert (len(centers) - 1) * 2 * spacing < 2 * radius


@pytest.mark.parametrize("shape", a11.SHAPES)
@pytest.mark.parametrize("dim", [2, 3])
def test_nets_are_separated_and_lie_in_the_body(shape, dim):
    points = a11.body(np.random.default_rng(0), shape, dim, 500)
    net = a11.maximal_net(points, 0.3)
    distances = np.linalg.norm(net[:, None] - net, axis=-1)
    assert np.min(distances[~np.eye(len(net), dtype=bool)]) >= 0.3
    assert np.all(np.linalg.norm(net, axis=-1) <= 1 + 1e-15)
    assert {tuple(x) for x in net} <= {tuple(x) for x in points}


@pytest.mark.parametrize(
    ("points", "spacing", "expected"),
    [((0,), 1, 1), ((-1, 0, 1), 1, 1), ((-1, 1), 1, 2), ((0, 1, 2, 3, 4, 5), 1, 2), ((0, 3), 1, 2)],
)
def test_brute_force_covering_number(points, spacing, expected):
    assert a11.covering_number(points, spacing) == expected


def test_an_unknown_shape_is_named():
    with pytest.raises(ValueError, match=r"half-ball.*cube"):
        a11.body(np.random.default_rng(0), "cube", 2, 10)
