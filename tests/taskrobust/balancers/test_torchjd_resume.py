import copy
import io

import pytest
import safetensors.torch
import torch
from torch import nn
from torchjd import Stateful, aggregation, scalarization

from taskrobust import TorchJDBalancer
from tests.taskrobust.balancers.torchjd_cases import (
    AGGREGATORS,
    EVERY_METHOD,
    SCALARIZERS,
    STATEFUL_AGGREGATORS,
    TASKS,
    Training,
    batch,
    make,
    scalarizer,
)

STEPS = 8
HISTORY_OUTSIDE_PARAMETERS = [
    "scalarizer DWA",
    "scalarizer FAMO",
    *(f"gradients {name}" for name in STATEFUL_AGGREGATORS),
    "gradients CRMOGM of a Gramian",
    "gradients CRMOGM of a Jacobian",
    "gradients CRMOGM in an aggregator",
    "gradients bare weighting",
]


def bits(tree):
    """State dictionaries as comparable values."""
    if isinstance(tree, torch.Tensor):
        return (tree.dtype, tuple(tree.shape), tree.detach().contiguous().numpy().tobytes())
    if isinstance(tree, dict):
        return {key: bits(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [bits(value) for value in tree]
    return tree


def memory(balancer):
    """What the balancer would save, opened up."""
    state = balancer.state_dict()
    content = torch.load(io.BytesIO(state.pop("_extra_state").numpy().tobytes()), weights_only=True)
    return bits(state), bits(content)


def test_every_scalarizer_and_every_usable_aggregator_is_among_the_cases():
    bases = {"Scalarizer"}
    assert set(SCALARIZERS) == set(scalarization.__all__) - bases
    usable = {
        name
        for name in aggregation.__all__
        if issubclass(getattr(aggregation, name), aggregation.WeightedAggregator)
    }
    refused = {"NashMTL", "WeightedAggregator", "GramianWeightedAggregator"}
    assert set(AGGREGATORS) == usable - refused
    stateful = {name for name in AGGREGATORS if issubclass(getattr(aggregation, name), Stateful)}
    assert stateful == set(STATEFUL_AGGREGATORS)


@pytest.mark.parametrize("name", EVERY_METHOD)
def test_stopped_and_continued_is_never_stopped_bit_for_bit(name):
    torch.manual_seed(0)
    never_stopped = Training(name)
    checkpoints = {}
    for step in range(STEPS):
        checkpoints[step] = never_stopped.saved()
        never_stopped.step()
    for stop in (0, 2, 3, 7):  # an epoch ends after three steps
        torch.manual_seed(1 + stop)  # the process's random state is not part of the state
        resumed = Training(name)
        resumed.load(checkpoints[stop], stop)
        for _ in range(stop, STEPS):
            resumed.step()
        assert torch.equal(resumed.numbers(), never_stopped.numbers()), stop
        assert memory(resumed.balancer) == memory(never_stopped.balancer), stop
        assert (resumed.balancer.step, resumed.balancer.skipped) == (STEPS, 0)


@pytest.mark.parametrize("name", EVERY_METHOD)
def test_a_state_loads_into_a_balancer_that_has_lived(name):
    training = Training(name)
    training.step()
    early = training.saved()
    for _ in range(3):
        training.step()
    expected = training.numbers()
    training.load(early, 1)
    for _ in range(3):
        training.step()
    assert torch.equal(training.numbers(), expected)


@pytest.mark.parametrize("name", HISTORY_OUTSIDE_PARAMETERS)
def test_without_what_torchjd_leaves_out_the_run_goes_another_way(name):
    never_stopped, forgetful = Training(name), Training(name)
    for _ in range(6):
        never_stopped.step()
    forgetful.load(never_stopped.saved(), 6)
    fresh = Training(name).balancer
    state = fresh.state_dict()
    counts, method, _ = torch.load(
        io.BytesIO(never_stopped.balancer.get_extra_state().numpy().tobytes()), weights_only=True
    )
    assert method == type(fresh.method).__name__
    forgetful.balancer.set_extra_state(state["_extra_state"])
    forgetful.balancer.step = int(counts[0])
    for _ in range(3):
        never_stopped.step()
        forgetful.step()
    assert not torch.equal(forgetful.numbers(), never_stopped.numbers())


def test_famo_may_stop_between_its_call_and_its_update():
    never_stopped, resumed = Training("scalarizer FAMO"), Training("scalarizer FAMO")
    for _ in range(3):
        never_stopped.step()
    never_stopped.step(last=False)
    resumed.load(never_stopped.saved(), 3)
    for training in (never_stopped, resumed):
        training.finish()
        training.step()
    assert torch.equal(resumed.numbers(), never_stopped.numbers())


@pytest.mark.parametrize("name", ["scalarizer DWA", "scalarizer FAMO", "gradients ExcessMTL"])
def test_safetensors_can_hold_the_state(name):
    training, other = Training(name), Training(name)
    for _ in range(4):
        training.step()
    data = safetensors.torch.save(training.balancer.state_dict())
    other.balancer.load_state_dict(safetensors.torch.load(data))
    assert memory(other.balancer) == memory(training.balancer)


@pytest.mark.parametrize("name", EVERY_METHOD)
def test_evaluation_changes_nothing(name):
    training = Training(name)
    for _ in range(4):
        training.step()
    before = memory(training.balancer)
    training.balancer.eval()
    training.balancer(training.network(batch(100)))
    assert memory(training.balancer) == before
    training.balancer.train()
    training.step()
    assert memory(training.balancer) != before


@pytest.mark.parametrize("name", EVERY_METHOD)
def test_a_copy_lives_a_life_of_its_own(name):
    training = Training(name)
    for _ in range(4):
        training.step()
    before = memory(training.balancer)
    twin = copy.deepcopy(training.balancer)
    gradients = torch.randn(TASKS, 20, dtype=torch.float64)
    risks = torch.rand(TASKS, dtype=torch.float64, requires_grad=True)
    twin(risks, task_gradients=gradients).backward()
    if hasattr(twin.method, "update"):
        twin.method.update(risks.detach() / 2)
    twin.end_epoch()
    assert memory(training.balancer) == before


def test_hyperparameters_come_with_the_state_as_those_of_optimisers_do():
    balancer, other = scalarizer("COSMOS"), scalarizer("COSMOS")
    balancer.method.weights = torch.full((TASKS,), 0.25, dtype=torch.float64)
    balancer.method.lambda_ = 0.125
    other.load_state_dict(balancer.state_dict())
    assert other.method.lambda_ == 0.125
    assert torch.equal(other.method.weights, balancer.method.weights)


def test_the_state_of_another_method_is_refused():
    state = scalarizer("DWA").state_dict()
    with pytest.raises(ValueError, match="TorchJD's Mean; found DWA's"):
        scalarizer("Mean").load_state_dict(state)


def test_inner_optimisers_follow_their_parameters():
    training = Training("scalarizer FAMO")
    training.step()
    training.balancer.float()
    training.balancer(torch.rand(TASKS))
    training.balancer.method.update(torch.rand(TASKS))
    (state,) = training.balancer.method._optimizer.state.values()
    assert {value.dtype for value in state.values()} == {torch.float32}


def test_parameters_of_a_method_are_kept_in_single_precision_at_least():
    training = Training("scalarizer UW")
    training.balancer.half()
    assert training.balancer.method.log_var.dtype == torch.float64
    assert make("scalarizer UW", None).float().bfloat16().method.log_var.dtype == torch.float32


class Diary(scalarization.Scalarizer):
    """A method of somebody's own, with memory of a given kind."""

    def __init__(self, memory):
        super().__init__()
        self.memory = memory

    def forward(self, values, /):
        return values.sum()


@pytest.mark.parametrize(
    "memory", [{1: 2.0}, [torch.ones(2), {"a": (1, None)}], torch.float64, torch.Size([2]), "text"]
)
def test_memory_of_ones_own_kind_is_saved(memory):
    balancer, other = (TorchJDBalancer(Diary(m), 2) for m in (memory, None))
    other.load_state_dict(balancer.state_dict())
    assert bits(other.method.memory) == bits(memory)


def test_memory_that_cannot_be_saved_is_refused_at_once():
    with pytest.raises(TypeError, match=r"Diary keeps set in `memory`, which a checkpoint cannot"):
        TorchJDBalancer(Diary({1, 2}), 2)


def test_memory_that_turns_up_later_and_cannot_be_saved_is_refused_with_the_checkpoint():
    balancer = TorchJDBalancer(Diary(None), 2)
    balancer.method.memory = [iter([1])]
    with pytest.raises(TypeError, match=r"Diary keeps list_iterator in `memory`"):
        balancer.state_dict()


def test_an_optimiser_of_other_parameters_is_refused():
    stranger = torch.optim.SGD([nn.Parameter(torch.zeros(2))])
    with pytest.raises(TypeError, match="only optimisers of torch"):
        TorchJDBalancer(Diary(stranger), 2)


def test_nash_mtl_is_refused_because_its_solver_cannot_be_saved(monkeypatch):
    method = aggregation.NashMTL
    weighting = method.__init__.__globals__["_NashMTLWeighting"]
    monkeypatch.setattr(weighting, "_REQUIRED_DEPS", [])  # whether or not its solver is there
    with pytest.raises(TypeError, match="_NashMTLWeighting keeps ndarray in"):
        TorchJDBalancer(method(n_tasks=2), 2, nn.Linear(1, 1))
