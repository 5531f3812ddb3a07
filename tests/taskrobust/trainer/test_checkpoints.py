"""Which checkpoints count as whole, and what a wrong balancer's file is answered with."""

import os
import re
import shutil

import pytest
import torch

from taskrobust import Average, Minimax
from taskrobust.balancers import Uncertainty
from taskrobust.trainer import last_complete_checkpoint
from taskrobust.trainer.checkpoints import (
    BALANCER_FILE,
    discard_checkpoint,
    load_balancer,
    save_balancer,
)
from tests.taskrobust.trainer.models import (
    NAMES,
    TASKS,
    assert_same,
    make_trainer,
    minimax,
    trained,
)

FILES = (
    "model.safetensors", "optimizer.pt", "scheduler.pt", "balancer.pt", "rng_state.pth",
    "trainer_state.json",
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with two checkpoints."""
    out = tmp_path_factory.mktemp("whole")
    trained(out, save_strategy="steps", save_steps=3)
    return out


@pytest.fixture
def run(whole, tmp_path):
    """A copy to be damaged."""
    return shutil.copytree(whole, tmp_path / "run")


def averaging(**options):
    return Minimax(TASKS, alpha=1.0, ema=0.5, task_names=NAMES, **options)


@pytest.mark.parametrize("name", FILES)
def test_a_checkpoint_with_a_truncated_file_is_passed_over(run, name):
    assert last_complete_checkpoint(run) == run / "checkpoint-6"
    path = run / "checkpoint-6" / name
    content = path.read_bytes()
    for size in (0, 1, 7, len(content) // 2, len(content) - 2):
        path.write_bytes(content[:size])
        assert last_complete_checkpoint(run) == run / "checkpoint-3"
    path.write_bytes(content)
    assert last_complete_checkpoint(run) == run / "checkpoint-6"


@pytest.mark.parametrize("name", ["rng_state.pth", "trainer_state.json"])
def test_a_checkpoint_without_what_is_written_last_is_passed_over(run, name):
    (run / "checkpoint-6" / name).unlink()
    assert last_complete_checkpoint(run) == run / "checkpoint-3"


def test_one_truncated_random_state_of_many_ranks_is_enough(run):
    checkpoint = run / "checkpoint-6"
    state = (checkpoint / "rng_state.pth").read_bytes()
    for rank in range(3):
        (checkpoint / f"rng_state_{rank}.pth").write_bytes(state)
    assert last_complete_checkpoint(run) == checkpoint
    (checkpoint / "rng_state_1.pth").write_bytes(state[:-1])
    assert last_complete_checkpoint(run) == run / "checkpoint-3"


def test_checkpoints_are_ordered_by_number_and_other_names_are_no_checkpoints(run):
    shutil.copytree(run / "checkpoint-3", run / "checkpoint-20")
    shutil.copytree(run / "checkpoint-3", run / "checkpoint-100-copy")
    shutil.copytree(run / "checkpoint-3", run / "old-checkpoint-100")
    (run / "checkpoint-99").write_text("a file")
    assert last_complete_checkpoint(str(run)) == run / "checkpoint-20"


def test_there_may_be_no_checkpoint(tmp_path):
    assert last_complete_checkpoint(tmp_path) is None
    assert last_complete_checkpoint(tmp_path / "missing") is None


def test_a_discarded_checkpoint_is_whole_no_more_and_others_are(run):
    discard_checkpoint(run / "checkpoint-6")
    assert last_complete_checkpoint(run) == run / "checkpoint-3"
    discard_checkpoint(run / "missing")
    assert not (run / "missing").exists()


def test_a_step_saved_over_an_earlier_run_is_not_whole_before_its_end(run, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(*args):  # noqa: ARG001
        raise Killed

    monkeypatch.setattr("taskrobust.trainer.trainer.save_balancer", killed)
    with pytest.raises(Killed):
        trained(run, save_strategy="steps", save_steps=6, learning_rate=0.01)
    assert last_complete_checkpoint(run) == run / "checkpoint-3"


def test_a_balancer_comes_back_with_its_state(tmp_path):
    balancer = averaging()
    balancer(torch.tensor([1.0, 2.0, 4.0]))
    save_balancer(balancer, tmp_path, 3)
    assert [path.name for path in tmp_path.iterdir()] == [BALANCER_FILE]
    other = averaging()
    assert load_balancer(other, tmp_path) == 3
    assert_same(other.state_dict(), balancer.state_dict())
    assert other.averaged.tolist() == [1.0, 2.0, 4.0]


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    save_balancer(averaging(), tmp_path, 3)
    before = (tmp_path / BALANCER_FILE).read_bytes()

    def full(content, path):  # noqa: ARG001
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        save_balancer(averaging(), tmp_path, 4)
    assert [path.name for path in tmp_path.iterdir()] == [BALANCER_FILE]
    assert (tmp_path / BALANCER_FILE).read_bytes() == before


def refused(balancer, folder, error=ValueError):
    """The message with which a file is refused; it starts with the path."""
    before = {k: v.clone() for k, v in balancer.state_dict().items()}
    with pytest.raises(error) as caught:
        load_balancer(balancer, folder)
    message = str(caught.value)
    assert message.startswith(str(folder / BALANCER_FILE))
    assert_same(balancer.state_dict(), before)
    return message


def test_a_missing_file_is_refused_with_its_reasons(tmp_path):
    message = refused(averaging(), tmp_path, FileNotFoundError)
    assert "not written by TaskRobustTrainer (or with save_only_model)" in message
    assert "resume from another checkpoint" in message


def test_another_balancer_is_refused(tmp_path):
    save_balancer(Average(TASKS, task_names=NAMES), tmp_path, 0)
    message = refused(averaging(), tmp_path)
    assert "`balancer` should be Minimax; found Average; resume with the balancer" in message


def test_other_tasks_or_another_order_of_them_are_refused(tmp_path):
    save_balancer(Average(2, task_names=["verb", "noun"]), tmp_path, 0)
    message = refused(Average(2, task_names=["noun", "verb"]), tmp_path)
    assert "`task_names` should be ['noun', 'verb']; found ['verb', 'noun']" in message


def test_other_options_are_refused(tmp_path):
    save_balancer(minimax(), tmp_path, 0)
    message = refused(averaging(), tmp_path)
    assert "`state` should fit Minimax(num_tasks=3" in message
    assert "resume with the options of the stopped run" in message
    assert "averaged" in message


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"weights": torch.ones(3)}, "found ['weights']"),
        (torch.ones(3), "found Tensor"),
        ({"balancer": "Minimax", "task_names": list(NAMES)}, "found ['balancer', 'task_names']"),
    ],
    ids=["other dictionary", "tensor", "half of ours"],
)
def test_a_file_of_the_same_name_but_not_ours_is_refused(tmp_path, content, found):
    torch.save(content, tmp_path / BALANCER_FILE)
    message = refused(averaging(), tmp_path)
    assert "should hold ['balancer', 'epochs_ended', 'state', 'task_names']" in message
    assert found in message


@pytest.mark.parametrize("size", [0, 3, 500, -1])
def test_a_truncated_file_is_refused(tmp_path, size):
    save_balancer(averaging(), tmp_path, 0)
    path = tmp_path / BALANCER_FILE
    path.write_bytes(path.read_bytes()[:size])
    assert "damaged or of another origin" in refused(averaging(), tmp_path)


class Payload:
    """What unpickling would run."""

    def __init__(self, witness):
        self.witness = str(witness)

    def __reduce__(self):
        return os.mkdir, (self.witness,)


def test_nothing_in_a_file_is_run(tmp_path):
    witness = tmp_path / "witness"
    content = {"balancer": "Minimax", "task_names": list(NAMES), "epochs_ended": 0}
    torch.save({**content, "state": Payload(witness)}, tmp_path / BALANCER_FILE)
    assert "damaged or of another origin" in refused(averaging(), tmp_path)
    assert not witness.exists()
    torch.load(tmp_path / BALANCER_FILE, weights_only=False)
    assert witness.exists()  # the payload is a live one


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"balancer": Average(TASKS, task_names=NAMES)}, "`balancer` should be Average"),
        ({"balancer": minimax(task_names=("a", "b", "c"))}, "`task_names` should be"),
    ],
    ids=["balancer", "tasks"],
)
def test_the_trainer_does_not_resume_with_another_balancer(run, options, message):
    path = re.escape(str(run / "checkpoint-6" / BALANCER_FILE))
    with pytest.raises(ValueError, match=f"{path}: {message}"):
        make_trainer(run, **options).train(resume_from_checkpoint=True)


def test_log_variances_come_back(tmp_path):
    trainer = trained(tmp_path, balancer="uncertainty", save_strategy="steps", save_steps=6)
    learned = trainer.balancer.log_variances.detach()
    assert float(learned.abs().min()) > 0.01
    other = Uncertainty(TASKS, task_names=NAMES).double()
    load_balancer(other, tmp_path / "checkpoint-6")
    assert torch.equal(other.log_variances, learned)
