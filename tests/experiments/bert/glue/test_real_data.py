"""GLUE's own files, where TASKROBUST_DATA has them under glue/ (MNLI, QNLI and QQP sampled)."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.bert.glue.finetune import finetune, plan
from experiments.bert.glue.read import read_task
from experiments.bert.glue.tasks import TASKS

FOLDER = Path(os.environ.get("TASKROBUST_DATA", "nowhere")) / "glue"
ROWS = {
    "mnli": {"train": 24_740, "dev matched": 9_815, "dev mismatched": 9_832},
    "qqp": {"train": 23_497, "dev": 5_000},
    "qnli": {"train": 18_869, "dev": 5_463},
    "sst2": {"train": 67_349, "dev": 872},
    "cola": {"train": 8_551, "dev": 1_043},
    "stsb": {"train": 5_749, "dev": 1_500},
    "mrpc": {"train": 3_668, "dev": 408},
    "rte": {"train": 2_490, "dev": 277},
}

pytestmark = [
    pytest.mark.skipif(not FOLDER.is_dir(), reason="TASKROBUST_DATA names no folder with glue/"),
    pytest.mark.usefixtures("one_thread"),
]


@pytest.mark.parametrize("name", TASKS)
def test_every_row_of_every_file_is_read(name):
    data = read_task(TASKS[name], FOLDER)
    assert {split: len(part) for split, part in data.splits().items()} == ROWS[name]
    for part in data.splits().values():
        assert part.skipped == 0
        assert "\t" not in "".join(part.first)
        if not data.task.is_regression:
            assert set(part.labels) == set(range(len(data.task.labels)))


def test_splits_that_are_whole_have_the_rows_that_glue_states():
    sampled = {("mnli", "train"), ("qqp", "train"), ("qqp", "dev"), ("qnli", "train")}
    for name, task in TASKS.items():
        for split, rows in ROWS[name].items():
            of_glue = task.rows[split.removeprefix("dev").strip()]
            assert (rows < of_glue) == ((name, split) in sampled)
            assert rows <= of_glue


def test_label_ids_mean_what_the_sentences_say():
    rte = read_task(TASKS["rte"], FOLDER).dev[""]
    assert rte.second[0] == "Christopher Reeve had an accident."
    assert rte.labels[0] == 1  # is not entailed by what his widow died of
    stsb = read_task(TASKS["stsb"], FOLDER).train
    assert stsb.labels[0] == 5.0  # "A plane is taking off." "An air plane is taking off."
    assert 0 < stsb.labels.min() + 1 < stsb.labels.mean() + 1 < stsb.labels.max() + 1 == 6


@pytest.mark.parametrize("name", ["rte", "stsb"])
def test_a_few_steps_on_real_examples_give_scores_and_lower_the_loss(name, tmp_path, few, models):
    data = read_task(TASKS[name], FOLDER)
    data = replace(data, dev={"": data.dev[""].head(100)})
    how = few(epochs=4, learning_rate=3e-3, max_train_examples=48, sequence_length=48)
    (run,) = plan(how, models, [data], tmp_path)
    result = finetune(run, how)
    assert result["steps"] == 24
    assert set(result["dev"][""]) == set(TASKS[name].metrics)
    losses = [row["loss"] for row in result["history"] if "loss" in row]
    assert np.mean(losses[-4:]) < np.mean(losses[:4])
    assert result["data"]["splits"]["train"]["rows"] == ROWS[name]["train"]
