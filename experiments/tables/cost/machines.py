"""GPUs and what they compute."""

from collections.abc import Iterable

from experiments.tables.cost.work import Work

__all__ = ["PEAKS", "UTILISATION", "gpu_hours"]

_HOPPER = {"bf16": 989e12, "fp16": 989e12, "float32": 67e12}
PEAKS = {
    "A100": {"bf16": 312e12, "fp16": 312e12, "float32": 19.5e12},
    "H100": _HOPPER,
    "H200": _HOPPER,
}
"""Dense FLOP/s of the SXM boards by precision, as NVIDIA's data sheets have them. float32 is that
of ordinary cores, for TF32 is not switched on here."""

UTILISATION = 0.4
"""Share of the peak that training reaches. Small models and small batches reach less."""


def gpu_hours(works: Iterable[Work], gpu: str, utilisation: float) -> float:
    """Hours of one GPU for all repeats of some work.

    Args:
        works: what is computed.
        gpu: of `PEAKS`.
        utilisation: share of the peak, in (0, 1].
    """
    seconds = sum(work.total / PEAKS[gpu][work.precision] for work in works) / utilisation
    return seconds / 3600
