"""The one place that calls the convex solver, with tight tolerances and errors by name."""

import warnings

import cvxpy as cp

TOLERANCES = {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-11}
"""Asked of Clarabel; what it reached is judged by a certificate, not by its status."""


class CertificateError(RuntimeError):
    """The optimum of a problem could not be certified; the message says which step failed."""


def solve(program: cp.Problem, name: str) -> None:
    """Solve a cvxpy program in place with Clarabel.

    Args:
        program: a disciplined convex program.
        name: what to call it in errors.

    Raises:
        CertificateError: the program is not convex by the rules, unbounded or infeasible, or the
            solver failed.
    """
    if not program.is_dcp():
        raise CertificateError(
            f"{name} is not convex by the rules of disciplined convex programming; "
            "`epigraph` should state each task as convex function <= levels[t]"
        )
    try:
        with warnings.catch_warnings():
            # "may be inaccurate" is for the certificate to judge, not for the solver
            warnings.simplefilter("ignore", UserWarning)
            program.solve(solver=cp.CLARABEL, **TOLERANCES)
    except cp.error.SolverError as error:
        raise CertificateError(f"the convex solver failed on {name}: {error}") from error
    if program.status in {cp.UNBOUNDED, cp.UNBOUNDED_INACCURATE}:
        raise CertificateError(
            f"{name} is unbounded below: `epigraph` leaves the level of some task unconstrained"
        )
    if program.status not in {cp.OPTIMAL, cp.OPTIMAL_INACCURATE}:
        raise CertificateError(f"the convex solver says that {name} is {program.status}")
