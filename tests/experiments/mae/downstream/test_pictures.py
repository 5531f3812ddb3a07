import numpy as np
import pytest
import torch
from PIL import Image

from experiments.mae.colours import depth_colours, label_colours, rgb_colours
from experiments.mae.data.augmentation import IMAGENET_DEVIATION, IMAGENET_MEAN
from experiments.mae.downstream import pictures

SIDE = 12


def kept(task, images=3, seed=0, inputs=("rgb",)):
    """What a run keeps, of random content."""
    generator = torch.Generator().manual_seed(seed)
    found = {"index": torch.arange(images)}
    shown = {
        "rgb": torch.randn(images, 3, SIDE, SIDE, generator=generator),
        "depth": 1 + torch.rand(images, 1, SIDE, SIDE, generator=generator),
        "semseg": torch.randint(4, (images, 3, 3), generator=generator),
    }
    found |= {f"input.{name}": shown[name] for name in inputs}
    if task == "cls":
        found["label"] = torch.arange(images) % 3
        found["prediction"] = torch.randn(images, 3, generator=generator)
    elif task == "semseg":
        found["semseg"] = torch.randint(4, (images, SIDE, SIDE), generator=generator)
        found["prediction"] = torch.randint(3, (images, SIDE, SIDE), generator=generator)
    else:
        depth = 1 + 9 * torch.rand(images, 1, SIDE, SIDE, generator=generator)
        found |= {"depth": depth, "depth_valid": depth > 2, "prediction": depth - 1.5}
    return found


NAMES = ("floor", "wall", "ball")


def panels(figure):
    """Pixels of all pictures by row and column."""
    return [axes.get_images()[0].get_array() for axes in figure.axes if axes.get_images()]


def texts(figure):
    found = [axes.get_title() for axes in figure.axes] + [
        text.get_text() for axes in figure.axes for text in axes.texts
    ]
    return [text for text in found if text]


def test_segmentation_is_drawn_in_the_colours_of_the_legend():
    one = kept("semseg")
    figure = pictures._segmented({"a": one}, NAMES)
    found = panels(figure)
    assert len(found) == 9
    assert np.allclose(found[3], rgb_colours(one["input.rgb"][1]))
    assert np.allclose(found[4], label_colours(one["semseg"][1], 3))
    assert np.allclose(found[5], label_colours(one["prediction"][1], 3))
    assert np.allclose(found[4][(one["semseg"][1] == 3).numpy()], 0)  # unlabelled is black
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [*NAMES, "unlabelled"]
    for patch, number in zip(legend.get_patches(), range(4), strict=True):
        expected = label_colours(torch.tensor([[number]]), 3)[0, 0]
        assert np.allclose(patch.get_facecolor()[:3], expected)


def test_a_legend_names_the_most_frequent_of_many_classes():
    names = tuple(f"class {number}" for number in range(40))
    ids = (torch.arange(SIDE**2) % 30).reshape(1, SIDE, SIDE)
    ids[0, :6] = 35
    one = {**kept("semseg", images=1), "semseg": ids, "prediction": ids}
    (legend,) = pictures._segmented({"a": one}, names).legends
    shown = [text.get_text() for text in legend.get_texts()]
    assert len(shown) == pictures.LEGEND
    assert "class 35" in shown
    assert legend.get_title().get_text() == f"the {pictures.LEGEND} most frequent classes"


def test_depth_of_truth_and_of_predictions_is_on_one_scale():
    one = kept("depth")
    figure = pictures._depths({"a": {**one, "prediction": one["depth"]}}, ())
    found = panels(figure)
    valid = one["depth_valid"][0, 0].numpy()
    assert np.allclose(found[1][valid], found[2][valid])
    assert np.allclose(found[1][~valid], 0)
    assert np.allclose(found[3][valid], found[3][valid][0])  # no error anywhere
    worse = panels(pictures._depths({"a": one}, ()))
    assert np.allclose(worse[1], found[1])
    assert not np.allclose(worse[2][valid], found[2][valid])
    assert worse[3][valid].sum() > found[3][valid].sum()


def test_predictions_that_are_no_depth_are_drawn_all_the_same():
    one = kept("depth")
    negative = {**one, "prediction": one["depth"] - 100}
    assert all(np.isfinite(each).all() for each in panels(pictures._depths({"a": negative}, ())))


def test_classes_are_named_with_their_share():
    one = {**kept("cls"), "prediction": torch.tensor([[9.0, 0, 0], [0, 0, 9.0], [0, 0, 0.0]])}
    shown = texts(pictures._classified({"a": one}, NAMES))
    assert shown[:4] == [
        "true: floor", "predicted: floor (100 %)", "true: wall", "predicted: ball (100 %)",
    ]  # fmt: skip
    colours = [
        text.get_color()
        for axes in pictures._classified({"a": one}, NAMES).axes
        for text in axes.texts
    ]
    assert colours[1] == pictures._RIGHT
    assert colours[3] == pictures._WRONG


def test_arms_are_beside_each_other_by_name():
    arms = {"average": kept("depth"), "minimax": kept("depth", seed=1)}
    titles = texts(pictures._depths(arms, ()))
    assert titles == [
        "input", "ground truth", "average", "error of average", "minimax", "error of minimax",
    ]  # fmt: skip
    both = texts(pictures._classified({name: kept("cls") for name in arms}, NAMES))
    assert any(text.startswith("minimax: ") for text in both)


def test_all_inputs_are_shown():
    one = kept("semseg", inputs=("rgb", "depth", "semseg"))
    one["input.depth_valid"] = one["input.depth"] > 1.5
    figure = pictures._segmented({"a": one}, NAMES)
    titles = ["input: rgb", "input: depth", "input: semseg", "ground truth", "prediction"]
    assert texts(figure) == titles
    depth = panels(figure)[1]
    valid = one["input.depth_valid"][0, 0]
    assert np.allclose(depth[~valid.numpy()], 0)
    plane = one["input.depth"][0, 0]
    limits = tuple(np.quantile(plane[valid].double().numpy(), (0.01, 0.99)))
    assert np.allclose(depth, depth_colours(plane, limits, valid))


@pytest.mark.parametrize("task", ["cls", "semseg", "depth"])
def test_a_png_is_written_whole_and_colours_are_restored(task, tmp_path):
    one = kept(task, images=5)
    mean, deviation = (
        torch.tensor(each)[:, None, None] for each in (IMAGENET_MEAN, IMAGENET_DEVIATION)
    )
    red = (torch.tensor([1.0, 0.0, 0.0])[:, None, None] - mean) / deviation
    one["input.rgb"] = red.expand(5, 3, SIDE, SIDE)
    path = tmp_path / "p.png"
    pictures.draw(path, task, {"a": one}, NAMES)
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    shown = (np.abs(pixels - [255, 0, 0]) <= 2).all(-1).sum()
    assert 5 * 180**2 < shown < 5 * 320**2
    assert [each.name for each in tmp_path.iterdir()] == ["p.png"]
