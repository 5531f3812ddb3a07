from tests.theory.claims.helpers import verdicts
from theory import bounds
from theory.claims import a06_constant_sharpness as a06
from theory.judge import Verdict
from theory.schedules import sharpened


def test_the_guarantee_is_refuted_at_sharpness_one_and_the_bias_is_exact(context):
    assert verdicts(a06.CLAIM, context) == {
        "bias": Verdict.CORRECTED,
        "attained": Verdict.CORRECTED,
        "α = 1": Verdict.REFUTED,
    }


def test_a_bias_of_half_the_constant_fails(context, monkeypatch):
    monkeypatch.setattr(
        bounds, "softmax_gap", lambda tasks, alpha: 0.5 * a06.sharp_constant(tasks) / alpha
    )
    assert verdicts(a06.CLAIM, context)["attained"] is Verdict.FAILS


def test_a_bias_of_zero_fails_on_the_random_families(context, monkeypatch):
    monkeypatch.setattr(bounds, "softmax_gap", lambda tasks, alpha: 0.0 * tasks / alpha)
    assert verdicts(a06.CLAIM, context)["bias"] is Verdict.FAILS


def test_the_growing_schedule_in_place_of_one_is_not_refuted(context, monkeypatch):
    monkeypatch.setitem(a06.SCHEDULES, "alpha = 1", sharpened)
    assert verdicts(a06.CLAIM, context)["α = 1"] is Verdict.NOT_REFUTED
