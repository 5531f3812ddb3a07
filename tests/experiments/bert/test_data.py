import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from experiments.bert.data import Prepared, collator, grouping, held_out_batches, training_data
from experiments.bert.groupings import PosGroups
from experiments.bert.tags import NUM_TASKS, OTHER
from experiments.configuration import ConfigurationError


@pytest.fixture(scope="module")
def prepared(prepared_folder):
    return Prepared(prepared_folder)


def batches(study, folder):
    instances, masking, _ = training_data(study, folder)
    return list(DataLoader(instances, study.optimisation.batch_size, collate_fn=masking))


@pytest.mark.parametrize("name", ["train", "valid", "tokenizer", "report.json"])
def test_a_folder_that_is_not_finished_is_refused_by_what_is_missing(
    prepared_folder, tmp_path, name
):
    copy = shutil.copytree(prepared_folder, tmp_path / "copy")
    missing = copy / name
    missing.unlink() if missing.is_file() else shutil.rmtree(missing)
    with pytest.raises(ConfigurationError, match=rf"{name} is missing; --data should be"):
        Prepared(copy)


def test_a_folder_of_another_tag_table_is_refused(prepared_folder, tmp_path):
    copy = shutil.copytree(prepared_folder, tmp_path / "copy")
    report = json.loads((copy / "report.json").read_text())
    (copy / "report.json").write_text(json.dumps({**report, "tag_table": "old"}))
    with pytest.raises(ConfigurationError, match=r"tag table 'old'.*prepare it again"):
        Prepared(copy)


def test_counts_are_those_of_the_training_text_without_special_pieces(prepared):
    special = set(prepared.tokenizer.all_special_ids)
    classes, pieces = Counter(), Counter()
    for row in prepared.split("train"):
        for piece, pos in zip(row["input_ids"].tolist(), row["pos"].tolist(), strict=True):
            if piece not in special:
                classes[pos] += 1
                pieces[piece] += pos != OTHER
    assert prepared.class_counts.tolist() == [classes[c] for c in range(OTHER + 1)]
    assert prepared.piece_counts.tolist() == [pieces[p] for p in range(len(prepared.tokenizer))]
    assert all(prepared.class_counts[:NUM_TASKS] > 0)


def test_a_run_has_a_batch_a_step_of_static_shape(tiny, prepared_folder):
    found = batches(tiny(), prepared_folder)
    assert len(found) == 8
    assert {tuple(batch["input_ids"].shape) for batch in found} == {(8, 32)}
    assert {tuple(batch["mlm_labels"].shape) for batch in found} == {(8, 5)}


def test_no_batch_mixes_phases(tiny, prepared_folder, tmp_path):
    shutil.copytree(prepared_folder, tmp_path / "first")
    shutil.copytree(prepared_folder, tmp_path / "second")
    phases = "phases=[{share: 0.7, max_predictions: 3}, {share: 0.3, data: second}]"
    study = tiny(phases, "optimisation.steps=9")
    instances, _, _ = training_data(study, tmp_path / "first")
    numbers = [instances[k]["phase"] for k in range(len(instances))]
    assert numbers == [0] * 6 * 8 + [1] * 3 * 8  # 6.3 of 9 steps
    widths = [batch["mlm_labels"].shape[1] for batch in batches(study, tmp_path / "first")]
    assert widths == [3] * 6 + [5] * 3


def test_a_phase_without_its_folder_is_refused(tiny, prepared_folder):
    with pytest.raises(ConfigurationError, match="absent/train is missing"):
        training_data(tiny("phases=[{share: 1.0, data: absent}]"), prepared_folder)


def test_special_pieces_are_never_chosen(tiny, prepared, prepared_folder):
    special = torch.tensor(
        [prepared.tokenizer.cls_token_id, prepared.tokenizer.sep_token_id, 0], dtype=torch.long
    )
    labels = torch.cat(
        [batch["mlm_labels"].flatten() for batch in batches(tiny(), prepared_folder)]
    )
    assert (labels >= 0).sum() > 100
    assert not torch.isin(labels, special).any()


@pytest.mark.parametrize("kind", ["pos", "frequency", "random"])
def test_groups_are_as_large_as_the_classes(tiny, prepared, kind):
    groups = grouping(tiny(f"grouping={kind}", "other_is_task=true"), prepared)
    rng = np.random.default_rng(0)
    counts = np.zeros(OTHER + 1)
    special = prepared.tokenizer.all_special_ids
    for row in prepared.split("train"):
        kept = ~np.isin(row["input_ids"], special)
        pieces, pos = (row[name][kept].astype(np.int64) for name in ("input_ids", "pos"))
        counts += np.bincount(groups(pieces, pos, rng), minlength=OTHER + 1)
    classes = prepared.class_counts
    assert counts[OTHER] == classes[OTHER]
    # Bands differ by one piece at most; random groups by chance.
    largest = prepared.piece_counts.max()
    noise = 5 * np.sqrt(classes[:NUM_TASKS].max())
    allowed = {"pos": 0, "frequency": largest, "random": noise}[kind]
    assert np.abs(counts - classes)[:NUM_TASKS].max() <= allowed


@pytest.mark.parametrize("kind", ["pos", "frequency", "random"])
def test_pieces_outside_the_classes_never_have_the_id_of_another_task(tiny, prepared, kind):
    overrides = [f"grouping={kind}", "next_sentence=task"]
    pieces, pos = np.arange(10, 110), np.arange(100) % (OTHER + 1)
    for other_is_task, expected in (("false", -100), ("true", OTHER)):
        groups = grouping(tiny(*overrides, f"other_is_task={other_is_task}"), prepared)
        tasks = groups(pieces, pos, np.random.default_rng(0))
        assert set(tasks[pos == OTHER].tolist()) == {expected}
        assert set(tasks[pos != OTHER].tolist()) <= set(range(NUM_TASKS))


def test_held_out_masks_are_fixed_by_part_of_speech_and_not_those_of_training(tiny, prepared):
    study = tiny("grouping=random")

    def held_out(size):
        found = list(held_out_batches(study, prepared, "valid", size))
        return {name: torch.cat([batch[name] for batch in found]) for name in found[0]}

    one, other = held_out(3), held_out(5)
    assert all(torch.equal(one[name], other[name]) for name in one)
    rows = prepared.split("valid")
    assert len(one["input_ids"]) == len(rows)
    instances = [{**row, "index": index} for index, row in enumerate(rows)]
    training = collator(study, prepared, PosGroups())(instances)
    assert not torch.equal(training["masked_positions"], one["masked_positions"])
    for row, positions, tasks in zip(rows, one["masked_positions"], one["task_ids"], strict=True):
        used = tasks != -100
        assert row["pos"][positions[used].numpy()].tolist() == tasks[used].tolist()


def test_masking_and_order_follow_their_own_settings(tiny, prepared_folder):
    def data(masking_seed=5, seed=8):
        masks = f"{{probability: 0.4, max_predictions: 9, duplicates: 3, seed: {masking_seed}}}"
        return training_data(tiny(f"masking={masks}", f"seed={seed}"), prepared_folder)[:2]

    instances, masking = data()
    rows = [instances[k] for k in range(40)]
    assert {row["duplicate"] for row in rows} == {0, 1, 2}
    batch = masking(rows)
    counts = (batch["mlm_labels"] != -100).sum(1).tolist()
    assert counts == [min(round(0.4 * len(row["input_ids"])), 9) for row in rows]
    for seeds, order_is_same, masks_are_same in (((5, 9), False, True), ((6, 8), True, False)):
        others, other_masking = data(*seeds)
        numbers = [(others[k]["duplicate"], others[k]["index"]) for k in range(40)]
        assert (numbers == [(row["duplicate"], row["index"]) for row in rows]) == order_is_same
        found = other_masking(rows)["input_ids"]
        assert torch.equal(found, batch["input_ids"]) == masks_are_same


def test_phases_of_one_folder_have_orders_of_their_own(tiny, prepared_folder):
    study = tiny("phases=[{share: 0.5}, {share: 0.5}]")
    instances, _, _ = training_data(study, prepared_folder)
    numbers = [(instances[k]["duplicate"], instances[k]["index"]) for k in range(len(instances))]
    half = len(numbers) // 2
    assert numbers[:half] != numbers[half:]


@pytest.mark.parametrize(
    ("shares", "steps", "expected"),
    [((0.3, 0.7), 9, [3, 6]), ((0.7, 0.1, 0.2), 10, [7, 1, 2]), ((0.9, 0.1), 1000, [900, 100])],
)
def test_phases_have_the_nearest_whole_steps_and_all_of_them(
    tiny, prepared_folder, shares, steps, expected
):
    phases = ", ".join(f"{{share: {share}}}" for share in shares)
    study = tiny(f"phases=[{phases}]", f"optimisation.steps={steps}")
    instances, _, _ = training_data(study, prepared_folder)
    assert [len(part) // 8 for part in instances.datasets] == expected
    assert len(instances) == 8 * steps


@pytest.fixture
def copied(prepared_folder, tmp_path):
    return Path(shutil.copytree(prepared_folder, tmp_path / "prepared"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("report.json", b"{", r"report\.json: .*prepare the text again"),
        ("report.json", b"[]", r"report\.json should state `sequence_length`"),
        ("preparation.yaml", b"a: [", r"preparation\.yaml: "),
        ("preparation.yaml", b"", r"preparation\.yaml should be a mapping"),
        ("tokenizer/tokenizer.json", b"{", r"tokenizer cannot be loaded"),
        ("train/data-00000-of-00001.arrow", b"x", r"train cannot be read"),
    ],
)
def test_a_damaged_folder_is_named(copied, tiny, name, content, message):
    (copied / name).write_bytes(content)
    with pytest.raises(ConfigurationError, match=message):
        training_data(tiny(), copied) and Prepared(copied).record


def test_the_tokenizer_is_that_of_the_preparation(copied, tiny):
    path = copied / "report.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**report, "vocabulary": 7}), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="should have the 7 pieces"):
        training_data(tiny(), copied)


def test_phases_have_one_vocabulary(prepared_folder, copied, tiny):
    path = copied / "tokenizer" / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"]
    one, other = list(vocabulary)[-2:]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    path.write_text(json.dumps(content), encoding="utf-8")
    shutil.copytree(prepared_folder, copied.parent / "first")
    phases = "phases=[{share: 0.5, data: first}, {share: 0.5, data: prepared}]"
    with pytest.raises(ConfigurationError, match="different vocabularies"):
        training_data(tiny(phases), copied)


def test_instances_fit_the_model(prepared_folder, tiny):
    with pytest.raises(ConfigurationError, match=r"`model\.positions` should be at least 32"):
        training_data(tiny("model.positions=31"), prepared_folder)
