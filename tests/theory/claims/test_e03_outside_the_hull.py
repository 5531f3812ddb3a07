from dataclasses import replace

import numpy as np
import pytest

from tests.theory.claims.helpers import verdicts
from theory.claims import e03_outside_the_hull as e03
from theory.judge import Verdict
from theory.problems import MaxLinear

REFUTED = {"ν > A/(L'Δ−A)", "ρ > A/Δ", "not unique", "dominated"}


def test_the_advantage_ends_and_the_rest_holds_as_corrected(context):
    found = verdicts(e03.CLAIM, context)
    assert {name for name, v in found.items() if v is Verdict.REFUTED} == REFUTED
    assert {v for name, v in found.items() if name not in REFUTED} == {Verdict.CORRECTED}


@pytest.mark.parametrize("wrong", [lambda f, nu: np.max(f), lambda f, nu: (1 + nu) * np.max(f)])
def test_another_worst_mixture_fails(context, monkeypatch, wrong):
    monkeypatch.setattr(e03, "_worst_outside", wrong)
    found = verdicts(e03.CLAIM, context)
    assert [found["negative mass"], found["ν attained"]] == [Verdict.FAILS] * 2
    assert found["ν > A/(L'Δ−A)"] is Verdict.NOT_REFUTED


@pytest.mark.parametrize(
    ("name", "factor", "lines"),
    [
        ("lipschitz", 0.02, ("outside by ν", "ν attained")),
        ("lipschitz", 1.1, ("ν attained",)),
        ("advantage", 3.0, ("outside by ν", "ν attained", "off by ρ")),
        ("distance", 0.5, ("ρ attained",)),
    ],
)
def test_other_constants_fail(context, monkeypatch, name, factor, lines):
    right = getattr(e03.Models, name).fget
    monkeypatch.setattr(e03.Models, name, property(lambda self: factor * right(self)))
    found = verdicts(e03.CLAIM, context)
    assert [found[line] for line in lines] == [Verdict.FAILS] * len(lines)


def test_a_point_better_on_every_task_fails(context, monkeypatch):
    right = e03._testbed

    def poor(context):
        (pair,) = (m for m in right(context) if m.witness == "quadratic, instance 0")
        return [replace(pair, robust=pair.robust + 100.0)]  # far from every minimiser

    monkeypatch.setattr(e03, "_testbed", poor)
    assert verdicts(e03.CLAIM, context)["not all better"] is Verdict.FAILS


def test_a_larger_modulus_moves_the_points_too_far(context, monkeypatch):
    for case in context.cases.values():
        stiff = replace(case.constants, strong_convexity=1e3 * case.constants.strong_convexity)
        monkeypatch.setitem(vars(case), "constants", stiff)
    assert verdicts(e03.CLAIM, context)["near points"] is Verdict.FAILS


def test_runs_that_agree_off_the_hull_are_not_refuted(context, monkeypatch):
    """From the same height the two optimal models are one."""
    right = e03.descend

    def level(problem, schedule, start):
        flat = isinstance(problem, MaxLinear) and problem.domain.dim == 2
        return right(problem, schedule, start * np.array([1.0, 0.0]) if flat else start)

    monkeypatch.setattr(e03, "descend", level)
    assert verdicts(e03.CLAIM, context)["not unique"] is Verdict.NOT_REFUTED


def test_a_start_at_the_average_model_is_not_dominated(context, monkeypatch):
    right = e03.descend

    def lowered(problem, schedule, start):
        return right(problem, schedule, np.zeros(1) if problem.domain.dim == 1 else start)

    monkeypatch.setattr(e03, "descend", lowered)
    assert verdicts(e03.CLAIM, context)["dominated"] is Verdict.NOT_REFUTED
