"""Multi-Modal Mask MAE: every modality reconstructed from a few visible tokens of all."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers.utils import ModelOutput

from experiments.mae.configuration import NORMALISED_RGB, ImageModality, ModelSize
from experiments.mae.model.decoders import CrossAttentionDecoder
from experiments.mae.model.encoder import MultiModalEncoder
from experiments.mae.model.initialisation import initialise
from experiments.mae.model.inputs import grid_of, prepare
from experiments.mae.model.losses import SampleRisks, image_risks, label_risks
from experiments.mae.model.masking import hidden_tokens
from experiments.mae.model.patches import patch_statistics, patchify, unpatchify

__all__ = ["MultiModalMaskMae", "MultiModalMaskMaeOutput"]

ABSENT = -100


@dataclass
class MultiModalMaskMaeOutput(ModelOutput):  # type: ignore[misc]
    """Losses for `TaskRobustTrainer` (see `taskrobust.trainer.outputs.output_sums`)."""

    task_values: Tensor | None = None
    """Risks of the samples ``[B, T]``, float32 or wider, over masked patches."""
    task_groups: Tensor | None = None
    """Task ids of the same shape; -100 for a sample with nothing of the task to be scored."""
    predictions: dict[str, Tensor] | None = None
    """By task, if they were asked for: images ``[B, C, H, W]`` in the units of the target, logits
    ``[B, classes, H / stride, W / stride]``. Those of normalised patches are restored by mean and
    deviation of the true patches."""


class MultiModalMaskMae(nn.Module):
    """A shared encoder of visible tokens and one decoder for each task.

    The tasks are `ModelSize.tasks`. The risk of a task is the mean over samples of the mean loss
    over the masked patches of the sample; samples are what ranks sum before they divide, so that
    the risk does not depend on how a batch is spread over ranks.

    Args:
        size: modalities and widths.
    """

    # The Trainer must not hand `num_items_in_batch` to the model, nor divide or multiply its loss.
    accepts_loss_kwargs = False

    def __init__(self, size: ModelSize) -> None:
        super().__init__()
        self.size = size
        self.encoder = MultiModalEncoder(size)
        self.decoders = nn.ModuleDict(
            {task: CrossAttentionDecoder(size, size.modality(_target(task))) for task in size.tasks}
        )
        initialise(self)

    def forward(
        self,
        modalities: Mapping[str, Tensor],
        ids_keep: Tensor,
        mask: Tensor | None = None,
        valid: Mapping[str, Tensor] | None = None,
        return_predictions: bool = False,
    ) -> MultiModalMaskMaeOutput:
        """Risks of a batch.

        Args:
            modalities: all of the model, by name: images ``[B, C, H, W]``, class ids
                ``[B, H / stride, W / stride]``.
            ids_keep: int64 ``[B, K]``, visible tokens among those of all modalities, in the order
                of the configuration, each once.
            mask: bool ``[B, N]``, tokens whose patches are scored; None: all that are not visible.
            valid: bool ``[B, 1, H, W]``, by name, for images with pixels of unknown value: these
                are not scored, and 0 in what is standardised.
            return_predictions: whether to return what the decoders reconstruct.

        Returns:
            Risks by sample and task.

        Raises:
            ValueError: a modality is missing or unknown, or has another shape.
        """
        missing = [name for name in self.size.names if name not in modalities]
        if missing:
            raise ValueError(
                f"`modalities` should hold {', '.join(self.size.names)}; "
                f"found none named {', '.join(missing)}"
            )
        grid = grid_of(self.size, modalities)
        inputs = prepare(self.size, modalities, valid)
        total = grid[0] * grid[1] * len(inputs)
        mask = hidden_tokens(ids_keep, total) if mask is None else mask
        by_modality = dict(zip(self.size.names, mask.chunk(len(inputs), dim=1), strict=True))
        encoded = self.encoder(inputs, ids_keep)
        risks, predictions = [], {}
        for task, decoder in self.decoders.items():
            name = _target(task)
            predicted = decoder(encoded, ids_keep, grid)
            known = None if valid is None else valid.get(name)
            risks.append(self._risks(task, predicted, inputs[name], by_modality[name], known))
            if return_predictions:
                predictions[task] = self._restored(task, predicted, inputs[name], grid)
        present = torch.stack([risk.present for risk in risks], dim=1)
        tasks = torch.arange(len(risks), device=present.device)
        return MultiModalMaskMaeOutput(
            task_values=torch.stack([risk.values for risk in risks], dim=1),
            task_groups=torch.where(present, tasks, ABSENT),
            predictions=predictions or None,
        )

    def _risks(
        self, task: str, predicted: Tensor, target: Tensor, mask: Tensor, valid: Tensor | None
    ) -> SampleRisks:
        modality = self.size.modality(_target(task))
        if not isinstance(modality, ImageModality):
            side = self.size.patch_size // modality.stride
            labels = patchify(target[:, None], side).squeeze(-1)
            return label_risks(predicted, labels, mask, modality.classes if modality.void else None)
        patches = patchify(target, self.size.patch_size)
        if task == NORMALISED_RGB:
            patches = patch_statistics(patches).normalise(patches)
        known = None if valid is None else patchify(valid, self.size.patch_size).squeeze(-1)
        return image_risks(predicted, patches, mask, modality.loss, known)

    def _restored(
        self, task: str, predicted: Tensor, target: Tensor, grid: tuple[int, int]
    ) -> Tensor:
        """Predicted patches as an image."""
        if task == NORMALISED_RGB:
            statistics = patch_statistics(patchify(target, self.size.patch_size))
            predicted = statistics.restore(predicted)
        return unpatchify(predicted, grid)


def _target(task: str) -> str:
    """The modality that a task reconstructs."""
    return "rgb" if task == NORMALISED_RGB else task
