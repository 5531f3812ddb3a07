"""Random numbers that are the same on all ranks and after a resume."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["seeded"]


@contextmanager
def seeded(seed: str, device: torch.device) -> Iterator[None]:
    """Draw random numbers from a seed inside; the random states are put back afterwards.

    Args:
        seed: any text, such as a number and a step.
        device: draws on the CPU are seeded, and those on the current device of this type.
    """
    devices = [] if device.type == "cpu" else [device]
    number = random.Random(seed).getrandbits(32)  # all that the CPU's generator looks at
    with torch.random.fork_rng(devices, device_type=device.type if devices else "cuda"):
        torch.default_generator.manual_seed(number)
        if devices:
            getattr(torch, device.type).manual_seed(number)
        yield
