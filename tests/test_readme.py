"""The README's code runs as it stands, and does what the README says."""

import re
from pathlib import Path

import numpy as np
import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture
def library():
    namespace = {}
    exec(SNIPPETS[0], namespace)
    return namespace


@pytest.fixture
def own_problem():
    namespace = {}
    exec(SNIPPETS[1], namespace)
    return namespace


def test_there_are_two_snippets():
    assert len(SNIPPETS) == 2


def test_library_snippet_keeps_its_promise(library):
    weights, risks = library["weights"], library["risks"]
    assert weights[2] == 0
    assert abs(weights.sum() - 1) < 1e-15
    assert max(risks[:2]) - weights @ risks <= 0.1


def test_own_problem_is_certified_at_the_known_optimum(own_problem):
    """Smallest enclosing disc of the towns: (0,0), (4,0), (1,3) lie on radius √5 around (2, 1)."""
    optimum = own_problem["result"].optimum
    assert optimum.lower <= np.sqrt(5) <= optimum.upper
    assert optimum.upper - optimum.lower < 1e-7
    np.testing.assert_allclose(optimum.point, [2.0, 1.0], atol=1e-4)


def test_own_problem_obeys_the_theorem(own_problem):
    result = own_problem["result"]
    assert np.all(result.gaps["sharpened"][:, 1] <= result.bound)
    assert np.all(result.gaps["sharpened"][:, 0] >= -1e-9)


def test_own_problem_is_plotted(own_problem):
    from figures.study import draw

    figure = draw(own_problem["result"])
    assert {line.get_label() for line in figure.axes[0].get_lines()} >= {"sharpened"}


def test_shown_ledger_lines_are_those_of_the_ledger(capsys, tmp_path):
    """Names, statements and verdicts; the numbers depend on the effort."""
    from theory.__main__ import main

    shown = re.search(r"<!-- ledger -->\n```\n(.*?)```", README, flags=re.DOTALL).group(1)
    assert main(["--claim", "A4", "A6", "--effort", "quick", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    verdicts = ("holds", "holds as corrected", "refuted as printed")
    rows = [line for line in shown.splitlines() if " effort in " not in line]
    lines = [line for line in rows if line.endswith(verdicts)]
    assert len(lines) >= 12
    for line in lines:
        verdict = max((v for v in verdicts if line.endswith(v)), key=len)
        same = [p for p in printed.splitlines() if p[:54] == line[:54]]
        assert any(p.rstrip().endswith(verdict) for p in same), line
