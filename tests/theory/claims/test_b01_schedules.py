from dataclasses import replace

import pytest

from tests.theory.claims.helpers import verdicts
from theory import bounds, descent
from theory.claims import b01_schedules as b01
from theory.judge import Verdict, judge


def test_everything_holds_as_corrected(context):
    assert set(verdicts(b01.CLAIM, context).values()) == {Verdict.CORRECTED}


def test_half_the_printed_sharpness_fails(context, monkeypatch):
    printed = b01.paper_alpha
    monkeypatch.setattr(b01, "paper_alpha", lambda k, **kw: 0.5 * printed(k, **kw))
    assert verdicts(b01.CLAIM, context)["(a) sharpness"] is Verdict.FAILS


@pytest.mark.parametrize(
    ("line", "name"),
    [("(b) constant", "subgradient"), ("(c) any-time", "anytime"), ("(d) 1/K", "strongly_convex")],
)
def test_a_bound_a_hundred_times_smaller_fails(context, monkeypatch, line, name):
    original = getattr(bounds, name)
    monkeypatch.setattr(bounds, name, lambda setting: 0.01 * original(setting))
    assert verdicts(b01.CLAIM, context)[line] is Verdict.FAILS


def test_steps_far_too_short_fail_the_strongly_convex_rate(context, monkeypatch):
    original = b01.SCHEDULES["strongly convex"]

    def frozen(setting):
        schedule = original(setting)
        return replace(schedule, step_size=1e-6 * schedule.step_size)

    monkeypatch.setitem(b01.SCHEDULES, "strongly convex", frozen)
    context.effort = replace(context.effort, steps=(3_000, 10))
    assert judge(b01._strongly_convex(context)).verdict is Verdict.FAILS


def test_a_certificate_without_the_radius_term_fails(context, monkeypatch):
    def optimistic(self, problem):
        return self.intercept / self.mass + (self.slope / self.mass * problem.domain.center).sum(-1)

    monkeypatch.setattr(descent._Tangents, "lower_bound", optimistic)
    assert verdicts(b01.CLAIM, context)["(e) certificate"] is Verdict.FAILS
