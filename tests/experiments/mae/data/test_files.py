import io
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision import tv_tensors

from experiments.configuration import ConfigurationError
from experiments.mae.data.declarations import DepthFiles, LabelFiles, RgbFiles
from experiments.mae.data.files import decode, stored_values
from tests.experiments.mae.data.folders import DEPTH, RGB, SEMSEG, pixels


def saved(folder, values, name="x.png", **options):
    path = folder / name
    image = values if isinstance(values, Image.Image) else Image.fromarray(values)
    image.save(path, **options)
    return path


def png(values, bits):
    """A grey PNG with fewer bits than PIL writes."""
    rows = b"".join(
        b"\0" + bytes(np.packbits(np.unpackbits(row[:, None], axis=1)[:, -bits:].ravel()))
        for row in values
    )
    height, width = values.shape
    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def test_colour_is_an_image_of_bytes(tmp_path):
    values = pixels()["rgb"]
    (found,) = decode(saved(tmp_path, values), RGB).values()
    assert type(found) is tv_tensors.Image
    assert found.dtype == torch.uint8
    assert np.array_equal(found.permute(1, 2, 0).numpy(), values)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P"])
def test_any_image_of_eight_bits_becomes_colour(tmp_path, mode):
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    image = Image.fromarray(grey).convert(mode)
    (found,) = decode(saved(tmp_path, image), RGB).values()
    assert np.array_equal(found.numpy(), np.stack([grey] * 3))


def test_depth_has_its_unit_and_tells_where_it_is_known(tmp_path):
    values = np.array([[0, 1, 700], [2, 65_535, 0]], np.uint16)
    files = DepthFiles(scale=0.001, void=0)
    found = decode(saved(tmp_path, values), files)
    assert list(found) == ["depth", "depth_valid"]
    assert all(type(each) is tv_tensors.Mask for each in found.values())
    assert found["depth"].dtype == torch.float32
    expected = np.float32([[[0, 0.001, 0.7], [0.002, 65.535, 0]]])
    assert np.array_equal(found["depth"].numpy(), expected)
    assert found["depth_valid"].tolist() == [[[False, True, True], [True, True, False]]]


def test_another_unknown_value_than_zero_leaves_no_depth_behind(tmp_path):
    values = np.array([[3, 65_535]], np.uint16)
    found = decode(saved(tmp_path, values), DepthFiles(scale=1.0, void=65_535, limits=(0.0, 9.0)))
    assert found["depth"].tolist() == [[[3.0, 0.0]]]
    assert found["depth_valid"].tolist() == [[[True, False]]]


def test_depth_that_is_known_everywhere_has_no_mask(tmp_path):
    values = np.array([[51, 255]], np.uint8)
    found = decode(saved(tmp_path, values), DepthFiles(bits=8, scale=1 / 25.5))
    assert list(found) == ["depth"]
    assert found["depth"].tolist() == [[[2.0, 10.0]]]


def test_no_metres_are_no_depth_unless_declared_unknown(tmp_path):
    path = saved(tmp_path, np.array([[700, 700], [700, 0]], np.uint16))
    with pytest.raises(ConfigurationError, match=r"found 0 in row 1, column 1; declare `void` 0"):
        decode(path, DepthFiles(scale=0.001))
    assert "depth_valid" in decode(path, DepthFiles(scale=0.001, void=0))
    assert decode(path, DepthFiles(scale=1.0, unit="relative"))["depth"].min() == 0


@pytest.mark.parametrize("mode", ["L", "P", "I;16"])
def test_labels_are_the_stored_ids_whatever_the_mode(tmp_path, mode):
    values = np.array([[0, 4, 255], [1, 2, 3]], np.uint16 if mode == "I;16" else np.uint8)
    image = Image.fromarray(values)
    if mode == "P":
        image.putpalette([7 * n % 256 for n in range(768)])
    (found,) = decode(saved(tmp_path, image), SEMSEG).values()
    assert type(found) is tv_tensors.Mask
    assert found.dtype == torch.int64
    assert found.tolist() == [[0, 4, 5], [1, 2, 3]]


def test_labels_of_one_bit_are_two_classes(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(png(np.array([[0, 1, 1]], np.uint8), 1))
    assert decode(path, LabelFiles(classes=2))["semseg"].tolist() == [[0, 1, 1]]


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_values_that_reading_would_rescale_are_refused(tmp_path, bits):
    path = tmp_path / "x.png"
    path.write_bytes(png(np.array([[0, 1, 2]], np.uint8), bits))
    with pytest.raises(ConfigurationError, match=r"x.png: should have 8 or 16 bits .* 2 or 4"):
        decode(path, LabelFiles(classes=255))


WRONG = {
    "8 bits of 16": (DEPTH, np.ones((2, 2), np.uint8), "png", "should have 16 bits .* found 8;"),
    "16 bits of 8": (
        DepthFiles(bits=8, scale=1.0), np.ones((2, 2), np.uint16), "png", "have 8 .* found 16"
    ),
    "colours of depth": (DEPTH, np.ones((2, 2, 3), np.uint8), "png", "one channel; found mode RGB"),
    "palette of depth": (
        DepthFiles(bits=8, scale=1.0),
        Image.fromarray(np.ones((2, 2), np.uint8)).convert("P"),
        "png",
        "found mode P; write depth as grey",
    ),
    "colours of labels": (SEMSEG, np.ones((2, 2, 3), np.uint8), "png", "write ids, not colours"),
    "lossy labels": (SEMSEG, np.ones((2, 2), np.uint8), "jpg", "without loss, as PNG; found JPEG"),
    "16 bits of colour": (RGB, np.ones((2, 2), np.uint16), "png", "8 bits a channel; found mode I"),
    "label too large": (
        SEMSEG,
        np.array([[0, 1], [2, 133]], np.uint8),
        "png",
        r"semseg should be 0 to 4 or ignored \(255\); found 133 in row 1, column 1; correct",
    ),
    "depth too far": (
        DEPTH,
        np.array([[0, 101], [61_000, 102]], np.uint16),
        "png",
        r"0.1 to 60 metres; found 61 \(stored 61000\) in row 1, column 0; check `scale` 0.001",
    ),
    "depth too near": (DEPTH, np.array([[0, 99]], np.uint16), "png", "found 0.099 .stored 99. in"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_file_of_another_kind_is_named_with_what_was_found(tmp_path, case):
    files, values, extension, message = WRONG[case]
    path = saved(tmp_path, values, f"bad.{extension}")
    with pytest.raises(ConfigurationError, match=rf"bad\.{extension}: .*{message}"):
        decode(path, files)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"nowhere\.png: is missing"):
        decode(tmp_path / "nowhere.png", RGB)


def content(name, format_):
    stream = io.BytesIO()
    Image.fromarray(pixels()[name]).save(stream, format_)
    return stream.getvalue()


KINDS = {
    "rgb.png": (RgbFiles(), content("rgb", "PNG")),
    "rgb.jpg": (RgbFiles(), content("rgb", "JPEG")),
    "depth.png": (DEPTH, content("depth", "PNG")),
    "semseg.png": (SEMSEG, content("semseg", "PNG")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_off_anywhere_is_refused(tmp_path, kind):
    files, whole = KINDS[kind]
    path = tmp_path / kind
    assert stored_values(path, files, whole).any()
    for length in {*range(0, len(whole), 11), *range(len(whole) - 13, len(whole))}:
        with pytest.raises(ConfigurationError, match=r"cannot be read to its end .*; fetch"):
            stored_values(path, files, whole[:length])


@given(st.sampled_from(sorted(KINDS)), st.data())
def test_damage_is_refused_or_harmless_but_never_another_error(kind, data):
    files, whole = KINDS[kind]
    damaged = bytearray(whole)
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged[place] ^= data.draw(st.integers(1, 255))
    try:
        found = stored_values("x", files, bytes(damaged))
    except ConfigurationError:
        return
    if kind.endswith(".png"):  # JPEG has no checksums
        assert np.array_equal(found, stored_values("x", files, whole))
