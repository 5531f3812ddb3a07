import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.bert.glue.examples import Examples
from experiments.bert.glue.export import answers, export, kept_outputs, median_run
from experiments.bert.glue.finetune import PREDICTIONS, Run
from experiments.bert.glue.models import Pretrained
from experiments.bert.glue.tasks import TASKS
from experiments.records import RecordError

OUTPUTS = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [0.0, 1.0, 4.0]])


def lines(text):
    return [tuple(line.split("\t")) for line in text.splitlines()]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mnli", ["entailment", "neutral", "contradiction"]),
        ("rte", ["entailment", "not_entailment", "not_entailment"]),
        ("qnli", ["entailment", "not_entailment", "not_entailment"]),
        ("cola", ["0", "1", "1"]),
        ("qqp", ["0", "1", "1"]),
    ],
)
def test_the_server_gets_index_and_label_texts(name, expected):
    task = TASKS[name]
    text = answers(task, OUTPUTS[:, : task.outputs], ["4", "0", "7"])
    assert lines(text) == [("index", "prediction"), *zip("407", expected, strict=True)]
    assert text.endswith("\n")


def test_scores_are_clipped_to_their_range():
    text = answers(TASKS["stsb"], np.array([[-0.5], [5.4], [3.14159]]), "012")
    assert [value for _, value in lines(text)[1:]] == ["0.000", "5.000", "3.142"]


def test_each_part_has_the_file_name_that_the_server_wants():
    names = [part.answers for task in TASKS.values() for part in task.parts]
    assert sorted(names) == sorted(
        ["MNLI-m", "MNLI-mm", "QQP", "QNLI", "SST-2", "CoLA", "STS-B", "MRPC", "RTE"]
    )


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0.3], 0), ([0.5, 0.1, 0.3], 2), ([0.4, 0.1, 0.3, 0.2], 3), ([0.2, 0.2, 0.2], 1)],
)
def test_the_median_run_is_the_lower_one_of_two(values, expected):
    assert median_run(values) == expected


def finished(out, small, name, seed, score, outputs):
    data = small(name, test=2)
    folder = out / f"{name}-{seed}"
    folder.mkdir(parents=True)
    np.savez(folder / PREDICTIONS, test=outputs)
    metric = TASKS[name].metric
    run = Run(Pretrained("minimax", 3, "path"), data, seed, folder, "")
    return run, {"task": name, "dev": {"": {metric: score}}}


def test_submissions_hold_the_run_of_the_median_dev_score_of_each_task(tmp_path, small):
    zero, one = np.array([[1.0, 0.0]] * 2), np.array([[0.0, 1.0]] * 2)
    made = [
        finished(tmp_path, small, "cola", 0, 0.9, zero),
        finished(tmp_path, small, "cola", 1, 0.4, one),
        finished(tmp_path, small, "cola", 2, 0.1, zero),
        finished(tmp_path, small, "rte", 0, 0.5, one),
        finished(tmp_path, small, "rte", 1, 0.7, zero),
    ]
    runs, results = zip(*made, strict=True)
    (folder,) = export(runs, results, tmp_path / "submissions")
    assert folder == tmp_path / "submissions" / "minimax" / "seed-3"
    assert {path.name for path in folder.iterdir()} == {"CoLA.tsv", "RTE.tsv", "seeds.json"}
    said = json.loads((folder / "seeds.json").read_text(encoding="utf-8"))
    assert said["seeds"] == {"cola": 1, "rte": 0}
    assert "the median dev score" in said["about"]
    assert lines((folder / "CoLA.tsv").read_text())[1:] == [("0", "1"), ("1", "1")]
    assert {value for _, value in lines((folder / "RTE.tsv").read_text())[1:]} == {"not_entailment"}


def test_mnli_has_two_files(tmp_path, small):
    part = Examples(("A",), ("B",), None, ("31",))
    data = replace(small("rte"), task=TASKS["mnli"], test={"matched": part, "mismatched": part})
    np.savez(
        tmp_path / PREDICTIONS,
        **{"test matched": OUTPUTS[:1], "test mismatched": OUTPUTS[2:]},
    )
    run = Run(Pretrained("a", None, "path"), data, 0, tmp_path, "")
    dev = {name: {"accuracy": 0.5} for name in ("matched", "mismatched")}
    (folder,) = export([run], [{"task": "mnli", "dev": dev}], tmp_path / "out")
    found = {path.stem: lines(Path(path).read_text())[1] for path in folder.glob("*.tsv")}
    assert found == {"MNLI-m": ("31", "entailment"), "MNLI-mm": ("31", "contradiction")}


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[:-30], "cannot be read .BadZipFile"),
        (lambda data: b"", "cannot be read .EOFError"),
        (lambda data: b"no archive", "cannot be read .ValueError"),
        (lambda data: data.replace(b"NUMPY", b"NUMBY"), "cannot be read .ValueError|BadZipFile"),
        (None, "cannot be read .FileNotFoundError"),
    ],
)
def test_damaged_predictions_are_named_with_a_remedy(tmp_path, small, damage, reason):
    run, result = finished(tmp_path, small, "rte", 0, 0.5, np.zeros((2, 2)))
    path = run.folder / PREDICTIONS
    content = path.read_bytes()
    path.unlink()
    if damage is not None:
        path.write_bytes(damage(content))
    with pytest.raises(RecordError, match=reason) as error:
        export([run], [result], tmp_path / "submissions")
    said = str(error.value)
    assert said.startswith(f"{path} cannot")
    assert said.endswith(f"; remove {run.folder} to run it anew")
    assert "\n" not in said


def test_predictions_of_other_examples_are_refused(tmp_path, small):
    run, _ = finished(tmp_path, small, "rte", 0, 0.5, np.zeros((3, 2)))
    with pytest.raises(RecordError, match=r"shape \(2, 2\) of test; found \(3, 2\); remove"):
        kept_outputs(run, "test")
    with pytest.raises(RecordError, match=r"cannot be read .KeyError"):
        kept_outputs(run, "dev")


def test_without_test_files_nothing_is_written(tmp_path, small):
    data = replace(small("rte"), test={})
    run = Run(Pretrained("a", None, "path"), data, 0, tmp_path, "")
    result = {"task": "rte", "dev": {"": {"accuracy": 0.5}}}
    assert export([run], [result], tmp_path / "out") == []
    assert not (tmp_path / "out").exists()
