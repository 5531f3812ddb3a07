"""Pictures of what a model reconstructs: visible patches, prediction and target of each task."""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor
from torch.nn.functional import interpolate
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from experiments.mae.colours import depth_colours, label_colours, palette, rgb_colours
from experiments.mae.configuration import NORMALISED_RGB, LabelModality, ModelSize
from experiments.mae.data.declarations import LabelFiles
from experiments.mae.held_out import to_device
from experiments.mae.model import MultiModalMaskMae
from experiments.mae.model.depth import standardise_depth
from experiments.mae.reading import Images
from taskrobust._files import write_atomically

__all__ = ["ReconstructionCallback", "draw_reconstructions"]

HIDDEN = 0.82
"""Grey value of masked patches."""

_NAMED = 14
"""So many classes have their names under the picture."""


class ReconstructionCallback(TrainerCallback):  # type: ignore[misc]
    """Draws a few held-out images, as the model reconstructs them, during training.

    Args:
        images: of the study.
        count: of images; 0: no pictures.
        every: steps between pictures.
        folder: where ``step-N.png`` go.
    """

    def __init__(self, images: Images, count: int, every: int, folder: Path) -> None:
        self.every, self.folder = every, folder
        held_out = images.held_out
        chosen = np.linspace(0, len(held_out) - 1, min(count, len(held_out))).round().astype(int)
        self._samples = [held_out[int(index)] for index in dict.fromkeys(chosen)]
        self._collator = images.held_out_collator
        self._names = {
            name: files.class_names
            for name, files in held_out.files.items()
            if isinstance(files, LabelFiles)
        }

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **kwargs: Any,
    ) -> None:
        """Draw, if it is time, in the first process; always at the end, and not shortly before."""
        left = state.max_steps - state.global_step
        due = left == 0 or (state.global_step % self.every == 0 and 2 * left >= self.every)
        if not (due and self._samples and state.is_world_process_zero):
            return
        batch = to_device(self._collator(self._samples), args.device)
        figure = draw_reconstructions(
            _plain(kwargs["model"]), batch, self._names, f"step {state.global_step:,}"
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=110)
        write_atomically(self.folder / f"step-{state.global_step:07d}.png", content.getvalue())


def draw_reconstructions(
    model: MultiModalMaskMae,
    batch: Mapping[str, Any],
    class_names: Mapping[str, tuple[str, ...]] | None = None,
    title: str = "",
) -> Figure:
    """A row an image; for each task its visible patches, the prediction, and the target.

    Colours are those of the data again, also where patches were normalised. In the prediction,
    visible patches are the true ones: what a model says of them has no loss, so is arbitrary.

    Args:
        model: its state of training and the random state are left alone.
        batch: of `experiments.mae.batches.MaskingCollator`, on the model's device.
        class_names: of label modalities, by name, for a legend if they are few.
        title: of the whole.
    """
    was_training = model.training
    model.eval()
    with torch.no_grad():
        predictions = model(**batch, return_predictions=True).predictions
    model.train(was_training)
    size, rows = model.size, len(batch["ids_keep"])
    valid = batch.get("valid", {})
    masks = dict(zip(size.names, batch["mask"].chunk(len(size.names), dim=1), strict=True))
    columns = 3 * len(size.tasks)
    height, width = size.image_size
    legends = _legends(size, class_names or {})
    cell = 1.15
    figure = Figure(figsize=(cell * columns, cell * rows * height / width + 0.75 + 0.3 * legends))
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    for place, task in enumerate(size.tasks):
        name = "rgb" if task == NORMALISED_RGB else task
        pictures = zip(
            *(
                _pictures(size, name, values, batch["modalities"][name], valid.get(name))
                for values in (predictions[task], None)
            ),
            strict=True,
        )
        for row, (predicted, target) in enumerate(pictures):
            hidden = _pixels(masks[name][row], size)[..., None]
            shown = (
                np.where(hidden, HIDDEN, target),
                np.where(hidden, predicted, target),
                target,
            )
            for step, picture in enumerate(shown):
                _show(axes[row, 3 * place + step], picture)
                if row == 0:
                    label = ("visible", "predicted", "target")[step]
                    head = f"{task}\n" if step == 1 else "\n"
                    axes[0, 3 * place + step].set_title(head + label, fontsize=9)
    _finish(figure, size, class_names or {}, title, legends)
    return figure


def _pictures(
    size: ModelSize, name: str, predicted: Tensor | None, target: Tensor, valid: Tensor | None
) -> Iterator[np.ndarray]:
    """Colours of every image of a batch: the prediction, or the target if there is none."""
    modality = size.modality(name)
    if isinstance(modality, LabelModality):
        ids = target if predicted is None else predicted.argmax(1)
        whole = ids.repeat_interleave(modality.stride, 1).repeat_interleave(modality.stride, 2)
        yield from (label_colours(each, modality.classes) for each in whole)
        return
    if modality.channels == 3:
        yield from map(rgb_colours, target if predicted is None else predicted)
        return
    true = standardise_depth(target, valid) if modality.standardised else target
    shown = true if predicted is None else predicted
    for number, each in enumerate(shown):
        known = None if valid is None else valid[number, 0]
        of = true[number, 0] if known is None else true[number, 0][known]
        limits = (float(of.min()), float(of.max())) if of.numel() else (0.0, 1.0)
        yield depth_colours(each[0], limits, known if predicted is None else None)


def _pixels(mask: Tensor, size: ModelSize) -> np.ndarray:
    """Patches ``[N]`` as pixels ``[H, W]``."""
    grid = mask.reshape(1, 1, *size.grid).float()
    return interpolate(grid, size=size.image_size, mode="nearest")[0, 0].bool().cpu().numpy()


def _show(axis: Any, picture: np.ndarray) -> None:
    axis.imshow(picture, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)


def _legends(size: ModelSize, names: Mapping[str, tuple[str, ...]]) -> int:
    return sum(0 < len(names.get(name, ())) <= _NAMED for name in size.names)


def _finish(
    figure: Figure,
    size: ModelSize,
    names: Mapping[str, tuple[str, ...]],
    title: str,
    legends: int,
) -> None:
    """Title, legends, and where everything is."""
    height = figure.get_size_inches()[1]
    figure.suptitle(title, fontsize=11, y=1 - 0.06 / height)
    bottom = (0.04 + 0.3 * legends) / height
    figure.subplots_adjust(0.005, bottom, 0.995, 1 - 0.62 / height, wspace=0.04, hspace=0.04)
    shown = 0
    for name in size.names:
        classes = names.get(name, ())
        if 0 < len(classes) <= _NAMED:
            colours = palette(len(classes))
            patches = [Patch(color=c, label=n) for c, n in zip(colours, classes, strict=True)]
            figure.legend(
                handles=patches,
                loc="lower center",
                bbox_to_anchor=(0.5, (0.02 + 0.3 * shown) / height),
                ncols=len(classes),
                frameon=False,
                fontsize=8,
                handlelength=1,
            )
            shown += 1


def _plain(model: Any) -> MultiModalMaskMae:
    """The model within what compiles it or spreads it over ranks."""
    for name in ("module", "_orig_mod"):
        model = getattr(model, name, model)
    assert isinstance(model, MultiModalMaskMae)
    return model
