r"""Guarantees under noise and distribution (B3, B4): minibatches, averaged losses, shards.

In loss units unless said otherwise. Arguments may be arrays and broadcast.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import wrightomega

from theory import bounds
from theory.schedules import Setting

Float = NDArray[np.float64]


def minibatch_bias(num_tasks: int, alpha: Any, noise: Any, batch: Any) -> Any:
    r"""B3: width :math:`\min(\alpha\sigma^2/(2b),\ \sigma\sqrt{2\log T/b})` of F_alpha <= G.

    Args:
        num_tasks: T.
        alpha: sharpness, inf allowed.
        noise: :math:`\sigma`, sub-Gaussian constant of each sample loss.
        batch: b.

    Returns:
        The bound, in loss units.
    """
    smooth = np.asarray(alpha) * np.asarray(noise) ** 2 / (2 * np.asarray(batch))
    return np.minimum(smooth, noise * np.sqrt(2 * np.log(num_tasks) / np.asarray(batch)))


def minibatch(setting: Setting, alpha: Any, noise: Any, batch: Any) -> Any:
    r"""B3: expected gap of the averaged iterate, constant sharpness, L' that of the samples.

    .. math:: \frac{R_0L'}{\sqrt K} + \frac{\log T}\alpha
              + \min\left(\frac{\alpha\sigma^2}{2b}, \sigma\sqrt{\frac{2\log T}b}\right)
    """
    tasks = setting.num_tasks
    bias = minibatch_bias(tasks, alpha, noise, batch)
    return bounds.subgradient(setting) + bounds.smoothing(tasks, alpha) + bias


def softmax_change(alpha: Any, distance: Any) -> Any:
    r"""Sharp bound :math:`2\tanh(\alpha\|f-f'\|_\infty/2)` of :math:`\|w(f)-w(f')\|_1`."""
    return 2 * np.tanh(np.asarray(alpha) * distance / 2)


def weight_bias(alpha: Any, mean_error: Any, mean_square_error: Any) -> Any:
    r"""B3: bound of :math:`\|\mathbb Ew(\hat f)-w(f)\|_1` for an unbiased estimate of f.

    Args:
        alpha: sharpness.
        mean_error: :math:`\mathbb E\|\hat f-f\|_\infty`.
        mean_square_error: :math:`\mathbb E\|\hat f-f\|_\infty^2`.

    Returns:
        The least of 2, first order and second order.
    """
    first, second = np.asarray(alpha) * mean_error, np.asarray(alpha) ** 2 * mean_square_error
    return np.minimum(2.0, np.minimum(first, second))


def inexact_softmax_gap(num_tasks: int, alpha: Any, error: Any) -> Any:
    r"""B3: sharp bound of :math:`\max f-\sum_tw_t(s)f_t` for weights from s instead of f.

    :math:`\tfrac1\alpha W((T-1)e^{2\alpha\delta-1}) \le c_T/\alpha+2\delta`, W of Lambert.

    Args:
        num_tasks: T.
        alpha: sharpness.
        error: :math:`\delta=\|s-f\|_\infty`.

    Returns:
        The bound, in loss units; attained.
    """
    if num_tasks == 1:
        return np.zeros(np.broadcast_shapes(np.shape(alpha), np.shape(error)))
    exponent = np.log(num_tasks - 1) + 2 * np.asarray(alpha) * error - 1
    return wrightomega(exponent) / np.asarray(alpha)  # W(e^x), without overflow


def moving_average_lag(setting: Setting, step_size: Any, decay: float, delay: int) -> Any:
    r"""B3: how far averaged exact losses lag behind, :math:`\eta L'^2(\beta/(1-\beta)+m)`.

    Args:
        setting: for L'.
        step_size: :math:`\eta`, constant.
        decay: :math:`\beta`.
        delay: m, 0 if the average includes the current losses, 1 if it ends one step earlier.

    Returns:
        The bound, in loss units.
    """
    return step_size * np.asarray(setting.lipschitz) ** 2 * (decay / (1 - decay) + delay)


def moving_average_noise(num_tasks: int, noise: Any, batch: Any, decay: float, updates: Any) -> Any:
    r"""B3: expected largest error of losses averaged over batches at a fixed point.

    :math:`\sigma\sqrt{2\log(2T)v/b}` with
    :math:`v=(1-\beta+2\beta^{2m+1})/(1+\beta)` after m updates of a first batch.
    """
    share = (1 - decay + 2 * decay ** (2 * np.asarray(updates) + 1)) / (1 + decay)
    return noise * np.sqrt(2 * np.log(2 * num_tasks) * share / np.asarray(batch))


def shard_difference(alpha: Any, mean_square_spread: Any, mean_excess: Any) -> Any:
    r"""B4: how far the mean of local smooth maxima exceeds that of the mean losses.

    Args:
        alpha: sharpness.
        mean_square_spread: mean over workers of :math:`\|f^{(j)}-\bar f\|_\infty^2`.
        mean_excess: mean over workers of :math:`\max_t(f^{(j)}_t-\bar f_t)`.

    Returns:
        The least of half alpha times the first, and the second.
    """
    return np.minimum(np.asarray(alpha) / 2 * mean_square_spread, mean_excess)
