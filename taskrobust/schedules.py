r"""Sharpness and step-size schedules for softmax weighted gradient descent (Algorithm 1).

Notation of the paper beside the argument names: sharpness :math:`\alpha_k` (``alpha``), step size
:math:`\eta_k`, iteration :math:`k = 0, \dots, K-1` (``step``, ``num_steps``), number of tasks
:math:`T`, initial distance :math:`R_0 = \|\theta_0 - \theta^*\|` (``radius``), Lipschitz constant
:math:`L'` of every task risk (``lipschitz``), upper bound :math:`B` on the risks (``loss_bound``),
strong convexity :math:`\mu`. All arguments but the counts may be arrays and broadcast. Results are
NumPy float64.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "alpha_for_tolerance",
    "anytime_alpha",
    "anytime_step_size",
    "constant_alpha",
    "constant_step_size",
    "paper_alpha",
    "sharp_constant",
    "sharpened_alpha",
    "strongly_convex_alpha",
    "strongly_convex_step_size",
]

Float = NDArray[np.float64]


def sharp_constant(num_tasks: int) -> float:
    r"""Sharp constant :math:`c_T = W((T-1)/e)` of the softmax gap, W the Lambert function.

    For every loss vector and :math:`\alpha>0`,
    :math:`\max f - \sum_t w_t f_t \le c_T/\alpha`, with equality at
    :math:`f = (0, -u, \dots, -u)`, :math:`u = (1 + c_T)/\alpha`. It replaces the
    :math:`\log(4TB/\epsilon)` of the paper's Appendix B; :math:`c_T < \log T` for T >= 2.

    Args:
        num_tasks: number of tasks T >= 1; duplicated tasks count.

    Returns:
        The root c of :math:`c\,e^c = (T-1)/e`; 0 for a single task.

    Raises:
        ValueError: num_tasks is not an integer of at least 1.
    """
    tasks = _count("num_tasks", num_tasks)
    if tasks == 1:
        return 0.0
    target = math.log(tasks - 1) - 1.0  # log of c e^c; no overflow for any T
    root = max(target - math.log(max(target, 1.0)), math.exp(min(target, 0.0)) / 2)
    # Newton on the convex-in-log equation log c + c = target: monotone after one step, 64-bit
    # accurate in at most six.
    for _ in range(50):
        update = root * (1 + target - math.log(root)) / (1 + root)
        if abs(update - root) <= 1e-16 * root:
            break
        root = update
    return update


def alpha_for_tolerance(num_tasks: int, tolerance: ArrayLike) -> Float:
    r"""Smallest sharpness whose softmax gap is at most `tolerance`, :math:`c_T/\text{tolerance}`.

    Args:
        num_tasks: number of tasks T >= 1.
        tolerance: positive, in loss units.

    Returns:
        Alpha in 1 / loss units (0 for a single task).

    Raises:
        TypeError: an argument that is not a real number.
        ValueError: an argument out of range.
    """
    return np.asarray(sharp_constant(num_tasks) / _positive("tolerance", tolerance))


def paper_alpha(
    step: ArrayLike,
    *,
    num_tasks: int,
    radius: ArrayLike,
    lipschitz: ArrayLike,
    loss_bound: ArrayLike,
) -> Float:
    r"""Threshold printed in Theorem 3.1, with a factor log k that `sharpened_alpha` does without.

    .. math:: \alpha_k = \frac{4\sqrt{k+1}}{R_0L'}\log\frac{4TB\sqrt{k+1}}{R_0L'}

    Where :math:`4TB\sqrt{k+1} \le R_0L'` the printed threshold is not positive (the claim is then
    trivial); this function returns 0 there.

    Args:
        step: iteration k >= 0.
        num_tasks: number of tasks T.
        radius: initial distance R0 > 0.
        lipschitz: Lipschitz constant L' > 0 of the risks.
        loss_bound: upper bound B > 0 on nonnegative risks.

    Returns:
        Alpha in 1 / loss units.

    Raises:
        TypeError: an argument that is not a real number.
        ValueError: an argument out of range.
    """
    root, scale = _root_and_scale(step, radius, lipschitz)
    argument = 4 * _count("num_tasks", num_tasks) * _positive("loss_bound", loss_bound)
    return np.asarray(4 * root / scale * np.maximum(np.log(argument * root / scale), 0.0))


def sharpened_alpha(
    step: ArrayLike, *, num_tasks: int, radius: ArrayLike, lipschitz: ArrayLike
) -> Float:
    r"""Sharpened schedule :math:`\alpha_k = 2\sqrt{k+1}\,c_T/(R_0L')`: no bound B, no log k.

    With the step size of `constant_step_size` the averaged iterate has gap at most
    :math:`2R_0L'/\sqrt K`, the guarantee of Theorem 3.1.

    Args:
        step: iteration k >= 0.
        num_tasks: number of tasks T.
        radius: initial distance R0 > 0.
        lipschitz: Lipschitz constant L' > 0.

    Returns:
        Alpha in 1 / loss units.

    Raises:
        TypeError: an argument that is not a real number.
        ValueError: an argument out of range.
    """
    root, scale = _root_and_scale(step, radius, lipschitz)
    return np.asarray(2 * root * sharp_constant(num_tasks) / scale)


def constant_alpha(
    num_steps: int,
    *,
    num_tasks: int,
    radius: ArrayLike,
    lipschitz: ArrayLike,
    factor: float = 1.0,
) -> Float:
    r"""Constant sharpness :math:`\alpha = s\sqrt K/(R_0L')` with :math:`s=\text{factor}\cdot c_T`.

    The gap of the averaged iterate is at most :math:`(1 + c_T/s)R_0L'/\sqrt K`; factor 1 gives the
    guarantee of Theorem 3.1 with half the final sharpness of `sharpened_alpha`.

    Args:
        num_steps: K >= 1.
        num_tasks: number of tasks T.
        radius: initial distance R0 > 0.
        lipschitz: Lipschitz constant L' > 0.
        factor: s / c_T, positive.

    Returns:
        Alpha in 1 / loss units.

    Raises:
        TypeError: an argument that is not a real number.
        ValueError: an argument out of range.
    """
    scale = _positive("radius", radius) * _positive("lipschitz", lipschitz)
    root = math.sqrt(_count("num_steps", num_steps))
    return np.asarray(_positive("factor", factor) * sharp_constant(num_tasks) * root / scale)


def constant_step_size(num_steps: int, *, radius: ArrayLike, lipschitz: ArrayLike) -> Float:
    r"""Step size of Theorem 3.1, :math:`\eta = R_0/(L'\sqrt K)`.

    Args:
        num_steps: K >= 1.
        radius: initial distance R0 > 0.
        lipschitz: Lipschitz constant L' > 0.

    Returns:
        The step size, in parameter units squared per loss unit.

    Raises:
        TypeError: an argument that is not a real number.
        ValueError: an argument out of range.
    """
    root = math.sqrt(_count("num_steps", num_steps))
    return np.asarray(_positive("radius", radius) / (_positive("lipschitz", lipschitz) * root))


def anytime_alpha(
    step: ArrayLike, *, num_tasks: int, diameter: ArrayLike, lipschitz: ArrayLike
) -> Float:
    r"""Any-time sharpness :math:`\alpha_k = 2\sqrt{k+1}\,c_T/(DL')`, no horizon K needed.

    With `anytime_step_size` on a domain of diameter D the averaged iterate has gap at most
    :math:`2.5\,DL'/\sqrt K` for every K.

    Args:
        step: iteration k >= 0.
        num_tasks: number of tasks T.
        diameter: diameter D > 0 of the domain.
        lipschitz: Lipschitz constant L' > 0.

    Returns:
        Alpha in 1 / loss units.

    Raises:
        TypeError: an argument that is not a real number.
        ValueError: an argument out of range.
    """
    radius = _positive("diameter", diameter)
    return sharpened_alpha(step, num_tasks=num_tasks, radius=radius, lipschitz=lipschitz)


def anytime_step_size(step: ArrayLike, *, diameter: ArrayLike, lipschitz: ArrayLike) -> Float:
    r"""Any-time step size :math:`\eta_k = D/(L'\sqrt{k+1})`; see `anytime_alpha`.

    Args:
        step: iteration k >= 0.
        diameter: diameter D > 0 of the domain.
        lipschitz: Lipschitz constant L' > 0.

    Returns:
        The step size.

    Raises:
        TypeError: an argument that is not a real number.
        ValueError: an argument out of range.
    """
    ratio = _positive("diameter", diameter) / _positive("lipschitz", lipschitz)
    return np.asarray(ratio / np.sqrt(_steps(step) + 1))


def strongly_convex_alpha(
    step: ArrayLike, *, num_tasks: int, lipschitz: ArrayLike, strong_convexity: ArrayLike
) -> Float:
    r"""Sharpness :math:`\alpha_k = \mu(k+1)c_T/L'^2` for strongly convex risks.

    With `strongly_convex_step_size` and averaging weights proportional to k + 1 the gap is at most
    :math:`4L'^2/(\mu(K+1))`.

    Args:
        step: iteration k >= 0.
        num_tasks: number of tasks T.
        lipschitz: Lipschitz constant L' > 0.
        strong_convexity: modulus mu > 0.

    Returns:
        Alpha in 1 / loss units.

    Raises:
        TypeError: an argument that is not a real number.
        ValueError: an argument out of range.
    """
    modulus = _positive("strong_convexity", strong_convexity)
    scale = _positive("lipschitz", lipschitz) ** 2
    return np.asarray(modulus * (_steps(step) + 1) * sharp_constant(num_tasks) / scale)


def strongly_convex_step_size(step: ArrayLike, *, strong_convexity: ArrayLike) -> Float:
    r"""Step size :math:`\eta_k = 2/(\mu(k+2))`; see `strongly_convex_alpha`.

    Args:
        step: iteration k >= 0.
        strong_convexity: modulus mu > 0.

    Returns:
        The step size.

    Raises:
        TypeError: an argument that is not a real number.
        ValueError: an argument out of range.
    """
    return np.asarray(2 / (_positive("strong_convexity", strong_convexity) * (_steps(step) + 2)))


def _root_and_scale(
    step: ArrayLike, radius: ArrayLike, lipschitz: ArrayLike
) -> tuple[Float, Float]:
    """sqrt(k + 1) and R0 L'."""
    scale = _positive("radius", radius) * _positive("lipschitz", lipschitz)
    return np.sqrt(_steps(step) + 1), scale


def _steps(step: ArrayLike) -> Float:
    values = _reals("step", step)
    if not np.all(values >= 0):
        raise ValueError(f"`step` should be at least 0; found {step!r}")
    return values


def _positive(name: str, value: ArrayLike) -> Float:
    values = _reals(name, value)
    if not np.all((values > 0) & np.isfinite(values)):
        raise ValueError(f"`{name}` should be positive and finite; found {value!r}")
    return values


def _reals(name: str, value: ArrayLike) -> Float:
    values = np.asarray(value)
    if values.dtype.kind not in "iuf":
        raise TypeError(f"`{name}` should be a real number or an array of them; found {value!r}")
    return values.astype(np.float64)


def _count(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"`{name}` should be an integer of at least 1; found {value!r}")
    return int(value)
