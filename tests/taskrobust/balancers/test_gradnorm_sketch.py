import pytest
import torch
from torch import nn

from taskrobust import GradNorm
from tests.taskrobust.balancers.gradnorm_cases import TASKS, WIDTH, Network, batch

WIDE = 64


class WideNetwork(Network):
    """With a shared layer of many inputs."""

    def __init__(self, seed=0):
        super().__init__(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.trunk, self.shared = nn.Linear(3, WIDE), nn.Linear(WIDE, WIDTH)
        self.double()


class SameSketch(GradNorm):
    """Draws the same sketch at every step, which it should not."""

    def _sketch(self):
        step, self.step = self.step, 3
        sketch = super()._sketch()
        self.step = step
        return sketch


def weights_of(kind, sketch_size=None, steps=300):
    """Weights ``[T]``, averaged over the second half of steps on a network that does not change."""
    network = WideNetwork()
    risks = network.risks(batch(0, 32))
    balancer = kind(TASKS, network.shared, asymmetry=0.0, lr=0.02, sketch_size=sketch_size).double()
    found = []
    for _ in range(steps):
        balancer(risks)
        found.append(balancer.task_weights)
    return torch.stack(found[steps // 2 :]).mean(0)


def test_a_call_takes_the_sketches_of_its_step_and_the_next_step_has_others():
    network = Network()
    balancer = GradNorm(TASKS, network.shared, sketch_size=2).double()
    risks = network.risks(batch(0))
    rows = balancer.task_gradients(risks)
    assert rows.shape == (TASKS, 2 * WIDTH + WIDTH)
    assert torch.equal(balancer.task_gradients(risks), rows)
    balancer(risks)
    norms = balancer.momentum.abs() / 0.1  # of one step: 0.1 times a norm, with a sign
    torch.testing.assert_close(norms, rows.norm(dim=1))
    assert not torch.equal(balancer.task_gradients(risks), rows)


def test_weights_are_those_of_exact_norms_if_each_step_draws_another_sketch():
    exact = weights_of(GradNorm)
    assert (exact - 1).abs().max() > 0.5
    found, stuck = (weights_of(kind, sketch_size=8) / exact - 1 for kind in (GradNorm, SameSketch))
    assert found.abs().max() < 0.03
    assert stuck.abs().max() > 0.09


@pytest.mark.parametrize("at", [1, 4])
def test_a_resumed_run_draws_the_sketches_of_one_that_never_stopped(at):
    def step(parts, number):
        network, balancer = parts
        balancer(network.risks(batch(number)))

    def made():
        network = Network()
        return network, GradNorm(TASKS, network.shared, lr=0.3, sketch_size=1).double()

    never, stopped, resumed = made(), made(), made()
    for number in range(6):
        step(never, number)
    for number in range(at):
        step(stopped, number)
    resumed[1].load_state_dict(stopped[1].state_dict())
    for number in range(at, 6):
        torch.manual_seed(number)
        step(resumed, number)
    assert torch.equal(resumed[1].task_weights, never[1].task_weights)
