import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from timm.data import create_transform
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors

from experiments.mae.data.augmentation import IMAGENET_DEVIATION, IMAGENET_MEAN
from experiments.mae.downstream.augmentation import (
    CentralView,
    JointCrop,
    RandAugmentedCrop,
    RandomView,
    Result,
    seeded,
)
from experiments.mae.downstream.configuration import Classification, ColourJitter

SIDES = st.integers(1, 40)
VOID = 133


def sample(height, width, known=True):
    """Depth and labels that number the pixels from 1, colours that are row and column."""
    number = 1 + torch.arange(height * width).reshape(height, width)
    row, column = (number - 1) // width, (number - 1) % width
    found = {
        "rgb": tv_tensors.Image(torch.stack([row, column, row * 0]).to(torch.uint8)),
        "depth": tv_tensors.Mask(number[None].float()),
        "semseg": tv_tensors.Mask(number),
    }
    if known:
        found["depth_valid"] = tv_tensors.Mask(number[None] % 3 > 0)
    return found


def colours(normalised):
    """Colours before they were standardised, from 0 to 255."""
    mean, deviation = (
        torch.tensor(each)[:, None, None] for each in (IMAGENET_MEAN, IMAGENET_DEVIATION)
    )
    return (normalised * deviation + mean) * 255


def view(size=(16, 16), strides=None, **fields):
    result = Result(size=size, void={"semseg": 0}, strides=strides or {})
    return RandomView(**{"result": result, "seed": 0, **fields})


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(SIDES, SIDES),
    st.tuples(st.integers(2, 40), st.integers(2, 40)),
    st.floats(0.1, 2),
    st.booleans(),
    st.integers(0, 2**40),
)
def test_labels_are_never_invented_and_padding_is_unlabelled(size, target, scale, cover, seed):
    labels = torch.zeros(size, dtype=torch.int64)
    labels[:, size[1] // 2 :] = 132
    given_ = {**sample(*size), "semseg": tv_tensors.Mask(labels)}
    result = Result(size=target, void={"semseg": VOID})
    found = RandomView(result=result, seed=seed, scale=(scale, scale), cover=cover)(given_, 1, 2)
    assert set(found["semseg"].unique().tolist()) <= {0, 132, VOID}
    assert set(found["depth"].unique().tolist()) <= {0, *given_["depth"].unique().tolist()}
    padded = found["semseg"] == VOID
    assert torch.equal(found["depth"][0] == 0, padded)
    assert not found["depth_valid"][0][padded].any()
    grey = colours(found["rgb"])[:, padded]
    assert torch.allclose(grey, torch.tensor(128.0), atol=1e-3)
    assert found["rgb"].shape == (3, *target)
    if cover and scale >= 1:
        assert not padded.any()
    rows, columns = (~padded).any(1), (~padded).any(0)
    assert torch.equal(~padded, rows[:, None] & columns[None])  # a rectangle
    assert rows[0]  # in the upper left corner
    assert columns[0]


@pytest.mark.parametrize("cover", [False, True])
@pytest.mark.parametrize("scale", [0.4, 1.0, 1.7])
def test_all_modalities_show_the_same_place(scale, cover):
    given_ = sample(60, 90)
    for index in range(8):
        transform = view((48, 48), scale=(scale, scale), cover=cover)
        found = transform(given_, 0, index)
        inside = found["semseg"] > 0
        assert torch.equal(found["depth"][0][inside].long(), found["semseg"][inside])
        assert torch.equal(found["depth_valid"][0], inside & (found["semseg"] % 3 > 0))
        row, column = (found["semseg"] - 1) // 90, (found["semseg"] - 1) % 90
        inner = torch.zeros_like(inside)
        height, width = int(inside.any(1).sum()), int(inside.any(0).sum())
        inner[4 : height - 4, 4 : width - 4] = True
        assert inner.sum() > 20
        shown = colours(found["rgb"])
        assert (shown[0] - row)[inner].abs().max() <= 2
        assert (shown[1] - column)[inner].abs().max() <= 2
        steps = (column[:, 1:] - column[:, :-1])[inner[:, 1:] & inner[:, :-1]].float()
        assert abs(steps.mean()) == pytest.approx(
            1 / (scale * (48 / 60 if cover else 48 / 90)), rel=0.05
        )


def test_a_part_is_anywhere_and_half_of_the_views_are_flipped():
    given_ = sample(40, 80)
    transform = view((40, 40), cover=True)
    lefts, flips = [], 0
    for index in range(300):
        columns = (transform(given_, 0, index)["semseg"][0] - 1) % 80
        lefts.append(int(columns.min()))
        flips += bool(columns[0] > columns[-1])
    assert set(lefts) == set(range(41))
    assert 110 < flips < 190


def test_labels_of_a_stride_are_those_at_the_centres_of_cells():
    given_ = sample(20, 30)
    whole = view((16, 24), scale=(0.7, 0.7))(given_, 0, 3)
    strided = view((16, 24), {"semseg": 4}, scale=(0.7, 0.7))(given_, 0, 3)
    assert strided["semseg"].shape == (4, 6)
    assert torch.equal(strided["semseg"], whole["semseg"][2::4, 2::4])
    assert torch.equal(strided["depth"], whole["depth"])


def test_depth_without_unknown_pixels_is_unknown_in_the_padding_only():
    found = view((16, 16), scale=(0.5, 0.5))(sample(16, 16, known=False), 0, 0)
    assert torch.equal(found["depth_valid"], found["depth"] > 0)
    assert found["depth_valid"].sum() == 64


def test_colours_change_nothing_but_colours():
    jitter = ColourJitter(probability=1.0)
    plain, other = (view(colours=each, scale=(0.5, 1.5)) for each in (None, jitter))
    given_ = sample(20, 20)
    given_["rgb"] = tv_tensors.Image(
        torch.randint(0, 256, (3, 20, 20), generator=torch.Generator().manual_seed(0)).to(
            torch.uint8
        )
    )
    for index in range(4):
        one, two = plain(given_, 0, index), other(given_, 0, index)
        assert not torch.equal(one.pop("rgb"), two.pop("rgb"))
        assert same(one, two)
    grey = view(colours=ColourJitter(probability=0.0, grey=1.0))(given_, 0, 0)["rgb"]
    shown = colours(grey)
    assert (shown - shown[:1]).abs().max() < 1e-3


def test_evaluation_sees_the_whole_image_or_its_middle():
    given_ = sample(30, 60)
    fitted = CentralView(result=Result(size=(40, 40), void={"semseg": 0}))(given_)
    assert torch.equal((fitted["semseg"] > 0).nonzero()[-1], torch.tensor([19, 39]))
    covered = CentralView(result=Result(size=(30, 30), void={"semseg": 0}), cover=True)(given_)
    assert torch.equal(covered["depth"], given_["depth"][..., 15:45])


def test_the_view_of_classification_is_that_of_timm():
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 256, (6, 8, 3)).astype(np.uint8))
    image = smooth.resize((160, 128), Image.Resampling.BICUBIC)
    theirs = create_transform(
        (3, 56, 56), is_training=False, crop_pct=0.875, interpolation="bicubic",
        mean=IMAGENET_MEAN, std=IMAGENET_DEVIATION,
    )(image)  # fmt: skip
    given_ = {"rgb": tv_tensors.Image(torch.from_numpy(np.array(image)).permute(2, 0, 1))}
    ours = CentralView(result=Result(size=(56, 56)), cover=True, share=0.875)(given_)["rgb"]
    assert (ours - theirs).abs().mean() < 0.02
    without = CentralView(result=Result(size=(56, 56)), cover=True)(given_)["rgb"]
    assert (without - theirs).abs().mean() > 0.1


def transforms():
    result = Result(size=(16, 16), void={"semseg": 0})
    return {
        "view": RandomView(result=result, seed=1, scale=(0.3, 2.0), colours=ColourJitter()),
        "joint": JointCrop(result=result, seed=1, scale=(0.1, 1.0)),
        "rand_augment": RandAugmentedCrop(Classification(image_size=(16, 16)), 1),
    }


class Samples(Dataset):
    def __init__(self, transform):
        self.transform = transform

    def __len__(self):
        return 6

    def __getitem__(self, index):
        torch.rand(index + 1), random.random(), np.random.rand()  # noqa: NPY002
        return {"index": index, **self.transform(sample(20, 30), 2, index)}


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("name", ["view", "joint", "rand_augment"])
def test_a_sample_depends_neither_on_workers_nor_on_order_nor_on_global_generators(name):
    data = Samples(transforms()[name])
    expected = {index: data.transform(sample(20, 30), 2, index) for index in range(6)}
    for options in (
        {"batch_size": 2, "shuffle": True},
        {"batch_size": 3, "num_workers": 2, "multiprocessing_context": "fork"},
    ):
        for batch in DataLoader(data, **options):
            for row, index in enumerate(batch.pop("index").tolist()):
                assert same({each: values[row] for each, values in batch.items()}, expected[index])


@pytest.mark.parametrize("name", ["view", "joint", "rand_augment"])
def test_samples_differ_with_epoch_and_index(name):
    transform = transforms()[name]
    given_ = sample(40, 50)
    found = [transform(given_, *key)["rgb"] for key in ((0, 0), (0, 1), (1, 0))]
    assert not any(torch.equal(found[one], found[two]) for one, two in ((0, 1), (0, 2), (1, 2)))


def states():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002


def test_global_generators_are_seeded_and_put_back_even_after_an_error():
    def drawn(seed):
        with seeded(np.random.SeedSequence(seed)):
            return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002

    before = states()
    assert drawn(1) == drawn(1)
    assert all(one != two for one, two in zip(drawn(1), drawn(2), strict=True))
    with pytest.raises(RuntimeError), seeded(np.random.SeedSequence(0)):
        torch.rand(1).view(2)
    assert states() == before


def test_the_strongest_posterisation_leaves_one_bit():
    how = Classification(image_size=(16, 16), rand_augment="rand-m10-n9-inc1")
    transform = RandAugmentedCrop(how, 0)
    for index in range(20):
        assert transform(sample(20, 20), 0, index)["rgb"].shape == (3, 16, 16)
