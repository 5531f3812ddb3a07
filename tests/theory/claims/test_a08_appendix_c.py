import math
from dataclasses import replace

import numpy as np
import pytest

from tests.theory.claims.helpers import verdicts
from theory.claims import a08_appendix_c as a08
from theory.judge import Verdict, judge

MISPRINTS = {"F_avg 1.5,2", "printed θ_max", "printed F*", "printed, T<10", "Θ=ℝ"}
PRINTED = {"θ_avg", "printed bound", "O(T)"}


def test_misprints_are_refuted_and_the_rest_holds(context):
    found = verdicts(a08.CLAIM, context)
    assert {name for name, v in found.items() if v is Verdict.REFUTED} == MISPRINTS
    assert {name for name, v in found.items() if v is Verdict.HOLDS} == PRINTED
    rest = {v for name, v in found.items() if name not in MISPRINTS | PRINTED}
    assert rest == {Verdict.CORRECTED}


def test_every_pair_has_its_lines(context):
    names = set(verdicts(a08.CLAIM, context))
    for pair in ("9,10", "2,3", "99,100", "1.5,2"):
        assert {f"θ_max {pair}", f"F* {pair}", f"F_avg {pair}"} <= names


def test_the_two_task_instance_is_shown_with_both_values():
    instance = a08._Instance(1.5, 2)
    checks = {check.name: check for check in a08._closed_forms(instance)}
    (printed,) = checks["F_avg 1.5,2"].measurements
    assert (printed.lower, printed.bound) == pytest.approx((0.36, 0.24), abs=1e-12)
    assert judge(checks["F_avg' 1.5,2"]).verdict is Verdict.CORRECTED


def lines(checks):
    """Verdicts of one stage of the claim."""
    return {check.name: judge(check).verdict for check in checks}


def closed_forms():
    return lines(check for pair in a08._PAIRS for check in a08._closed_forms(a08._Instance(*pair)))


@pytest.mark.parametrize(
    ("function", "wrong", "prefix"),
    [
        ("_root", lambda a: math.sqrt(a) / (math.sqrt(a) - 1), "θ_max "),
        ("_root", lambda a: math.sqrt(a) / (math.sqrt(a) + 1) + 2e-6, "θ_max "),
        ("_optimum", lambda a: a / (math.sqrt(a) - 1) ** 2, "F* "),
        ("_optimum", lambda a: a / (math.sqrt(a) + 1) ** 2 + 2e-6, "F* "),
        ("_worst_at_average", lambda a, t: a * (t - 1) / (a + t - 1), "F_avg "),
    ],
)
def test_a_wrong_closed_form_fails_at_every_pair(monkeypatch, function, wrong, prefix):
    monkeypatch.setattr(a08, function, wrong)
    found = closed_forms()
    chosen = {v for name, v in found.items() if name.startswith(prefix)} - {Verdict.REFUTED}
    assert chosen == {Verdict.FAILS}


def test_a_correct_formula_outside_its_range_is_not_refuted(monkeypatch):
    general = lambda a, t: max(a * (t - 1) ** 2, a**2) / (a + t - 1) ** 2  # noqa: E731
    monkeypatch.setattr(a08, "_worst_at_average", general)
    assert closed_forms()["F_avg 1.5,2"] is Verdict.NOT_REFUTED


@pytest.mark.parametrize("line", ["crossing", "θ_avg"])
def test_roots_are_checked_to_rounding(monkeypatch, line):
    exact = a08._root
    instances = [a08._Instance(*pair) for pair in a08._PAIRS]
    monkeypatch.setattr(a08, "_root", lambda a: exact(a) + 1e-10)
    for instance in instances:
        instance.average = instance.average + 1e-10
    assert lines(a08._roots(instances))[line] is Verdict.FAILS


def test_the_corrected_root_in_place_of_the_printed_one_is_not_refuted(monkeypatch):
    monkeypatch.setattr(a08, "_printed_root_of", a08._root)
    found = lines(a08._printed_root([a08._Instance(*pair) for pair in a08._PAIRS]))
    assert found["printed θ_max"] is Verdict.NOT_REFUTED
    assert not found["printed F*"].good
    assert found["printed, T<10"] is Verdict.NOT_REFUTED
    assert found["printed, T=10"] is Verdict.FAILS


@pytest.mark.parametrize(("field", "value"), [("lipschitz", 1.0), ("strong_convexity", 1.9)])
def test_other_constants_on_the_unit_interval_fail(monkeypatch, field, value):
    instance = a08._Instance(9.0, 10)
    changed = replace(instance.problem.constants(), **{field: value})
    monkeypatch.setattr(type(instance.problem), "constants", lambda _: changed)
    assert lines(a08._domain([instance]))["Θ=[0,1]"] is Verdict.FAILS


def test_a_bounded_slope_on_the_line_is_not_refuted(monkeypatch):
    instance = a08._Instance(9.0, 10)
    kind = type(instance.problem)
    exact = kind.weighted_gradient
    monkeypatch.setattr(
        kind, "weighted_gradient", lambda self, theta, w: exact(self, np.clip(theta, 0, 1), w)
    )
    assert lines(a08._domain([instance]))["Θ=ℝ"] is Verdict.NOT_REFUTED


@pytest.mark.parametrize("line", ["ratio, A=T−1", "best A"])
def test_a_shifted_optimum_changes_the_ratio(context, monkeypatch, line):
    exact = a08.certify

    def shifted(problem, *weights):
        found = exact(problem, *weights)
        return replace(found, lower=found.lower * 1.00001, upper=found.upper * 1.00001)

    monkeypatch.setattr(a08, "certify", shifted)
    assert lines(a08._ratio(context))[line] is Verdict.FAILS


@pytest.mark.parametrize(
    ("factor", "line"), [(4.1, "Ω(T)"), (4.1, "printed bound"), (1e-3, "O(T)")]
)
def test_bounds_of_the_ratio_can_fail(context, monkeypatch, factor, line):
    exact = a08.certify

    def shifted(problem, *weights):
        found = exact(problem, *weights)
        return replace(found, lower=found.lower * factor, upper=found.upper * factor)

    monkeypatch.setattr(a08, "certify", shifted)
    assert lines(a08._ratio(context))[line] is Verdict.FAILS


def test_a_larger_ratio_than_the_best_is_found_by_the_scan(context, monkeypatch):
    exact = a08._best_ratio
    assert judge(a08._scan(context)).verdict is Verdict.CORRECTED
    monkeypatch.setattr(a08, "_best_ratio", lambda tasks: (1 - 1e-8) * exact(tasks))
    assert judge(a08._scan(context)).verdict is Verdict.FAILS


@pytest.mark.parametrize("line", ["absolute", "T approached"])
def test_steeper_or_flatter_absolute_tasks_fail(context, monkeypatch, line):
    exact = a08.absolute_pair
    monkeypatch.setattr(a08, "absolute_pair", lambda a, tasks: exact(0.98 * a, tasks))
    assert lines(a08._approached(context))[line] is Verdict.FAILS


def test_a_ratio_above_the_number_of_tasks_fails(context, monkeypatch):
    exact = a08.certify_batch

    def farthest(problem, weights):
        found = exact(problem, weights)
        domain = problem.domain
        edge = domain.center + domain.radius[:, None] * np.eye(domain.dim)[0]
        return replace(found, point=edge)

    monkeypatch.setattr(a08, "certify_batch", farthest)
    assert judge(a08._any_tasks(context)).verdict is Verdict.FAILS
