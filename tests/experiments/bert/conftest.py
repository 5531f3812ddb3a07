"""A prepared folder of generated text, and a study small enough to be trained on it in seconds."""

import io

import pytest
import torch
from rich.console import Console

from experiments.bert.configuration import BertStudy
from experiments.bert.preparation.prepare import prepare
from experiments.configuration import load, preset_path
from experiments.progress import Stages

TINY = [
    "preparation.generated_documents=60",
    "preparation.vocabulary_size=200",
    "preparation.sequence_length=32",
    "masking={max_predictions: 5, duplicates: 2}",
    "model={layers: 1, hidden: 16, heads: 2, positions: 32}",
    "optimisation={steps: 8, batch_size: 8, learning_rate: 0.01, warmup_steps: 2}",
    "evaluate_every=4",
    "log_every=1",
    "save_every=4",
    "arms.excess={balancer: minimax, reference: average}",
]


@pytest.fixture(scope="session")
def tiny():
    """A function that gives the tiny study with further overrides."""

    def study(*overrides):
        return load(BertStudy, preset_path("bert", "smoke"), [*TINY, *overrides])

    return study


@pytest.fixture(scope="session")
def prepared_folder(tmp_path_factory, tiny):
    """Prepared once for all tests, which only read it."""
    out = tmp_path_factory.mktemp("runs") / "prepared"
    stages = Stages(Console(file=io.StringIO()))
    return prepare(tiny().preparation, None, out, stages=stages)


@pytest.fixture
def one_thread():
    """Tiny models are slower, and not always the same, on several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
