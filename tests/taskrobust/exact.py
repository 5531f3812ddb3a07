"""Ground truth: the definitions of Eq. (7) and its companions in 60-digit decimal arithmetic.

A float is converted exactly and every operation rounds once, at 60 digits, so that neither the
subtraction of the maximum nor huge or tiny sharpness loses anything in double precision.
"""

from collections.abc import Sequence
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext
from typing import NamedTuple

EXACT = Context(prec=60, Emax=MAX_EMAX, Emin=MIN_EMIN)


class Softmax(NamedTuple):
    """Exact values rounded once to float; overflow becomes inf."""

    weights: list[float]
    smooth_max: float
    gap: float
    exponents: list[float]  # alpha (f - max f)


def softmax(losses: Sequence[float], alpha: float) -> Softmax:
    """Everything at once for finite losses and a finite positive alpha."""
    with localcontext(EXACT):
        values = [Decimal(float(f)) for f in losses]
        sharp = Decimal(float(alpha))
        top = max(values)
        exponents = [sharp * (f - top) for f in values]
        terms = [_exp(x) for x in exponents]
        total = sum(terms)
        weights = [term / total for term in terms]
        smooth = top + total.ln() / sharp
        gap = sum(w * (top - f) for w, f in zip(weights, values, strict=True))
        return Softmax(
            [float(w) for w in weights], float(smooth), float(gap), [float(x) for x in exponents]
        )


def near_lambert_root(value: float, num_tasks: int, relative: float) -> bool:
    """Whether c + log c - log(T - 1) + 1, T >= 2, changes sign within `relative` of `value`."""
    with localcontext(EXACT):
        target = Decimal(num_tasks - 1).ln() - 1
        low, high = (Decimal(value) * (1 + Decimal(sign * relative)) for sign in (-1, 1))
        return low + low.ln() < target < high + high.ln()


def _exp(exponent: Decimal) -> Decimal:
    """exp, or 0 where it is below 1e-868."""
    return exponent.exp() if exponent > -2_000 else Decimal(0)
