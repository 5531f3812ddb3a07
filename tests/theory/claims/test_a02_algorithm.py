from dataclasses import replace

import numpy as np
import pytest

from tests.theory.claims.helpers import verdicts
from theory.claims import a02_algorithm as a02
from theory.judge import Verdict, judge

MISPRINTS = {"α_k used", "updates"}
PRINTED = {
    "(5) App. C",
    "(4) App. C",
    "(5) two-slope",
    "(4) two-slope",
    "(5) hard",
    "(5) angled",
    "contained",
    "weights (7)",
    "literal loop",
}
CORRECTED = {
    "α_k used: K−1",
    "α_k, proof",
    "α_0, η_0 idle",
    "updates: K−1",
    "updates, proof",
    "proof index",
    "printed index",
}


def test_misprints_are_refuted_and_the_rest_holds(context):
    found = verdicts(a02.CLAIM, context)
    expected = dict.fromkeys(MISPRINTS, Verdict.REFUTED)
    expected |= dict.fromkeys(PRINTED, Verdict.HOLDS)
    expected |= dict.fromkeys(CORRECTED, Verdict.CORRECTED)
    assert found == expected


@pytest.fixture
def only(monkeypatch):
    """Skips the stages that a test does not look at."""

    def choose(*stages):
        for stage in {"_objectives", "_declared_and_used", "_updates", "_rates"} - set(stages):
            monkeypatch.setattr(a02, stage, lambda _: iter(()))

    return choose


@pytest.mark.parametrize(
    ("function", "line"),
    [("appendix_c", "(5) App. C"), ("appendix_c", "(4) App. C"), ("two_slope", "(4) two-slope")],
)
def test_a_slightly_different_instance_misses_the_closed_form(
    context, monkeypatch, only, function, line
):
    only("_objectives")
    exact = getattr(a02, function)

    def perturbed(*arguments):
        problem = exact(*arguments)
        name = "curvatures" if function == "appendix_c" else "slopes"
        return replace(problem, **{name: getattr(problem, name) * (1 + 1e-5)})

    monkeypatch.setattr(a02, function, perturbed)
    found = verdicts(a02.CLAIM, context)
    assert found[line] is found["contained"] is Verdict.FAILS


def test_an_optimum_certified_too_high_fails(context, monkeypatch, only):
    only("_objectives")
    exact = a02.certify

    def shifted(*arguments):
        found = exact(*arguments)
        return replace(found, lower=found.lower + 1e-6, upper=found.upper + 1e-6)

    monkeypatch.setattr(a02, "certify", shifted)
    found = verdicts(a02.CLAIM, context)
    assert found["(5) hard"] is found["(5) angled"] is Verdict.FAILS
    assert found["(5) two-slope"] is found["contained"] is Verdict.FAILS


@pytest.mark.parametrize(
    "wrong",
    [
        lambda exact: lambda f, alpha: exact(-f, alpha),
        lambda exact: lambda f, alpha: exact(f, alpha * (1 + 1e-9)),
        lambda exact: lambda f, alpha: exact(f, alpha) * (1 + 1e-9),
    ],
    ids=["sign", "sharpness", "normalisation"],
)
def test_wrong_weights_fail(context, monkeypatch, only, wrong):
    only()
    monkeypatch.setattr(a02, "softmax_weights", wrong(a02.softmax_weights))
    assert verdicts(a02.CLAIM, context)["weights (7)"] is Verdict.FAILS


def test_an_algorithm_that_uses_every_index_is_not_refuted(context, monkeypatch, only):
    only("_declared_and_used", "_updates")
    exact = a02.descend
    monkeypatch.setattr(a02, "descend", lambda *a, **_: exact(*a, index_convention="proof"))
    found = verdicts(a02.CLAIM, context)
    assert found["α_k used"] is found["updates"] is Verdict.NOT_REFUTED
    assert found["literal loop"] is found["updates: K−1"] is Verdict.FAILS


def test_a_loop_that_drops_the_last_step_of_the_proof_fails(context, monkeypatch, only):
    only("_declared_and_used", "_updates")
    exact = a02.descend
    monkeypatch.setattr(a02, "descend", lambda *a, **_: exact(*a, index_convention="algorithm"))
    found = verdicts(a02.CLAIM, context)
    assert found["α_k, proof"] is found["updates, proof"] is Verdict.FAILS


@pytest.mark.parametrize("line", ["α_0, η_0 idle", "literal loop"])
def test_a_loop_that_starts_at_alpha_0_fails(context, monkeypatch, only, line):
    only("_declared_and_used")
    exact = a02._printed_loop

    def unshifted(problem, schedule, start):
        early = replace(
            schedule,
            alpha=np.roll(schedule.alpha, 1),
            step_size=np.roll(schedule.step_size, 1),
        )
        return exact(problem, early, start)

    monkeypatch.setattr(a02, "_printed_loop", unshifted)
    assert verdicts(a02.CLAIM, context)[line] is Verdict.FAILS


@pytest.mark.parametrize("line", ["proof index", "printed index"])
def test_ascent_breaks_the_rate(context, monkeypatch, line):
    sharpened = a02.SCHEDULES["sharpened"]

    def ascent(setting):
        schedule = sharpened(setting)
        return replace(schedule, step_size=-schedule.step_size)

    monkeypatch.setattr(a02, "SCHEDULES", {"sharpened": ascent})
    lines = {check.name: check for check in a02._rates(context)}
    assert judge(lines[line]).verdict is Verdict.FAILS
