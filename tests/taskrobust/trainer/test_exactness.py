"""Accumulated micro-batches train as one large batch does, in float64.

Plain gradient descent, because Adam hides a gradient of the wrong size.
"""

import pytest
import torch

from taskrobust import Average
from taskrobust.risks import grouped_risks
from taskrobust.trainer import TaskRobustTrainer
from tests.taskrobust.trainer.models import (
    BALANCERS,
    NAMES,
    TASKS,
    Examples,
    KwargsNet,
    Net,
    assert_near,
    distance,
    make_balancer,
    make_trainer,
    minimax,
    state,
    trained,
)

SGD = {"optim": "sgd", "learning_rate": 0.2, "lr_scheduler_type": "constant"}
FOUR_BY_FOUR = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4}


def assert_same_logs(actual, expected):
    """The same numbers; the Trainer adds losses up in float32."""
    rows, others = ([r for r in t.state.log_history if "loss" in r] for t in (actual, expected))
    assert [row["step"] for row in rows] == [3, 6]
    for row, other in zip(rows, others, strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-6)
        exact = row.keys() - {"loss", "epoch"}
        assert {k: row[k] for k in exact} == pytest.approx({k: other[k] for k in exact}, rel=1e-12)


@pytest.mark.parametrize("name", BALANCERS)
def test_four_micro_batches_of_four_train_as_one_batch_of_sixteen(tmp_path, name):
    one = trained(tmp_path, balancer=name, **SGD)
    four = trained(tmp_path, balancer=name, **FOUR_BY_FOUR, **SGD)
    assert_near(state(four), state(one))
    assert_same_logs(four, one)
    fresh = state(make_trainer(tmp_path, optimizers=(four.optimizer, None)))
    assert distance(state(one), fresh) > 0.1  # it has trained


@pytest.mark.parametrize(("size", "steps"), [(8, 2), (1, 16)])
def test_any_division_of_a_batch_trains_alike(tmp_path, size, steps):
    one = trained(tmp_path, **SGD)
    options = {"per_device_train_batch_size": size, "gradient_accumulation_steps": steps}
    assert_near(state(trained(tmp_path, **options, **SGD)), state(one))


@pytest.mark.parametrize("name", ["minimax", "uncertainty"])
def test_an_incomplete_last_group_of_an_epoch_is_a_smaller_batch(tmp_path, name):
    data = Examples(40)  # batches of 16, 16 and 8; micro-batches in groups of 4, 4 and 2
    one = trained(tmp_path, balancer=name, data=data, **SGD)
    four = trained(tmp_path, balancer=name, data=data, **FOUR_BY_FOUR, **SGD)
    assert_near(state(four), state(one))


def test_an_accumulated_step_without_an_example_of_any_task_is_harmless(tmp_path):
    groups = [-100] * 16 + [0, 1, 2, 0] * 4
    options = {"data": Examples(32, groups=groups), "train_sampling_strategy": "sequential"}
    one = trained(tmp_path, **options, **SGD)
    four = trained(tmp_path, **options, **FOUR_BY_FOUR, **SGD)
    assert_near(state(four), state(one))


class Dense(Net):
    """Every example has a loss in every task: values [B, T], or their means over the examples."""

    def forward(self, x, y, g):  # noqa: ARG002
        values = (self.heads(self.trunk(x)) - y[:, None]).square()
        if self.form == "risks":
            return {"task_risks": values.mean(0)}
        return {"task_values": values, "task_groups": torch.arange(TASKS).expand_as(values)}


def test_sums_and_counts_train_as_values_and_groups_do(tmp_path):
    values = trained(tmp_path, **FOUR_BY_FOUR, **SGD)
    sums = trained(tmp_path, model=Net("sums").double(), **FOUR_BY_FOUR, **SGD)
    assert_near(state(sums), state(values))


@pytest.mark.parametrize("size", [16, 4])
def test_risks_that_are_means_over_examples_train_as_their_values_do(tmp_path, size):
    options = {"gradient_accumulation_steps": 16 // size, "per_device_train_batch_size": size}
    data = Examples(90)  # the last micro-batches of an epoch have 4, 4 and 2 examples
    values = trained(tmp_path, model=Dense().double(), data=data, **SGD)
    risks = trained(tmp_path, model=Dense("risks").double(), data=data, **options, **SGD)
    assert_near(state(risks), state(values))


def test_auxiliary_losses_accumulate_as_the_mean_over_all_examples(tmp_path):
    one = trained(tmp_path, model=Net(auxiliary=True).double(), **SGD)
    four = trained(tmp_path, model=Net(auxiliary=True).double(), **FOUR_BY_FOUR, **SGD)
    assert_near(state(four), state(one))
    assert_same_logs(four, one)
    assert distance(state(one), state(trained(tmp_path, **SGD))) > 1e-3


def test_a_model_that_takes_any_keyword_is_not_scaled_by_the_number_of_micro_batches(tmp_path):
    plain = trained(tmp_path, **SGD)
    data = Examples(96, labels=True)
    for size in (16, 4):
        model = KwargsNet().double()
        options = {"gradient_accumulation_steps": 16 // size, "per_device_train_batch_size": size}
        trainer = trained(tmp_path, model=model, data=data, **options, **SGD)
        assert trainer.model_accepts_loss_kwargs  # the Trainer would leave its loss undivided
        assert model.received == set()
        assert_near(state(trainer), state(plain))
        assert_same_logs(trainer, plain)


class Recorder(TaskRobustTrainer):
    """Remembers each step's micro-batches and the random state before them."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.record = []

    def get_batch_samples(self, *args):
        found = super().get_batch_samples(*args)
        self.record.append((torch.get_rng_state(), found[0]))
        return found


def in_one_graph(record, model, balancer):
    """What the steps of a record should do: all micro-batches in one graph, one backward pass."""
    optimizer = torch.optim.SGD([*model.parameters(), *balancer.parameters()], lr=0.2)
    model.train()
    for random_state, batches in record:
        torch.set_rng_state(random_state)
        outputs = [model(**batch) for batch in batches]
        values = torch.cat([o["task_values"] for o in outputs])
        groups = torch.cat([o["task_groups"] for o in outputs])
        optimizer.zero_grad()
        balancer(grouped_risks(values, groups, TASKS)).backward()
        optimizer.step()
    return state_of(model, balancer)


def state_of(model, balancer):
    found = {f"model.{k}": v for k, v in model.state_dict().items()}
    return found | {f"balancer.{k}": v for k, v in balancer.state_dict().items()}


@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize("name", ["minimax", "uncertainty", "mgda"])
def test_dropout_and_batch_normalisation_are_those_of_one_pass(tmp_path, name, steps):
    def network():
        return Net(dropout=0.4, norm=True).double()

    size = {"per_device_train_batch_size": 16 // steps, "gradient_accumulation_steps": steps}
    trainer = trained(tmp_path, balancer=name, model=network(), kind=Recorder, **size, **SGD)
    model = network()
    expected = in_one_graph(trainer.record, model, make_balancer(name, model))
    assert_near(state_of(trainer.model, trainer.balancer), expected)
    assert expected["model.trunk.1.num_batches_tracked"] == 6 * steps


def test_micro_accumulation_is_another_algorithm_for_minimax(tmp_path):
    exact = trained(tmp_path, **FOUR_BY_FOUR, **SGD)
    micro = trained(tmp_path, accumulation="micro", **FOUR_BY_FOUR, **SGD)
    assert distance(state(micro), state(exact)) > 1e-3
    assert micro.balancer.step == 24
    assert exact.balancer.step == 6


def test_micro_accumulation_averages_the_balanced_losses_of_the_micro_batches(tmp_path):
    options = {**FOUR_BY_FOUR, **SGD, "max_steps": 2, "accumulation": "micro"}
    data = Examples(24)  # groups of 4 and 2
    trainer = trained(tmp_path, data=data, kind=Recorder, **options)
    model, balancer = Net().double(), minimax()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    for _, batches in trainer.record:
        optimizer.zero_grad()
        for batch in batches:
            outputs = model(**batch)
            risks = grouped_risks(outputs["task_values"], outputs["task_groups"], TASKS)
            (balancer(risks) / len(batches)).backward()
        optimizer.step()
    assert [len(batches) for _, batches in trainer.record] == [4, 2]
    assert_near(state_of(trainer.model, trainer.balancer), state_of(model, balancer))


def test_micro_accumulation_of_averages_over_balanced_groups_is_exact(tmp_path):
    data = Examples(96, groups=[0, 1, 2, -100] * 24)
    options = {"data": data, "train_sampling_strategy": "sequential", **SGD}
    one = trained(tmp_path, balancer=Average(TASKS).double(), **options)
    micro = trained(
        tmp_path, balancer=Average(TASKS).double(), accumulation="micro", **FOUR_BY_FOUR, **options
    )
    assert distance(state(micro), state(one)) < 1e-12


def test_the_logged_loss_and_risks_are_those_of_the_last_call(tmp_path):
    balancer = minimax()
    trainer = trained(tmp_path, balancer=balancer, logging_steps=1, **FOUR_BY_FOUR, **SGD)
    row = [row for row in trainer.state.log_history if "loss" in row][-1]
    last = balancer.last
    assert row["loss"] == pytest.approx(float(last.weights @ last.risks), rel=1e-6)
    assert [row[f"risk/{n}"] for n in NAMES] == pytest.approx(last.risks.tolist(), rel=1e-12)
