import io

import numpy as np
import pytest
import torch
from PIL import Image

from experiments.mae.colours import UNKNOWN, depth_colours, label_colours, palette, rgb_colours
from experiments.mae.data.augmentation import IMAGENET_DEVIATION, IMAGENET_MEAN
from experiments.mae.model import MultiModalMaskMae
from experiments.mae.pretrain import pretrain
from experiments.mae.reading import Images
from experiments.mae.reconstructions import HIDDEN, draw_reconstructions
from experiments.records import run_folder
from tests.experiments.mae import samples

pytestmark = pytest.mark.usefixtures("one_thread")


def shown(figure):
    """Pictures by row and column."""
    count = len(figure.axes)
    columns = next(n for n in range(count, 0, -1) if figure.axes[0].get_gridspec().ncols == n)
    images = [axis.get_images()[0].get_array() for axis in figure.axes]
    return [images[start : start + columns] for start in range(0, count, columns)]


def test_colours_are_those_before_standardisation():
    colours = torch.rand(3, 5, 4)
    mean, deviation = (torch.tensor(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_DEVIATION))
    found = rgb_colours((colours - mean) / deviation)
    np.testing.assert_allclose(found, colours.permute(1, 2, 0).numpy(), atol=1e-6)


def test_depth_is_monotone_in_brightness_and_black_where_unknown():
    depth = torch.linspace(0, 10, 50).reshape(1, 50)
    valid = torch.ones(1, 50, dtype=torch.bool)
    valid[0, 7] = False
    brightness = depth_colours(depth, (0.0, 10.0)).sum(-1)[0]
    assert (np.diff(brightness) < 0).all()  # near is bright
    found = depth_colours(depth, (0.0, 10.0), valid)
    assert (found[0, 7] == UNKNOWN).all()
    assert (found[0, 8] != UNKNOWN).any()


@pytest.mark.parametrize("classes", [2, 6, 39, 133])
def test_classes_differ_in_colour_and_the_unlabelled_is_black(classes):
    colours = palette(classes)
    assert len({tuple(row) for row in colours.round(3)}) == classes
    assert colours.sum(1).min() > 0.3
    found = label_colours(torch.tensor([[0, classes]]), classes)
    assert (found[0, 1] == UNKNOWN).all()


def test_visible_patches_are_the_true_ones_and_masked_ones_the_models(tiny_study, scene_folder):
    images = Images(tiny_study(), scene_folder)
    model = MultiModalMaskMae(tiny_study().model)
    batch = images.held_out_collator([images.held_out[0], images.held_out[1]])
    with torch.no_grad():
        predictions = model(**batch, return_predictions=True).predictions
    rows = shown(draw_reconstructions(model, batch))
    assert [len(row) for row in rows] == [9, 9]
    for row in range(2):
        mask = batch["mask"][row].reshape(3, 4, 4)
        pixels = mask.repeat_interleave(8, 1).repeat_interleave(8, 2).numpy()
        for place, name in enumerate(("rgb", "semseg")):
            number = 0 if place == 0 else 2
            visible, predicted, target = rows[row][3 * number : 3 * number + 3]
            hidden = pixels[number]
            assert (visible[hidden] == HIDDEN).all()
            np.testing.assert_array_equal(visible[~hidden], target[~hidden])
            np.testing.assert_array_equal(predicted[~hidden], target[~hidden])
            if name == "rgb":
                expected = rgb_colours(predictions["rgb"][row])
            else:
                ids = predictions["semseg"][row].argmax(0)
                large = ids.repeat_interleave(4, 0).repeat_interleave(4, 1)
                expected = label_colours(large, 6)
            np.testing.assert_allclose(predicted[hidden], expected[hidden], atol=1e-6)


def test_every_task_has_its_columns_and_random_state_and_training_are_left_alone():
    model = samples.model(dtype=torch.float32).train()
    batch = samples.batch(dtype=torch.float32)
    state = torch.get_rng_state()
    figure = draw_reconstructions(model, batch)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert [len(row) for row in shown(figure)] == [12] * 4


def test_pictures_are_drawn_in_training_when_they_are_due(tmp_path, tiny_study, scene_folder):
    study = tiny_study("pictures=2", "picture_every=1")
    pretrain(study, scene_folder, tmp_path, "minimax", 0)
    folder = run_folder(tmp_path, "minimax", 0) / "reconstructions"
    assert sorted(path.name for path in folder.iterdir()) == [
        "step-0000002.png",
        "step-0000004.png",
        "step-0000006.png",
        "step-0000008.png",
    ]
    for path in folder.iterdir():
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            assert image.size[0] > 500
    without = pretrain(tiny_study(), scene_folder, tmp_path / "none", "minimax", 0)
    with_pictures = pretrain(study, scene_folder, tmp_path, "minimax", 0)
    assert with_pictures["held_out"] == without["held_out"]  # drawing changes nothing
