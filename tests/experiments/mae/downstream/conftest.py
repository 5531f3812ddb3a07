"""Mosaics and a pre-trained model of random parameters."""

import io

import pytest
import torch
from rich.console import Console

from experiments.mae.model import MultiModalMaskMae
from experiments.mae.model.checkpoints import save_model
from tests.experiments.mae.downstream import mosaics


@pytest.fixture
def console(monkeypatch):
    """A console that writes to `console.file`, whatever the environment says."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    return Console(file=io.StringIO(), width=200)


@pytest.fixture(scope="session")
def mosaic_folder(tmp_path_factory):
    """Folder with a manifest: 48 training and 15 test images."""
    root = tmp_path_factory.mktemp("mosaics")
    mosaics.write(root, {"train": 48, "test": 15})
    return root


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """Folder of a pre-training model that has learned nothing."""
    folder = tmp_path_factory.mktemp("models") / "random"
    torch.manual_seed(0)
    save_model(MultiModalMaskMae(mosaics.SIZE), folder)
    return folder


@pytest.fixture
def one_thread():
    """Torch on one thread, so that sums are in one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
