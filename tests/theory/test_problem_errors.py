"""Bad input is refused by name, before anything is computed from it."""

import numpy as np
import pytest

from tests.theory.instances import batch
from theory.problems import (
    AbsoluteRegression,
    AngledWorstCase,
    Ball,
    DenseQuadratic,
    DiagonalQuadratic,
    DroriTeboulle,
    HuberRegression,
    Logistic,
    MaxLinear,
    appendix_c,
    digits_by_class,
)

DISC = Ball.of(np.zeros(2), 1.0)
REGRESSION = {"features": np.ones((3, 5, 2)), "targets": np.ones((3, 5))}
GOOD = {
    MaxLinear: {"slopes": np.ones((3, 2)), "offsets": np.zeros(3)},
    AbsoluteRegression: REGRESSION,
    HuberRegression: REGRESSION,
    Logistic: {"features": np.ones((3, 5, 2)), "shares": np.full((3, 5), 0.2)},
    DenseQuadratic: {"hessians": np.tile(np.eye(2), (3, 1, 1)), "minimizers": np.zeros((3, 2))},
    DiagonalQuadratic: {"curvatures": np.ones((3, 2)), "minimizers": np.zeros((3, 2))},
}
FIELDS = [(family, field) for family, fields in GOOD.items() for field in fields]
each_field = pytest.mark.parametrize(
    ("family", "field"), FIELDS, ids=[f"{family.__name__}-{field}" for family, field in FIELDS]
)


@pytest.mark.parametrize("family", GOOD, ids=lambda family: family.__name__)
def test_the_good_input_is_accepted(family):
    assert family(DISC, **GOOD[family]).num_tasks == 3


@each_field
@pytest.mark.parametrize(
    "change", [lambda a: a[..., :-1], lambda a: a[None], lambda a: a[..., None]]
)
def test_wrong_shape_is_refused_by_name(family, field, change):
    wrong = GOOD[family] | {field: change(GOOD[family][field])}
    with pytest.raises(ValueError, match=r"should have shape \(.*\); found \("):
        family(DISC, **wrong)


@each_field
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_by_name(family, field, value):
    array = GOOD[family][field].copy()
    array.flat[-1] = value
    with pytest.raises(ValueError, match=f"`{field}` should be finite"):
        family(DISC, **GOOD[family] | {field: array})


@each_field
def test_a_batch_has_its_axis_on_every_array(family, field):
    pair = Ball.of(np.zeros((2, 2)), np.ones(2))
    stacked = {name: np.stack([array, array]) for name, array in GOOD[family].items()}
    assert family(pair, **stacked).batch_shape == (2,)
    with pytest.raises(ValueError, match="should have shape"):
        family(pair, **stacked | {field: GOOD[family][field]})


@pytest.mark.parametrize("radius", [0.0, -1.0, np.inf, np.nan])
def test_a_domain_without_positive_finite_radius_is_refused(radius):
    with pytest.raises(ValueError, match="`radius` of the domain should be positive and finite"):
        Ball.of(np.zeros(2), radius)
    with pytest.raises(ValueError, match="`radius`"):
        Ball.of(np.zeros((2, 2)), [1.0, radius])


@pytest.mark.parametrize("coordinate", [np.nan, np.inf])
def test_a_domain_without_finite_center_is_refused(coordinate):
    with pytest.raises(ValueError, match="`center` of the domain should be finite"):
        Ball.of([0.0, coordinate], 1.0)


def test_negative_curvature_is_refused_as_not_convex():
    with pytest.raises(ValueError, match=r"`curvatures` should be nonnegative.*not convex"):
        DiagonalQuadratic(DISC, np.array([[1.0, -1e-9]]), np.zeros((1, 2)))
    saddle = np.array([[[1.0, 2.0], [2.0, 1.0]]])
    with pytest.raises(ValueError, match=r"`hessians` should be positive semidefinite.*not convex"):
        DenseQuadratic(DISC, saddle, np.zeros((1, 2)))


@pytest.mark.parametrize("family", [DenseQuadratic, DiagonalQuadratic])
def test_minimizers_outside_the_domain_are_refused(family):
    outside = np.array([[0.0, 0.0], [0.9, 0.9], [0.0, 0.0]])
    with pytest.raises(ValueError, match=r"`minimizers` should lie in the domain; .* 1\.27279"):
        family(DISC, **GOOD[family] | {"minimizers": outside})
    on_the_sphere = np.array([[0.6, 0.8], [0.0, 0.0], [0.0, -1.0]])
    assert family(DISC, **GOOD[family] | {"minimizers": on_the_sphere}).num_tasks == 3


@pytest.mark.parametrize("shares", [[0.5, 0.6], [1.5, -0.5], [0.0, 0.0]])
def test_shares_that_are_no_distribution_are_refused(shares):
    with pytest.raises(ValueError, match="`shares` should be nonnegative and sum to 1"):
        Logistic(DISC, np.ones((1, 2, 2)), np.array([shares]))


@pytest.mark.parametrize("knee", [0.0, -1.0, np.nan])
def test_a_knee_that_is_not_positive_is_refused(knee):
    with pytest.raises(ValueError, match="`knee` should be positive"):
        HuberRegression(DISC, **REGRESSION, knee=knee)


@pytest.mark.parametrize("steepness", [0.0, -2.0, np.nan])
def test_appendix_c_needs_a_positive_steepness(steepness):
    with pytest.raises(ValueError, match="`steepness` should be positive"):
        appendix_c(steepness, 3)


def test_appendix_c_needs_two_tasks():
    with pytest.raises(ValueError, match="`num_tasks` should be at least 2; found 1"):
        appendix_c(2.0, 1)


@pytest.mark.parametrize("count", [0, 175])
def test_digits_cannot_be_drawn_without_replacement_beyond_the_rarest_class(count):
    with pytest.raises(
        ValueError, match=f"`samples_per_class` should be from 1 to 174; found {count}"
    ):
        digits_by_class(samples_per_class=count)


def test_the_angled_case_needs_nine_tasks_and_a_wide_enough_angle():
    with pytest.raises(ValueError, match="`num_tasks` should be at least 9; found 8"):
        AngledWorstCase(100, 8, 0.98)
    for sine in (0.1, 1.01):
        with pytest.raises(ValueError, match="`sine` should lie in"):
            AngledWorstCase(100, 10, 1.1, sine=sine)


@pytest.mark.parametrize("radius", [0.0, -1.0, np.inf])
def test_worst_cases_need_a_positive_finite_distance(radius):
    with pytest.raises(ValueError, match="`radius` of the domain"):
        _ = DroriTeboulle(5, start_radius=radius).domain


def test_padded_samples_take_no_part():
    features = np.array([[[1.0, 0.5], [-0.3, 2.0]], [[0.7, -1.0], [9.9, 9.9]]])
    shares = np.array([[0.5, 0.5], [1.0, 0.0]])
    padded = Logistic(DISC, features, shares)
    features[1, 1] = -33.0
    other = Logistic(DISC, features, shares)
    theta = np.array([0.3, -0.2])
    np.testing.assert_array_equal(padded.losses(theta), other.losses(theta))
    for field in ("lipschitz", "smoothness", "strong_convexity", "loss_bound"):
        assert getattr(padded.constants(), field) == getattr(other.constants(), field)


def test_index_beyond_the_batch_is_an_index_error():
    with pytest.raises(IndexError):
        batch("quadratic")[3]


def test_rank_deficient_hessians_are_convex():
    direction = np.array([0.3, 0.7, 0.1, 0.2])
    hessian = np.outer(direction, direction)[None]
    DenseQuadratic(Ball.of(np.zeros(4), 1.0), hessian, np.zeros((1, 4)))


def test_hessians_that_are_not_symmetric_are_refused():
    # the losses are those of the symmetric part [[1, 1.5], [1.5, 1]], which is not convex
    with pytest.raises(ValueError, match="`hessians`"):
        DenseQuadratic(DISC, np.array([[[1.0, 3.0], [0.0, 1.0]]]), np.zeros((1, 2)))


@pytest.mark.parametrize("family", GOOD, ids=lambda family: family.__name__)
def test_a_problem_without_tasks_is_refused(family):
    with pytest.raises(ValueError, match="task"):
        family(DISC, **{name: array[:0] for name, array in GOOD[family].items()})


@pytest.mark.parametrize(("center", "radius"), [(0.0, 1.0), (np.zeros(2), np.ones(3))])
def test_a_ball_whose_shapes_disagree_is_refused(center, radius):
    with pytest.raises(ValueError, match=r"`center`|`radius`"):
        MaxLinear(Ball.of(center, radius), np.ones((3, 1, 2)), np.ones((3, 1)))[0]
