from dataclasses import replace

import numpy as np
import pytest

from theory import bounds
from theory.convex import CertificateError
from theory.descent import descend
from theory.problems import MaxLinear, appendix_c, two_slope
from theory.schedules import SCHEDULES, Setting
from theory.study import study


def test_agrees_with_the_pieces_it_is_made_of():
    problem = appendix_c(9.0, 10)
    start = np.array([0.0])
    found = study(problem, start, num_steps=(7, 50), schedules=("constant",))
    np.testing.assert_allclose(found.optimum.point, [0.75], atol=1e-6)
    for row, steps in enumerate((7, 50)):
        setting = Setting(10, steps, found.radius, problem.constants().lipschitz)
        average = descend(problem, SCHEDULES["constant"](setting), start).average
        gap = problem.losses(average).max() - 0.5625
        low, high = found.gaps["constant"][row]
        assert low - 1e-12 <= gap <= high + 1e-12
        assert found.bound[row] == bounds.theorem_3_1(setting)


def test_every_schedule_name_runs_where_its_constants_exist():
    names = tuple(name for name in SCHEDULES if name != "strongly convex")
    found = study(two_slope(9, 1.04), np.array([3.0]), num_steps=(5,), schedules=names)
    assert set(found.gaps) == set(names)


def test_unknown_schedule_is_named():
    with pytest.raises(ValueError, match=r"unknown schedule 'cosine' \(known: paper"):
        study(two_slope(9, 1.04), np.array([3.0]), schedules=("cosine",))


def test_start_at_the_minimiser_is_refused():
    problem = two_slope(9, 1.04)
    point = study(problem, np.array([3.0]), num_steps=(1,)).optimum.point
    with pytest.raises(ValueError, match="R0 = 0"):
        study(problem, point)


def test_inconsistent_problem_is_refused():
    class Wrong(MaxLinear):
        def losses(self, theta):
            return super().losses(theta) + 1.0

    base = two_slope(9, 1.04)
    with pytest.raises(CertificateError, match="Wrong could not be certified"):
        study(Wrong(base.domain, base.slopes, base.offsets), np.array([3.0]))


def test_a_lipschitz_constant_that_a_gradient_exceeds_is_refused():
    class Boastful(MaxLinear):
        def constants(self):
            return replace(super().constants(), lipschitz=0.5)

    base = two_slope(9, 1.04)
    with pytest.raises(ValueError, match=r"`lipschitz` of Boastful .* found 0.5 and .* norm 1"):
        study(Boastful(base.domain, base.slopes, base.offsets), np.array([3.0]))


@pytest.mark.parametrize("start", [[1.0, 2.0], [np.nan], 3.0])
def test_a_start_that_is_no_point_is_refused(start):
    with pytest.raises(ValueError, match=r"`start` should be a finite point of shape \(1,\)"):
        study(two_slope(9, 1.04), start)


def test_one_number_of_steps_and_one_schedule_will_do():
    found = study(two_slope(9, 1.04), np.array([3.0]), num_steps=10, schedules="constant")
    assert found.gaps["constant"].shape == (1, 2)
    with pytest.raises(ValueError, match="`num_steps` should be at least 1"):
        study(two_slope(9, 1.04), np.array([3.0]), num_steps=(10, 0))
