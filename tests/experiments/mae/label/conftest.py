"""Tiny models, written once; images of several sizes."""

import numpy as np
import pytest
import torch
from PIL import Image

from experiments.mae.label.depth import load_depth
from experiments.mae.label.semantics import load_semantics
from tests.experiments.mae.label import tiny

CPU = torch.device("cpu")
SIZES = ((40, 56), (56, 40), (40, 56), (33, 47), (40, 56))


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {
        make.__name__: make(folder / make.__name__)
        for make in (tiny.dpt, tiny.depth_anything, tiny.mask2former, tiny.segformer)
    }


@pytest.fixture(scope="session")
def depth(models):
    return load_depth(models["dpt"], kind="inverse", device=CPU)


@pytest.fixture(scope="session")
def semantics(models):
    return load_semantics(models["mask2former"], device=CPU)


@pytest.fixture
def data(tmp_path):
    """Class folders of images of different sizes."""
    for number, size in enumerate(SIZES):
        split = "val" if number == 4 else "train"
        path = tmp_path / "data" / split / "rgb" / f"c{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(size, number)).save(path)
    return tmp_path / "data"


def picture(size, seed=0):
    """Smooth colours with an edge, and a little noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[0], : size[1]]
    waves = np.sin(rows / (5 + seed)) + np.cos(columns / (3 + 2 * seed)) + (rows > columns)
    colours = waves[..., None] * rng.uniform(20, 60, 3) + 90 + rng.normal(0, 5, (*size, 3))
    return colours.clip(0, 255).astype(np.uint8)
