"""Model FLOPs of a pre-training step, counted by torch without computing anything."""

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from experiments.bert.model import PosBertForPreTraining, bert_config
from tests.benchmarks.pos_bert_steps import VOCABULARY, Case


def step_flops(case: Case) -> int:
    """FLOPs of the matrix products of one forward and backward pass of our model.

    Counted with attention written out, so that what a fused kernel computes twice counts once, and
    with all positions attended to; element-wise work does not count, as is customary for model
    FLOP utilisation.
    """
    # Fake tensors have shapes and no memory; the counter knows products, not fused attention.
    with FakeTensorMode(), sdpa_kernel(SDPBackend.MATH):
        model = PosBertForPreTraining(bert_config(case.size, VOCABULARY))
        positions = torch.zeros(case.batch, case.sequence, dtype=torch.long)
        masked = torch.zeros(case.batch, case.predictions, dtype=torch.long)
        with FlopCounterMode(display=False) as counter:
            outputs = model(
                positions,
                masked_positions=masked,
                mlm_labels=masked,
                task_ids=masked,
                token_type_ids=positions,
                next_sentence_label=positions[:, 0],
            )
            (outputs["task_values"].sum() + outputs["auxiliary_values"].sum()).backward()
    return int(counter.get_total_flops())
