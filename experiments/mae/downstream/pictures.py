"""Predictions beside inputs and ground truth, as one PNG for all arms."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from torch import Tensor

from experiments.mae.data.augmentation import IMAGENET_DEVIATION, IMAGENET_MEAN
from experiments.mae.downstream.configuration import TaskName
from taskrobust._files import write_atomically

__all__ = ["class_colours", "draw"]

CELL = 1.7
"""Width of a picture in inches."""

RESOLUTION = 130
"""Pixels an inch."""

LEGEND = 20
"""Classes that a legend names at most."""

_RIGHT, _WRONG = "#1a7f37", "#b42318"

Floats = NDArray[np.floating[Any]]
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
    figure.savefig(stream, format="png", dpi=RESOLUTION, metadata={"Software": None})
    write_atomically(path, stream.getvalue())


def class_colours(count: int) -> Floats:
    """Colours of classes ``[count + 1, 3]``, the last black: unlabelled.

    Up to 60 are different; neighbouring ids look different.
    """
    tables = [mpl.colormaps[name](range(20))[:, :3] for name in ("tab20", "tab20b", "tab20c")]
    colours = np.concatenate([part for each in tables for part in (each[::2], each[1::2])])
    found: Floats = np.vstack([colours[np.arange(count) % len(colours)], np.zeros(3)])
    return found


def _classified(arms: Mapping[str, Kept], names: Sequence[str]) -> Figure:
    first = next(iter(arms.values()))
    count, (columns, inputs) = len(first["index"]), (4, _inputs(first))
    rows = -(-count // columns)
    width = min(count, columns)
    text = 0.19 * (1 + len(arms)) + 0.1
    figure = Figure((1.3 * CELL * width, (_aspect(first) * 1.3 * CELL + text) * rows))
    figure.set_layout_engine("constrained")
    grid = figure.subplots(rows, width, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for number in range(count):
        axes = grid.flat[number]
        shown = [_colours(first[f"input.{name}"][number], names) for name in inputs]
        axes.imshow(np.concatenate(shown, axis=1), interpolation="nearest")
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
    first, palette = next(iter(arms.values())), class_colours(len(names))
    columns: dict[str, list[Floats]] = _input_columns(first, names)
    columns["ground truth"] = [palette[ids] for ids in first["semseg"].numpy()]
    for arm, kept in arms.items():
        columns[_title(arm, arms)] = [palette[ids] for ids in kept["prediction"].numpy()]
    occurring = np.unique(
        np.concatenate(
            [first["semseg"].numpy().ravel()]
            + [kept["prediction"].numpy().ravel() for kept in arms.values()]
        )
    )
    figure, _ = _grid(columns, _aspect(first), extra=0.45)
    if len(occurring) <= LEGEND:
        patches = [
            Patch(color=palette[each], label=[*names, "unlabelled"][each]) for each in occurring
        ]
        figure.legend(
            handles=patches, loc="outside lower center", ncols=max(2, 2 * len(columns)),
            fontsize=7, frameon=False,
        )  # fmt: skip
    return figure


def _depths(arms: Mapping[str, Kept], names: Sequence[str]) -> Figure:
    first = next(iter(arms.values()))
    truth = first["depth"][:, 0].double().numpy()
    known = np.ones(truth.shape, np.bool_)
    if "depth_valid" in first:
        known = first["depth_valid"][:, 0].numpy()
    scale = Normalize(*_limits(truth[known]))
    metres = mpl.colormaps["viridis"]
    columns: dict[str, list[Floats]] = _input_columns(first, names)
    columns["ground truth"] = [_mapped(metres, scale, *pair) for pair in zip(truth, known)]  # noqa: B905
    predicted = {arm: kept["prediction"][:, 0].double().numpy() for arm, kept in arms.items()}
    errors = {arm: np.abs(each - truth) for arm, each in predicted.items()}
    worst = max(float(np.quantile(each[known], 0.98)) for each in errors.values())
    error_scale, error_colours = Normalize(0, max(worst, 1e-6)), mpl.colormaps["magma"]
    everywhere = np.ones_like(known[0])
    for arm, values in predicted.items():
        columns[_title(arm, arms)] = [_mapped(metres, scale, each, everywhere) for each in values]
        columns[f"error of {arm}" if len(arms) > 1 else "error"] = [
            _mapped(error_colours, error_scale, *pair)
            for pair in zip(errors[arm], known, strict=True)
        ]
    figure, axes = _grid(columns, _aspect(first), extra=0.6)
    for normalise, colours, label in (
        (scale, metres, "depth in metres (black: unknown)"),
        (error_scale, error_colours, "|error| in metres"),
    ):
        mappable = mpl.cm.ScalarMappable(normalise, colours)
        figure.colorbar(
            mappable, ax=axes, location="bottom", aspect=60, shrink=0.7, pad=0.01
        ).set_label(label, fontsize=8)
    return figure


def _grid(
    columns: Mapping[str, Sequence[Floats]], aspect: float, extra: float
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


def _input_columns(kept: Kept, names: Sequence[str]) -> dict[str, list[Floats]]:
    inputs = _inputs(kept)
    return {
        f"input: {name}" if len(inputs) > 1 else "input": [
            _colours(each, names) for each in kept[f"input.{name}"]
        ]
        for name in inputs
    }


def _inputs(kept: Kept) -> list[str]:
    return [name.removeprefix("input.") for name in kept if name.startswith("input.")]


def _colours(values: Tensor, names: Sequence[str]) -> Floats:
    """An input as colours from 0 to 1 ``[h, w, 3]``.

    Args:
        values: standardised colours ``[3, h, w]``, depth ``[1, h, w]`` or class ids ``[h, w]``.
        names: of the classes, if there are any.
    """
    array = values.numpy()
    if array.ndim == 2:
        shown: Floats = class_colours(max(int(array.max()), len(names)))[array]
        return shown
    if len(array) == 3:
        mean, deviation = np.array(IMAGENET_MEAN), np.array(IMAGENET_DEVIATION)
        restored: Floats = (array.transpose(1, 2, 0) * deviation + mean).clip(0, 1)
        return restored
    plane = array[0].astype(float)
    scale = Normalize(*_limits(plane))
    return _mapped(mpl.colormaps["viridis"], scale, plane, np.ones(plane.shape, np.bool_))


def _mapped(colours: Any, scale: Any, values: Floats, known: NDArray[np.bool_]) -> Floats:
    """Values as colours ``[h, w, 3]``, black where they are not known."""
    mapped: Floats = np.where(known[..., None], colours(scale(values))[..., :3], 0.0)
    return mapped


def _limits(values: Floats) -> tuple[float, float]:
    """The range that colours show: that of all values but the outermost percent."""
    if not values.size:
        return 0.0, 1.0
    least, most = (float(each) for each in np.quantile(values, (0.01, 0.99)))
    return (least, most) if most > least else (least, math.nextafter(least, math.inf) + 1e-6)


def _aspect(kept: Kept) -> float:
    values = kept[f"input.{_inputs(kept)[0]}"]
    return float(values.shape[-2] / values.shape[-1])


def _title(arm: str, arms: Mapping[str, Kept]) -> str:
    return arm if len(arms) > 1 else "prediction"
