"""Balancers by name: what there is, what it makes, and what it says about a wrong name."""

import inspect

import pytest
import torch

from taskrobust import Average, Minimax, create_balancer, list_balancers
from taskrobust.balancers import Balancer, balancer_info
from tests.taskrobust.balancers.cases import Network, create


def test_the_paper_s_method_and_its_baseline_are_known():
    assert {"average", "minimax", "hard-max", "minimax-attached"} <= set(list_balancers())
    assert len(set(list_balancers())) == len(list_balancers())


@pytest.mark.parametrize("name", list_balancers())
def test_an_entry_describes_the_class_that_its_name_makes(name):
    info = balancer_info(name)
    assert info.name == name
    assert issubclass(info.balancer, Balancer)
    assert info.description
    assert info.defaults.keys() <= inspect.signature(info.balancer).parameters.keys()
    assert type(create(name, Network())) is info.balancer


@pytest.mark.parametrize("name", list_balancers())
def test_common_options_reach_every_class(name):
    names = ["rgb", "depth", "edges", "text"]
    balancer = create(name, Network(), scale=2.0, nonfinite="skip", task_names=names)
    assert (balancer.num_tasks, balancer.scale, balancer.nonfinite) == (4, 2.0, "skip")
    assert balancer.task_names == tuple(names)


def weights(balancer):
    balancer(torch.tensor([1.0, 2.0, 3.0]))
    return balancer.last.weights


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("average", {}, Average(3)),
        ("minimax", {}, Minimax(3, alpha=1.0)),
        ("minimax", {"alpha": 2}, Minimax(3, alpha=2.0)),
        ("minimax", {"tolerance": 0.1}, Minimax(3, tolerance=0.1)),
        ("minimax", {"tolerance": 0.1, "alpha": None}, Minimax(3, tolerance=0.1)),
        ("minimax", {"alpha": None, "ema": None}, Minimax(3, alpha=1.0)),
        ("hard-max", {}, Minimax(3, mode="hard")),
        ("minimax-attached", {}, Minimax(3, alpha=1.0, mode="attached")),
        ("minimax-attached", {"alpha": 0.5}, Minimax(3, alpha=0.5, mode="attached")),
    ],
    ids=str,
)
def test_defaults_give_way_to_what_is_given_and_none_means_the_default(name, options, expected):
    balancer = create_balancer(name, 3, **options)
    assert repr(balancer) == repr(expected)
    assert torch.equal(weights(balancer), weights(expected))


def test_alpha_and_tolerance_together_are_refused_by_the_class():
    with pytest.raises(ValueError, match=r"exactly one of `alpha` and `tolerance`.*alpha=2"):
        create_balancer("minimax", 3, alpha=2.0, tolerance=0.1)


@pytest.mark.parametrize("lookup", [balancer_info, lambda name: create_balancer(name, 3)])
@pytest.mark.parametrize(
    ("name", "hint"), [("minmax", "; did you mean 'minimax'?"), ("xyzzy", ""), (3, "")]
)
def test_an_unknown_name_comes_with_the_known_ones(lookup, name, hint):
    with pytest.raises(ValueError, match="unknown balancer") as error:
        lookup(name)
    known = ", ".join(list_balancers())
    assert str(error.value).startswith(f"unknown balancer {name!r}{hint} (known: {known}")


@pytest.mark.parametrize(
    ("option", "hint"), [("tolerence", "; did you mean 'tolerance'?"), ("xyzzy", "")]
)
def test_an_unknown_option_comes_with_the_known_ones(option, hint):
    with pytest.raises(ValueError, match="has no option") as error:
        create_balancer("minimax", 3, **{option: 1.0})
    message = str(error.value)
    assert message.startswith(
        f"balancer 'minimax' has no option {option!r}{hint} (options: alpha, "
    )
    assert "reference" in message
    assert "self" not in message


def test_values_are_checked_by_the_class():
    with pytest.raises(ValueError, match="`num_tasks` should be"):
        create_balancer("average", 0)
    with pytest.raises(ValueError, match="`mode` 'hard' is infinite sharpness"):
        create_balancer("hard-max", 3, alpha=1.0)
