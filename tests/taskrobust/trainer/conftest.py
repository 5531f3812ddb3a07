"""One thread and a frozen heap: the Trainer collects garbage whenever training starts."""

import gc

import pytest
import torch


@pytest.fixture(autouse=True, scope="package")
def quick_starts():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
    torch.set_num_threads(threads)
