"""Pre-training steps of Multi-Modal Mask MAE side by side: ours and a straightforward one.

Both hold the same parameters and see the same images and visible tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from experiments.configuration import load, preset_path
from experiments.mae.configuration import ModelSize
from experiments.mae.model import MultiModalMaskMae
from experiments.mae.model.masking import TokenMasking
from experiments.mae.study import MaeStudy
from taskrobust import Average, Balancer, Minimax
from taskrobust.accumulation import balanced_loss
from taskrobust.risks import TaskRisks, global_risks
from taskrobust.trainer.outputs import output_sums
from tests.benchmarks.mae_straightforward import MODALITIES, StraightforwardMae, load_ours

Batch = dict[str, Any]
Step = Callable[[], None]
Loss = Callable[[nn.Module, Batch], Tensor]

STEP_SIZE = 1e-6

STRAIGHTFORWARD = "timm and torch, plain sum"
AVERAGE = "ours, Average"
AGAIN = "ours, Average, again"
MINIMAX = "ours, Minimax"


@dataclass(frozen=True)
class Case:
    """One size of step."""

    name: str
    size: ModelSize
    visible: int
    """Tokens the encoder sees."""
    batch: int

    @property
    def title(self) -> str:
        """Name, image and batch."""
        height, width = self.size.image_size
        return f"{self.name}, {height} × {width}, {self.batch} images"


def small(batch: int = 64) -> Case:
    """The model of the preset `cpu`."""
    study = load(MaeStudy, preset_path("mae", "cpu"), study="mae")
    return Case("preset cpu", study.model, study.masking.visible, batch)


def base(batch: int) -> Case:
    """The paper's model: ViT-B/16 with three decoders of 256."""
    study = MaeStudy()
    return Case("ViT-B/16", study.model, study.masking.visible, batch)


def random_batch(case: Case, device: torch.device, seed: int = 0) -> Batch:
    """Random values of every modality, and visible tokens as pre-training draws them."""
    generator = torch.Generator().manual_seed(seed)
    size, (height, width) = case.size, case.size.image_size
    semseg = size.modality("semseg")
    cells = (case.batch, height // semseg.stride, width // semseg.stride)
    tokens = (size.patches,) * len(size.modalities)
    masks = TokenMasking(tokens, case.visible, seed=seed).batch((0, i) for i in range(case.batch))
    modalities = {
        "rgb": torch.randn(case.batch, 3, height, width, generator=generator),
        "depth": 0.7 + 9 * torch.rand(case.batch, 1, height, width, generator=generator),
        "semseg": torch.randint(semseg.classes + semseg.void, cells, generator=generator),
    }
    return {
        "modalities": {name: values.to(device) for name, values in modalities.items()},
        **{name: values.to(device) for name, values in masks.items()},
    }


def models(case: Case, device: torch.device) -> tuple[MultiModalMaskMae, StraightforwardMae]:
    """Ours and the straightforward one with the same parameters, in training mode."""
    torch.manual_seed(0)
    ours = MultiModalMaskMae(case.size)
    straightforward = StraightforwardMae(case.size)
    load_ours(straightforward, ours.state_dict())
    return ours.to(device).train(), straightforward.to(device).train()


def our_risks(model: nn.Module, batch: Batch) -> TaskRisks:
    """Risks of the three tasks, as `TaskRobustTrainer` makes them of a batch."""
    return global_risks(output_sums(model(**batch), len(MODALITIES), len(batch["ids_keep"])))


def straightforward_losses(model: nn.Module, batch: Batch) -> Tensor:
    """The same of the straightforward model, ``[3]``."""
    losses: Tensor = model(**batch["modalities"], ids_keep=batch["ids_keep"])
    return losses


def straightforward_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Their sum."""
    return straightforward_losses(model, batch).sum()


def balanced(balancer: Balancer) -> Loss:
    """Our loss with a balancer, as `TaskRobustTrainer` computes it."""
    return lambda model, batch: balanced_loss(balancer, our_risks(model, batch))


def check_equal_losses(
    ours: nn.Module, straightforward: nn.Module, batch: Batch, relative: float = 1e-4
) -> float:
    """Largest relative difference of the three losses, and of the norm of their sum's gradient.

    Raises:
        RuntimeError: they differ, so that the steps do not compare.
    """
    found = []
    for model, losses in (
        (ours, lambda model, batch: our_risks(model, batch).risks),
        (straightforward, straightforward_losses),
    ):
        values = losses(model, batch)
        values.sum().backward()
        gradients = [parameter.grad.norm() for parameter in model.parameters()]
        found.append(torch.cat([values.detach(), torch.stack(gradients).norm()[None]]))
        model.zero_grad()
    difference = float(((found[0] - found[1]) / found[1]).abs().max())
    if not difference <= relative:
        raise RuntimeError(
            f"the losses or gradients of the two models differ by {difference:.1e} of their "
            f"value; found {found[0].tolist()} and {found[1].tolist()}"
        )
    return difference


def steps(
    ours: nn.Module,
    straightforward: nn.Module,
    batch: Batch,
    *,
    precision: torch.dtype | None = None,
) -> dict[str, Step]:
    """Forward, balancer, backward and fused AdamW of every variant.

    Each has an optimiser of its own.

    Args:
        ours: the model, which three variants share.
        straightforward: the model it is compared with.
        batch: from `random_batch`.
        precision: of automatic mixed precision; None: float32.
    """
    device = batch["ids_keep"].device
    average = Average(len(MODALITIES), task_names=MODALITIES).to(device)
    minimax = Minimax(len(MODALITIES), alpha=1.0, task_names=MODALITIES).to(device)
    variants: dict[str, tuple[nn.Module, Loss]] = {
        STRAIGHTFORWARD: (straightforward, straightforward_loss),
        AVERAGE: (ours, balanced(average)),
        AGAIN: (ours, balanced(average)),
        MINIMAX: (ours, balanced(minimax)),
    }
    return {name: _step(model, loss, batch, precision) for name, (model, loss) in variants.items()}


def _step(model: nn.Module, loss: Loss, batch: Batch, precision: torch.dtype | None) -> Step:
    device = batch["ids_keep"].device.type
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=STEP_SIZE, betas=(0.9, 0.95), weight_decay=0.05, fused=True
    )

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device, dtype=precision, enabled=precision is not None):
            value = loss(model, batch)
        value.backward()
        optimizer.step()

    return step
