"""The claims, one file each: as printed, as corrected, and what decides between them."""

from theory.claims import (
    a01_objectives,
    a02_algorithm,
    a03_theorem_3_1,
    a04_softmax_gap,
    a05_proof_steps,
    a06_constant_sharpness,
    a07_worst_case_downstream,
    a08_appendix_c,
    a09_standing_assumptions,
    a10_gradient_descent_ball,
    a11_covering,
    a12_sample_complexity,
    a13_tables_arithmetic,
    a14_cost,
    b01_schedules,
    b02_smoothing,
    b03_minibatch,
    b04_distributed,
    b05_fast_rates,
    b06_lower_bounds,
    b07_initialisation,
    d01_peer_algorithms,
    e01_task_count,
    e02_minimax_against_average,
    e03_outside_the_hull,
)
from theory.claims.base import Claim
from theory.testbed import EFFORTS, Context, Effort

_MODULES = (
    a01_objectives,
    a02_algorithm,
    a03_theorem_3_1,
    a04_softmax_gap,
    a05_proof_steps,
    a06_constant_sharpness,
    a07_worst_case_downstream,
    a08_appendix_c,
    a09_standing_assumptions,
    a10_gradient_descent_ball,
    a11_covering,
    a12_sample_complexity,
    a13_tables_arithmetic,
    a14_cost,
    b01_schedules,
    b02_smoothing,
    b03_minibatch,
    b04_distributed,
    b05_fast_rates,
    b06_lower_bounds,
    b07_initialisation,
    d01_peer_algorithms,
    e01_task_count,
    e02_minimax_against_average,
    e03_outside_the_hull,
)

CLAIMS: dict[str, Claim] = {module.CLAIM.key: module.CLAIM for module in _MODULES}
"""All claims by key, in the order of the ledger."""

__all__ = ["CLAIMS", "EFFORTS", "Claim", "Context", "Effort"]
