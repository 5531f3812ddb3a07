"""Rendered scenes, and a study small enough to be trained on them in seconds."""

import io

import pytest
import torch
from rich.console import Console

from experiments.configuration import load, preset_path
from experiments.mae.data.scenes.folders import write_scenes
from experiments.mae.study import MaeStudy
from experiments.progress import Stages

TINY = (
    "model.image_size=[32, 32]",
    "model.patch_size=8",
    "model.width=16",
    "model.layers=1",
    "model.heads=2",
    "model.decoder_width=8",
    "model.decoder_heads=2",
    "masking.visible=8",
    "optimisation={epochs: 4, warmup_epochs: 1, batch_size: 8, base_learning_rate: 0.1}",
    "evaluate_every=2",
    "save_every=2",
    "pictures=0",
    "log_every=1",
)
"""Eight steps on 16 scenes; of 48 tokens so few are visible that every task is scored."""


@pytest.fixture(scope="session")
def tiny_study():
    """A function that gives the tiny study with further overrides."""

    def study(*overrides):
        return load(MaeStudy, preset_path("mae", "smoke"), [*TINY, *overrides], study="mae")

    return study


@pytest.fixture(scope="session")
def scene_folder(tmp_path_factory):
    """Rendered once for all tests, which only read it."""
    out = tmp_path_factory.mktemp("scenes") / "prepared"
    stages = Stages(Console(file=io.StringIO()))
    write_scenes(out, {"train": 16, "test": 6}, (32, 32), stages=stages)
    return out


@pytest.fixture
def one_thread():
    """Tiny models are slower, and not always the same, on several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
