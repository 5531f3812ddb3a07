import numpy as np
import pytest

from tests.theory.claims.helpers import verdicts
from theory.claims import a04_softmax_gap as a04
from theory.judge import Verdict

MISPRINTS = {"printed sign", "inequality (B)", "threshold"}


def test_misprints_are_refuted_and_the_rest_holds_as_corrected(context):
    found = verdicts(a04.CLAIM, context)
    assert {name for name, v in found.items() if v is Verdict.REFUTED} == MISPRINTS
    assert {v for name, v in found.items() if name not in MISPRINTS} == {Verdict.CORRECTED}


def test_printed_sign_is_not_refuted_if_the_average_exceeds_the_maximum(context, monkeypatch):
    monkeypatch.setattr(a04, "softmax_gap", lambda f, _: np.full(np.shape(f)[:-1], -1e6))
    assert verdicts(a04.CLAIM, context)["printed sign"] is Verdict.NOT_REFUTED


@pytest.mark.parametrize("line", ["sharp bound", "optimised", "attained"])
def test_a_smaller_constant_fails(context, monkeypatch, line):
    sharp = a04.sharp_constant
    monkeypatch.setattr(a04, "sharp_constant", lambda tasks: 0.99 * sharp(tasks))
    assert verdicts(a04.CLAIM, context)[line] is Verdict.FAILS


def test_a_larger_constant_is_not_attained(context, monkeypatch):
    sharp = a04.sharp_constant
    monkeypatch.setattr(a04, "sharp_constant", lambda tasks: 1.01 * sharp(tasks))
    assert verdicts(a04.CLAIM, context)["attained"] is Verdict.FAILS


def test_half_the_printed_schedule_breaks_its_bound(context, monkeypatch):
    printed = a04.paper_alpha
    monkeypatch.setattr(a04, "paper_alpha", lambda k, **kw: 0.02 * printed(k, **kw))
    assert verdicts(a04.CLAIM, context)["sign"] is Verdict.FAILS
