"""Predictions beside inputs and ground truth, as one PNG for all arms."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from torch import Tensor

from experiments.mae.batches import VALID
from experiments.mae.colours import (
    DEPTH_MAP,
    UNKNOWN,
    depth_colours,
    label_colours,
    rgb_colours,
)
from experiments.mae.downstream.configuration import TaskName
from experiments.mae.downstream.evaluation import INPUT
from taskrobust._files import write_atomically

__all__ = ["draw"]

CELL = 1.7
"""Width of a picture in inches."""

RESOLUTION = 130
"""Pixels an inch."""

WIDTH = 4
"""Images beside each other, for classification."""

LEGEND = 20
"""Classes that a legend names at most: the most frequent ones."""

_RIGHT, _WRONG = "#1a7f37", "#b42318"

Colours = NDArray[np.float64]
Kept = Mapping[str, Tensor]


def draw(path: Path, task: TaskName, arms: Mapping[str, Kept], names: Sequence[str]) -> None:
    """Write a PNG: an image a row, input, truth and each arm's prediction side by side.

    For classification, images with their true class and that of each arm, with its probability.

    Args:
        path: of the PNG.
        task: which.
        arms: by name, from `experiments.mae.downstream.evaluation.read_pictured`, of the same
            images.
        names: of the classes.
    """
    figure = {"cls": _classified, "semseg": _segmented, "depth": _depths}[task](arms, names)
    stream = io.BytesIO()
    figure.savefig(
        stream,
        format="png",
        dpi=RESOLUTION,
        bbox_inches="tight",
        pad_inches=0.08,
        metadata={"Software": None},
    )
    write_atomically(path, stream.getvalue())


def _classified(arms: Mapping[str, Kept], names: Sequence[str]) -> Figure:
    first = next(iter(arms.values()))
    shown = [_shown(first, name) for name in _inputs(first) if first[INPUT + name].ndim == 4]
    count = len(first["index"])
    rows = -(-count // WIDTH)
    width = -(-count // rows)
    side = 1.3 * CELL
    height = _aspect(first) * side / max(len(shown), 1) + 0.19 * (1 + len(arms)) + 0.1
    figure = Figure((side * width, height * rows))
    figure.set_layout_engine("constrained")
    grid = figure.subplots(rows, width, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for number in range(count):
        axes = grid.flat[number]
        axes.imshow(np.concatenate([each[number] for each in shown], 1), interpolation="nearest")
        label = int(first["label"][number])
        lines = [(f"true: {names[label]}", "black")]
        for arm, kept in arms.items():
            shares = kept["prediction"][number].double().softmax(0)
            best = int(shares.argmax())
            prefix = f"{arm}: " if len(arms) > 1 else "predicted: "
            colour = _RIGHT if best == label else _WRONG
            lines.append((f"{prefix}{names[best]} ({100 * shares[best]:.0f} %)", colour))
        for place, (line, colour) in enumerate(lines):
            axes.annotate(
                line, (0, 1), (0, 3 + 11 * (len(lines) - 1 - place)), xycoords="axes fraction",
                textcoords="offset points", color=colour, fontsize=8,
                fontweight="bold" if place == 0 else "normal",
            )  # fmt: skip
    return figure


def _segmented(arms: Mapping[str, Kept], names: Sequence[str]) -> Figure:
    first, classes = next(iter(arms.values())), len(names)
    maps = {"ground truth": first["semseg"]}
    maps |= {_title(arm, arms): kept["prediction"] for arm, kept in arms.items()}
    columns: dict[str, list[Colours]] = _input_columns(first)
    for title, ids in maps.items():
        columns[title] = [label_colours(each, classes) for each in ids]
    figure, _ = _grid(columns, _aspect(first), extra=0.45)
    present, counts = np.unique(
        torch.cat([each.flatten() for each in maps.values()]).numpy(), return_counts=True
    )
    common = np.sort(present[np.argsort(-counts, kind="stable")][:LEGEND])
    labels = [*names, "unlabelled"]
    figure.legend(
        handles=[
            Patch(color=label_colours(torch.tensor([[each]]), classes)[0, 0], label=labels[each])
            for each in common
        ],
        loc="outside lower center",
        ncols=max(2, 2 * len(columns)),
        fontsize=7,
        frameon=False,
        title=f"the {LEGEND} most frequent classes" if len(present) > LEGEND else None,
        title_fontsize=7,
    )
    return figure


def _depths(arms: Mapping[str, Kept], names: Sequence[str]) -> Figure:  # noqa: ARG001
    """Depth in logarithmic colours, which show what is near as well as what is far."""
    first = next(iter(arms.values()))
    truth, known = first["depth"][:, 0].double(), _known(first, "depth")
    least, most = _limits(truth[known])
    least = max(least, 1e-3)
    limits = (math.log(least), math.log(max(most, 2 * least)))
    errors = {arm: (kept["prediction"][:, 0] - truth).abs() for arm, kept in arms.items()}
    worst = max(_limits(each[known])[1] for each in errors.values())
    error_map, error_scale = mpl.colormaps["magma"], Normalize(0, worst, clip=True)
    columns: dict[str, list[Colours]] = _input_columns(first)
    columns["ground truth"] = [
        depth_colours(depth.clamp(min=least).log(), limits, valid)
        for depth, valid in zip(truth, known, strict=True)
    ]
    for arm, kept in arms.items():
        columns[_title(arm, arms)] = [
            depth_colours(depth.clamp(min=least).log(), limits)
            for depth in kept["prediction"][:, 0]
        ]
        columns["error" if len(arms) == 1 else f"error of {arm}"] = [
            np.where(valid[..., None], error_map(error_scale(error.numpy()))[..., :3], UNKNOWN)
            for error, valid in zip(errors[arm], known.numpy(), strict=True)
        ]
    figure, axes = _grid(columns, _aspect(first), extra=1.0)
    depth_scale = LogNorm(math.exp(limits[0]), math.exp(limits[1]))
    _bar(figure, axes, error_scale, "magma", "|error| in metres")
    _bar(figure, axes, depth_scale, DEPTH_MAP, "depth in metres (black: unknown)")
    return figure


def _bar(figure: Figure, axes: Any, scale: Normalize, colours: str, label: str) -> None:
    """A bar of colours below the pictures, with plain numbers."""
    mappable = mpl.cm.ScalarMappable(scale, colours)
    bar = figure.colorbar(mappable, ax=axes, location="bottom", aspect=60, shrink=0.8, pad=0.01)
    space = np.geomspace if isinstance(scale, LogNorm) else np.linspace
    ticks = space(scale.vmin or 0.0, scale.vmax or 1.0, 5).tolist()
    bar.set_ticks(ticks, labels=[f"{each:.2g}" for each in ticks])
    bar.minorticks_off()
    bar.ax.tick_params(labelsize=7)
    bar.set_label(label, fontsize=8)


def _grid(
    columns: Mapping[str, Sequence[Colours]], aspect: float, extra: float
) -> tuple[Figure, Any]:
    """Pictures in columns with titles."""
    count = len(next(iter(columns.values())))
    figure = Figure((CELL * len(columns), CELL * aspect * count + 0.3 + extra))
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    grid = figure.subplots(count, len(columns), squeeze=False)
    for column, (title, pictures) in enumerate(columns.items()):
        grid[0, column].set_title(title, fontsize=9)
        for row, picture in enumerate(pictures):
            grid[row, column].imshow(picture, interpolation="nearest")
            grid[row, column].set_axis_off()
    return figure, grid


def _input_columns(kept: Kept) -> dict[str, list[Colours]]:
    inputs = _inputs(kept)
    return {f"input: {name}" if len(inputs) > 1 else "input": _shown(kept, name) for name in inputs}


def _inputs(kept: Kept) -> list[str]:
    """Names of the inputs, colours first."""
    names = [name.removeprefix(INPUT) for name in kept if name.startswith(INPUT)]
    return sorted(
        (name for name in names if not name.endswith(VALID)), key=lambda name: name != "rgb"
    )


def _shown(kept: Kept, name: str) -> list[Colours]:
    """An input as colours: standardised colours, depth by its own range, or class ids."""
    values = kept[INPUT + name]
    if values.ndim == 3:
        return [label_colours(each, max(int(values.max()), 1)) for each in values]
    if values.shape[1] == 3:
        return [rgb_colours(each) for each in values]
    planes, known = values[:, 0], _known(kept, INPUT + name)
    return [
        depth_colours(plane, _limits(plane[valid]), valid)
        for plane, valid in zip(planes, known, strict=True)
    ]


def _known(kept: Kept, name: str) -> Tensor:
    """Where depth is known, bool ``[n, h, w]``."""
    if name + VALID in kept:
        return kept[name + VALID][:, 0]
    return torch.ones_like(kept[name][:, 0], dtype=torch.bool)


def _limits(values: Tensor) -> tuple[float, float]:
    """The range that colours show: that of all values but the outermost percent."""
    if not values.numel():
        return 0.0, 1.0
    least, most = np.quantile(values.double().numpy(), (0.01, 0.99)).tolist()
    return least, max(most, least + 1e-6)


def _aspect(kept: Kept) -> float:
    values = kept[INPUT + _inputs(kept)[0]]
    return float(values.shape[-2] / values.shape[-1])


def _title(arm: str, arms: Mapping[str, Kept]) -> str:
    return arm if len(arms) > 1 else "prediction"
