import dataclasses
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoConfig, DPTConfig, DPTImageProcessor, pipeline
from transformers.modeling_outputs import DepthEstimatorOutput

from experiments.configuration import ConfigurationError
from experiments.mae.data.declarations import DepthFiles
from experiments.mae.label import depth as module
from experiments.mae.label.depth import DepthModel, load_depth
from tests.experiments.mae.label import tiny
from tests.experiments.mae.label.conftest import CPU, SIZES, picture


def by_pipeline(folder, image):
    """What transformers itself predicts for one image."""
    made = pipeline("depth-estimation", model=folder, device="cpu")
    return made(Image.fromarray(image))["predicted_depth"].numpy()


@pytest.mark.parametrize("name", ["dpt", "depth_anything"])
def test_depth_of_a_batch_is_that_of_transformers_pipeline_one_by_one(models, name):
    found = load_depth(models[name], kind="inverse", device=CPU)
    images = [picture((40, 56), seed) for seed in range(3)]
    inputs = [found.prepare(image) for image in images]
    together = found.depths(inputs, [(40, 56)] * 3)
    for image, depth in zip(images, together, strict=True):
        wanted = by_pipeline(models[name], image)
        assert depth.shape == wanted.shape == (40, 56)
        assert np.ptp(wanted) > 0.1
        np.testing.assert_allclose(depth, wanted, atol=1e-5 * np.ptp(wanted), rtol=0)


@pytest.mark.parametrize("size", [*dict.fromkeys(SIZES), (1, 9), (3, 3)])
def test_depth_has_the_size_of_the_image_and_fills_sixteen_bits(depth, size):
    image = picture(size)
    (stored,) = depth.predict([depth.prepare(image)], [size])
    assert stored.values.shape == size
    assert stored.values.dtype == np.uint16
    assert (stored.values.min(), stored.values.max()) == (0, 65535)


def test_what_the_model_said_can_be_had_back_from_the_file(depth):
    image = picture((40, 56))
    inputs = [depth.prepare(image)]
    (said,) = depth.depths(inputs, [(40, 56)])
    (stored,) = depth.predict(inputs, [(40, 56)])
    low, high = (float(stored.notes[name]) for name in ("minimum", "maximum"))
    again = low + (high - low) * stored.values * depth.files.scale
    np.testing.assert_allclose(again, said, atol=0.51 * (high - low) / 65535, rtol=0)


def test_near_stays_large_where_depth_is_inverse(depth):
    image = picture((40, 56))
    inputs = [depth.prepare(image)]
    (said,) = depth.depths(inputs, [(40, 56)])
    (stored,) = depth.predict(inputs, [(40, 56)])
    order = said.ravel().argsort()
    assert (np.diff(stored.values.ravel()[order].astype(int)) >= 0).all()
    assert depth.files.unit == "inverse"


def test_a_constant_prediction_is_stored_as_one_value(depth):
    stored = depth._stored(np.full((2, 3), 4.5, np.float32))
    assert (stored.values == 0).all()
    assert stored.notes == {"minimum": "4.5", "maximum": "4.5"}


def test_metres_are_stored_by_a_fixed_scale_and_the_impossible_is_unknown(tmp_path):
    folder = tiny.depth_anything(tmp_path / "m", "metric", max_depth=80)
    found = load_depth(folder, device=CPU)
    assert found.files == DepthFiles(scale=0.002, unit="metres", void=0)
    values = np.array(
        [[-1.0, 0.0, 0.0009, 0.0011, 7.0011, 79.9995, 131.07, 131.1, 5e4]], np.float32
    )
    stored = found._stored(values)
    assert stored.values.tolist() == [[0, 0, 0, 1, 3501, 40000, 65535, 0, 0]]
    image = picture((40, 56))
    inputs = [found.prepare(image)]
    (said,) = found.depths(inputs, [(40, 56)])
    np.testing.assert_allclose(found.predict(inputs, [(40, 56)])[0].values * 0.002, said, atol=1e-3)


def test_depth_that_is_not_finite_is_refused(depth):
    with pytest.raises(ValueError, match="finite"):
        depth._stored(np.array([[1.0, np.nan]], np.float32))


@pytest.mark.parametrize(
    ("type_", "fields", "stated", "wanted"),
    [
        ("depth_anything", {"depth_estimation_type": "relative"}, None, "inverse"),
        ("depth_anything", {"depth_estimation_type": "relative"}, "relative", "relative"),
        ("depth_anything", {"depth_estimation_type": "metric"}, None, "metres"),
        ("zoedepth", {}, None, "metres"),
        ("depth_pro", {}, None, "metres"),
        ("dpt", {}, "inverse", "inverse"),
        ("dpt", {}, "relative", "relative"),
        ("glpn", {}, "metres", "metres"),
    ],
)
def test_what_a_model_predicts_is_known_or_stated(type_, fields, stated, wanted):
    assert module._unit(AutoConfig.for_model(type_, **fields), "m", stated) == wanted


@pytest.mark.parametrize(
    ("type_", "fields", "stated", "words"),
    [
        ("dpt", {}, None, "--depth-kind should be stated.*inverse.*MiDaS.*relative.*Omnidata"),
        ("glpn", {}, None, "--depth-kind should be stated"),
        ("dpt", {}, "meters", "one of inverse, relative, metres; found 'meters'"),
        ("depth_anything", {"depth_estimation_type": "metric"}, "inverse", "should be metres"),
        ("depth_anything", {"depth_estimation_type": "relative"}, "metres", "should be inverse"),
        ("zoedepth", {}, "relative", "should be metres"),
    ],
)
def test_a_meaning_that_is_unknown_or_contradicts_the_model_is_refused(
    type_, fields, stated, words
):
    with pytest.raises(ConfigurationError, match=words):
        module._unit(AutoConfig.for_model(type_, **fields), "m", stated)


def test_a_scale_is_for_metres_only(models):
    with pytest.raises(ConfigurationError, match=r"--depth-scale .* metres only"):
        load_depth(models["dpt"], kind="inverse", scale=0.001, device=CPU)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.inf, np.nan])
def test_a_scale_that_is_no_length_is_refused(models, scale):
    with pytest.raises(ConfigurationError, match="--depth-scale should be positive"):
        load_depth(models["dpt"], kind="metres", scale=scale, device=CPU)


def test_the_scale_of_metres_can_be_given(models):
    found = load_depth(models["dpt"], kind="metres", scale=0.01, device=CPU)
    assert found.files == DepthFiles(scale=0.01, unit="metres", void=0)


def test_scales_reach_as_far_as_the_model():
    bins = {
        "bin_configurations": [{"name": "nyu", "max_depth": 10}, {"name": "k", "max_depth": 80}]
    }
    assert module._scale(DPTConfig()) == 0.001
    assert module._scale(AutoConfig.for_model("zoedepth", **bins)) == 0.002
    assert module._scale(AutoConfig.for_model("depth_anything", max_depth=65)) == 0.001


def test_sides_are_made_multiples_of_what_the_network_covers(tmp_path):
    options = {"size": {"height": 70, "width": 70}, "keep_aspect_ratio": True}
    folder = tiny.dpt_dinov2(tmp_path / "m", ensure_multiple_of=7, **options)
    found = load_depth(folder, kind="inverse", device=CPU)
    for size in ((40, 56), (97, 131)):
        pixels = found.prepare(picture(size))["pixel_values"]
        assert all(side % 28 == 0 for side in pixels.shape[-2:])


def test_a_dpt_that_would_misread_what_is_not_square_is_refused(tmp_path):
    # 4 · 9 tokens have a square number: the network would take them for 6 · 6 without an error.
    folder = tiny.dpt(tmp_path / "m", size={"height": 64, "width": 64}, keep_aspect_ratio=True)
    with pytest.raises(ConfigurationError, match=r"square images only.*keep_aspect_ratio"):
        load_depth(folder, kind="inverse", device=CPU)


class Mirror(torch.nn.Module):
    """Predicts the first channel of what it is given, in twice its size."""

    def forward(self, pixel_values):
        large = torch.nn.functional.interpolate(pixel_values[:, :1], scale_factor=2)
        return DepthEstimatorOutput(predicted_depth=large[:, 0])


def test_what_is_predicted_for_a_border_is_cut_off(tmp_path):
    options = {"do_resize": False, "do_pad": True, "size_divisor": 28}
    found = load_depth(tiny.dpt_dinov2(tmp_path / "m", **options), kind="relative", device=CPU)
    images = [picture(size) for size in ((40, 51), (41, 50))]
    inputs = [found.prepare(image) for image in images]
    for image, each in zip(images, inputs, strict=True):
        own = found.model.processor(images=Image.fromarray(image), return_tensors="pt")
        torch.testing.assert_close(each["pixel_values"], own["pixel_values"])
        assert each["pixel_values"].shape[-2:] == (56, 56)
    mirror = DepthModel(dataclasses.replace(found.model, network=Mirror()), found.files)
    depths = mirror.depths(inputs, [(40, 51), (41, 50)])
    for image, depth in zip(images, depths, strict=True):
        wanted = image[..., 0] / 127.5 - 1
        assert np.abs(depth - wanted).mean() < 0.3 * np.abs(depth[:, 1:] - wanted[:, :-1]).mean()


def test_an_image_processor_that_crops_is_refused(tmp_path, models):
    folder = shutil.copytree(models["dpt"], tmp_path / "m")
    crop = {"do_center_crop": True, "crop_size": {"height": 32, "width": 32}}
    DPTImageProcessor(size={"height": 64, "width": 64}, **crop).save_pretrained(folder)
    with pytest.raises(ConfigurationError, match=r"--depth .*whole image; found one that crops"):
        load_depth(str(folder), kind="inverse", device=CPU)
