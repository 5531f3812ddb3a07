import numpy as np
import pytest
import torch

from experiments.mechanisms.hull.gradients import Sums, inner_products, measure, random_like
from experiments.mechanisms.hull.heads import chosen, halves_batch

DATA = torch.randn(6, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
"""Six batches of five examples."""


@pytest.fixture
def parameters():
    generator = torch.Generator().manual_seed(1)
    return {
        "matrix": torch.randn(3, 2, generator=generator, dtype=torch.float64, requires_grad=True),
        "unused": torch.ones(4, dtype=torch.float64, requires_grad=True),
    }


def losses(batch, matrix):
    outputs = torch.tanh(batch @ matrix)
    return outputs[:, 0].square(), outputs[:, 1].abs(), outputs.sum(1)


def sums_of(parameters, present=(True, True, True)):
    def sums(batch):
        found = losses(batch, parameters["matrix"])
        counts = torch.tensor([len(batch) * float(each) for each in present])
        return Sums(torch.stack([each.sum() for each in found]), counts)

    return sums


def test_risks_and_gradients_of_the_halves_are_those_of_every_other_batch(parameters):
    measured = measure(["a", "b", "c"], parameters, DATA, sums_of(parameters))
    assert measured.names == ("a", "b", "c")
    for half in range(2):
        examples = DATA[half::2].flatten(0, 1)
        for task in range(3):
            mean = losses(examples, parameters["matrix"])[task].mean()
            (wanted,) = torch.autograd.grad(mean, [parameters["matrix"]])
            found = measured.gradients[half][task]
            torch.testing.assert_close(found["matrix"], wanted)
            assert torch.equal(found["unused"], torch.zeros(4, dtype=torch.float64))
    wanted = [each.mean().item() for each in losses(DATA.flatten(0, 1), parameters["matrix"])]
    np.testing.assert_allclose(measured.risks, wanted)


def test_a_risk_with_nothing_in_a_half_is_left_out(parameters):
    seen = iter([(True, True, False), (True, False, False)] * 3)

    def sums(batch):
        return sums_of(parameters, next(seen))(batch)

    measured = measure(["a", "b", "c"], parameters, DATA, sums)
    assert measured.names == ("a",)
    assert len(measured.gradients[0]) == len(measured.gradients[1]) == len(measured.risks) == 1


def test_inner_products_are_those_of_the_flattened_vectors(monkeypatch):
    monkeypatch.setattr("experiments.mechanisms.hull.gradients._COLUMNS", 7)
    shapes = {"a": (3, 5), "b": (2,), "c": (4, 4)}
    templates = {name: torch.zeros(shape) for name, shape in shapes.items()}
    vectors = [random_like(templates, seed) for seed in range(4)]
    flat = torch.stack([torch.cat([v["a"].flatten(), v["c"].flatten()]) for v in vectors]).double()
    np.testing.assert_allclose(inner_products(vectors, ["a", "c"]), flat @ flat.T, rtol=1e-12)
    del vectors[1]["c"]
    flat[1, 15:] = 0
    np.testing.assert_allclose(inner_products(vectors, ["a", "c"]), flat @ flat.T, rtol=1e-12)


def test_random_directions_are_those_of_their_seed():
    templates = {"a": torch.zeros(50)}
    assert torch.equal(random_like(templates, 3)["a"], random_like(templates, 3)["a"])
    assert not torch.equal(random_like(templates, 3)["a"], random_like(templates, 4)["a"])


@pytest.mark.parametrize(("examples", "size"), [(2, 32), (9, 32), (64, 32), (70, 32), (1000, 32)])
def test_both_halves_have_a_batch_and_none_is_larger_than_wanted(examples, size):
    found = halves_batch(examples, size)
    assert 1 <= found <= size
    assert -(-examples // found) >= 2


def test_examples_are_chosen_without_repetition():
    found = chosen(100, 30, seed=1)
    assert len(set(found)) == 30
    assert set(found) <= set(range(100))
    assert sorted(chosen(10, 99, seed=1)) == list(range(10))
