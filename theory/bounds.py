r"""Every guarantee as a function of named constants; the paper's notation stands beside them.

All are upper bounds on the gap :math:`F(x)-F^*`, in loss units, unless said otherwise. Arguments
may be arrays and broadcast.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import wrightomega

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


def covering_number(radius: Any, spacing: Any, dim: int) -> Any:
    r"""Lemma B.3: :math:`(1+2R/\epsilon)^d` epsilon-balls cover any subset of B_R."""
    return (1 + 2 * np.asarray(radius) / spacing) ** dim


def theorem_5_4(
    dim: Any,
    epsilon: Any,
    delta: Any,
    *,
    loss_range: Any,
    lipschitz: Any,
    modulus: Any,
    start_risk: Any,
) -> Any:
    r"""Eq. (13), rounded up: samples after which the constrained empirical minimiser is fine.

    .. math:: \left\lceil\frac{8dB^2}{\epsilon^2}\log\left(1+\frac{16L'}{\epsilon}
              \sqrt{\frac{2f_\lambda(\theta_0)}{\mu}}\right)
              +\frac{8B^2}{\epsilon^2}\log\frac2\delta\right\rceil

    Args:
        dim: d.
        epsilon: accuracy, in loss units.
        delta: allowed probability of missing it.
        loss_range: B, length of an interval that contains all sample losses on the search set; for
            samples known only to satisfy :math:`|\ell| \le B` it is twice that bound.
        lipschitz: L' of the sample losses on the search set.
        modulus: mu of the risk.
        start_risk: :math:`f_\lambda(\theta_0)`.

    Returns:
        A number of samples, an integer as a float.
    """
    radius = np.sqrt(2 * np.asarray(start_risk) / modulus)
    entropy = dim * np.log1p(16 * lipschitz * radius / epsilon)
    return np.ceil(8 * (loss_range / epsilon) ** 2 * (entropy + np.log(2 / delta)))


def localised_samples(
    dim: Any, epsilon: Any, delta: Any, *, lipschitz: Any, modulus: Any, start_risk: Any
) -> Any:
    r"""B5 (i): of order d/epsilon, without B; :math:`m=\min(f_\lambda(\theta_0),\epsilon)`.

    .. math:: \left\lceil\frac{64}{9}\frac{L'^2m}{\mu\epsilon^2}\left[d\log\left(1+
              \frac{8L'}{\epsilon}\sqrt{\frac{2m}{\mu}}\right)+\log\frac1\delta\right]\right\rceil

    Args:
        dim: d.
        epsilon: accuracy.
        delta: allowed probability.
        lipschitz: L' of the convex samples within :math:`\sqrt{2m/\mu}` of the minimiser.
        modulus: mu of the risk.
        start_risk: :math:`f_\lambda(\theta_0)`.

    Returns:
        A number of samples.
    """
    near = np.minimum(start_risk, epsilon)
    entropy = dim * np.log1p(8 * lipschitz / epsilon * np.sqrt(2 * near / modulus))
    scale = 64 / 9 * lipschitz**2 * near / (modulus * np.asarray(epsilon) ** 2)
    return np.ceil(scale * (entropy + np.log(1 / np.asarray(delta))))


def noise_moment_samples(
    epsilon: Any, delta: Any, *, smoothness: Any, modulus: Any, noise: Any
) -> Any:
    r"""B5 (ii), by Chebyshev: :math:`\max(1,\lceil\kappa\sigma^2/(2\mu\epsilon\delta)\rceil)`.

    Args:
        epsilon: accuracy.
        delta: allowed probability.
        smoothness: L of the risk; :math:`\kappa=L/\mu`.
        modulus: mu of every sample.
        noise: :math:`\sigma^2=\mathbb E\|\nabla\ell_\lambda(\theta_\lambda^*,z)\|^2`.

    Returns:
        A number of samples.
    """
    condition = smoothness / modulus
    return np.maximum(1.0, np.ceil(condition * noise / (2 * modulus * epsilon * delta)))


def noise_tail_samples(
    epsilon: Any, delta: Any, *, smoothness: Any, modulus: Any, steepness: Any
) -> Any:
    r"""B5 (ii), by McDiarmid: :math:`\kappa L'^2(1+\sqrt{2\log(1/\delta)})^2/(2\mu\epsilon)`.

    Rounded up and at least 1, as `noise_moment_samples`.

    Args:
        epsilon: accuracy.
        delta: allowed probability.
        smoothness: L of the risk; :math:`\kappa=L/\mu`.
        modulus: mu of every sample.
        steepness: L' at the minimiser :math:`\theta_\lambda^*` alone.

    Returns:
        A number of samples.
    """
    spread = (1 + np.sqrt(2 * np.log(1 / np.asarray(delta)))) ** 2
    condition = smoothness / modulus
    return np.maximum(1.0, np.ceil(condition * steepness**2 * spread / (2 * modulus * epsilon)))


def interpolating_samples(epsilon: Any, delta: Any, *, condition: Any, minimax: Any) -> Any:
    r"""B5 (ii) under section 5 to the letter: :math:`\lceil\kappa^2F^*/(\epsilon\delta)\rceil`.

    For every start, as the samples are nonnegative and L-smooth on the whole space:
    :math:`\sigma^2 \le 2Lf_\lambda^* \le 2LF^*`.

    Args:
        epsilon: accuracy.
        delta: allowed probability.
        condition: :math:`\kappa=L/\mu` with L and mu of the samples.
        minimax: :math:`F^*`.

    Returns:
        A number of samples, at least 1.
    """
    return np.maximum(1.0, np.ceil(condition**2 * minimax / (epsilon * np.asarray(delta))))


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
    return subgradient(setting) + smoothing(tasks, alpha) + bias


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
