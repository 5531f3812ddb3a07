"""Small data sets in the format and under the column names of nyu-mll/glue, in local Parquet."""

import datasets
import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from experiments.bert.configuration import FineTuning
from experiments.bert.glue.hub import load_task
from experiments.bert.glue.study import read_all
from experiments.bert.glue.tasks import TASKS
from experiments.configuration import ConfigurationError

NAMES = {
    "mnli": ["entailment", "neutral", "contradiction"],
    "qqp": ["not_duplicate", "duplicate"],
    "qnli": ["entailment", "not_entailment"],
    "sst2": ["negative", "positive"],
    "cola": ["unacceptable", "acceptable"],
    "mrpc": ["not_equivalent", "equivalent"],
    "rte": ["entailment", "not_entailment"],
}
SPLITS = {
    "mnli": [
        "train", "validation_matched", "validation_mismatched", "test_matched", "test_mismatched"
    ]
}  # fmt: skip
COLUMNS = {
    "mnli": ["premise", "hypothesis"],
    "qqp": ["question1", "question2"],
    "qnli": ["question", "sentence"],
    "sst2": ["sentence"],
    "cola": ["sentence"],
    "stsb": ["sentence1", "sentence2"],
    "mrpc": ["sentence1", "sentence2"],
    "rte": ["sentence1", "sentence2"],
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def labels_of(name, split):
    """Four labels; those of test splits are -1, as on the Hub."""
    if split.startswith("test"):
        return [-1] * 4
    return [5.0, 0.0, 2.5, 3.75] if name == "stsb" else [0, 1, len(NAMES[name]) - 1, 0]


def publish(folder, tasks, change=lambda name, split, columns: columns, names=None, missing=""):
    """A folder as the Hub has it: a configuration a task, a Parquet file a split, and a card."""
    card = []
    for name in tasks:
        card.append(f"- config_name: {name}\n  data_files:")
        for split in SPLITS.get(name, ["train", "validation", "test"]):
            if split == missing:
                continue
            columns = {each: [f"{split} {each} {n} ." for n in range(4)] for each in COLUMNS[name]}
            columns |= {"label": labels_of(name, split), "idx": list(range(10, 14))}
            columns = change(name, split, columns)
            kinds = {
                "label": Value("float32")
                if name == "stsb"
                else ClassLabel(names=names or NAMES[name]),
                "idx": Value("int32"),
            }
            features = Features({each: kinds.get(each, Value("string")) for each in columns})
            (folder / name).mkdir(parents=True, exist_ok=True)
            path = folder / name / f"{split}-00000-of-00001.parquet"
            Dataset.from_dict(columns, features=features).to_parquet(path)
            card.append(f'  - split: {split}\n    path: "{name}/{split}-*"')
    (folder / "README.md").write_text("---\nconfigs:\n" + "\n".join(card) + "\n---\n")
    return str(folder)


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_read_from_the_columns_and_splits_of_the_hub(tmp_path, name):
    task, data = TASKS[name], load_task(TASKS[name], publish(tmp_path / "glue", [name]))
    for split, part in data.splits().items():
        on_hub = "_".join(split.replace("dev", "validation").split())
        columns = COLUMNS[name]
        assert part.first == tuple(f"{on_hub} {columns[0]} {n} ." for n in range(4))
        assert part.second == (
            tuple(f"{on_hub} {columns[1]} {n} ." for n in range(4)) if len(columns) > 1 else None
        )
        if split.startswith("test"):
            assert part.labels is None
            assert part.index == ("10", "11", "12", "13")
        else:
            assert part.labels.tolist() == labels_of(name, on_hub)
    parts = [part.name for part in task.parts]
    assert (list(data.dev), list(data.test)) == (parts, parts)


def test_the_names_of_the_hubs_classes_mean_the_texts_of_the_files():
    for name, names in NAMES.items():
        task = TASKS[name]
        assert list(task.hub_labels) == names
        meant = names if task.labels[0] == "entailment" else ["0", "1"]
        assert list(task.labels) == meant


def test_a_configuration_with_source_hub_loads_id_and_revision(tmp_path, monkeypatch):
    folder, asked = publish(tmp_path / "glue", ["rte", "cola"]), []
    load = datasets.load_dataset

    def record(hub, config, revision):
        asked.append((hub, config, revision))
        return load(folder, config)

    monkeypatch.setattr("experiments.bert.glue.hub.load_dataset", record)
    how = FineTuning(tasks=("rte", "cola"), source="hub", revision="abc")
    found = read_all(how, None, tmp_path)
    assert asked == [("nyu-mll/glue", "rte", "abc"), ("nyu-mll/glue", "cola", "abc")]
    assert [data.source for data in found] == [
        "nyu-mll/glue:rte@abc",
        "nyu-mll/glue:cola@abc",
    ]


def without(column):
    return lambda name, split, columns: {k: v for k, v in columns.items() if k != column}


def labelled(*labels):
    def change(_, split, columns):
        return {**columns, "label": list(labels)} if split == "validation" else columns

    return change


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("rte", {"change": without("sentence2")}, "train: should have the columns sentence2"),
        ("rte", {"change": without("label")}, "train: should have the columns label"),
        ("rte", {"names": NAMES["rte"][::-1]}, "in this order; found not_entailment, entailment"),
        ("rte", {"change": labelled(0, 1, -1, 0)}, "validation, row 2: .*from 0 to 1; found -1"),
        ("stsb", {"change": labelled(0, 5.5, 1, 0)}, r"validation, row 1: .*to 5; found 5\.5"),
        ("stsb", {"change": labelled(0, 5, 1, np.nan)}, "validation, row 3: .*found nan"),
        ("rte", {"change": lambda *a: {k: [] for k in a[2]}}, r"cannot be loaded \(.*no data"),
        ("rte", {"missing": "validation"}, "should have a split 'validation'; found train, test"),
    ],
)
def test_other_columns_labels_and_splits_are_refused(tmp_path, name, options, message):
    folder = publish(tmp_path / "glue", [name], **options)
    with pytest.raises(ConfigurationError, match=message):
        load_task(TASKS[name], folder)


def test_what_cannot_be_loaded_is_named_with_a_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    folder = publish(tmp_path / "glue", ["rte"])
    for hub, name in ((folder, "cola"), (str(tmp_path / "nowhere"), "rte"), ("no/such", "rte")):
        with pytest.raises(
            ConfigurationError, match=r"`fine_tuning\.hub`: .* cannot be loaded"
        ) as e:
            load_task(TASKS[name], hub)
        assert "--data" in str(e.value)
