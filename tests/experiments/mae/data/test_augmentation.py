import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp
from torch.utils.data import DataLoader
from torchvision import tv_tensors
from torchvision.transforms import v2

from experiments.mae.data.augmentation import (
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    CentralCrop,
    RandomCrop,
    Window,
    central_window,
    cut,
    random_window,
)
from experiments.mae.model.masking import TokenMasking

SIDES = st.integers(1, 40)


def coordinates(height, width):
    """Depth and labels that number the pixels, and colours that are row and column."""
    number = torch.arange(height * width).reshape(height, width)
    row, column = number // width, number % width
    return {
        "rgb": tv_tensors.Image(torch.stack([row, column, row * 0]).to(torch.uint8)),
        "depth": tv_tensors.Mask(number[None].float()),
        "depth_valid": tv_tensors.Mask(number[None] % 3 > 0),
        "semseg": tv_tensors.Mask(number),
    }


def nearest(values, window, size):
    """The pixels that hold the centres of the cells, in whole numbers."""
    part = values[..., window.top :, window.left :][..., : window.height, : window.width]
    rows = (2 * np.arange(size[0]) + 1) * window.height // (2 * size[0])
    columns = (2 * np.arange(size[1]) + 1) * window.width // (2 * size[1])
    found = part[..., rows, :][..., columns]
    return found.flip(-1) if window.flipped else found


def colours(normalised):
    """Colours before they were standardised, from 0 to 255."""
    mean, deviation = (
        torch.tensor(each)[:, None, None] for each in (IMAGENET_MEAN, IMAGENET_DEVIATION)
    )
    return (normalised * deviation + mean) * 255


@st.composite
def windows(draw):
    height, width = draw(SIDES), draw(SIDES)
    top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    part = draw(st.integers(1, height - top)), draw(st.integers(1, width - left))
    return (height, width), Window(top, left, *part, draw(st.booleans()))


@given(windows(), st.tuples(SIDES, SIDES))
def test_masks_take_the_pixel_at_the_centre_of_each_cell(case, size):
    (height, width), window = case
    given_ = coordinates(height, width)
    found = cut(given_, window, size)
    expected = nearest(given_["semseg"], window, size)
    ties = [
        (((2 * np.arange(out) + 1) * part) % (2 * out) == 0).any()
        for out, part in zip(size, window[2:4], strict=True)
    ]
    if not any(ties):  # where a centre lies between two pixels, either is right
        assert torch.equal(found["semseg"], expected)
    assert torch.equal(found["depth"][0].long(), found["semseg"])
    assert torch.equal(found["depth_valid"][0], found["semseg"] % 3 > 0)
    assert found["semseg"].dtype == torch.int64
    assert found["depth_valid"].dtype == torch.bool
    assert {type(each) for each in found.values()} == {torch.Tensor}


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("size", [(24, 40), (64, 64), (100, 90)])
def test_colours_show_the_place_that_labels_and_depth_show(flipped, size):
    given_ = coordinates(96, 128)
    window = Window(10, 21, 60, 77, flipped)
    found = cut(given_, window, size)
    row, column = found["semseg"] // 128, found["semseg"] % 128
    inner = (slice(3, -3), slice(3, -3))  # antialiasing shortens what it averages at the edge
    shown = colours(found["rgb"])
    assert (shown[0] - row)[inner].abs().max() <= 1.01  # half a pixel, and rounding to bytes
    assert (shown[1] - column)[inner].abs().max() <= 1.01
    assert abs((shown[0] - row)[inner].mean()) < 0.1  # and not half a pixel aside
    assert abs((shown[1] - column)[inner].mean()) < 0.1


def test_colours_are_standardised_as_imagenet_is():
    white = tv_tensors.Image(torch.full((3, 8, 8), 255, dtype=torch.uint8))
    found = cut({"rgb": white}, Window(1, 2, 4, 5), (6, 6))["rgb"]
    expected = (1 - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_DEVIATION)
    assert torch.allclose(found, expected[:, None, None].expand(3, 6, 6))
    assert torch.allclose(colours(found), torch.tensor(255.0))


@given(windows(), st.tuples(st.integers(1, 9), st.integers(1, 9)), st.sampled_from([1, 2, 4]))
def test_labels_are_never_invented(case, cells, stride):
    (height, width), window = case
    labels = torch.zeros(height, width, dtype=torch.int64)
    labels[:, width // 2 :] = 132
    size = (cells[0] * stride, cells[1] * stride)
    found = cut({"semseg": tv_tensors.Mask(labels)}, window, size, {"semseg": stride})["semseg"]
    assert found.shape == cells
    assert set(found.unique().tolist()) <= {0, 132}


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_smooth_resizing_would_invent_labels(dtype):
    labels = torch.zeros(1, 8, 8, dtype=dtype)
    labels[..., 3:] = 132
    smooth = v2.functional.resize(labels, [5, 5], interpolation=v2.InterpolationMode.BICUBIC)
    assert not set(smooth.unique().tolist()) <= {0, 132}


def test_labels_of_a_stride_are_those_at_the_centres_of_cells_of_the_result():
    given_ = coordinates(64, 64)
    found = cut(given_, Window(0, 0, 64, 64), (64, 64), {"semseg": 4})
    assert found["semseg"].shape == (16, 16)
    assert found["depth"].shape == (1, 64, 64)
    assert torch.equal(found["semseg"], given_["semseg"][2::4, 2::4])


def test_a_tensor_that_does_not_say_what_it_is_is_refused():
    with pytest.raises(TypeError, match=r"`depth` should be an `Image` or a `Mask`; found Tensor"):
        cut({"depth": torch.zeros(1, 4, 4)}, Window(0, 0, 4, 4), (2, 2))


@given(st.tuples(SIDES, SIDES), st.integers(0, 2**32), st.floats(0.05, 1), st.floats(0.3, 1))
def test_a_random_window_lies_in_the_image(size, seed, least, narrow):
    rng = np.random.default_rng(seed)
    found = random_window(rng, size, (least, 1.0), (narrow, 1 / narrow))
    assert 0 <= found.top <= size[0] - found.height < size[0]
    assert 0 <= found.left <= size[1] - found.width < size[1]


@pytest.mark.parametrize("size", [(60, 80), (200, 20)])
def test_windows_are_drawn_as_torchvision_draws_them(size):
    count = 1500
    crop = v2.RandomResizedCrop(1, (0.2, 1.0), (3 / 4, 4 / 3))
    image = [tv_tensors.Image(torch.zeros(3, *size))]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = [crop.make_params(image) for _ in range(count)]
    ours = [RandomCrop(size=(1, 1)).window(0, index, size) for index in range(count)]
    for name in ("top", "left", "height", "width"):
        values = [each[name] for each in theirs], [getattr(each, name) for each in ours]
        assert ks_2samp(*values).pvalue > 1e-3
    shape = [np.array([each[name] for each in theirs]) for name in ("width", "height")]
    own = [np.array([getattr(each, name) for each in ours]) for name in ("width", "height")]
    assert ks_2samp(shape[0] / shape[1], own[0] / own[1]).pvalue > 1e-3
    assert ks_2samp(shape[0] * shape[1], own[0] * own[1]).pvalue > 1e-3


def test_area_and_shape_are_those_asked_for():
    crop = RandomCrop(size=(1, 1), scale=(0.3, 0.3), ratio=(0.5, 0.5))
    for index in range(20):
        found = crop.window(0, index, (400, 400))
        assert found.height * found.width == pytest.approx(0.3 * 400**2, rel=0.01)
        assert found.width / found.height == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize(("size", "shape"), [((400, 10), (13, 10)), ((10, 400), (10, 13))])
def test_where_nothing_fits_it_is_the_middle(size, shape):
    found = RandomCrop(size=(1, 1), scale=(1.0, 1.0)).window(0, 0, size)
    assert found[2:4] == shape
    assert found[:2] == ((size[0] - shape[0]) // 2, (size[1] - shape[1]) // 2)
    sides = {
        RandomCrop(size=(1, 1), scale=(1.0, 1.0)).window(0, index, size).flipped
        for index in range(20)
    }
    assert sides == {False, True}


def test_half_of_the_windows_are_flipped_whatever_the_window():
    crop = RandomCrop(size=(1, 1), seed=3)
    found = [crop.window(1, index, (60, 80)) for index in range(2000)]
    assert sum(each.flipped for each in found) == pytest.approx(1000, abs=100)
    for flip, expected in ((0.0, False), (1.0, True)):
        always = RandomCrop(size=(1, 1), seed=3, flip=flip)
        again = [always.window(1, index, (60, 80)) for index in range(50)]
        assert {each.flipped for each in again} == {expected}
        assert [each[:4] for each in again] == [each[:4] for each in found[:50]]


def test_windows_differ_with_seed_duplicate_and_index_and_are_not_the_draw_of_the_mask():
    def window(seed, duplicate, index):
        return RandomCrop(size=(1, 1), seed=seed).window(duplicate, index, (500, 500))

    found = {window(*key) for key in np.ndindex(3, 3, 3)}
    assert len(found) == 27
    assert window(1, 2, 0) == window(1, 2, 0)
    shares = np.array([_first_draw_of_mask(index) for index in range(300)])
    areas = np.array([window(0, 0, index)[2] * window(0, 0, index)[3] for index in range(300)])
    assert abs(np.corrcoef(shares, areas)[0, 1]) < 0.2
    assert window(0, 0, 5) != random_window(np.random.default_rng([0, 0, 5]), (500, 500))


def _first_draw_of_mask(index):
    """Share of the visible tokens that the first modality has."""
    return (TokenMasking((50, 50), 50).sample(0, index) < 50).mean()


class Cut(torch.utils.data.Dataset):
    def __init__(self, crop):
        self.crop = crop

    def __len__(self):
        return 6

    def __getitem__(self, index):
        torch.rand(index + 1)  # whoever else draws changes nothing
        return {"index": index, **self.crop(coordinates(20, 30), 2, index)}


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_sample_depends_neither_on_workers_nor_on_order_nor_on_the_global_generator():
    dataset = Cut(RandomCrop(size=(16, 16), strides={"semseg": 4}, seed=5))
    torch.manual_seed(0)
    before = torch.get_rng_state()
    expected = {index: dataset.crop(coordinates(20, 30), 2, index) for index in range(6)}
    assert torch.equal(torch.get_rng_state(), before)
    for options in (
        {"batch_size": 2, "shuffle": True},
        {"batch_size": 3, "num_workers": 2, "multiprocessing_context": "fork"},
    ):
        torch.manual_seed(1)
        for batch in DataLoader(dataset, **options):
            for row, index in enumerate(batch.pop("index").tolist()):
                for name, values in batch.items():
                    assert torch.equal(values[row], expected[index][name])


def test_evaluation_sees_the_middle():
    assert central_window((60, 80), 1.0) == (0, 10, 60, 60, False)
    assert central_window((60, 80), 2.0) == (10, 0, 40, 80, False)
    assert central_window((1, 100), 0.01) == (0, 49, 1, 1, False)
    given_ = coordinates(60, 80)
    found = CentralCrop(size=(60, 60), strides={"semseg": 4})(given_, 3, 4)
    assert torch.equal(found["depth"], given_["depth"][..., 10:70])
    assert torch.equal(found["semseg"], given_["semseg"][2::4, 12:70:4])
    assert torch.allclose(colours(found["rgb"]), given_["rgb"][..., 10:70].float(), atol=1e-3)
    wide = CentralCrop(size=(20, 40))(given_)
    assert wide["rgb"].shape == (3, 20, 40)
    assert torch.equal(wide["semseg"], given_["semseg"][11:50:2, 1::2])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scale": (0.0, 1.0)}, r"`scale` should ascend within \(0, 1\]; found \(0.0, 1.0\)"),
        ({"scale": (0.5, 1.1)}, "`scale`"),
        ({"scale": (0.5, 0.4)}, "`scale`"),
        ({"ratio": (0.0, 1.0)}, "`ratio`"),
        ({"ratio": (2.0, 1.0)}, "`ratio`"),
        ({"flip": 1.5}, "`flip` should be a probability; found 1.5"),
        ({"strides": {"semseg": 3}}, r"`strides.semseg` should divide `size` \(16, 32\); found 3"),
        ({"strides": {"semseg": 0}}, "found 0"),
    ],
)
def test_values_out_of_range_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        RandomCrop(size=(16, 32), **fields)
    if "strides" in fields:
        with pytest.raises(ValueError, match=message):
            CentralCrop(size=(16, 32), **fields)
