import json
import shutil

import pytest

from experiments.bert.glue.models import find_models
from experiments.bert.glue.origin import collect
from experiments.records import RESULT, RecordError

RUNS = [{"arm": "average", "seed": 0}, {"arm": "minimax", "seed": 0}]


@pytest.fixture
def study(tmp_path, make_checkpoint):
    """A function that makes a folder of pre-training; its parameters are drawn by a number."""

    def make(name, drawn):
        for number, run in enumerate(RUNS):
            folder = tmp_path / name / run["arm"] / "seed-0"
            make_checkpoint(folder / "model", seed=drawn + number)
            (folder / RESULT).write_text(json.dumps(run), encoding="utf-8")
        return tmp_path / name

    return make


@pytest.fixture
def tuned(tmp_path):
    """A function that leaves a record of fine-tuning for each model."""

    def make(*given):
        for model in find_models([str(each) for each in given]):
            path = model.folder(tmp_path / "tuned") / "rte" / "seed-0" / RESULT
            path.parent.mkdir(parents=True)
            content = {
                "arm": model.arm,
                "pretraining_seed": model.seed,
                "model": model.path,
                "task": "rte",
                "configuration": f"model: {model.identity()}\n",
            }
            path.write_text(json.dumps(content), encoding="utf-8")
        return tmp_path / "tuned"

    return make


def arms(records):
    return [record["arm"] for record in records]


def test_records_of_the_same_models_are_found_wherever_those_were_moved(study, tuned, tmp_path):
    one = study("one", 0)
    folder = tuned(one)
    assert arms(collect(folder, one, RUNS)) == ["average", "minimax"]
    one.rename(tmp_path / "moved")
    assert arms(collect(folder, tmp_path / "moved", RUNS)) == ["average", "minimax"]


def test_models_of_the_same_names_from_another_study_are_refused(study, tuned):
    one, two = study("one", 0), study("two", 2)
    folder = tuned(two)
    with pytest.raises(
        RecordError, match=r"average.seed-0.rte.* is of .*two.* holds; give"
    ) as found:
        collect(folder, one, RUNS)
    assert str(one) in str(found.value)
    assert arms(collect(folder, two, RUNS)) == ["average", "minimax"]


def test_a_model_trained_anew_in_the_same_folder_is_another(study, tuned, make_checkpoint):
    one = study("one", 0)
    folder = tuned(one)
    make_checkpoint(one / "minimax" / "seed-0" / "model", seed=9)
    with pytest.raises(RecordError, match="arm minimax"):
        collect(folder, one, RUNS)


def changed(folder, arm, task, **fields):
    """Add fields to the configuration of a run of fine-tuning, which becomes that of a task."""
    path = folder / arm / "seed-0" / "rte" / "seed-0" / RESULT
    content = json.loads(path.read_text(encoding="utf-8"))
    lines = content["configuration"] + "".join(f"{name}: {fields[name]}\n" for name in fields)
    path.write_text(json.dumps({**content, "task": task, "configuration": lines}), "utf-8")
    return path.parent


@pytest.mark.parametrize("absent", [False, True])
def test_runs_of_a_task_that_were_fine_tuned_differently_are_refused(study, tuned, absent):
    one = study("one", 0)
    folder = tuned(one)
    first = changed(folder, "average", "rte", epochs=3, learning_rate=2e-5)
    second = changed(folder, "minimax", "rte", epochs=3, **({} if absent else {"learning_rate": 1}))
    with pytest.raises(RecordError, match="found `learning_rate` 2e-05 in ") as error:
        collect(folder, one, RUNS)
    assert f"in {first} and {'nothing' if absent else 1} in {second};" in str(error.value)


def test_tasks_models_and_data_may_differ_within_a_table(study, tuned):
    one = study("one", 0)
    folder = tuned(one)
    changed(folder, "average", "rte", learning_rate=2e-5, data="{train: a}")
    changed(folder, "minimax", "rte", learning_rate=2e-5, data="{train: b}")
    assert arms(collect(folder, one, RUNS)) == ["average", "minimax"]
    changed(folder, "minimax", "cola", epochs=9)
    assert arms(collect(folder, one, RUNS)) == ["average", "minimax"]


def test_where_only_records_are_left_the_path_tells(study, tuned, tmp_path):
    one = study("one", 0)
    folder = tuned(one)
    shutil.copytree(one, tmp_path / "copy")
    for place in (one, tmp_path / "copy"):
        for run in RUNS:
            shutil.rmtree(place / run["arm"] / "seed-0" / "model")
    assert arms(collect(folder, one, RUNS)) == ["average", "minimax"]
    with pytest.raises(RecordError, match="arm average"):
        collect(folder, tmp_path / "copy", RUNS)


def test_an_arm_that_has_no_finished_run_is_none_of_the_models(study, tuned):
    one = study("one", 0)
    folder = tuned(one)
    with pytest.raises(RecordError, match="arm minimax"):
        collect(folder, one, RUNS[:1])


def test_published_models_are_kept_unless_they_are_named_like_an_arm(
    study, tuned, make_checkpoint, tmp_path
):
    one = study("one", 0)
    folder = tuned(one, make_checkpoint(tmp_path / "published", seed=5))
    assert arms(collect(folder, one, RUNS)) == ["average", "minimax", "published"]
    tuned(make_checkpoint(tmp_path / "minimax", seed=6))
    with pytest.raises(RecordError, match="arm minimax"):
        collect(folder, one, RUNS)
