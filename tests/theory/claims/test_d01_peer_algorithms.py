"""Every guarantee of the peers holds at small effort, and each line can fail."""

from dataclasses import replace

import numpy as np
import pytest

from tests.theory.claims.conftest import TINY
from tests.theory.claims.helpers import verdicts
from theory import bounds
from theory.claims import d01_other_targets as other
from theory.claims import d01_peer_algorithms as d01
from theory.judge import Verdict, judge
from theory.problems import CountedProblem
from theory.solvers import SOLVERS, bundle
from theory.solvers import accelerated as smoothing
from theory.solvers import cutting_planes as planes
from theory.solvers import gradient_descent_ascent as gda
from theory.solvers import mirror_prox as extragradient
from theory.testbed import EFFORTS, Context


@pytest.fixture(scope="module")
def context():
    """One testbed for all: the faults below are in methods, never in the problems."""
    shared = Context(TINY)
    assert shared.cases
    return shared


BOUNDED = tuple(name for name, solver in SOLVERS.items() if solver.bound is not None)


def verdict_of(check):
    return judge(check).verdict


def test_all_hold_and_the_common_reading_of_mgda_is_refuted(context):
    found = verdicts(d01.CLAIM, context)
    assert found.pop("MGDA minimax") is Verdict.REFUTED
    assert set(found.values()) == {Verdict.CORRECTED}
    assert set(BOUNDED) <= set(found)


def test_at_default_effort_every_method_meets_twenty_instances():
    instances = EFFORTS["default"].instances
    smooth = 7  # random families with Lipschitz gradients
    assert smooth * instances >= 20
    curved = set(d01.JACOBIAN_FAMILIES) - {"max-linear", "near-ties"}
    assert 4 * len(curved) >= 20
    assert 4 * len(other._SMOOTH) >= 20


@pytest.mark.parametrize("name", BOUNDED)
def test_a_bound_far_below_the_measured_gap_fails(context, name):
    solver = SOLVERS[name]
    assert verdict_of(d01._guarantee(context, solver)) is Verdict.CORRECTED
    tight = replace(solver, bound=lambda setting: 0.01 * np.asarray(solver.bound(setting)))
    assert verdict_of(d01._guarantee(context, tight)) is Verdict.FAILS


@pytest.mark.parametrize("name", [n for n in BOUNDED if SOLVERS[n].batched])
def test_ascent_instead_of_descent_fails(context, monkeypatch, name):
    right = CountedProblem.weighted_gradient
    monkeypatch.setattr(CountedProblem, "weighted_gradient", lambda *a: -right(*a))
    assert verdict_of(d01._guarantee(context, SOLVERS[name])) is Verdict.FAILS


def test_weights_that_move_to_the_easiest_task_fail(context, monkeypatch):
    right = gda.project_to_simplex
    monkeypatch.setattr(gda, "project_to_simplex", lambda v: right(2 / v.shape[-1] - v))
    assert verdict_of(d01._guarantee(context, SOLVERS["GDA"])) is Verdict.FAILS


def test_mirror_prox_with_a_step_twenty_times_too_long_fails(context, monkeypatch):
    right = bounds.mirror_prox_constant
    guarantee = SOLVERS["mirror-prox"]
    honest = replace(guarantee, bound=lambda setting: right(setting) / setting.num_steps)

    class Hasty:
        mirror_prox_constant = staticmethod(lambda setting: right(setting) / 20)

    monkeypatch.setattr(extragradient, "bounds", Hasty)
    assert verdict_of(d01._guarantee(context, honest)) is Verdict.FAILS


def test_a_continuation_that_never_sharpens_fails(context, monkeypatch):
    right = smoothing._sharpness
    monkeypatch.setattr(smoothing, "_sharpness", lambda s, k, r: 0.01 * right(s, 7, r))
    monkeypatch.setattr(d01, "_cases", lambda context, _: [(context.cases["max-linear"], 600)])
    assert verdict_of(d01._guarantee(context, SOLVERS["continuation"])) is Verdict.FAILS


def test_a_slower_rate_in_the_bound_of_sagawas_order_fails(context, monkeypatch):
    monkeypatch.setattr(
        bounds, "group_dro_weights_first", lambda setting, rate: 0.2 * bounds.subgradient(setting)
    )
    assert verdict_of(d01._weights_first(context)) is Verdict.FAILS


def test_a_model_without_the_values_is_no_solver_of_linear_tasks(context, monkeypatch):
    right = planes.minimize_model

    def valueless(cuts, domain, curvature):
        return right(replace(cuts, values=0 * cuts.values), domain, curvature)

    monkeypatch.setattr("theory.solvers.prox_linear.minimize_model", valueless)
    assert verdict_of(d01._one_step(context)) is Verdict.FAILS


def test_an_invalid_lower_bound_is_caught(context, monkeypatch):
    right = planes.Cuts.lower_bound
    monkeypatch.setattr(planes.Cuts, "lower_bound", lambda *a: right(*a) + 1.0)
    assert verdict_of(d01._lower_bounds(context)) is Verdict.FAILS


def test_a_bundle_that_never_moves_fails(context, monkeypatch):
    monkeypatch.setattr(d01, "JACOBIAN_FAMILIES", ("max-linear",))
    right = bounds.level_bundle
    monkeypatch.setattr(bounds, "level_bundle", lambda setting: right(setting) / 8)
    assert verdict_of(d01._level_bundle(context)) is Verdict.CORRECTED
    monkeypatch.setattr(bundle, "LEVEL", 1.0)
    assert verdict_of(d01._level_bundle(context)) is Verdict.FAILS


def test_slsqp_stopped_early_fails(context, monkeypatch):
    right = d01.epigraph

    def early(problem, setting, start):
        return right(problem, replace(setting, num_steps=2), start)

    monkeypatch.setattr(d01, "epigraph", early)
    assert verdict_of(d01._epigraph(context)) is Verdict.FAILS


@pytest.mark.parametrize(
    ("method", "line"), [("losses", "loss count"), ("weighted_gradient", "pass count")]
)
def test_an_extra_oracle_call_is_seen(context, monkeypatch, method, line):
    right = getattr(CountedProblem, method)

    def twice(*arguments):
        right(*arguments)
        return right(*arguments)

    monkeypatch.setattr(CountedProblem, method, twice)
    found = {check.name: verdict_of(check) for check in d01._cost(context)}
    assert found.pop(line) is Verdict.FAILS
    assert set(found.values()) == {Verdict.CORRECTED}


def test_mgda_that_follows_the_worst_task_alone_raises_others(context, monkeypatch):
    monkeypatch.setattr("theory.solvers.mgda.shortest_combination", lambda g: g[-1])
    found = {check.name: verdict_of(check) for check in other._mgda_guarantees(context)}
    assert found["MGDA descends"] is Verdict.FAILS


def test_steps_along_the_shortest_combination_alone_can_be_too_long(context, monkeypatch):
    from theory.solvers import mgda

    right = mgda.shortest_combination
    monkeypatch.setattr(mgda, "shortest_combination", lambda g: 3 * right(g))
    found = {check.name: verdict_of(check) for check in other._mgda_guarantees(context)}
    assert Verdict.FAILS in found.values()


def test_a_true_minimax_method_in_the_place_of_mgda_is_not_refuted(context, monkeypatch):
    from theory.solvers.prox_linear import prox_linear

    def solver(problem, setting, start):
        return prox_linear(problem, replace(setting, num_steps=50), start)

    monkeypatch.setattr(other, "mgda", solver)
    found = {check.name: verdict_of(check) for check in other._mgda_stops(context)}
    assert found == {"MGDA stops": Verdict.FAILS, "MGDA minimax": Verdict.NOT_REFUTED}


def test_average_lines_fail_for_another_objective(context, monkeypatch):
    from theory.solvers.subgradient import subgradient

    monkeypatch.setattr(other, "average_descent", subgradient)
    assert verdict_of(other._factor(context)) is Verdict.FAILS


@pytest.mark.parametrize("line", ["_average", "_average_worst"])
def test_average_lines_fail_for_a_stalled_method(context, monkeypatch, line):
    def stalled(problem, setting, start):
        return SOLVERS["average"].run(problem, replace(setting, smoothness=1e9), start)

    monkeypatch.setattr(other, "average_descent", stalled)
    monkeypatch.setattr(bounds, "gradient_descent", lambda setting: 0.0 * setting.radius)
    assert verdict_of(getattr(other, line)(context)) is Verdict.FAILS
