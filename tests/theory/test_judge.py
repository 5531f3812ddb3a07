"""Verdicts: every relation, outcome and expectation, and the arithmetic behind them."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from theory.judge import Check, Measurement, Outcome, Verdict, holds, judge, refuted

EPS = float(np.finfo(np.float64).eps)
CONFIRMED, UNDECIDED, FALSIFIED = Outcome.CONFIRMED, Outcome.UNDECIDED, Outcome.FALSIFIED
RELATIONS = ("<=", ">=", "==")
every_relation = pytest.mark.parametrize("relation", RELATIONS)

# intervals against the bound 1: inside, straddling, outside
INTERVALS = {
    "<=": {CONFIRMED: (0.5, 1.0), UNDECIDED: (0.5, 1.5), FALSIFIED: (1.25, 1.5)},
    ">=": {CONFIRMED: (1.0, 1.5), UNDECIDED: (0.5, 1.5), FALSIFIED: (0.5, 0.75)},
    "==": {CONFIRMED: (1.0, 1.0), UNDECIDED: (0.5, 1.5), FALSIFIED: (1.25, 1.5)},
}


def sample(relation, outcome, name="sample"):
    return Measurement(*INTERVALS[relation][outcome], 1.0, f"{name} {outcome.value}")


@every_relation
@pytest.mark.parametrize("outcome", Outcome)
def test_outcome_of_an_interval(relation, outcome):
    assert sample(relation, outcome).outcome(relation) is outcome


@every_relation
@pytest.mark.parametrize(
    "numbers",
    [(math.nan, 1.0, 1.0), (1.0, math.nan, 1.0), (1.0, 1.0, math.nan), (2.0, 1.0, 1.0)],
    ids=["lower", "upper", "bound", "crossed"],
)
def test_what_is_not_a_number_or_not_an_interval_decides_nothing(relation, numbers):
    assert Measurement(*numbers, "").outcome(relation) is UNDECIDED


@pytest.mark.parametrize(
    ("relation", "lower", "upper", "bound", "outcome"),
    [
        ("<=", 5.0, 5.0, math.inf, CONFIRMED),
        ("<=", math.inf, math.inf, 5.0, FALSIFIED),
        ("<=", -math.inf, math.inf, 5.0, UNDECIDED),
        ("<=", -math.inf, 5.0, 5.0, CONFIRMED),
        ("<=", -math.inf, -math.inf, 5.0, CONFIRMED),
        (">=", 5.0, 5.0, -math.inf, CONFIRMED),
        (">=", -math.inf, -math.inf, 5.0, FALSIFIED),
        (">=", 5.0, math.inf, 5.0, CONFIRMED),
        (">=", -math.inf, math.inf, 5.0, UNDECIDED),
        ("==", math.inf, math.inf, 5.0, FALSIFIED),
        ("==", -math.inf, math.inf, 5.0, UNDECIDED),
    ],
)
def test_infinite_ends(relation, lower, upper, bound, outcome):
    assert Measurement(lower, upper, bound, "").outcome(relation) is outcome


@pytest.mark.parametrize("size", [1.0, 1e-6, 1e12, 1e-300])
@pytest.mark.parametrize("sign", [1, -1])
def test_rounding_is_sixty_four_eps_and_no_more(size, sign):
    for count, outcome in ((60, CONFIRMED), (70, UNDECIDED)):
        above = Measurement.value(sign * size * (1 + sign * count * EPS), sign * size, "")
        assert above.outcome("<=") is outcome
        below = Measurement.value(sign * size * (1 - sign * count * EPS), sign * size, "")
        assert below.outcome(">=") is outcome
    assert Measurement.value(size, size, "").outcome("==") is CONFIRMED


def test_rounding_grows_with_the_stated_scale_only():
    assert Measurement.value(1e-10, 0.0, "").outcome("<=") is FALSIFIED
    assert Measurement.value(1e-10, 0.0, "", scale=1e5).outcome("<=") is CONFIRMED
    assert Measurement.value(1e-10, 0.0, "", scale=1e3).outcome("<=") is FALSIFIED
    assert Measurement.value(1e-10, 0.0, "", scale=1e5).outcome("==") is CONFIRMED
    assert Measurement.value(1e-10, 0.0, "", scale=1e3).outcome("==") is FALSIFIED


@pytest.mark.parametrize("bound", [1.0, -1.0, 100.0, 0.0])
def test_a_violation_counts_beyond_a_billionth(bound):
    threshold = 1e-9 * abs(bound) + 1e-12
    for share, outcome in ((0.99, UNDECIDED), (1.01, FALSIFIED)):
        assert Measurement.value(bound + share * threshold, bound, "").outcome("<=") is outcome
        assert Measurement.value(bound - share * threshold, bound, "").outcome(">=") is outcome


def test_a_violation_within_the_rounding_of_its_scale_decides_nothing():
    # 1e-11 is less than 64 eps times 1e4, so the true lower end may well be below the bound
    assert Measurement(1e-11, 1.0, 0.0, "", scale=1e4).outcome("<=") is UNDECIDED
    assert Measurement(-1.0, -1e-11, 0.0, "", scale=1e4).outcome(">=") is UNDECIDED


@pytest.mark.parametrize("tolerance", [0.0, 1e-6])
def test_equality_uses_its_stated_tolerance(tolerance):
    def outcome(lower, upper):
        return Measurement(lower, upper, 2.0, "", tolerance=tolerance).outcome("==")

    step = max(tolerance, 200 * EPS)
    assert outcome(2.0 - 0.5 * tolerance, 2.0 + 0.5 * tolerance) is CONFIRMED
    assert outcome(2.0, 2.0 + 2 * step) is UNDECIDED
    assert outcome(2.0 - 2 * step, 2.0) is UNDECIDED
    assert outcome(2.0 + 2 * step, 2.0 + 3 * step) is FALSIFIED
    assert outcome(2.0 - 3 * step, 2.0 - 2 * step) is FALSIFIED


@pytest.mark.parametrize("relation", ["<=", ">="])
def test_an_inequality_takes_no_tolerance(relation):
    excess = 0.1 if relation == "<=" else -0.1
    measured = Measurement.value(1.0 + excess, 1.0, "", tolerance=1.0)
    assert measured.outcome(relation) is FALSIFIED


numbers = st.one_of(
    st.floats(-1e6, 1e6),
    st.integers(-50, 50).map(float),
    st.sampled_from([1.0 + k * EPS for k in range(-200, 200, 7)]),
)
measurements = st.builds(
    lambda ends, bound, scale: Measurement(min(ends), max(ends), bound, "", scale=scale),
    st.tuples(numbers, numbers),
    numbers,
    st.sampled_from([0.0, 1.0, 1e3]),
)


@given(measurements)
def test_an_inequality_is_decided_as_in_exact_arithmetic(measured):
    lower, upper, bound = (Fraction(n) for n in (measured.lower, measured.upper, measured.bound))
    outcome = measured.outcome("<=")
    sizes = (abs(lower), abs(upper), abs(bound), Fraction(measured.scale))
    rounding = 64 * Fraction(EPS) * max(sizes)
    if upper <= bound:
        assert outcome is CONFIRMED
    if outcome is CONFIRMED:
        assert upper <= bound + rounding * Fraction(101, 100)
    if outcome is FALSIFIED:
        assert lower > bound
        assert measured.outcome(">=") is CONFIRMED
    if lower > bound + abs(bound) * Fraction(2, 10**9) + Fraction(2, 10**12) + 2 * rounding:
        assert outcome is FALSIFIED


@given(measurements)
def test_an_inequality_and_its_mirror_image_agree(measured):
    mirrored = Measurement(
        -measured.upper, -measured.lower, -measured.bound, "", scale=measured.scale
    )
    assert measured.outcome("<=") is mirrored.outcome(">=")
    assert measured.outcome("==") is mirrored.outcome("==")


@given(measurements, st.sampled_from([0.0, 1e-9, 0.5]))
def test_an_equality_is_decided_as_in_exact_arithmetic(measured, tolerance):
    lower, upper, bound = (Fraction(n) for n in (measured.lower, measured.upper, measured.bound))
    stated = Measurement(
        measured.lower, measured.upper, measured.bound, "", tolerance, measured.scale
    )
    outcome = stated.outcome("==")
    slack = Fraction(tolerance) + 65 * Fraction(EPS) * max(abs(bound), Fraction(measured.scale))
    slack += Fraction(EPS) * abs(bound)
    if outcome is CONFIRMED:
        assert bound - slack <= lower <= upper <= bound + slack
        assert tolerance > 0 or stated.outcome("<=") is stated.outcome(">=") is CONFIRMED
    if outcome is FALSIFIED:
        assert lower > bound + Fraction(tolerance) or upper < bound - Fraction(tolerance)
    if lower == upper == bound:
        assert outcome is CONFIRMED
    if lower > bound + 2 * slack or upper < bound - 2 * slack:
        assume(slack > 0)
        assert outcome is FALSIFIED


HOLDS = [
    ({CONFIRMED}, Verdict.HOLDS),
    ({CONFIRMED, UNDECIDED}, Verdict.INCONCLUSIVE),
    ({UNDECIDED}, Verdict.INCONCLUSIVE),
    ({CONFIRMED, FALSIFIED}, Verdict.FAILS),
    ({CONFIRMED, UNDECIDED, FALSIFIED}, Verdict.FAILS),
    ({UNDECIDED, FALSIFIED}, Verdict.FAILS),
    ({FALSIFIED}, Verdict.FAILS),
]
REFUTED = [
    ({CONFIRMED}, Verdict.NOT_REFUTED, Verdict.NOT_REFUTED),
    ({CONFIRMED, UNDECIDED}, Verdict.INCONCLUSIVE, Verdict.NOT_REFUTED),
    ({UNDECIDED}, Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE),
    ({CONFIRMED, FALSIFIED}, Verdict.REFUTED, Verdict.NOT_REFUTED),
    ({CONFIRMED, UNDECIDED, FALSIFIED}, Verdict.REFUTED, Verdict.NOT_REFUTED),
    ({UNDECIDED, FALSIFIED}, Verdict.REFUTED, Verdict.INCONCLUSIVE),
    ({FALSIFIED}, Verdict.REFUTED, Verdict.REFUTED),
]
DECIDING = {
    Verdict.HOLDS: CONFIRMED,
    Verdict.CORRECTED: CONFIRMED,
    Verdict.NOT_REFUTED: CONFIRMED,
    Verdict.INCONCLUSIVE: UNDECIDED,
    Verdict.FAILS: FALSIFIED,
    Verdict.REFUTED: FALSIFIED,
}


def judged(check, verdict):
    result = judge(check)
    assert result.verdict is verdict
    assert result.decisive.outcome(check.relation) is DECIDING[verdict]
    assert result.check is check
    assert result.count == len(check.measurements)


@every_relation
@pytest.mark.parametrize(("outcomes", "verdict"), HOLDS)
@pytest.mark.parametrize("corrected", [False, True])
def test_a_line_that_should_hold(relation, outcomes, verdict, corrected):
    taken = [sample(relation, outcome) for outcome in outcomes]
    check = holds("name", "statement", relation, taken, corrected=corrected)
    assert check.form == ("corrected" if corrected else "printed")
    if corrected and verdict is Verdict.HOLDS:
        verdict = Verdict.CORRECTED
    judged(check, verdict)
    assert judge(check).verdict.good == (outcomes == {CONFIRMED})


@every_relation
@pytest.mark.parametrize(("outcomes", "on_one", "on_every"), REFUTED)
def test_a_misprint(relation, outcomes, on_one, on_every):
    taken = [sample(relation, outcome) for outcome in outcomes]
    one = refuted("name", "statement", relation, taken)
    assert one.form == "printed"
    judged(one, on_one)
    judged(refuted("name", "statement", relation, taken, every=True), on_every)
    assert judge(one).verdict.good == (FALSIFIED in outcomes)


def test_printed_and_corrected_are_judged_by_the_same_rule():
    for outcome in Outcome:
        taken = [sample("<=", outcome)]
        wrong = judge(refuted("name", "statement", "<=", taken)).verdict.good
        right = judge(holds("name", "statement", "<=", taken)).verdict.good
        assert (wrong, right) == (outcome is FALSIFIED, outcome is CONFIRMED)


def test_no_measurement_is_an_error():
    with pytest.raises(ValueError, match="check `empty` took no measurement"):
        judge(holds("empty", "statement", "<=", []))
    with pytest.raises(ValueError, match="no measurement"):
        judge(refuted("empty", "statement", "<=", iter(())))


@pytest.mark.parametrize(
    ("relation", "values", "worst"),
    [
        ("<=", [(0.2, 1.0), (9.0, 10.0), (0.5, 1.0)], 1),  # ratios 0.2, 0.9, 0.5
        (">=", [(5.0, 1.0), (10.1, 10.0), (2.0, 1.0)], 1),
        ("==", [(1.0, 1.0), (1.0 + 3e-7, 1.0), (1.0 - 5e-7, 1.0)], 2),
        ("<=", [(3.0, 1.0), (20.0, 10.0), (1.5, 1.0)], 0),
    ],
)
def test_the_decisive_measurement_is_the_worst_relative_to_its_bound(relation, values, worst):
    taken = [Measurement.value(v, b, f"{i}", tolerance=1e-6) for i, (v, b) in enumerate(values)]
    assert judge(holds("name", "statement", relation, taken)).decisive.witness == str(worst)


def test_the_decisive_measurement_of_an_interval_is_judged_by_its_far_end():
    taken = [Measurement(0.0, 0.9, 1.0, "wide"), Measurement(0.5, 0.6, 1.0, "narrow")]
    assert judge(holds("name", "statement", "<=", taken)).decisive.witness == "wide"


def test_not_a_number_is_the_worst_of_the_undecided():
    taken = [sample("<=", UNDECIDED), Measurement.value(math.nan, 1.0, "NaN")]
    assert judge(holds("name", "statement", "<=", taken)).decisive.witness == "NaN"
    assert judge(refuted("name", "statement", "<=", taken)).verdict is Verdict.INCONCLUSIVE


def test_measurements_are_plain_numbers_whatever_they_came_from():
    measured = Measurement.value(np.float32(0.5), np.array(1.0), "w", scale=np.int64(3))
    assert [type(n) for n in (measured.lower, measured.upper, measured.bound)] == [float] * 3
    check = Check("name", "statement", "<=", (measured,), "printed")
    assert judge(check).verdict is Verdict.HOLDS
