"""A model of three tasks that trains in milliseconds, its data, its balancers and its trainer."""

import inspect

import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import TrainingArguments

from taskrobust.balancers import (
    DynamicWeightAverage,
    GroupDRO,
    Minimax,
    TorchJDBalancer,
    balancer_info,
    create_balancer,
    list_balancers,
)
from taskrobust.trainer import TaskRobustTrainer

NAMES = ("noun", "verb", "rare")
TASKS = len(NAMES)
IGNORED = -100


class Net(nn.Module):
    """A trunk and a head for each task; returns its losses in one of the three forms."""

    def __init__(self, form="values", *, dropout=0.0, auxiliary=False, norm=False):
        super().__init__()
        torch.manual_seed(0)
        parts = [nn.Linear(4, 8), *([nn.BatchNorm1d(8)] if norm else []), nn.Tanh()]
        self.trunk = nn.Sequential(*parts, nn.Dropout(dropout))
        self.heads = nn.Linear(8, TASKS)
        self.form = form
        self.auxiliary = auxiliary

    def forward(self, x, y, g):
        features = self.trunk(x)
        scores = self.heads(features).gather(1, g.clamp(0, TASKS - 1)[:, None])[:, 0]
        outputs = self.as_form((scores - y).square(), g)
        if self.auxiliary:
            outputs["auxiliary_values"] = features.square().mean(1)
        return outputs

    def as_form(self, values, g):
        if self.form == "values":
            return {"task_values": values, "task_groups": g}
        members = nn.functional.one_hot(g.clamp(0, TASKS - 1), TASKS) * (g >= 0)[:, None]
        counts = members.sum(0)
        sums = (members * values[:, None]).sum(0)
        if self.form == "sums":
            return {"task_sums": sums, "task_counts": counts}
        return {"task_risks": sums / counts.clamp(min=1), "task_present": counts > 0}


class KwargsNet(Net):
    """As stock transformers models: takes `labels` and any keyword, and ignores the latter."""

    def forward(self, x, y, g, labels=None, **kwargs):  # noqa: ARG002
        self.received = set(kwargs)
        return super().forward(x, y, g)


class Examples(Dataset):
    """Targets grow with the task, tasks are rare to different degrees, some entries are ignored."""

    def __init__(self, size, *, seed=1, groups=None, dtype=torch.float64, labels=False):
        generator = torch.Generator().manual_seed(seed)
        shares = torch.tensor([0.5, 0.3, 0.1, 0.1])
        drawn = torch.multinomial(shares, size, replacement=True, generator=generator)
        drawn = torch.where(drawn == TASKS, IGNORED, drawn)
        self.g = drawn if groups is None else torch.as_tensor(groups)
        self.x = torch.randn(size, 4, generator=generator, dtype=dtype)
        noise = torch.randn(size, generator=generator, dtype=dtype)
        self.y = self.g.clamp(min=0) * 0.7 + self.x.sum(1) * 0.3 + noise * 0.5
        self.labels = labels

    def __len__(self):
        return len(self.g)

    def __getitem__(self, index):
        item = {"x": self.x[index], "y": self.y[index], "g": self.g[index]}
        return {**item, "labels": self.y[index]} if self.labels else item


def risks_by_hand(model, data):
    """Mean loss of each task over a data set, one example at a time; None without an example."""
    losses = {t: [] for t in range(TASKS)}
    model.eval()
    with torch.no_grad():
        for item in (data[i] for i in range(len(data))):
            if int(item["g"]) in losses:
                batch = {k: v[None] for k, v in item.items() if k != "labels"}
                losses[int(item["g"])].append(float(model(**batch)["task_values"][0]))
    return [sum(v) / len(v) if v else None for v in losses.values()]


def _registered(name):
    def make(model):
        parameters = inspect.signature(balancer_info(name).balancer.__init__).parameters
        shared = {"shared": model.trunk[0]} if "shared" in parameters else {}
        return create_balancer(name, TASKS, task_names=NAMES, **shared)

    return make


def _torchjd(method, **options):
    def make(model):
        shared = {"shared": model.trunk[0]} if method in ("MGDA", "PCGrad") else {}
        return TorchJDBalancer(method, TASKS, task_names=NAMES, options=options, **shared)

    return make


BALANCERS = {
    **{name: _registered(name) for name in list_balancers()},
    "ema": lambda model: Minimax(TASKS, alpha=2.0, ema=0.7, min_count=2, task_names=NAMES),
    "schedule": lambda model: Minimax(TASKS, alpha=lambda step: 0.3 * step, task_names=NAMES),
    "window": lambda model: DynamicWeightAverage(TASKS, window=2, temperature=0.5),
    "steep": lambda model: GroupDRO(TASKS, step_size=0.5, task_names=NAMES),
    "stch": _torchjd("STCH", mu=0.5),
    "mgda": _torchjd("MGDA"),
    "pcgrad": _torchjd("PCGrad"),
}
"""Name -> model -> balancer: the registry, and settings with more state."""


def make_balancer(name, model):
    """A balancer by its name here, in float64."""
    return BALANCERS[name](model).double()


def minimax(**options):
    return Minimax(TASKS, **{"alpha": 2.0, "task_names": NAMES, **options}).double()


def make_trainer(out, *, balancer=None, model=None, data=None, kind=TaskRobustTrainer, **options):
    """A trainer of six steps of 16 examples; options are its own or the training arguments'."""
    own = ("accumulation", "balancer_lr", "callbacks", "compute_metrics", "eval_dataset",
           "optimizers", "model_init", "compute_loss_func")  # fmt: skip
    given = {key: options.pop(key) for key in own if key in options}
    if model is None and "model_init" not in given:
        model = Net().double()
    if balancer is None:
        balancer = minimax()
    elif isinstance(balancer, str):
        balancer = make_balancer(balancer, model)
    arguments = {
        "output_dir": str(out),
        "use_cpu": True,
        "per_device_train_batch_size": 16,
        "max_steps": 6,
        "learning_rate": 0.05,
        "max_grad_norm": 0.0,
        "save_strategy": "no",
        "logging_steps": 3,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        **options,
    }
    return kind(
        model,
        TrainingArguments(**arguments),
        train_dataset=Examples(96) if data is None else data,
        balancer=balancer,
        **given,
    )


def trained(out, *, resume=None, **options):
    """A trainer that has trained."""
    trainer = make_trainer(out, **options)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def state(trainer):
    """Everything that training changes: the model, the balancer, and the optimiser's moments."""
    found = {f"model.{k}": v for k, v in trainer.model.state_dict().items()}
    found |= {f"balancer.{k}": v for k, v in trainer.balancer.state_dict().items()}
    moments = trainer.optimizer.state_dict()["state"]
    found |= {f"optimizer.{i}.{k}": v for i, entry in moments.items() for k, v in entry.items()}
    return {k: v.detach().clone() for k, v in found.items()}


def assert_same(actual, expected):
    """Equal to the last bit, NaNs too."""
    assert actual.keys() == expected.keys()
    bits = {k: (v.numpy().tobytes(), expected[k].numpy().tobytes()) for k, v in actual.items()}
    assert [k for k, (ours, theirs) in bits.items() if ours != theirs] == []


def assert_near(actual, expected, tolerance=1e-12):
    """Equal up to rounding in float64; NaN where NaN is expected."""
    assert actual.keys() == expected.keys()
    for key, value in actual.items():
        try:
            torch.testing.assert_close(value, expected[key], rtol=0, atol=tolerance, equal_nan=True)
        except AssertionError as error:
            raise AssertionError(f"{key}: {error}") from None


def distance(actual, expected):
    """Largest difference of the models' parameters."""
    return max(
        float((v - expected[k]).abs().max()) for k, v in actual.items() if k.startswith("model.")
    )
