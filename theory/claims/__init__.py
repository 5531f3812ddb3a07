"""The claims, one file each: as printed, as corrected, and what decides between them."""

from theory.claims import (
    a03_theorem_3_1,
    a04_softmax_gap,
)
from theory.claims.base import EFFORTS, Claim, Context, Effort

_MODULES = (
    a03_theorem_3_1,
    a04_softmax_gap,
)

CLAIMS: dict[str, Claim] = {module.CLAIM.key: module.CLAIM for module in _MODULES}
"""All claims by key, in the order of the ledger."""

__all__ = ["CLAIMS", "EFFORTS", "Claim", "Context", "Effort"]
