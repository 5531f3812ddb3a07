"""Random prepared instances and their collator; imports no test framework."""

import numpy as np

from experiments.bert.batches import MaskingCollator
from experiments.bert.groupings import RandomGroups
from experiments.bert.tags import CLASSES, OTHER

PAD, UNKNOWN, CLS, SEP, MASK = range(5)
SPECIAL = (CLS, SEP, PAD)
VOCABULARY = 50


def instance(rng, index, longest=40):
    """A sentence pair of random pieces."""
    first, second = (int(n) for n in rng.integers(1, (longest - 3) // 2 + 1, size=2))
    pieces = rng.integers(MASK + 1, VOCABULARY, size=first + second + 3)
    pieces[[0, first + 1, -1]] = CLS, SEP, SEP
    pos = rng.integers(0, len(CLASSES), size=len(pieces))
    pos[np.isin(pieces, SPECIAL)] = OTHER
    return {
        "input_ids": pieces,
        "pos": pos,
        "first_length": first + 2,
        "next_sentence_label": int(rng.integers(2)),
        "index": index,
    }


def instances(count=30):
    rng = np.random.default_rng(0)
    return [instance(rng, index) for index in range(count)]


def collator(**changes):
    options = {
        "vocabulary": VOCABULARY,
        "mask_id": MASK,
        "pad_id": PAD,
        "special_ids": SPECIAL,
        "sequence_length": 40,
        "max_predictions": 8,
        "probability": 0.15,
        "seed": 3,
        "task_of_piece": RandomGroups((1 / 9,) * 9),
    }
    return MaskingCollator(**{**options, **changes})
