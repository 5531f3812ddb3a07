r"""A13, Tables 1 and 2: do the printed averages and gains follow from the printed cells?

Everything is exact decimal arithmetic on the constants below; a printed number is compared with the
tolerance of its own rounding, half a unit of its last digit.

*Provenance.* The paper's full tables were not at hand when this file was written. The BERT row is
the published one that Table 1 reprints (Devlin et al. 2019, Table 1, GLUE test server). The
differences, the text's numbers and the few cells of the average-loss row were taken down when the
paper was read; the cells themselves sum to 633.1 there and to 633.0 in the published row, so that
one reprinted cell may differ by 0.1. Every line about the row therefore carries the interval that
this leaves, and none depends on where in it the truth lies.

*Not measured.* CoLA is a Matthews correlation (times 100), not an accuracy as the text calls it.
That the minimax loss beats the average loss on every task is how the table is usually summarised,
not a sentence of the paper. The cells of the average-loss row were recorded for two tasks only, so
its printed mean of 79.3 is not judged here.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal

from theory.claims.base import Claim
from theory.judge import Check, Measurement, holds, refuted
from theory.testbed import Context

Row = Mapping[str, Decimal]


def _row(text: str) -> Row:
    """Parse ``"name value name value ..."`` exactly."""
    words = text.split()
    return {name: Decimal(value) for name, value in zip(words[::2], words[1::2], strict=True)}


BERT = _row("MNLI 84.6 QQP 71.2 QNLI 90.5 SST-2 93.5 CoLA 52.1 STS-B 85.8 MRPC 88.9 RTE 66.4")
"""Table 1, BERT: Devlin et al. 2019, Table 1 (eight columns; MNLI matched)."""
BERT_MNLI_MISMATCHED = Decimal("83.4")
"""The ninth column of the same published row."""
ROW_UNCERTAINTY = Decimal("0.1")
"""How far the sum of the reprinted row may be from that of the published one (see above)."""
TABLE_GAIN = _row("MNLI 1.0 QQP 5.7 QNLI -1.9 SST-2 -2.2 CoLA 9.2 STS-B -1.6 MRPC -0.7 RTE 4.3")
"""Table 1, row Minimax minus row BERT, column by column."""
TEXT_GAIN = _row("MNLI 1.1 QQP 5.7 QNLI -1 SST-2 -1.9 CoLA 9.2 STS-B -1.6 MRPC -0.7 RTE 4.3")
"""The same gains as the text of section 4 states them."""
AVERAGE = _row("BERT 79.6 None 79.3 Minimax 81.4")
"""Table 1, column Avg.; None is pre-training on the average loss."""
TEXT_AVERAGE_GAIN = Decimal("1.8")
"""Gain over BERT in the average, as stated."""
QNLI = _row("None 89.1 Minimax 88.6")
"""Table 1, column QNLI."""
COLA_GAIN_OVER_NONE = Decimal("7.0")
"""Table 1, column CoLA, row Minimax minus row None."""
TABLE_2_GAIN = {
    ("mIoU", "None"): Decimal("9.6"),
    ("depth", "None"): Decimal("22.0"),
    ("depth", "Uncertainty"): Decimal("3.9"),
}
"""Table 2 (ImageNet-S50), Minimax minus a baseline: segmentation mIoU, depth delta_1."""
QUOTED_GAIN = _row("mIoU 9.6 depth 3.9")
"""Gains of Table 2 that the text quotes side by side."""


def checks(_: Context) -> Iterator[Check]:
    """Recompute averages and differences."""
    yield from _averages()
    yield from _average_gain()
    yield from _gains()
    yield from _baselines()


def _averages() -> Iterator[Check]:
    """Column means of the rows that are known."""
    bert = sum(BERT.values(), Decimal())
    minimax = bert + sum(TABLE_GAIN.values(), Decimal())
    yield refuted(
        "averages",
        "Avg. is the mean of the 8 columns",
        "==",
        [
            _mean(bert, len(BERT), AVERAGE["BERT"], "BERT, eight columns"),
            _mean(minimax, len(BERT), AVERAGE["Minimax"], "Minimax, eight columns"),
        ],
        every=True,
    )
    nine = len(BERT) + 1
    yield holds(
        "BERT average",
        "79.6 is a mean of 9 columns (MNLI-mm)",
        "==",
        [_mean(bert + BERT_MNLI_MISMATCHED, nine, AVERAGE["BERT"], "BERT, eight and MNLI-mm")],
        corrected=True,
    )


def _average_gain() -> Iterator[Check]:
    """The gain in the average: that of the columns shown, and that of the averages printed."""
    gain = sum(TABLE_GAIN.values(), Decimal()) / len(TABLE_GAIN)
    yield refuted(
        "average gain",
        "mean gain over BERT, 8 columns, is 1.8",
        "==",
        [_exact(gain, TEXT_AVERAGE_GAIN, "mean of the eight differences", rounded=True)],
    )
    difference = AVERAGE["Minimax"] - AVERAGE["BERT"]
    yield holds(
        "source of 1.8",
        "1.8 is a difference of Avg. entries",
        "==",
        [_exact(difference, TEXT_AVERAGE_GAIN, "81.4 − 79.6")],
        corrected=True,
    )


def _gains() -> Iterator[Check]:
    """Gains over BERT: the text against the table, column by column."""
    wrong = ("MNLI", "QNLI", "SST-2")
    right = [task for task in TABLE_GAIN if task not in wrong]
    yield refuted("gains, wrong", "text = table: MNLI, QNLI, SST-2", "==", _text(wrong), every=True)
    yield holds("gains, right", "text = table: the other five tasks", "==", _text(right))


def _text(tasks: list[str] | tuple[str, ...]) -> list[Measurement]:
    return [
        _exact(TABLE_GAIN[t], TEXT_GAIN[t], f"{t}: table {TABLE_GAIN[t]}, text {TEXT_GAIN[t]}")
        for t in tasks
    ]


def _baselines() -> Iterator[Check]:
    """Against which row a gain is taken."""
    loss = QNLI["Minimax"] - QNLI["None"]
    yield refuted(
        "every task",
        "Minimax ≥ average loss on every task",
        ">=",
        [_exact(loss, Decimal(), "QNLI, 88.6 − 89.1")],
    )
    yield holds(
        "CoLA baseline",
        "CoLA gain: over None ≤ over BERT",
        "<=",
        [_exact(COLA_GAIN_OVER_NONE, TABLE_GAIN["CoLA"], "7.0 over None, 9.2 over BERT")],
        corrected=True,
    )
    yield refuted(
        "one baseline",
        "Table 2: both quoted gains over None",
        "==",
        [
            _exact(TABLE_2_GAIN[measure, "None"], QUOTED_GAIN[measure], f"{measure} over None")
            for measure in QUOTED_GAIN
        ],
    )
    yield holds(
        "two baselines",
        "mIoU over None, depth over Uncertainty",
        "==",
        [
            _exact(TABLE_2_GAIN[cell], QUOTED_GAIN[cell[0]], f"{cell[0]} over {cell[1]}")
            for cell in (("mIoU", "None"), ("depth", "Uncertainty"))
        ],
        corrected=True,
    )


def _mean(total: Decimal, columns: int, printed: Decimal, witness: str) -> Measurement:
    """A row's mean, as the interval that the row's provenance leaves."""
    low, high = (total - ROW_UNCERTAINTY) / columns, (total + ROW_UNCERTAINTY) / columns
    tolerance = float(_rounding(printed))
    return Measurement(float(low), float(high), float(printed), witness, tolerance)


def _exact(value: Decimal, printed: Decimal, witness: str, *, rounded: bool = False) -> Measurement:
    """Two decimals; with `rounded` the printed one is allowed its own rounding."""
    tolerance = float(_rounding(printed)) if rounded else 0.0
    return Measurement.value(float(value), float(printed), witness, tolerance=tolerance)


def _rounding(printed: Decimal) -> Decimal:
    """Half a unit of the last printed digit."""
    exponent = printed.as_tuple().exponent
    assert isinstance(exponent, int), "only finite numbers are printed"
    return Decimal(5).scaleb(exponent - 1)


CLAIM = Claim(
    key="A13",
    title="arithmetic of the result tables",
    source="Tables 1 and 2, section 4",
    printed="Averages 79.6 (BERT) and 81.4 (Minimax), +1.8; gains MNLI +1.1, QNLI −1, SST-2 −1.9; "
    "+9.6 mIoU and +3.9 depth.",
    corrected="The eight columns average 79.1 and 80.9, +1.725 (79.6 has a ninth column, MNLI-mm); "
    "MNLI +1.0, QNLI −1.9, SST-2 −2.2; +9.6 is over None, +3.9 over Uncertainty.",
    checks=checks,
)
