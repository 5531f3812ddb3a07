"""The ledger's documents: a stable JSON schema, strict numbers, a Markdown table that parses."""

import json
import math
import re

import pytest

from theory import ledger
from theory.claims import Claim, Context, Effort
from theory.judge import Measurement, Verdict, holds, refuted

EFFORT = Effort("tiny", 1, 2, 2, (10,), 10, 10, 10)
OF_THE_DOCUMENT = {
    "schema_version": int,
    "effort": str,
    "seed": int,
    "seconds": float,
    "verified": bool,
    "versions": dict,
    "counts": dict,
    "claims": list,
    "lines": list,
}
OF_A_CLAIM = ["key", "title", "source", "printed", "corrected"]
OF_A_LINE = {
    "claim": str,
    "name": str,
    "statement": str,
    "form": str,
    "expected": str,
    "relation": str,
    "measured": list,
    "bound": float,
    "tolerance": float,
    "verdict": str,
    "witness": str,
    "measurements": int,
    "seconds": float,
}


def claim(key, *lines, corrected="as corrected"):
    return Claim(key, f"title of {key}", "Eq. (1)", "as printed", corrected, lambda _: iter(lines))


def good(name="good", value=0.25):
    return holds(name, "x ≤ 1", "<=", [Measurement.value(value, 1.0, "x of y")], corrected=True)


def misprint(value=2.0):
    return refuted("misprint", "x ≤ 1", "<=", [Measurement.value(value, 1.0, "z")] * 2)


def run(*claims):
    return ledger.run(claims, Context(EFFORT, seed=7))


def document(*claims):
    def refuse(text):
        raise AssertionError(f"{text} is not JSON")

    return json.loads(ledger.to_json(run(*claims)), parse_constant=refuse)


def test_the_schema_is_the_one_of_version_1():
    found = document(claim("A1", good(), misprint()), claim("A2", good()))
    assert ledger.SCHEMA_VERSION == found["schema_version"] == 1
    assert {key: type(value) for key, value in found.items()} == OF_THE_DOCUMENT
    assert list(found["versions"]) == [
        "python",
        "taskrobust",
        "numpy",
        "scipy",
        "cvxpy",
        "clarabel",
    ]
    assert list(found["counts"]) == [
        "holds",
        "holds as corrected",
        "refuted as printed",
        "inconclusive",
        "fails",
        "not refuted",
    ]
    for each in found["claims"]:
        assert list(each) == OF_A_CLAIM
    for line in found["lines"]:
        assert {key: type(value) for key, value in line.items()} == OF_A_LINE


def test_the_document_says_what_was_judged():
    found = document(claim("A1", good(), misprint()), claim("A2", good("other", 0.5)))
    assert (found["effort"], found["seed"], found["verified"]) == ("tiny", 7, True)
    assert found["counts"]["holds as corrected"] == 2
    assert found["counts"]["refuted as printed"] == 1
    assert sum(found["counts"].values()) == len(found["lines"]) == 3
    assert [each["key"] for each in found["claims"]] == ["A1", "A2"]
    first, second, third = found["lines"]
    assert {key: first[key] for key in first if key != "seconds"} == {
        "claim": "A1",
        "name": "good",
        "statement": "x ≤ 1",
        "form": "corrected",
        "expected": "holds",
        "relation": "<=",
        "measured": [0.25, 0.25],
        "bound": 1.0,
        "tolerance": 0.0,
        "verdict": "holds as corrected",
        "witness": "x of y",
        "measurements": 1,
    }
    assert second["form"] == "printed"
    assert second["expected"] == "refuted"
    assert second["verdict"] == "refuted as printed"
    assert second["measurements"] == 2
    assert third["claim"] == "A2"


@pytest.mark.parametrize(
    ("value", "text"), [(math.inf, "inf"), (-math.inf, "-inf"), (math.nan, "nan")]
)
def test_numbers_that_are_not_finite_are_strings(value, text):
    line = holds("odd", "s", "<=", [Measurement(value, value, value, "w")])
    found = document(claim("A1", line))["lines"][0]
    assert found["measured"] == [text, text]
    assert found["bound"] == text


def test_text_is_kept_as_it_is():
    line = holds("α|β", 'θ̄ ≤ "1"\n', "<=", [Measurement.value(0.0, 1.0, "\\ é")])
    text = ledger.to_json(run(claim("A1", line)))
    assert "α|β" in text
    assert text.endswith("}\n")
    assert json.loads(text)["lines"][0]["statement"] == 'θ̄ ≤ "1"\n'


BAD = {
    Verdict.FAILS: good(value=2.0),
    Verdict.NOT_REFUTED: misprint(value=0.5),
    Verdict.INCONCLUSIVE: good(value=math.nan),
}


@pytest.mark.parametrize("verdict", BAD)
def test_one_bad_line_makes_the_ledger_unverified(verdict):
    result = run(claim("A1", good(), BAD[verdict], misprint()))
    assert not result.verified
    assert result.counts()[verdict] == 1
    assert sum(result.counts().values()) == 3
    assert document(claim("A1", good(), BAD[verdict]))["verified"] is False


def test_an_empty_ledger_is_not_verified():
    assert not run().verified
    assert not run(claim("A1")).verified
    assert set(run().counts().values()) == {0}
    found = document()
    assert found["verified"] is False
    assert found["claims"] == found["lines"] == []


def test_lines_are_seen_one_by_one_while_they_are_measured():
    events = []

    def checks(context):
        for name in ("one", "two"):
            events.append(f"measure {name} seed {context.seed}")
            yield good(name)

    watched = Claim("A1", "t", "s", "p", "c", checks)
    result = ledger.run(
        [watched],
        Context(EFFORT, seed=3),
        lambda line: events.append(f"watch {line.judgement.check.name}"),
    )
    assert events == ["measure one seed 3", "watch one", "measure two seed 3", "watch two"]
    assert [line.judgement.check.name for line in result.lines] == ["one", "two"]
    assert all(line.seconds >= 0 for line in result.lines)
    assert result.seconds >= sum(line.seconds for line in result.lines)


def test_an_error_in_a_claim_is_not_swallowed():
    def checks(_):
        yield good()
        raise ArithmeticError("broken claim")

    with pytest.raises(ArithmeticError, match="broken claim"):
        run(Claim("A1", "t", "s", "p", "c", checks))


def cells(row):
    """Cells of a Markdown table row; a pipe after a backslash does not separate."""
    assert row.startswith("| ")
    assert row.endswith(" |")
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:-1]]


def test_markdown_has_a_section_a_claim_and_a_row_a_line():
    odd = holds("|x| name", "|x| ≤ 1", "<=", [Measurement(0.123456, 0.2, 1.0, "x | y")])
    result = run(claim("A1", odd, misprint()), claim("B2", good(value=math.inf), corrected=""))
    text = ledger.to_markdown(result)
    assert text.startswith("# Ledger of claims\n\narXiv 2306.12070, effort `tiny`, seed 7, ")
    assert ": 3 lines, 1 holds, 1 refuted as printed, 1 fails.\n" in text
    assert text.count("\n## ") == 2
    assert (
        "\n## A1: title of A1 (Eq. (1))\n\nPrinted: as printed\n\nCorrected: as corrected\n" in text
    )
    assert text.count("Corrected:") == 1  # B2 is right as printed
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    in_header = [row.startswith(("| line | statement |", "| --- |")) for row in rows]
    assert in_header == [True, True, False, False, True, True, False]
    assert {len(cells(row)) for row in rows} == {7}
    assert cells(rows[2]) == [
        "|x| name",
        "|x| ≤ 1",
        "[0.1235, 0.2]",
        "<=",
        "1",
        "**holds**",
        "x | y (1 measured)",
    ]
    assert cells(rows[3])[5:] == ["**refuted as printed**", "z (2 measured)"]
    assert cells(rows[6])[2] == "inf"


def test_numbers_are_short_and_intervals_only_where_ends_differ_visibly():
    assert ledger.number_text(0.123456789) == "0.1235"
    assert ledger.number_text(1234567.0) == "1.235e+06"
    assert [ledger.number_text(x) for x in (math.inf, -math.inf, math.nan)] == [
        "inf",
        "-inf",
        "nan",
    ]
    same = ledger.run([claim("A1", good())], Context(EFFORT)).lines[0].judgement
    assert ledger.measured_text(same) == "0.25"
    close = holds("n", "s", "<=", [Measurement(0.25, 0.25000001, 1.0, "w")])
    assert ledger.measured_text(run(claim("A1", close)).lines[0].judgement) == "0.25"


def test_versions_are_those_imported():
    import cvxpy
    import numpy as np
    import scipy

    found = ledger.versions()
    assert found["numpy"] == np.__version__
    assert found["scipy"] == scipy.__version__
    assert found["cvxpy"] == cvxpy.__version__
    assert re.fullmatch(r"3\.\d+\.\d+.*", found["python"])
