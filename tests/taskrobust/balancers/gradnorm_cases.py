"""A network with a shared layer, and GradNorm as its paper prints it."""

import torch
from hypothesis import strategies as st
from torch import nn

TASKS, WIDTH = 4, 5


class Network(nn.Module):
    """A trunk, a shared layer and a head a task; the tasks have targets of different sizes."""

    def __init__(self, seed=0, dropout=0.0, tasks=TASKS):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.trunk, self.shared = nn.Linear(3, 6), nn.Linear(6, WIDTH)
            self.heads = nn.ModuleList(nn.Linear(WIDTH, 1) for _ in range(tasks))
        self.dropout = nn.Dropout(dropout)
        self.double()

    def forward(self, x):
        features = torch.tanh(self.shared(self.dropout(torch.tanh(self.trunk(x)))))
        outputs = torch.cat([head(self.dropout(features)) for head in self.heads], dim=1)
        targets = torch.arange(1, len(self.heads) + 1) * x.sum(1, keepdim=True).sin()
        return (outputs - targets).square()  # [n, tasks]

    def risks(self, x):
        return torch.stack(list(self(x).mean(0).unbind()))


def batch(seed, n=8):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, generator=generator, dtype=torch.float64)


class PaperGradNorm:
    """Algorithm 1 of Chen et al. as it stands: autograd for L_grad, torch's Adam, T passes.

    Tasks that are absent from a step are not in its list of tasks.
    """

    def __init__(self, num_tasks, parameters, asymmetry, lr, min_weight, initial=None):
        self.weights = [torch.ones((), dtype=torch.float64) for _ in range(num_tasks)]
        for weight in self.weights:
            weight.requires_grad_()
        self.optimizers = [torch.optim.Adam([weight], lr=lr) for weight in self.weights]
        self.parameters = list(parameters)
        self.asymmetry, self.min_weight = asymmetry, min_weight
        self.initial = dict(enumerate(initial or []))

    def __call__(self, losses, present):
        tasks = [t for t in range(len(losses)) if present[t]]
        for t in tasks:
            self.initial.setdefault(t, losses[t].item())
        loss = sum(self.weights[t].item() * losses[t] for t in tasks)
        norms = []
        for t in tasks:
            found = torch.autograd.grad(losses[t], self.parameters, retain_graph=True)
            norm = torch.sqrt(sum(g.square().sum() for g in found))
            norms.append(self.weights[t] * norm)
        progress = [losses[t].item() / self.initial[t] for t in tasks]
        mean_norm = sum(norm.item() for norm in norms) / len(tasks)
        mean_progress = sum(progress) / len(tasks)
        objective = sum(
            (norm - mean_norm * (p / mean_progress) ** self.asymmetry).abs()
            for norm, p in zip(norms, progress, strict=True)
        )
        total = sum(self.weights[t].item() for t in tasks)
        for t in tasks:
            self.optimizers[t].zero_grad()
        objective.backward()
        for t in tasks:
            self.optimizers[t].step()
        with torch.no_grad():
            for t in tasks:
                self.weights[t].clamp_(min=self.min_weight)
            factor = total / sum(self.weights[t].item() for t in tasks)
            for t in tasks:
                self.weights[t].mul_(factor)
        return loss


masks = st.lists(
    st.lists(st.booleans(), min_size=TASKS, max_size=TASKS).filter(any), min_size=1, max_size=8
)
