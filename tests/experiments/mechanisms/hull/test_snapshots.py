import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from experiments.bert.pretrain import pretrain as pretrain_bert
from experiments.configuration import ConfigurationError
from experiments.mae.pretrain import pretrain as pretrain_mae
from experiments.mechanisms.hull import snapshots
from experiments.mechanisms.hull.bert_snapshots import bert_snapshots
from experiments.mechanisms.hull.mae_snapshots import mae_snapshots
from experiments.mechanisms.hull.snapshots import snapshot_steps

pytestmark = pytest.mark.usefixtures("one_thread")


def weights(folder):
    return load_file(folder / "model.safetensors")


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


@given(st.integers(1, 5000), st.integers(2, 40))
def test_snapshots_begin_at_0_end_at_the_last_step_and_grow_apart(total, count):
    steps = snapshot_steps(total, count)
    assert steps[0] == 0
    assert steps[-1] == total
    assert steps == sorted(set(steps))
    assert len(steps) <= count
    gaps = [after - before for before, after in itertools.pairwise(steps)]
    assert all(after >= before - 1 for before, after in itertools.pairwise(gaps))


def test_the_last_snapshot_of_bert_is_the_model_of_bert_pretrain(tmp_path, tiny, prepared_folder):
    study = tiny("model.dropout=0")
    folders = bert_snapshots(study, prepared_folder, tmp_path / "kept", "minimax", 3, 4)
    assert [folder.name for folder in folders] == [
        f"step-{step:07d}" for step in snapshot_steps(8, 4)
    ]
    pretrain_bert(study, prepared_folder, tmp_path / "runs", "minimax", 3)
    trained = weights(tmp_path / "runs" / "minimax" / "seed-3" / "model")
    assert same(weights(folders[-1]), trained)
    assert not same(weights(folders[0]), trained)
    assert not (folders[0].parent / "checkpoints").exists()


def test_the_last_snapshot_of_mae_is_the_model_of_mae_pretrain(tmp_path, tiny_study, scene_folder):
    study = tiny_study()
    folders = mae_snapshots(study, scene_folder, tmp_path / "kept", "minimax", 3, 3)
    pretrain_mae(study, scene_folder, tmp_path / "runs", "minimax", 3)
    assert same(weights(folders[-1]), weights(tmp_path / "runs" / "minimax" / "seed-3" / "model"))
    assert not same(weights(folders[0]), weights(folders[-1]))


def test_an_interrupted_training_goes_on_and_a_finished_one_is_not_repeated(
    tmp_path, tiny, prepared_folder, monkeypatch
):
    study = tiny("save_every=2")
    whole = bert_snapshots(study, prepared_folder, tmp_path / "whole", "average", 0, 3)
    keep, kept = snapshots._Keep._keep, []

    def interrupted(self, step):
        if step == 5:
            raise KeyboardInterrupt
        keep(self, step)

    def counted(self, step):
        kept.append(step)
        keep(self, step)

    monkeypatch.setattr(snapshots._Keep, "_keep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bert_snapshots(study, prepared_folder, tmp_path / "parts", "average", 0, 3)
    monkeypatch.setattr(snapshots._Keep, "_keep", counted)
    again = bert_snapshots(study, prepared_folder, tmp_path / "parts", "average", 0, 3)
    assert kept[0] == 4  # the last checkpoint before the interruption
    for first, second in zip(whole, again, strict=True):
        assert same(weights(first), weights(second))
    kept.clear()
    assert bert_snapshots(study, prepared_folder, tmp_path / "parts", "average", 0, 3) == again
    assert kept == []


def test_arms_whose_tasks_are_no_parts_of_speech_or_that_do_not_exist_are_refused(
    tmp_path, tiny, prepared_folder
):
    study = tiny("arms.random={balancer: average, grouping: random}")
    for arm in ("random", "excess"):
        with pytest.raises(ConfigurationError, match=f"--arm {arm}: should be an arm with tasks"):
            bert_snapshots(study, prepared_folder, tmp_path, arm, 0, 2)
    with pytest.raises(ConfigurationError, match="unknown arm 'none'"):
        bert_snapshots(study, prepared_folder, tmp_path, "none", 0, 2)
    assert not list(tmp_path.iterdir())
