import pytest

from tests.theory.claims.helpers import verdicts
from theory import bounds
from theory.claims import b06_lower_bounds as b06
from theory.judge import Verdict
from theory.problems import worst_case


def test_everything_holds_as_corrected(context):
    assert set(verdicts(b06.CLAIM, context).values()) == {Verdict.CORRECTED}


@pytest.mark.parametrize("line", ["(i) average", "(i) best", "(ii) share"])
def test_a_bound_one_percent_larger_is_not_attained(context, monkeypatch, line):
    for name in ("subgradient", "theorem_3_1"):
        original = getattr(bounds, name)
        monkeypatch.setattr(bounds, name, lambda s, original=original: 1.01 * original(s))
    assert verdicts(b06.CLAIM, context)[line] is Verdict.FAILS


def test_halving_the_sharpness_misses_the_fixed_point(context, monkeypatch):
    original = b06.SCHEDULES["constant"]

    def halved(setting):
        schedule = original(setting)
        return type(schedule)(0.5 * schedule.alpha, schedule.step_size, schedule.averaging)

    monkeypatch.setitem(b06.SCHEDULES, "constant", halved)
    assert verdicts(b06.CLAIM, context)["(ii) share"] is Verdict.FAILS


def test_a_kinder_subgradient_is_not_the_worst_case(context, monkeypatch):
    def all_of_them(x, num_steps, radius):
        del num_steps, radius
        share = (x == x.max(axis=-1, keepdims=True)).astype(float)
        return share / share.sum(axis=-1, keepdims=True)

    monkeypatch.setattr(worst_case, "drori_teboulle_subgradient", all_of_them)
    found = verdicts(b06.CLAIM, context)
    assert found["(i) average"] is Verdict.FAILS
    assert found["(ii) tight"] is Verdict.FAILS
