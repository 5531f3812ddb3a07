"""The eight GLUE tasks of Table 1, as data: columns, labels, splits, metrics.

Wang et al., "GLUE: A multi-task benchmark …" (ICLR 2019). WNLI is left out, as in the paper.
"""

from dataclasses import dataclass, field

__all__ = ["TASKS", "GlueTask", "Part"]


@dataclass(frozen=True)
class Part:
    """A part of the dev or test split: one, but for MNLI's matched and mismatched."""

    name: str
    """"" or "matched", "mismatched"."""
    dev: str = "dev"
    """Name of the file of the dev part, without .tsv."""
    test: str = "test"
    hub_dev: str = "validation"
    """Name of the split of the dev part on the Hub."""
    hub_test: str = "test"
    answers: str = ""
    """Name of the file that GLUE's server wants, without .tsv."""


@dataclass(frozen=True)
class GlueTask:
    """What is particular to a task."""

    name: str
    """In configurations, and of the Hub's configuration."""
    title: str
    """In tables, and of its folder and zip."""
    columns: tuple[str, ...]
    """Of the one or two sentences, in TSV files."""
    hub_columns: tuple[str, ...]
    """The same on the Hub."""
    label_column: str
    """In TSV files."""
    labels: tuple[str, ...]
    """Label texts in TSV files, in the order of the Hub's ids; none: a score from 0 to 5."""
    hub_labels: tuple[str, ...]
    """Label names on the Hub, in order of their ids."""
    metrics: tuple[str, ...]
    """Names in `metrics.METRICS`; the first is that of Table 1."""
    index: str = "index"
    """Column of the number of an example in test files."""
    parts: tuple[Part, ...] = ()
    headless: tuple[str, ...] = ()
    """All columns of train and dev files without a header line."""
    skips_broken_rows: bool = False
    """Whether rows with too few columns are left out, as the Hub's copy leaves them out."""
    rows: dict[str, int] = field(default_factory=dict)
    """Rows of GLUE's own train and dev splits, to say which data is but a sample of them."""

    @property
    def is_regression(self) -> bool:
        """Whether a score is predicted."""
        return not self.labels

    @property
    def outputs(self) -> int:
        """Width of the classifier."""
        return len(self.labels) or 1

    @property
    def metric(self) -> str:
        """The metric of Table 1."""
        return self.metrics[0]


def _one(answers: str) -> tuple[Part, ...]:
    return (Part("", answers=answers),)


def _mnli_part(name: str, answers: str) -> Part:
    dev, test, hub_dev = f"dev_{name}", f"test_{name}", f"validation_{name}"
    return Part(name, dev=dev, test=test, hub_dev=hub_dev, hub_test=test, answers=answers)


_PAIR = ("sentence1", "sentence2")
_ENTAILMENT = ("entailment", "not_entailment")
_THREE = ("entailment", "neutral", "contradiction")
_ZERO_ONE = ("0", "1")

_ALL = (
    GlueTask(
        name="mnli",
        title="MNLI",
        columns=_PAIR,
        hub_columns=("premise", "hypothesis"),
        label_column="gold_label",
        labels=_THREE,
        hub_labels=_THREE,
        metrics=("accuracy",),
        parts=(
            _mnli_part("matched", "MNLI-m"),
            _mnli_part("mismatched", "MNLI-mm"),
        ),
        rows={"train": 392_702, "matched": 9_815, "mismatched": 9_832},
    ),
    GlueTask(
        name="qqp",
        title="QQP",
        columns=("question1", "question2"),
        hub_columns=("question1", "question2"),
        label_column="is_duplicate",
        labels=_ZERO_ONE,
        hub_labels=("not_duplicate", "duplicate"),
        metrics=("f1", "accuracy"),
        index="id",
        parts=_one("QQP"),
        skips_broken_rows=True,
        rows={"train": 363_846, "": 40_430},
    ),
    GlueTask(
        name="qnli",
        title="QNLI",
        columns=("question", "sentence"),
        hub_columns=("question", "sentence"),
        label_column="label",
        labels=_ENTAILMENT,
        hub_labels=_ENTAILMENT,
        metrics=("accuracy",),
        parts=_one("QNLI"),
        rows={"train": 104_743, "": 5_463},
    ),
    GlueTask(
        name="sst2",
        title="SST-2",
        columns=("sentence",),
        hub_columns=("sentence",),
        label_column="label",
        labels=_ZERO_ONE,
        hub_labels=("negative", "positive"),
        metrics=("accuracy",),
        parts=_one("SST-2"),
        rows={"train": 67_349, "": 872},
    ),
    GlueTask(
        name="cola",
        title="CoLA",
        columns=("sentence",),
        hub_columns=("sentence",),
        label_column="label",
        labels=_ZERO_ONE,
        hub_labels=("unacceptable", "acceptable"),
        metrics=("matthews",),
        parts=_one("CoLA"),
        headless=("source", "label", "star", "sentence"),
        rows={"train": 8_551, "": 1_043},
    ),
    GlueTask(
        name="stsb",
        title="STS-B",
        columns=_PAIR,
        hub_columns=_PAIR,
        label_column="score",
        labels=(),
        hub_labels=(),
        metrics=("spearman", "pearson"),
        parts=_one("STS-B"),
        rows={"train": 5_749, "": 1_500},
    ),
    GlueTask(
        name="mrpc",
        title="MRPC",
        columns=("#1 String", "#2 String"),
        hub_columns=_PAIR,
        label_column="Quality",
        labels=_ZERO_ONE,
        hub_labels=("not_equivalent", "equivalent"),
        metrics=("f1", "accuracy"),
        parts=_one("MRPC"),
        rows={"train": 3_668, "": 408},
    ),
    GlueTask(
        name="rte",
        title="RTE",
        columns=_PAIR,
        hub_columns=_PAIR,
        label_column="label",
        labels=_ENTAILMENT,
        hub_labels=_ENTAILMENT,
        metrics=("accuracy",),
        parts=_one("RTE"),
        rows={"train": 2_490, "": 277},
    ),
)

TASKS: dict[str, GlueTask] = {task.name: task for task in _ALL}
"""By name, in the order of Table 1."""
