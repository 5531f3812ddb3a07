"""What the tests of the trainer need to be quick and to leave nothing behind."""

import gc
import os
from unittest import mock

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState


@pytest.fixture(autouse=True, scope="package")
def quick_starts():
    """One thread and a frozen heap: the Trainer collects garbage whenever training starts."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
    torch.set_num_threads(threads)
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.fixture(autouse=True)
def own_environment():
    """`torch_compile`, for one, stays in the environment and compiles what comes after it."""
    with mock.patch.dict(os.environ):
        yield
