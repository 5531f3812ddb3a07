"""A run that is stopped goes on as if it had not been."""

import pytest
import torch

from experiments.mae import pretrain as pretraining
from experiments.mae.downstream.models import Pretrained, find_models
from experiments.mae.model.checkpoints import load_model
from experiments.mae.pretrain import pretrain, snapshot_folder
from experiments.records import RESULT, run_folder

pytestmark = pytest.mark.usefixtures("one_thread")

MORE = (
    "arms.group-dro={balancer: group-dro}",
    "arms.gradnorm={balancer: gradnorm}",
    "arms.uncertainty={balancer: uncertainty}",
    "arms.dwa={balancer: dwa}",
)


class StoppedError(Exception):
    """Instead of a killed process."""


def stopping(step):
    class Trainer(pretraining.PretrainingTrainer):
        def training_step(self, *args, **kwargs):
            if self.state.global_step == step:
                raise StoppedError
            return super().training_step(*args, **kwargs)

    return Trainer


def ends(out, arm):
    return load_model(run_folder(out, arm, 0) / "model").state_dict()


@pytest.mark.parametrize("arm", ["minimax", "group-dro", "gradnorm", "uncertainty", "dwa"])
def test_a_run_that_is_stopped_goes_on_to_the_same_parameters(
    monkeypatch, tmp_path, tiny_study, scene_folder, arm
):
    study = tiny_study(*MORE)
    straight = pretrain(study, scene_folder, tmp_path / "straight", arm, 0)
    with monkeypatch.context() as patch:
        patch.setattr(pretraining, "PretrainingTrainer", stopping(6))
        with pytest.raises(StoppedError):
            pretrain(study, scene_folder, tmp_path / "stopped", arm, 0)
    assert not (run_folder(tmp_path / "stopped", arm, 0) / RESULT).exists()
    monkeypatch.setattr(pretraining, "PretrainingTrainer", stopping(0))  # not from the start
    resumed = pretrain(study, scene_folder, tmp_path / "stopped", arm, 0)
    assert resumed["resumed_from"] == "checkpoint-4"
    first, second = (ends(tmp_path / name, arm) for name in ("straight", "stopped"))
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    assert resumed["held_out"] == straight["held_out"]
    rates = [row["images_per_second"] for row in resumed["history"] if "images_per_second" in row]
    assert rates[4] < 4 * max(rates[5:])  # steps before the stop are not of this attempt
    logged = [
        [(row["step"], row["loss"]) for row in result["history"] if "loss" in row]
        for result in (straight, resumed)
    ]
    assert logged[0] == logged[1]


def test_snapshots_are_the_model_of_their_step_and_change_no_run(
    monkeypatch, tmp_path, tiny_study, scene_folder
):
    plain = pretrain(tiny_study(), scene_folder, tmp_path / "plain", "minimax", 0)
    study = tiny_study("snapshots=[0.25, 0.75]")
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(pretraining, "PretrainingTrainer", stopping(5))
        with pytest.raises(StoppedError):
            pretrain(study, scene_folder, out, "minimax", 0)
    seen = {}
    step_of = pretraining.PretrainingTrainer.training_step

    class Watching(pretraining.PretrainingTrainer):
        def training_step(self, model, *args, **kwargs):
            state = {name: value.clone() for name, value in model.state_dict().items()}
            seen[self.state.global_step] = state  # before the step
            return step_of(self, model, *args, **kwargs)

    monkeypatch.setattr(pretraining, "PretrainingTrainer", Watching)
    result = pretrain(study, scene_folder, out, "minimax", 0)
    assert result["configuration"] == plain["configuration"]
    assert result["held_out"] == plain["held_out"]
    folder = run_folder(out, "minimax", 0)
    steps = max(row["step"] for row in result["history"])
    late = load_model(snapshot_folder(folder, 0.75)).state_dict()
    assert all(torch.equal(late[name], value) for name, value in seen[3 * steps // 4].items())
    early = load_model(snapshot_folder(folder, 0.25)).state_dict()
    assert not all(torch.equal(early[name], value) for name, value in late.items())
    assert find_models([str(out)]) == [Pretrained("minimax", 0, folder / "model")]
