import subprocess
import sys

import pytest
import torch
from torch import nn
from torchjd import aggregation, scalarization

from taskrobust import TorchJDBalancer, create_balancer, list_balancers
from tests.taskrobust.balancers.torchjd_cases import SHARES, TASKS


def test_options_as_numbers_keep_their_precision():
    balancer = TorchJDBalancer("Constant", TASKS, options={"weights": SHARES})
    balancer(torch.ones(TASKS, dtype=torch.float64))
    assert (balancer.last.scale * balancer.last.weights).tolist() == pytest.approx(
        SHARES, rel=1e-15
    )


def test_created_from_data_by_the_registry_but_not_listed_as_a_method():
    balancer = create_balancer(
        "torchjd", 3, method="STCH", options={"mu": 0.5, "weights": [1, 1, 1]}, scale=2.0
    )
    balancer(torch.tensor([0.2, 0.9, 0.4]))
    expected = torch.softmax(2 * torch.tensor([0.2, 0.9, 0.4]), 0)
    torch.testing.assert_close(balancer.last.weights, expected)
    assert balancer.last.scale.item() == pytest.approx(2)
    assert "torchjd" not in list_balancers()
    with pytest.raises(ValueError, match="'torchjd' needs the option 'method'"):
        create_balancer("torchjd", 3)


def test_sizes_are_filled_in_for_methods_that_ask_for_them():
    assert TorchJDBalancer("UW", 3).method.log_var.shape == (3,)


def test_the_representation_names_the_method_and_its_arguments():
    text = repr(TorchJDBalancer("STCH", 3, options={"mu": 0.5}, seed=7))
    assert "STCH(mu=0.5" in text
    assert "num_tasks=3, seed=7" in text


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("STHC", 3), ValueError, "no method 'STHC'; did you mean 'STCH'"),
        (("STCH", 3), ValueError, "missing a required argument: 'mu'"),
        ((scalarization.Mean(), 3, nn.Linear(1, 1)), ValueError, "`shared` should be None: Mean"),
        ((aggregation.MGDA(), 3), ValueError, "`shared` should be a layer or parameters: MGDA"),
        ((nn.Linear(1, 1), 3), TypeError, "found Linear"),
        ((torch.softmax, 3), TypeError, "found <built-in"),
        ((scalarization.STCH, 3), TypeError, "found <class 'torchjd"),
        (("ConFIG", 3, nn.Linear(1, 1)), TypeError, "ConFIG gives only .* UPGrad"),
        (("GradDrop", 3, nn.Linear(1, 1)), TypeError, "GradDrop gives only .* UPGrad"),
        ((aggregation.TrimmedMean(1), 3, nn.Linear(1, 1)), TypeError, "TrimmedMean gives only"),
        (("MoDoWeighting", 3, nn.Linear(1, 1)), TypeError, "two independent batches"),
        (("SDMGradWeighting", 3, nn.Linear(1, 1)), TypeError, "two independent batches"),
    ],
)
def test_methods_that_do_not_fit_are_refused_with_the_reason(arguments, error, message):
    with pytest.raises(error, match=message):
        TorchJDBalancer(*arguments)


def test_options_are_only_for_methods_by_name():
    with pytest.raises(ValueError, match="`options` should be None unless"):
        TorchJDBalancer(scalarization.Mean(), 3, options={})
    with pytest.raises(ValueError, match=r"arguments of STCH.* unexpected .* 'nu'"):
        TorchJDBalancer("STCH", 3, options={"mu": 1.0, "nu": 1.0})


def test_a_weighting_of_ones_own_has_to_say_what_it_weighs():
    class Norms(aggregation.Weighting):
        def forward(self, stat, /):
            return stat.diagonal()

    with pytest.raises(TypeError, match="GramianWeightedAggregator"):
        TorchJDBalancer(Norms(), 2, nn.Linear(1, 1))
    balancer = TorchJDBalancer(aggregation.GramianWeightedAggregator(Norms()), 2, nn.Linear(1, 1))
    balancer(torch.ones(2), task_gradients=torch.tensor([[1.0], [2.0]]))
    assert (balancer.last.scale * balancer.last.weights).tolist() == [1, 4]


def test_without_torchjd_the_rest_works_and_the_error_names_the_extra():
    code = """
import sys
sys.modules["torchjd"] = None
import torch, taskrobust.balancers
from taskrobust import TorchJDBalancer, create_balancer
create_balancer("minimax", 3)(torch.ones(3))
for make in (TorchJDBalancer, lambda *arguments: create_balancer("torchjd", 3, method="UW")):
    try:
        make("STCH", 3)
    except ImportError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("pip install 'taskrobust[torchjd]'") == 2
