import dataclasses
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.theory.instances import NAMED, RANDOM, batch, single
from theory import solve as module
from theory.convex import CertificateError
from theory.optima import certify
from theory.problems import FAMILIES, Ball, DiagonalQuadratic, MaxLinear
from theory.solve import solve

SMOOTH = [name for name in RANDOM if name != "absolute"]
EXACT = 1e-6  # certify's own tolerance here: far above its rounding, at the accuracy asked of solve


def instance(family, seed, tasks, dim):
    return FAMILIES[family](np.random.default_rng(seed), 1, tasks, dim)[0]


def check(problem, found, tolerance=1e-6):
    """Everything the solution promises that can be recomputed without the solver."""
    assert problem.domain.project(found.point) == pytest.approx(found.point, abs=1e-14)
    assert np.all(found.weights >= 0)
    assert np.sum(found.weights) == pytest.approx(1, abs=1e-12)
    value = np.max(problem.losses(found.point))
    assert found.lower <= value <= found.upper
    assert found.width == found.upper - found.lower
    terms = float(found.weights @ module.magnitudes(problem))
    assert 0 <= found.width <= tolerance * max(abs(found.upper), 0.01 * terms)


def assert_agree(found, optimum):
    """Two rigorous intervals of the same number overlap."""
    assert found.lower <= float(optimum.upper)
    assert float(optimum.lower) <= found.upper


@pytest.mark.parametrize("family", SMOOTH)
def test_agrees_with_the_convex_solver_on_random_instances(family):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        problem = instance(family, seed, int(rng.integers(1, 7)), int(rng.integers(1, 6)))
        found = solve(problem)
        assert found.method == "interior point"
        check(problem, found)
        assert_agree(found, certify(problem, tolerance=EXACT))


@pytest.mark.parametrize("name", ["absolute", *NAMED])
def test_solves_every_other_problem_of_the_testbed(name):
    problem = single(name)
    found = solve(problem)
    check(problem, found)
    assert_agree(found, certify(problem, tolerance=EXACT))
    smooth = name in ("appendix C", "two slopes", "digits")
    assert found.method == ("interior point" if smooth else "cvxpy")
    assert (found.iterations > 0) == smooth


@pytest.mark.parametrize(("tasks", "dim"), [(200, 3), (3, 60), (40, 40), (1, 20), (30, 1)])
@pytest.mark.parametrize("family", ["max-linear", "ill-conditioned", "logistic"])
def test_solves_problems_of_any_shape(family, tasks, dim):
    problem = instance(family, 7, tasks, dim)
    found = solve(problem)
    assert found.method == "interior point"
    check(problem, found)


@settings(max_examples=40)
@given(
    family=st.sampled_from(["max-linear", "ill-conditioned", "large scale", "near-ties"]),
    tasks=st.integers(1, 8),
    dim=st.integers(1, 6),
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    copies=st.integers(1, 3),
)
def test_scale_and_duplicates_change_nothing_but_the_unit(family, tasks, dim, seed, scale, copies):
    problem = instance(family, seed, tasks, dim)
    original = solve(problem)
    changed = {
        name: np.tile(value, (copies,) + (1,) * (value.ndim - 1))
        for name, value in vars(problem).items()
        if isinstance(value, np.ndarray)
    }
    scaled = {"slopes", "offsets", "curvatures"}
    changed = {n: v * (scale if n in scaled else 1.0) for n, v in changed.items()}
    repeated = dataclasses.replace(problem, **changed)
    found = solve(repeated)
    check(problem, original)
    check(repeated, found)
    slack = 1e-12 * scale * float(original.weights @ module.magnitudes(problem))
    assert found.lower <= scale * original.upper + slack
    assert scale * original.lower <= found.upper + slack


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    tasks=st.integers(1, 6),
    dim=st.integers(1, 5),
    shift=st.sampled_from([0.0, 1.0, 1e3]),
)
def test_moving_the_domain_moves_the_solution(seed, tasks, dim, shift):
    problem = instance("ill-conditioned", seed, tasks, dim)
    center = problem.domain.center + shift
    moved = DiagonalQuadratic(
        Ball.of(center, problem.domain.radius), problem.curvatures, problem.minimizers + shift
    )
    found, elsewhere = solve(problem), solve(moved)
    rounding = 1e-15 * shift * problem.constants().lipschitz  # of the moved minimisers themselves
    assert found.lower <= elsewhere.upper + rounding
    assert elsewhere.lower <= found.upper + rounding


def test_finds_a_minimiser_inside_and_on_the_boundary():
    # |theta| on [-1, 3] and, out of reach of its minimum, on [1, 3]
    slopes, offsets = np.array([[1.0], [-1.0]]), np.zeros(2)
    inside = solve(MaxLinear(Ball.of([1.0], 2.0), slopes, offsets), 1e-9)
    assert inside.lower <= 0 <= inside.upper
    assert inside.point == pytest.approx([0], abs=1e-7)
    assert inside.weights == pytest.approx([0.5, 0.5], abs=1e-6)
    boundary = solve(MaxLinear(Ball.of([2.0], 1.0), slopes, offsets), 1e-9)
    assert boundary.lower <= 1 <= boundary.upper
    assert boundary.point == pytest.approx([1], abs=1e-7)
    assert boundary.weights == pytest.approx([1, 0], abs=1e-6)


def test_tasks_that_share_their_minimiser_have_optimum_zero():
    shared = np.full((3, 4), 0.2)
    problem = DiagonalQuadratic(Ball.of(np.zeros(4), 1.0), np.arange(1, 13.0).reshape(3, 4), shared)
    found = solve(problem)
    check(problem, found)
    assert found.lower <= 0 <= found.upper
    np.testing.assert_allclose(found.point, shared[0], atol=1e-2)


def test_constant_tasks_are_solved_at_the_centre():
    found = solve(MaxLinear(Ball.of(np.zeros(3), 1.0), np.zeros((2, 3)), np.array([1.0, 2.0])))
    assert found.lower <= 2 <= found.upper


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-8])
def test_reaches_the_accuracy_asked_for(tolerance):
    problem = instance("max-linear", 3, 30, 12)
    found = solve(problem, tolerance)
    check(problem, found, tolerance)
    assert found.method == "interior point"
    coarse = solve(problem, 0.1)
    assert coarse.iterations < solve(problem, 1e-8).iterations


@pytest.mark.parametrize("family", ["quadratic", "ill-conditioned", "max-linear"])
def test_a_wrong_proposal_is_never_believed(family, monkeypatch):
    problem = instance(family, 4, 5, 3)
    optimum = certify(problem)

    def liar(_model, domain, num_tasks, _pace):
        weights = np.eye(num_tasks)[0]
        yield module.Iterate(domain.center + 5 * domain.radius, weights, 0.0)

    monkeypatch.setattr(module, "interior_point", liar)
    monkeypatch.setattr(module, "LARGEST_CONVEX_PROGRAM", 0)
    bracket, used = module._close(problem, liar(None, problem.domain, 5, None), 1e-6)
    assert used == 0
    assert bracket.lower <= optimum.upper
    assert bracket.upper >= optimum.lower
    assert np.linalg.norm(bracket.point - problem.domain.center) <= problem.domain.radius * (
        1 + 1e-15
    )
    with pytest.raises(CertificateError, match=r"cautious interior point left \["):
        solve(problem)


def test_an_interior_point_that_stops_short_is_replaced(monkeypatch):
    real, paces = module.interior_point, []

    def stops_short(model, domain, num_tasks, pace):
        paces.append(pace)
        yield next(real(model, domain, num_tasks, pace))

    monkeypatch.setattr(module, "interior_point", stops_short)
    problem = instance("max-linear", 0, 5, 3)
    found = solve(problem)
    assert paces == [module.BOLD, module.CAUTIOUS]
    assert found.method == "cvxpy"
    check(problem, found)

    def second_only(model, domain, num_tasks, pace):
        return (real if pace is module.CAUTIOUS else stops_short)(model, domain, num_tasks, pace)

    monkeypatch.setattr(module, "interior_point", second_only)
    found = solve(problem)
    assert found.method == "cautious interior point"
    check(problem, found)


def test_a_huber_risk_whose_curved_part_is_tiny_is_solved_all_the_same():
    # the knee is a thousandth of the radius: Newton's method has no curvature to follow
    problem = instance("Huber", 2, 1, 2)
    far = dataclasses.replace(problem, domain=Ball.of(problem.domain.center, 1e3 * 2.0))
    check(far, solve(far))


def test_an_optimum_nobody_closes_is_an_error_by_name(monkeypatch):
    with pytest.raises(CertificateError, match=r"optimum of DiagonalQuadratic .* left \["):
        solve(instance("ill-conditioned", 0, 5, 3), 1e-15)
    monkeypatch.setattr(module, "LARGEST_CONVEX_PROGRAM", 11)
    with pytest.raises(CertificateError, match=r"12 entries, too many for cvxpy.*weighted_hessian"):
        solve(single("absolute"))


def test_a_dishonest_convex_solver_is_not_believed(monkeypatch):
    honest = certify(single("absolute"))
    wide = dataclasses.replace(honest, upper=honest.upper + 1.0)
    monkeypatch.setattr(module, "certify", lambda *_, **__: wide)
    with pytest.raises(CertificateError, match="AbsoluteRegression was not certified to 1e-06"):
        solve(single("absolute"))


def test_cvxpy_may_be_as_coarse_as_the_caller_allows(monkeypatch):
    tolerances = []

    def strict_fails(problem, tolerance=1e-8):
        tolerances.append(tolerance)
        if tolerance < 1e-6:
            raise CertificateError("not closed")
        return certify(problem, tolerance=tolerance)

    monkeypatch.setattr(module, "certify", strict_fails)
    check(single("absolute"), solve(single("absolute"), 1e-3), 1e-3)
    assert tolerances == [1e-8, 1e-3]
    with pytest.raises(CertificateError, match="not closed"):
        solve(single("absolute"), 1e-9)


@pytest.mark.parametrize("tolerance", [0.0, -1.0, 1.0, float("nan"), float("inf")])
def test_refuses_a_senseless_tolerance(tolerance):
    with pytest.raises(ValueError, match="`tolerance` should lie between 0 and 1"):
        solve(single("max-linear"), tolerance)


def test_refuses_a_batch():
    with pytest.raises(ValueError, match="single instance"):
        solve(batch("max-linear"))


def test_a_problem_of_ones_own_needs_only_a_hessian():
    plain = instance("quadratic", 6, 4, 3)

    class Own:
        """Registered nowhere: T weighted gradients give its Jacobian, tangents its lower bound."""

        num_tasks, domain = plain.num_tasks, plain.domain
        losses, weighted_gradient = (
            staticmethod(plain.losses),
            staticmethod(plain.weighted_gradient),
        )
        constants = staticmethod(plain.constants)
        weighted_hessian = staticmethod(plain.weighted_hessian)

    found = solve(Own())
    assert found.method == "interior point"
    assert_agree(found, certify(plain))
    assert_agree(solve(plain), certify(plain))
    del Own.weighted_hessian  # cvxpy is then asked for, and this class has no epigraph
    with pytest.raises(AttributeError, match="epigraph"):
        solve(Own())


@pytest.mark.parametrize(("tasks", "dim"), [(800, 200), (60, 1000)])
@pytest.mark.parametrize("family", ["max-linear", "ill-conditioned"])
def test_memory_stays_below_three_times_the_data(family, tasks, dim):
    problem = instance(family, 0, tasks, dim)
    data = sum(v.nbytes for v in vars(problem).values() if isinstance(v, np.ndarray))
    solve(instance(family, 0, 4, 3))  # what the first call imports is not its memory
    tracemalloc.start()
    found = solve(problem, 1e-3)
    extra = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.method == "interior point"
    assert data + extra <= 3 * data
