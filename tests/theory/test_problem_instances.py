import numpy as np
import pytest

from tests.theory.instances import RANDOM, batch, points, single
from theory.problems import Ball, digits_by_class, starting_points

batched = pytest.mark.parametrize("family", RANDOM)


@pytest.mark.parametrize("name", ["Drori-Teboulle", "angled"])
def test_worst_cases_attain_their_optimum_at_their_distance(name):
    problem = single(name)
    worst = np.max(problem.losses(problem.minimizer))
    assert worst == pytest.approx(problem.optimum, rel=1e-13)
    start = getattr(problem, "start", problem.domain.center)
    distance = np.linalg.norm(start - problem.minimizer)
    assert distance == pytest.approx(problem.start_radius, rel=1e-13)
    nearby = problem.minimizer + 1e-3 * points(Ball.of(np.zeros(start.size), 1.0), 300)
    everywhere = np.concatenate([nearby, points(problem.domain, 300)])
    assert np.min(np.max(problem.losses(everywhere), axis=-1)) >= problem.optimum - 1e-15


def test_digits_are_ten_single_label_tasks_from_real_images():
    problem = digits_by_class()
    assert problem.features.shape == (10, 30, 65)
    np.testing.assert_allclose(problem.losses(np.zeros(65)), np.log(2), rtol=1e-13)
    intercept = problem.features[..., -1]
    # label -1 for the digits 0 to 4 and +1 for 5 to 9; the intercept is the label up to scale
    np.testing.assert_array_equal(np.sign(intercept), np.repeat([-1.0, 1.0], 150).reshape(10, 30))
    assert np.ptp(np.abs(intercept)) == 0
    assert np.mean(np.linalg.norm(problem.features, axis=-1)) == pytest.approx(1.0, abs=0.02)
    one_sided = np.zeros(65)
    one_sided[-1] = 1.0
    losses = problem.losses(one_sided)  # always saying "5 or more" helps five tasks, hurts five
    assert np.all(losses[:5] > np.log(2))
    assert np.all(losses[5:] < np.log(2))


def test_digits_follow_their_seed_and_draw_without_replacement():
    one, again, other = (digits_by_class(seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(one.features, again.features)
    assert not np.array_equal(one.features, other.features)
    everything = digits_by_class(samples_per_class=174)
    # every image of the rarest class (8) once: as many distinct rows as images
    assert len(np.unique(everything.features[8], axis=0)) == 174


@batched
def test_starting_points_lie_at_nine_tenths_of_the_radius(family):
    problem = batch(family)
    start = starting_points(problem, np.random.default_rng(0))
    distance = np.linalg.norm(start - problem.domain.center, axis=-1)
    np.testing.assert_allclose(distance, 0.9 * problem.domain.radius, rtol=1e-13)
    assert np.linalg.norm(start[0] - start[1]) > 0


def test_stressed_families_have_the_property_they_stress():
    theta = points(batch("duplicates").domain, 4)
    repeated = batch("duplicates").losses(theta)
    np.testing.assert_array_equal(repeated[..., 1:], np.repeat(repeated[..., 1:2], 3, axis=-1))
    assert np.all(np.abs(repeated[..., 0] - repeated[..., 1]) > 1e-3)
    tied = batch("near-ties").losses(points(batch("near-ties").domain, 4))
    np.testing.assert_allclose(tied[..., 2:] - tied[..., :2], 2e-9, atol=1e-14)
    curvatures = batch("ill-conditioned").curvatures
    np.testing.assert_allclose(curvatures.max(-1) / curvatures.min(-1), 1e6, rtol=1e-12)
    large = batch("large scale").curvatures
    assert np.min(large[:, 0]) >= 100 * (1 - 1e-12) > np.max(large[:, 1:]) <= 1
