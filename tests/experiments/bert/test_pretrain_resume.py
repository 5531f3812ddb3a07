"""A run that is stopped goes on as if it had not been."""

import pytest

from experiments.bert import pretrain as pretraining
from experiments.bert.pretrain import pretrain
from experiments.records import RESULT, run_folder
from tests.experiments.bert.runs import MORE, losses, same, weights

pytestmark = pytest.mark.usefixtures("one_thread")


class StoppedError(Exception):
    """Instead of a killed process."""


def stopping(step):
    class Trainer(pretraining.OrderedTrainer):
        def training_step(self, *args, **kwargs):
            if self.state.global_step == step:
                raise StoppedError
            return super().training_step(*args, **kwargs)

    return Trainer


@pytest.mark.parametrize("arm", ["minimax", "group-dro", "gradnorm", "uncertainty", "dwa"])
def test_a_run_that_is_stopped_goes_on_to_the_same_parameters(
    monkeypatch, tmp_path, tiny, prepared_folder, arm
):
    study = tiny(*MORE)
    straight = pretrain(study, prepared_folder, tmp_path / "straight", arm, 0)
    with monkeypatch.context() as patch:
        patch.setattr(pretraining, "OrderedTrainer", stopping(6))
        with pytest.raises(StoppedError):
            pretrain(study, prepared_folder, tmp_path / "stopped", arm, 0)
    assert not (run_folder(tmp_path / "stopped", arm, 0) / RESULT).exists()
    monkeypatch.setattr(pretraining, "OrderedTrainer", stopping(0))  # not from the start
    resumed = pretrain(study, prepared_folder, tmp_path / "stopped", arm, 0)
    assert resumed["resumed_from"] == "checkpoint-4"
    ends = [weights(run_folder(tmp_path / name, arm, 0)) for name in ("straight", "stopped")]
    assert same(*ends)
    assert losses(resumed) == losses(straight)
    assert resumed["valid"] == straight["valid"]


def test_a_run_stopped_before_its_result_is_evaluated_only(
    monkeypatch, tmp_path, tiny, prepared_folder
):
    straight = pretrain(tiny(), prepared_folder, tmp_path / "straight", "minimax", 0)

    def stop(*_):
        raise StoppedError

    with monkeypatch.context() as patch:
        patch.setattr(pretraining, "_held_out", stop)
        with pytest.raises(StoppedError):
            pretrain(tiny(), prepared_folder, tmp_path, "minimax", 0)
    monkeypatch.setattr(pretraining, "OrderedTrainer", stopping(0))
    result = pretrain(tiny(), prepared_folder, tmp_path, "minimax", 0)
    assert result["resumed_from"] == "checkpoint-8"
    assert result["valid"] == straight["valid"]
    assert losses(result) == losses(straight)
