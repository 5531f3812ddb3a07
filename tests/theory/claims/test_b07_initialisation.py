from dataclasses import replace

import numpy as np
import pytest

from tests.theory.claims.helpers import verdicts
from theory.claims import b07_initialisation as b07
from theory.judge import Verdict

READINGS = {"log f_λ(θ_0)", "tighter N"}


def test_the_readings_of_13_are_refuted_and_the_rest_holds(context):
    found = verdicts(b07.CLAIM, context)
    assert {name for name, v in found.items() if v is Verdict.REFUTED} == READINGS
    assert found.pop("risk") is Verdict.HOLDS
    assert {v for name, v in found.items() if name not in READINGS} == {Verdict.CORRECTED}


def test_a_smaller_search_set_changes_who_misses(context, monkeypatch):
    radius = b07.SampledRisk.radius
    monkeypatch.setattr(b07.SampledRisk, "radius", lambda self, e: 0.3 * radius(self, e))
    assert verdicts(b07.CLAIM, context)["E ≥ ε"] is Verdict.FAILS


def test_no_constraint_changes_nothing(context, monkeypatch):
    monkeypatch.setattr(b07.SampledRisk, "radius", lambda self, e: np.inf)
    assert verdicts(b07.CLAIM, context)["E = ε/5"] is Verdict.FAILS


def test_a_logarithm_is_told_from_a_step(context, monkeypatch):
    rows = b07.looseness_table

    def logarithmic(row):
        count = int(1_000 + 3_000 * np.log1p(row.start_risk))
        return replace(row, lower=count, upper=count)

    monkeypatch.setattr(b07, "looseness_table", lambda c: [logarithmic(r) for r in rows(c)])
    found = verdicts(b07.CLAIM, context)
    assert found["constant"] is found["zero"] is Verdict.FAILS
    assert found["log f_λ(θ_0)"] is Verdict.NOT_REFUTED


def test_reversed_starts_reverse_nothing(context, monkeypatch):
    line = b07.TwoPoint
    average, minimax = line.average_point, line.minimax_point
    monkeypatch.setattr(line, "average_point", minimax)
    monkeypatch.setattr(line, "minimax_point", average)
    found = verdicts(b07.CLAIM, context)
    assert found["tighter N"] is Verdict.NOT_REFUTED
    assert found["N(θ_avg)"] is found["N(θ_max)"] is found["risk"] is Verdict.FAILS


def test_an_off_by_one_complexity_is_seen(context, monkeypatch):
    exact = b07.TwoPoint.complexities
    monkeypatch.setattr(b07.TwoPoint, "complexities", lambda *a: exact(*a) - 1)
    assert verdicts(b07.CLAIM, context)["N(θ_max)"] is Verdict.FAILS


def test_larger_risks_are_not_ready_before_tuning(context, monkeypatch):
    risk = b07.TwoPoint.risk
    monkeypatch.setattr(b07.TwoPoint, "risk", lambda *a: 4 * risk(*a))
    assert verdicts(b07.CLAIM, context)["before tuning"] is Verdict.FAILS


def test_the_other_order_needs_samples_at_the_average(context, monkeypatch):
    monkeypatch.setattr(b07, "sign_noise_complexity", lambda *a: 0)
    assert verdicts(b07.CLAIM, context)["other order"] is Verdict.FAILS


@pytest.mark.parametrize("theta", [0.0, 0.3, 1.0])
def test_zero_is_claimed_only_if_every_mixture_is_fine(theta):
    count, _ = b07.most_samples(b07.EXPECTED, theta, 0.29, 10.0, 0.1)
    assert count == 0
    count, share = b07.most_samples(b07.EXPECTED, theta, 0.29, 0.01, 0.1)
    assert count == np.max(b07.EXPECTED.complexities(np.array([share]), 0.01, 0.1))
    assert count > 1
