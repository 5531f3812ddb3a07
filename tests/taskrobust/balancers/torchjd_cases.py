"""Every method of TorchJD that `TorchJDBalancer` takes, on a small problem."""

import io

import numpy as np
import torch
from scipy.optimize import nnls
from torch import nn
from torchjd import aggregation, scalarization

from taskrobust import TorchJDBalancer

TASKS = 4
SHARES = [0.1, 0.2, 0.3, 0.4]


class Projector:
    """Projection onto the dual cone by non-negative least squares (TorchJD's own needs quadprog).

    min_v v'Gv subject to v >= u is min_x |L'(u + x)|^2 over x >= 0 with G = LL'.
    """

    def __call__(self, U, G):
        values, basis = np.linalg.eigh(G.double().numpy())
        root = basis * np.sqrt(values.clip(min=0))
        vectors = U.double().reshape(-1, len(G)).numpy()
        rows = [u + nnls(root.T, -root.T @ u)[0] for u in vectors]
        return torch.as_tensor(np.array(rows), dtype=G.dtype).reshape(U.shape)


SCALARIZERS = {
    "Constant": {"weights": SHARES},
    "COSMOS": {"lambda_": 0.5, "weights": SHARES},
    "DWA": {"temperature": 0.5},
    "FAMO": {"lr": 0.1, "min_losses": [0.0, -0.1, 0.0, -0.2]},
    "GeometricMean": {},
    "IMTLL": {},
    "Mean": {},
    "PBI": {"theta": 2.0, "weights": SHARES, "reference": [0.0, 0.1, 0.0, 0.1]},
    "Random": {},
    "STCH": {"mu": 0.5, "weights": SHARES, "reference": [0.0, 0.1, 0.0, 0.1]},
    "Sum": {},
    "UW": {},
}
REMEMBERING = ("DWA", "FAMO", "IMTLL", "UW")
AGGREGATORS = {
    "AlignedMTL": lambda: aggregation.AlignedMTL(torch.tensor(SHARES)),
    "CAGrad": lambda: aggregation.CAGrad(c=0.5),
    "Constant": lambda: aggregation.Constant(torch.tensor(SHARES)),
    "DualProj": lambda: aggregation.DualProj(projector=Projector()),
    "ExcessMTL": lambda: aggregation.ExcessMTL(0.1, n_warmup_steps=2),
    "FairGrad": lambda: aggregation.FairGrad(alpha=1.0),
    "GradVac": lambda: aggregation.GradVac(),
    "IMTLG": lambda: aggregation.IMTLG(),
    "Krum": lambda: aggregation.Krum(n_byzantine=1, n_selected=2),
    "Mean": lambda: aggregation.Mean(),
    "MGDA": lambda: aggregation.MGDA(),
    "PCD": lambda: aggregation.PCD(tau=0.3, beta=0.9),
    "PCGrad": lambda: aggregation.PCGrad(),
    "Random": lambda: aggregation.Random(),
    "Sum": lambda: aggregation.Sum(),
    "UPGrad": lambda: aggregation.UPGrad(torch.tensor(SHARES), projector=Projector()),
}
STATEFUL_AGGREGATORS = ("ExcessMTL", "GradVac", "PCD")
WEIGHTINGS = {
    "CRMOGM of a Gramian": lambda: aggregation.CRMOGMWeighting(aggregation.MGDAWeighting(), 0.5),
    "CRMOGM of a Jacobian": lambda: aggregation.CRMOGMWeighting(aggregation.RandomWeighting(), 0.5),
    "CRMOGM in an aggregator": lambda: aggregation.GramianWeightedAggregator(
        aggregation.CRMOGMWeighting(aggregation.GradVacWeighting(), 0.5)
    ),
    "bare weighting": lambda: aggregation.ExcessMTLWeighting(0.1),
}
LOOKING_AT_GRADIENTS = {**AGGREGATORS, **WEIGHTINGS}


class Network(nn.Module):
    """Positive task risks of one head a task on a shared layer, in float64."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.shared = nn.Linear(3, 5, dtype=torch.float64)
        self.heads = nn.Linear(5, TASKS, dtype=torch.float64)
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=generator, dtype=p.dtype) / 2)

    def forward(self, batch):
        x, y = batch
        return (self.heads(torch.tanh(self.shared(x))) - y).square().mean(0)


def batch(seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    return x, torch.sin(x.sum(1, keepdim=True) * torch.arange(1, TASKS + 1))


def scalarizer(name, **arguments):
    """A balancer by name, in float64."""
    return TorchJDBalancer(name, TASKS, options=SCALARIZERS[name], **arguments).double()


def bare_scalarizer(name):
    """TorchJD's own object, in float64."""
    options = {
        key: torch.tensor(value, dtype=torch.float64) if isinstance(value, list) else value
        for key, value in SCALARIZERS[name].items()
    }
    size = {"shape": TASKS} if name in ("FAMO", "IMTLL", "UW") else {}
    return getattr(scalarization, name)(**size, **options).double()


def make(name, network):
    """A balancer of any method: "scalarizer NAME" or "gradients NAME"."""
    kind, _, method = name.partition(" ")
    if kind == "scalarizer":
        return scalarizer(method)
    return TorchJDBalancer(LOOKING_AT_GRADIENTS[method](), TASKS, network.shared).double()


EVERY_METHOD = [f"scalarizer {name}" for name in SCALARIZERS] + [
    f"gradients {name}" for name in LOOKING_AT_GRADIENTS
]


class Training:
    """A network, a balancer and an optimiser of both; an epoch is three steps."""

    def __init__(self, name):
        self.network = Network()
        self.balancer = make(name, self.network)
        groups = [{"params": self.network.parameters()}, *self.balancer.param_groups(lr=0.05)]
        self.optimizer = torch.optim.Adam(groups, lr=0.02)
        self.steps = 0

    def step(self, last=True):
        """One step; without its `last` part, a run that stops before FAMO's update."""
        self.optimizer.zero_grad()
        self.balancer(self.network(batch(self.steps))).backward()
        self.optimizer.step()
        if last:
            self.finish()

    def finish(self):
        if hasattr(self.balancer.method, "update"):
            with torch.no_grad():
                self.balancer.method.update(self.network(batch(self.steps)))
        self.steps += 1
        if self.steps % 3 == 0:
            self.balancer.end_epoch()

    def parts(self):
        return {"network": self.network, "balancer": self.balancer, "optimizer": self.optimizer}

    def saved(self):
        file = io.BytesIO()
        torch.save({key: part.state_dict() for key, part in self.parts().items()}, file)
        return file.getvalue()

    def load(self, data, steps):
        content = torch.load(io.BytesIO(data), weights_only=True)
        for key, part in self.parts().items():
            part.load_state_dict(content[key])
        self.steps = steps

    def numbers(self):
        """Parameters of the network and weights of the last step, as one vector."""
        found = [p.detach().flatten() for p in self.network.parameters()]
        return torch.cat([*found, self.balancer.last.weights, self.balancer.last.scale[None]])
