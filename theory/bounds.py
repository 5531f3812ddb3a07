r"""Every guarantee as a function of named constants; the paper's notation stands beside them.

All are upper bounds on the gap :math:`F(x)-F^*`, in loss units, unless said otherwise. Arguments
may be arrays and broadcast.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskrobust.schedules import sharp_constant
from theory.schedules import Setting

Float = NDArray[np.float64]


def theorem_3_1(setting: Setting) -> Any:
    r"""Eq. (8): :math:`2R_0L'/\sqrt K` for the averaged iterate."""
    return 2 * subgradient(setting)


def subgradient(setting: Setting) -> Any:
    r"""Descent part of (8), :math:`R_0L'/\sqrt K`; unimprovable for one task (B6 (i))."""
    return setting.radius * setting.lipschitz / np.sqrt(setting.num_steps)


def sharpened(setting: Setting, alpha: Float) -> Any:
    r"""Corrected (8'): :math:`R_0L'/\sqrt K + \frac1K\sum_k c_T/\alpha_k` for any sharpness (A3).

    Args:
        setting: the constants.
        alpha: the sharpness used, ``[K, ...]``.

    Returns:
        The bound ``[...]``.
    """
    return subgradient(setting) + np.mean(softmax_gap(setting.num_tasks, alpha), axis=0)


def paper_schedule(setting: Setting) -> Any:
    r"""What the printed schedule earns (A5), for 4TB > R0 L'.

    .. math:: \frac{R_0L'}{\sqrt K}\left[1+\frac{c_T}{2\log(4TB/(R_0L'))}\right]
    """
    scale = setting.radius * setting.lipschitz
    ratio = 4 * setting.num_tasks * setting.loss_bound / scale
    if not np.all(ratio > 1):
        raise ValueError("the printed schedule has a bound only where 4TB > R0 L'")
    logarithm = np.log(ratio)
    return subgradient(setting) * (1 + sharp_constant(setting.num_tasks) / (2 * logarithm))


def softmax_gap(num_tasks: int, alpha: Any) -> Any:
    r"""Sharp bound :math:`c_T/\alpha` of :math:`\max f - \sum_t w_tf_t` (A4)."""
    if num_tasks == 1:  # at any sharpness, 0 included
        return np.zeros(np.shape(alpha))
    return sharp_constant(num_tasks) / np.asarray(alpha)


def printed_softmax_gap(setting: Setting, step: Any) -> Any:
    r"""App. B's :math:`R_0L'/(2\sqrt{k+1})` for the softmax gap under the printed schedule."""
    return setting.radius * setting.lipschitz / (2 * np.sqrt(np.asarray(step) + 1))


def smoothing(num_tasks: int, alpha: Any) -> Any:
    r"""Width :math:`(\log T)/\alpha` of :math:`F \le F_\alpha \le F + (\log T)/\alpha` (B2)."""
    if num_tasks == 1:
        return np.zeros(np.shape(alpha))
    return np.log(num_tasks) / np.asarray(alpha)


def anytime(setting: Setting) -> Any:
    r"""B1 (c): :math:`2.5\,DL'/\sqrt K` for every K, D the diameter of the domain."""
    return 2.5 * setting.diameter * setting.lipschitz / np.sqrt(setting.num_steps)


def strongly_convex(setting: Setting) -> Any:
    r"""B1 (d): :math:`4L'^2/(\mu(K+1))`."""
    return 4 * setting.lipschitz**2 / (setting.strong_convexity * (setting.num_steps + 1))


def smoothed_last_iterate(setting: Setting) -> Any:
    r"""B2, last iterate: :math:`L'R_0\sqrt{2\log T/K} + LR_0^2/(2K)`."""
    steps = setting.num_steps
    rough = setting.lipschitz * setting.radius * np.sqrt(2 * np.log(setting.num_tasks) / steps)
    return rough + setting.smoothness * setting.radius**2 / (2 * steps)


def accelerated(setting: Setting) -> Any:
    r"""B2, accelerated: :math:`2\sqrt{2\log T}\,L'R_0/(K+1) + 2LR_0^2/(K+1)^2`."""
    steps = setting.num_steps + 1
    rough = 2 * np.sqrt(2 * np.log(setting.num_tasks)) * setting.lipschitz * setting.radius / steps
    return rough + 2 * setting.smoothness * setting.radius**2 / steps**2


def strongly_convex_accelerated(setting: Setting, alpha: Any) -> Any:
    r"""B2, strongly convex, with :math:`q=\mu/(L+\alpha L'^2)`.

    .. math:: (1-\sqrt q)^K(L'R_0+\mu R_0^2/2)+(\log T)/\alpha
    """
    modulus = setting.strong_convexity
    q = modulus / (setting.smoothness + alpha * setting.lipschitz**2)
    start = setting.lipschitz * setting.radius + modulus * setting.radius**2 / 2
    return (1 - np.sqrt(q)) ** setting.num_steps * start + smoothing(setting.num_tasks, alpha)


def gradient_descent_distance(modulus: Any, smoothness: Any, step_size: Any, num_steps: Any) -> Any:
    r"""A10: factor :math:`\max(|1-\eta\mu|,|1-\eta L|)^k` of the distance to the minimiser."""
    rate = np.maximum(np.abs(1 - step_size * modulus), np.abs(1 - step_size * smoothness))
    return rate**num_steps


def group_dro(setting: Setting) -> Any:
    r"""GroupDRO: :math:`R_0L'/\sqrt K + B\sqrt{\log T/(2K)}`, B the range of the risks (D)."""
    ascent = setting.loss_bound * np.sqrt(np.log(setting.num_tasks) / 2 / setting.num_steps)
    return subgradient(setting) + ascent


def group_dro_weights_first(setting: Setting, weight_rate: Any) -> Any:
    r"""GroupDRO in Sagawa's order: :math:`R_0L'/\sqrt K + \log T/(\eta_wK)` for any rate (D)."""
    ascent = np.log(setting.num_tasks) / (np.asarray(weight_rate) * setting.num_steps)
    return subgradient(setting) + ascent


def gradient_descent_ascent(setting: Setting) -> Any:
    r"""Descent-ascent: :math:`R_0L'/\sqrt K + \tfrac12B\sqrt{(T-1)/K}`, B the range (D)."""
    ascent = setting.loss_bound * np.sqrt((setting.num_tasks - 1) / setting.num_steps) / 2
    return subgradient(setting) + ascent


def mirror_prox_constant(setting: Setting) -> Any:
    r"""Lipschitz constant :math:`\Lambda` of the saddle operator, in loss units (D).

    .. math:: \Lambda=\tfrac12\left(LR_0^2+\sqrt{(LR_0^2)^2+8\log T\,(L'R_0)^2}\right)
              \le LR_0^2+\sqrt{2\log T}\,L'R_0,

    a single task counting as two equal ones.
    """
    curved = setting.smoothness * np.asarray(setting.radius, dtype=float) ** 2
    steep = 8 * np.log(max(setting.num_tasks, 2)) * (setting.lipschitz * setting.radius) ** 2
    return (curved + np.sqrt(curved**2 + steep)) / 2


def mirror_prox(setting: Setting) -> Any:
    r"""Mirror-prox: :math:`\Lambda/K` for the average of the extrapolated points (D)."""
    return mirror_prox_constant(setting) / setting.num_steps


def gradient_descent(setting: Setting) -> Any:
    r""":math:`LR_0^2/(2K)`: gradient descent on one smooth risk, and prox-linear steps on F (D)."""
    return setting.smoothness * np.asarray(setting.radius) ** 2 / (2 * setting.num_steps)


def level_bundle(setting: Setting) -> Any:
    r"""Level method with :math:`\lambda=1-1/\sqrt2`: :math:`2DL'/\sqrt K` after K cuts (D)."""
    return 2 * setting.diameter * setting.lipschitz / np.sqrt(setting.num_steps)
