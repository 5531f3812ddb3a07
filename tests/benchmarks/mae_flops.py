"""Model FLOPs of a pre-training step, counted by torch without computing anything."""

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from experiments.mae.model import MultiModalMaskMae
from tests.benchmarks.mae_steps import Case, random_batch


def step_flops(case: Case) -> int:
    """FLOPs of the matrix products of one forward and backward pass of our model.

    Counted with attention written out, so that what a fused kernel computes twice counts once;
    element-wise work does not count, as is customary for model FLOP utilisation. All patches are
    embedded and reconstructed, hidden or visible, as the model has it.
    """
    # On the meta device tensors have shapes and no values; the counter knows products.
    device = torch.device("meta")
    with device:
        model = MultiModalMaskMae(case.size)
    batch = random_batch(case, device)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        outputs = model(**batch)
        outputs.task_values.sum().backward()
    return int(counter.get_total_flops())
