"""A tiny model with a tokenizer, and tasks of a few generated examples."""

import io
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from experiments.bert.configuration import FineTuning, ModelSize
from experiments.bert.data import Prepared
from experiments.bert.glue.generated import write_generated
from experiments.bert.glue.models import find_models
from experiments.bert.glue.read import read_task
from experiments.bert.glue.tasks import TASKS
from experiments.bert.model import PosBertForPreTraining, bert_config

SIZE = ModelSize(layers=1, hidden=16, heads=2, positions=64)


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch):
    """Whatever the environment of the tests says about colours, columns and ranks."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def console():
    """A console that writes to `console.file`."""
    return Console(file=io.StringIO(), width=200)


@pytest.fixture(scope="session")
def make_checkpoint(prepared_folder):
    """A function that saves a random model, as pre-training leaves it, with its tokenizer."""
    tokenizer = Prepared(prepared_folder).tokenizer

    def make(folder, seed=0, **sizes):
        torch.manual_seed(seed)
        config = bert_config(replace(SIZE, **sizes), len(tokenizer))
        PosBertForPreTraining(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory, make_checkpoint):
    """A tiny random model."""
    return make_checkpoint(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def generated_folder(tmp_path_factory):
    """All generated tasks."""
    return write_generated(tmp_path_factory.mktemp("glue"), list(TASKS))


@pytest.fixture(scope="session")
def small(generated_folder):
    """A function that gives a generated task, cut to a few examples."""

    def cut(name, train=24, dev=10, test=5):
        data = read_task(TASKS[name], generated_folder)
        return replace(
            data,
            train=data.train.head(train),
            dev={part: examples.head(dev) for part, examples in data.dev.items()},
            test={part: examples.head(test) for part, examples in data.test.items()},
        )

    return cut


@pytest.fixture(scope="session")
def few():
    """A function that gives a configuration of a few steps, with further fields."""

    def how(**fields):
        defaults = {
            "epochs": 2,
            "batch_size": 8,
            "learning_rate": 1e-3,
            "seeds": (0,),
            "sequence_length": 32,
        }
        return FineTuning(**{**defaults, **fields})

    return how


@pytest.fixture
def models(checkpoint):
    """The tiny model, found."""
    return find_models([str(checkpoint)])
