"""Arguments of the trainer, and the balancer's own parameters in its optimiser."""

from types import SimpleNamespace

import pytest
import torch

import taskrobust
from taskrobust import Minimax
from taskrobust.balancers import Uncertainty
from taskrobust.trainer import TaskRobustTrainer
from tests.taskrobust.trainer.models import (
    NAMES,
    TASKS,
    Examples,
    Net,
    assert_near,
    distance,
    make_balancer,
    make_trainer,
    minimax,
    state,
    trained,
)

FOUR_BY_FOUR = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4}


def test_the_package_offers_the_trainer():
    assert taskrobust.TaskRobustTrainer is TaskRobustTrainer


def test_an_unknown_accumulation_mode_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`accumulation` should be 'exact' or 'micro'; found 'x'"):
        make_trainer(tmp_path, accumulation="x")


def test_a_loss_function_of_the_callers_own_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`compute_loss_func` should be None: the balancer"):
        make_trainer(tmp_path, compute_loss_func=lambda *args: 0)


@pytest.mark.parametrize("config", [False, True])
def test_label_smoothing_is_refused(tmp_path, config):
    model = Net().double()
    if config:  # as transformers' models have
        model.config = type("Config", (), {"problem_type": None, "use_cache": True})()
    with pytest.raises(ValueError, match=r"`label_smoothing_factor` should be 0: .* found 0.1"):
        make_trainer(tmp_path, model=model, label_smoothing_factor=0.1)


class Returning(Net):
    """A model that returns something else."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs = outputs

    def forward(self, x, y, g):
        return self.outputs(super().forward(x, y, g))


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (
            lambda o: {"loss": o["task_values"].mean()},
            r"the model should return .* found \['loss'\]",
        ),
        (lambda o: {"task_values": o["task_values"]}, "`task_values` without `task_groups`"),
        (
            lambda o: {"task_risks": o["task_values"][:4]},
            r"`task_risks` should have shape \(3,\), one entry a task of .*; found \(4,\)",
        ),
    ],
    ids=["a loss", "no groups", "four tasks"],
)
@pytest.mark.parametrize("options", [{}, FOUR_BY_FOUR], ids=["one batch", "accumulated"])
def test_a_model_that_returns_something_else_is_told_what_to_return(
    tmp_path, outputs, message, options
):
    with pytest.raises(ValueError, match=message):
        trained(tmp_path, model=Returning(outputs).double(), **options)


def test_training_arguments_that_would_be_wrong_are_set(tmp_path):
    args = make_trainer(tmp_path, logging_nan_inf_filter=True).args
    assert args.ddp_find_unused_parameters is False
    assert args.logging_nan_inf_filter is False
    args = make_trainer(tmp_path, ddp_find_unused_parameters=True).args
    assert args.ddp_find_unused_parameters is True


def groups_of(optimizer):
    """Options of the groups, with the number of their parameters."""
    return [
        (len(group["params"]), group["weight_decay"], group["lr"])
        for group in optimizer.param_groups
    ]


def test_log_variances_are_learned_without_decay_and_with_their_own_rate(tmp_path):
    options = {"weight_decay": 0.3, "lr_scheduler_type": "constant", "max_grad_norm": 1e-9}
    trainer = trained(tmp_path, balancer="uncertainty", balancer_lr=0.25, max_steps=1, **options)
    assert groups_of(trainer.optimizer) == [(2, 0.3, 0.05), (2, 0.0, 0.05), (1, 0.0, 0.25)]
    # The first step of Adam is its rate in every entry: clipping has not reached them.
    moved = trainer.balancer.log_variances.detach().abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 0.25), rtol=1e-6, atol=0)


def test_log_variances_have_the_models_rate_by_default(tmp_path):
    trainer = trained(tmp_path, balancer="uncertainty", weight_decay=0.3)
    assert [decay for _, decay, _ in groups_of(trainer.optimizer)] == [0.3, 0.0, 0.0]
    assert len({rate for *_, rate in groups_of(trainer.optimizer)}) == 1


def test_balancers_without_parameters_add_no_group(tmp_path):
    assert len(trained(tmp_path, balancer="ema").optimizer.param_groups) == 2


@pytest.mark.parametrize("options", [{}, FOUR_BY_FOUR], ids=["one batch", "accumulated"])
def test_log_variances_follow_plain_gradient_descent(tmp_path, options):
    trainer = trained(
        tmp_path, balancer="uncertainty", logging_steps=1, optim="sgd", balancer_lr=0.5,
        learning_rate=0.0, lr_scheduler_type="constant", **options,
    )  # fmt: skip
    learned = torch.zeros(TASKS, dtype=torch.float64)
    for row in (row for row in trainer.state.log_history if "loss" in row):
        # A task that is absent has no part in the mean and gets no gradient.
        present = torch.tensor([f"risk/{name}" in row for name in NAMES])
        risks = torch.tensor([row.get(f"risk/{name}", 0.0) for name in NAMES])
        gradient = (1 - torch.exp(-learned) * risks) / present.sum()
        learned = learned - 0.5 * torch.where(present, gradient, 0.0)
    torch.testing.assert_close(trainer.balancer.log_variances.detach(), learned)
    assert float(learned.abs().min()) > 0.05


def test_log_variances_in_the_callers_optimiser_are_trained_there(tmp_path):
    model = Net().double()
    balancer = make_balancer("uncertainty", model)
    groups = [{"params": model.parameters()}, *balancer.param_groups(lr=0.5)]
    optimizer = torch.optim.SGD(groups, lr=0.05)
    trainer = trained(tmp_path, model=model, balancer=balancer, optimizers=(optimizer, None))
    assert [len(group["params"]) for group in optimizer.param_groups] == [4, 1]
    assert float(trainer.balancer.log_variances.detach().abs().min()) > 0.05


def test_the_callers_optimiser_without_them_is_refused(tmp_path):
    model = Net().double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    with pytest.raises(ValueError, match=r"add \*balancer.param_groups\(\) to the groups"):
        trained(tmp_path, model=model, balancer="uncertainty", optimizers=(optimizer, None))
    trained(tmp_path, model=model, balancer=minimax(), optimizers=(optimizer, None))


def test_frozen_log_variances_need_no_optimiser(tmp_path):
    balancer = Uncertainty(TASKS).double().requires_grad_(False)
    trainer = trained(tmp_path, balancer=balancer)
    assert len(trainer.optimizer.param_groups) == 2
    assert balancer.log_variances.tolist() == [0, 0, 0]


def test_a_balancer_left_in_evaluation_mode_is_put_to_training(tmp_path):
    trainer = trained(tmp_path, balancer=minimax(ema=0.5).eval())
    assert trainer.balancer.training
    assert trainer.balancer.seen.all()


def test_positional_arguments_are_the_trainers(tmp_path):
    args = make_trainer(tmp_path).args
    model, data = Net().double(), Examples(96)
    trainer = TaskRobustTrainer(model, args, None, data, balancer=minimax())
    trainer.train()
    assert_near(state(trainer), state(trained(tmp_path)), tolerance=0)


def test_the_sharpness_reaches_the_model(tmp_path):
    blunt = trained(tmp_path, balancer=Minimax(TASKS, alpha=0.0).double())
    average = trained(tmp_path, balancer="average")
    assert distance(state(blunt), state(average)) < 1e-12
    assert distance(state(trained(tmp_path)), state(average)) > 1e-2


@pytest.mark.parametrize("name", ["deepspeed", "fsdp 1", "fsdp 2"])
def test_sharded_optimizers_refuse_parameters_of_the_balancer(tmp_path, monkeypatch, name):
    trainer = make_trainer(tmp_path, balancer="uncertainty")
    trainer.is_deepspeed_enabled = name == "deepspeed"
    trainer.is_fsdp_enabled = name.startswith("fsdp")
    plugin = SimpleNamespace(fsdp_version=int(name[-1]) if name.startswith("fsdp") else None)
    monkeypatch.setattr(trainer.accelerator.state, "fsdp_plugin", plugin, raising=False)
    if name != "fsdp 1":
        with pytest.raises(ValueError, match="Uncertainty has parameters of its own"):
            trainer._check_device()
    else:
        trainer._check_device()
    trainer.balancer = minimax()
    trainer._check_device()
