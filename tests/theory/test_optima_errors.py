"""Problems that contradict themselves get no certificate, and the error says why."""

import cvxpy as cp
import numpy as np
import pytest

from tests.theory.instances import batch, single
from tests.theory.user_problems import Stated
from theory.optima import CertificateError, certify


def line(**changes):
    """f(theta) = theta on [-1, 1], optimum -1, with one part replaced."""
    parts = {
        "dim": 1,
        "num_tasks": 1,
        "losses": lambda theta: theta,
        "gradients": lambda theta: np.ones((*theta.shape, 1)),
        "constraints": lambda theta, levels: [theta <= levels],
    }
    return Stated(**parts | changes)


def test_the_unchanged_line_has_a_certificate():
    found = certify(line())
    assert found.lower <= -1 <= found.upper


REFUSED = {
    "non-convex epigraph": (
        {"constraints": lambda theta, levels: [-cp.square(theta) <= levels]},
        "Stated.* is not convex",
    ),
    "no epigraph": ({"constraints": lambda theta, levels: []}, "level of some task unconstrained"),
    "infeasible epigraph": (
        {"constraints": lambda theta, levels: [theta <= levels, theta >= 2]},
        "says that Stated.* is infeasible",
    ),
    "losses are NaN": ({"losses": lambda theta: np.nan * theta}, "losses should return 1 finite"),
    "losses are infinite": ({"losses": lambda theta: theta - np.inf}, "should return 1 finite"),
    "losses lack the task axis": (
        {"losses": lambda theta: theta[..., 0]},
        r"Stated\.losses should return 1 finite",
    ),
    "losses of another count": (
        {"losses": lambda theta: np.concatenate([theta, theta], axis=-1)},
        r"Stated\.losses should return 1 finite",
    ),
    "epigraph of another slope": (
        {"constraints": lambda theta, levels: [-theta <= levels]},
        "could not be certified: upper bound .*, lower bound .*; check that `losses`",
    ),
    "epigraph with a constraint of its own": (
        {"constraints": lambda theta, levels: [theta <= levels, theta >= 0]},
        "could not be certified",
    ),
    "gradient of the wrong sign": (
        {"gradients": lambda theta: -np.ones((*theta.shape, 1))},
        "could not be certified: .*`weighted_gradient`",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_problem_that_contradicts_itself_is_refused_by_name(case):
    changes, message = REFUSED[case]
    with pytest.raises(CertificateError, match=message):
        certify(line(**changes))


def test_a_certificate_error_names_the_class_of_the_problem():
    class Mine(Stated):
        pass

    concave = {"constraints": lambda theta, levels: [-cp.square(theta) <= levels]}
    with pytest.raises(CertificateError, match="Mine"):
        certify(Mine(**vars_of(line(**concave))))


def vars_of(problem):
    return {name: value for name, value in vars(problem).items() if name != "domain"}


def test_a_level_may_be_loose_if_another_task_is_worse_everywhere():
    # the level of the second task is unconstrained, yet the interval closes without it
    problem = line(
        num_tasks=2,
        losses=lambda theta: np.concatenate([theta, theta - 5], axis=-1),
        gradients=lambda theta: np.ones((*theta.shape[:-1], 2, 1)),
        constraints=lambda theta, levels: [theta <= levels[0]],
    )
    found = certify(problem)
    assert found.lower <= -1 <= found.upper
    with pytest.raises(CertificateError, match="level of some task unconstrained"):
        certify(problem, np.array([0.5, 0.5]))


def test_a_tolerance_that_rounding_exceeds_is_refused():
    with pytest.raises(CertificateError, match="could not be certified"):
        certify(single("max-linear"), tolerance=1e-16)


def test_a_batch_is_not_one_instance():
    with pytest.raises(CertificateError, match=r"single instance|4 finite task losses"):
        certify(batch("max-linear"))


@pytest.mark.parametrize("lipschitz", [np.inf, 1e12])
def test_an_overstated_lipschitz_constant_does_not_loosen_the_certificate(lipschitz):
    # the epigraph's optimum is far from that of the losses, so nothing may be certified
    wrong = {"constraints": lambda theta, levels: [-theta <= levels]}
    with pytest.raises(CertificateError):
        certify(line(lipschitz=lipschitz, **wrong))


def test_a_vanishing_gradient_certifies_nothing():
    # optimum 0 at 0.3; the epigraph sends the solver to 0.9, where the loss is 0.36
    problem = line(
        losses=lambda theta: (theta - 0.3) ** 2,
        gradients=lambda theta: np.zeros((*theta.shape, 1)),
        constraints=lambda theta, levels: [cp.square(theta - 0.9) <= levels],
        lipschitz=3.0,
    )
    with pytest.raises(CertificateError, match="weighted_gradient"):
        certify(problem)


def test_a_local_minimum_of_a_loss_that_is_not_convex_is_no_certificate():
    # -1 at 0, but cos(3 pi + pi) - 9/2 < -1 at the ends
    problem = line(
        losses=lambda theta: -np.cos(3 * theta) - theta**2 / 2,
        gradients=lambda theta: (3 * np.sin(3 * theta) - theta)[..., None],
        constraints=lambda theta, levels: [cp.square(theta) <= levels],
        radius=3.0,
        lipschitz=6.0,
    )
    with pytest.raises(CertificateError):
        certify(problem)


@pytest.mark.parametrize(
    "weights", [[0.5, 0.6, 0.0, 0.0], [1.5, -0.5, 0.0, 0.0], [0.5, 0.5], [np.nan, 1.0, 0.0, 0.0]]
)
def test_weights_off_the_simplex_are_refused_by_name(weights):
    with pytest.raises(ValueError, match="`weights`"):
        certify(single("max-linear"), np.array(weights))


@pytest.mark.parametrize(
    "changes",
    [
        {"losses": lambda theta: np.array([theta[0]])},  # one point at a time only
        {"gradients": lambda theta: np.full((*theta.shape, 1), np.nan)},
        {"constraints": lambda theta, levels: theta <= levels},  # no list
    ],
    ids=["losses without leading axes", "gradient is NaN", "epigraph is no list"],
)
def test_common_slips_are_named(changes):
    slip = {"dim": 1, "gradients": lambda theta: np.sign(theta)[..., None]} | changes
    kinked = {
        "losses": lambda theta: np.abs(theta),
        "constraints": lambda theta, levels: [cp.abs(theta) <= levels],
    }
    with pytest.raises(CertificateError, match=r"losses|weighted_gradient|epigraph"):
        certify(line(**kinked | slip))
