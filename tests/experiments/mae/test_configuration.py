from dataclasses import replace

import pytest

from experiments.configuration import ConfigurationError, dump, load
from experiments.mae.configuration import DEPTH, RGB, SEMSEG, TINY, Masking, ModelSize


def written(folder, text):
    path = folder / "size.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_defaults_are_the_paper_s():
    size = ModelSize()
    assert size.grid == (14, 14)
    assert len(size.modalities) * size.patches == 588
    assert Masking().visible * 6 == 588
    assert size.tasks == ("rgb", "depth", "semseg")
    assert replace(size, norm_rgb=True).tasks == ("rgb", "depth", "semseg", "norm_rgb")
    assert [SEMSEG.classes, SEMSEG.stride, SEMSEG.class_width] == [133, 4, 64]
    assert (RGB.loss, DEPTH.loss, DEPTH.standardised) == ("squared", "absolute", True)


@pytest.mark.parametrize("size", [ModelSize(), TINY, ModelSize(modalities=(SEMSEG, RGB))])
def test_a_size_survives_writing(tmp_path, size):
    assert load(ModelSize, written(tmp_path, dump(size))) == size


def test_the_order_of_the_modalities_is_the_given_one():
    size = ModelSize(modalities=(SEMSEG, RGB, DEPTH))
    assert size.names == ("semseg", "rgb", "depth")
    assert size.modality("rgb") is RGB
    with pytest.raises(ValueError, match=r"semseg, rgb, depth.*found 'normal'"):
        size.modality("normal")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image_size: [224, 200]", r"`image_size` should be multiples .*16; found \(224, 200\)"),
        ("image_size: 224", r"`image_size`: .*found 224"),
        ("heads: 7", r"`width` should be a multiple of 4 and of `heads`; found 768 and 7"),
        ("{width: 18, heads: 2}", r"`width` should be a multiple of 4.*found 18 and 2"),
        ("decoder_heads: 3", r"`decoder_width` .*`decoder_heads`; found 256 and 3"),
        ("patch_size: 14", r"`modalities\.semseg\.stride` should divide .*14; found 4"),
        ("modalities: []", r"`modalities`: .*at least 1 item"),
        ("modalities: [{kind: image, name: rgb, channels: 3}]", r"`modalities\.0\.image\.loss`"),
        ("modalities: [{kind: sound, name: rgb}]", r"`modalities\.0`: .*'sound'"),
        (
            "modalities: [{kind: labels, name: Class 1, classes: 3}]",
            r"`modalities\.0\.labels\.name`: .*found 'Class 1'",
        ),
        (
            "modalities: [&a {kind: labels, name: a, classes: 3}, *a]",
            r"`modalities` should have different names.*found a, a",
        ),
        (
            "{norm_rgb: true, modalities: [{kind: labels, name: rgb, classes: 3}]}",
            r"`norm_rgb` should be false without an image modality rgb",
        ),
        (
            "{norm_rgb: true, modalities: [{kind: labels, name: norm_rgb, classes: 3}]}",
            r"none of them 'norm_rgb' beside `norm_rgb`",
        ),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, content, message):
    with pytest.raises(ConfigurationError, match=message):
        load(ModelSize, written(tmp_path, content))


@pytest.mark.parametrize("content", ["visible: 0", "concentration: 0", "seed: -1", "tokens: 98"])
def test_a_masking_that_cannot_be_used_is_refused(tmp_path, content):
    name, value = content.split(": ")
    with pytest.raises(ConfigurationError, match=rf"`{name}`: .*found {value}"):
        load(Masking, written(tmp_path, content))
