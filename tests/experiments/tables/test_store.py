import json
import math
import re
from dataclasses import replace

import pytest

from experiments.configuration import ConfigurationError
from experiments.records import RecordError
from experiments.tables.store import Key, Store

KEY = Key("bert", "own", "minimax", 1, "rte-0")
RECIPE = "model: {layers: 2}\nsteps: 3\n"
RESULT = {
    "arm": "minimax",
    "task": "rte",
    "seed": 0,
    "pretraining_seed": 1,
    "history": [1],
    "dev": {"acc": 0.1},
}


def test_a_record_is_found_again_without_its_history(tmp_path):
    store = Store(tmp_path)
    assert store.find(KEY, RECIPE) is None
    path = store.add(KEY, RECIPE, RESULT)
    found = store.find(KEY, RECIPE)
    assert found["dev"] == RESULT["dev"]
    assert "history" not in found
    assert path == tmp_path / "bert" / "own" / "minimax" / "seed-1" / "rte-0.json"
    assert store.records("bert", "own") == {KEY: found}
    assert list(store.presets()) == [("bert", "own")]


def test_records_are_never_overwritten(tmp_path):
    store = Store(tmp_path)
    path = store.add(KEY, RECIPE, RESULT)
    before = path.read_bytes()
    with pytest.raises(RecordError, match="never overwritten"):
        store.add(KEY, RECIPE, {**RESULT, "dev": {"acc": 0.9}})
    assert path.read_bytes() == before


def test_another_recipe_is_refused_with_the_field_that_differs(tmp_path):
    store = Store(tmp_path)
    store.add(KEY, RECIPE, RESULT)
    with pytest.raises(ConfigurationError, match=r"`model.layers` is 2 there and 4 here"):
        store.find(KEY, RECIPE.replace("layers: 2", "layers: 4"))
    assert store.find(replace(KEY, preset="other"), RECIPE) is None


def test_a_record_is_older_than_a_field_whose_default_is_kept(tmp_path):
    store = Store(tmp_path)
    store.add(KEY, RECIPE, RESULT)
    newer, defaults = RECIPE + "clip: 0\n", "model: {layers: 1, heads: 1}\nclip: 0\n"
    assert store.find(KEY, newer, defaults) is not None
    with pytest.raises(ConfigurationError, match="`clip` is 0 there and 1 here"):
        store.find(KEY, RECIPE + "clip: 1\n", defaults)
    with pytest.raises(ConfigurationError, match="`clip` is missing there and 0 here"):
        store.find(KEY, newer)


def test_damaged_and_misplaced_records_are_named(tmp_path):
    store = Store(tmp_path)
    path = store.add(KEY, RECIPE, RESULT)
    moved = path.with_name("cola-0.json")
    moved.write_bytes(path.read_bytes())
    with pytest.raises(RecordError, match=r"cola-0.json should be of minimax, seed 1: cola-0"):
        store.records("bert", "own")
    moved.write_text(path.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    with pytest.raises(RecordError, match="not valid JSON"):
        store.find(replace(KEY, part="cola-0"), RECIPE)
    moved.write_text(json.dumps({"arm": "minimax"}), encoding="utf-8")
    with pytest.raises(RecordError, match="has no 'recipe'"):
        store.find(replace(KEY, part="cola-0"), RECIPE)


@pytest.mark.parametrize(("field", "value"), [("task", "cola"), ("seed", 1)])
def test_a_result_of_another_run_is_not_kept(tmp_path, field, value):
    with pytest.raises(RecordError, match="minimax, seed 1: rte-0 should be of its task and seed"):
        Store(tmp_path).add(KEY, RECIPE, {**RESULT, field: value})
    half = {**RESULT, "task": "semseg"}
    assert Store(tmp_path).add(replace(KEY, part="semseg-half-0"), RECIPE, half).is_file()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_not_finite_are_not_kept(tmp_path, value):
    with pytest.raises(ConfigurationError, match="a number is not finite; training diverged"):
        Store(tmp_path).add(KEY, RECIPE, {**RESULT, "dev": {"acc": value}})
    assert not list(tmp_path.rglob("*.json"))


def test_strange_files_of_a_store_are_named(tmp_path):
    store = Store(tmp_path)
    path = store.add(KEY, RECIPE, RESULT)
    copied = path.parent.with_name("seed-1 copy") / path.name
    copied.parent.mkdir()
    copied.write_bytes(path.read_bytes())
    with pytest.raises(RecordError, match=r"seed-1 copy/rte-0.json is no record of a run"):
        store.records("bert", "own")
    copied.unlink()
    pretrain = path.with_name("pretrain.json")
    pretrain.write_text(json.dumps({"arm": "minimax", "seed": 1, "part": "pretrain", "recipe": ""}))
    with pytest.raises(RecordError, match=r"pretrain.json is no record of a run: .* no 'conf"):
        store.records("bert", "own")


def test_a_new_field_inside_another_is_older_records_default_too(tmp_path):
    store = Store(tmp_path)
    store.add(KEY, RECIPE, RESULT)
    newer = "model: {layers: 2, norm: pre}\nsteps: 3\n"
    assert store.find(KEY, newer, "model: {layers: 1, norm: pre}") is not None
    with pytest.raises(ConfigurationError, match=r"`model.norm` is 'post' there and 'pre' here"):
        store.find(KEY, newer, "model: {norm: post}")


def test_why_a_run_failed_is_kept_until_it_succeeds(tmp_path):
    store = Store(tmp_path)
    other = replace(KEY, seed=7)
    store.add_failure(KEY, "diverged at step 3", "python -m experiments table1")
    store.add_failure(KEY, "diverged at step 4", "python -m experiments table1 --seeds 2")
    store.add_failure(other, "no disk", "")
    assert store.failures(KEY.study, KEY.preset) == {
        KEY: "diverged at step 4",
        other: "no disk",
    }
    assert store.failures(KEY.study, "another") == {}
    assert store.records(KEY.study, KEY.preset) == {}
    assert list(store.presets()) == []
    (noted,) = tmp_path.rglob(f"seed-{KEY.seed}/failures/*.json")
    assert json.loads(noted.read_text("utf-8"))["command"].endswith("--seeds 2")
    store.add(KEY, "rate: 1", RESULT)
    assert store.failures(KEY.study, KEY.preset) == {other: "no disk"}
    assert not noted.exists()


@pytest.mark.parametrize(
    ("folder", "text"), [("seed-one", '{"reason": "x"}'), ("seed-1", "{}"), ("seed-1", "[")]
)
def test_a_damaged_note_of_a_failure_is_named(tmp_path, folder, text):
    path = tmp_path / KEY.study / KEY.preset / KEY.arm / folder / "failures" / "pretrain.json"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecordError, match=re.escape(str(path))):
        Store(tmp_path).failures(KEY.study, KEY.preset)
