from taskrobust.weights import softmax_weights
from tests.theory.claims.helpers import verdicts
from theory import descent
from theory.claims import a03_theorem_3_1 as a03
from theory.judge import Verdict
from theory.problems import FAMILIES


def test_everything_holds_and_only_the_printed_theorem_holds_as_printed(context):
    found = verdicts(a03.CLAIM, context)
    assert set(FAMILIES) | {"digits (real)"} < set(found)
    assert {name for name, v in found.items() if v is Verdict.HOLDS} == {"printed (8)"}
    assert {v for name, v in found.items() if name != "printed (8)"} == {Verdict.CORRECTED}


def test_ascent_instead_of_descent_fails(context, monkeypatch):
    class Ascent:
        def __getattr__(self, name):
            return getattr(self.problem, name)

        def __init__(self, problem):
            self.problem = problem

        def weighted_gradient(self, theta, weights):
            return -self.problem.weighted_gradient(theta, weights)

    forward = a03.descend
    monkeypatch.setattr(a03, "descend", lambda p, *a, **kw: forward(Ascent(p), *a, **kw))
    found = verdicts(a03.CLAIM, context)
    for line in ("max-linear", "digits (real)", "printed (8)", "T = 1", "R ≥ R0"):
        assert found[line] is Verdict.FAILS
    for line in ("confinement", "unprojected"):
        assert found[line] is Verdict.FAILS


def test_weighting_the_easiest_task_fails(context, monkeypatch):
    def inverted(losses, alpha, **options):
        return softmax_weights(-losses, alpha, **options)

    monkeypatch.setattr(descent, "softmax_weights", inverted)
    found = verdicts(a03.CLAIM, context)
    assert Verdict.FAILS in {found[name] for name in FAMILIES}
