r"""Eq. (7) and its companions: softmax weights over tasks, the smooth maximum and their gap.

With losses :math:`f \in \mathbb{R}^T` and sharpness :math:`\alpha \ge 0`,

.. math:: w_t = \frac{e^{\alpha f_t}}{\sum_s e^{\alpha f_s}}, \qquad
          F_\alpha = \frac1\alpha \log \sum_t e^{\alpha f_t}, \qquad
          0 \le \max_t f_t - \sum_t w_t f_t \le \frac{c_T}{\alpha}.

One implementation serves every array library that array-api-compat knows (NumPy and torch are
tested). Nothing is detached here: gradients flow through the weights, so a caller who wants the
step of Algorithm 1, :math:`\sum_t w_t \nabla f_t`, detaches them.
"""

import math
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace, device, is_array_api_obj, to_device

__all__ = ["smooth_max", "softmax_gap", "softmax_weights"]

Array = Any
"""A NumPy or torch array; no library-independent static type exists."""


class _Inputs(NamedTuple):
    """Checked inputs, and the drop of each loss below the maximum, finite unless a loss is not."""

    xp: ModuleType
    losses: Array  # [..., T], floating, float32 or wider; -inf where absent
    alpha: float | Array  # a number, or [..., 1] of the same dtype
    present: Array | None  # bool [..., T]
    top: Array  # [..., 1], max over present tasks
    scale: (
        float | Array
    )  # 1, or 1/2 where f - max f could overflow and alpha is tiny enough to care
    drop: Array  # [..., T], scale * (f - max f), at most 0; anything where absent


def softmax_weights(
    losses: Array, alpha: float | Array, present: Array | None = None, *, validate: bool = True
) -> Array:
    r"""Weights of softmax weighted gradient descent, Eq. (7): :math:`\mathrm{softmax}(\alpha f)`.

    Args:
        losses: task losses ``[..., T]`` in loss units; leading axes are batched. Half precision is
            upcast to float32, integers to float64. A loss of +inf takes all weight (several share
            it evenly); -inf takes none unless every present loss is -inf.
        alpha: sharpness in 1 / loss units, at least 0: a number or an array ``[...]`` that
            broadcasts against the leading axes. 0 gives uniform weights whatever the losses;
            ``inf`` the hard maximum, ties split evenly.
        present: boolean mask ``[..., T]`` (broadcast) of the tasks that take part; None for all.
            Absent tasks get weight 0 and their losses are never looked at.
        validate: check the values, which reads them back to the host. With False nothing
            data-dependent is read: a NaN loss makes its whole row NaN, and a row without a present
            task is all zero.

    Returns:
        Weights ``[..., T]`` on the simplex of present tasks, in float32 or wider. Differentiable in
        the losses (at finite losses).

    Raises:
        TypeError: losses that are complex, boolean or not numeric; a mask that is not boolean.
        ValueError: no task axis or T = 0; NaN in a present loss; negative or NaN alpha; a row with
            no present task; a mask or alpha of another shape.
    """
    inputs = _prepare(losses, alpha, present, validate=validate)
    exponentials, total = _exponentials(inputs)
    return exponentials / total


def smooth_max(
    losses: Array, alpha: float | Array, present: Array | None = None, *, validate: bool = True
) -> Array:
    r"""Smooth maximum :math:`F_\alpha = \frac1\alpha\log\sum_t e^{\alpha f_t}` (log-sum-exp).

    :math:`\max f \le F_\alpha \le \max f + (\log T)/\alpha`, and its gradient in the losses is
    `softmax_weights`.

    Args:
        losses: as in `softmax_weights`.
        alpha: as in `softmax_weights`, but positive; ``inf`` gives the maximum.
        present: as in `softmax_weights`.
        validate: as in `softmax_weights`.

    Returns:
        Array ``[...]`` in loss units.

    Raises:
        TypeError: as `softmax_weights`.
        ValueError: as `softmax_weights`, and for alpha = 0, where the function is infinite.
    """
    inputs = _prepare(losses, alpha, present, validate=validate)
    xp = inputs.xp
    if validate and _some(xp, inputs.alpha == 0):
        raise ValueError("`alpha` should be positive for smooth_max; found 0 (use the mean)")
    _, total = _exponentials(inputs)
    log_total = xp.log(total)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        excess = xp.where(log_total == 0, 0.0, log_total / inputs.alpha)
        return (inputs.top + excess)[..., 0]


def softmax_gap(
    losses: Array, alpha: float | Array, present: Array | None = None, *, validate: bool = True
) -> Array:
    r"""Gap :math:`\max_t f_t - \sum_t w_t f_t \in [0, c_T/\alpha]` of the softmax average.

    Computed as :math:`\sum_t w_t(\max f - f_t)`, so that it keeps full relative accuracy when it is
    much smaller than the losses. The upper bound is attained (see
    `taskrobust.schedules.sharp_constant`).

    Args:
        losses: as in `softmax_weights`.
        alpha: as in `softmax_weights`.
        present: as in `softmax_weights`.
        validate: as in `softmax_weights`.

    Returns:
        Array ``[...]`` in loss units.

    Raises:
        TypeError: as `softmax_weights`.
        ValueError: as `softmax_weights`.
    """
    inputs = _prepare(losses, alpha, present, validate=validate)
    xp = inputs.xp
    exponentials, total = _exponentials(inputs)
    # A task without weight adds nothing, however far below the maximum it is.
    drop = xp.where(exponentials == 0, 0.0, inputs.drop)
    scaled = xp.sum(exponentials / total * drop, axis=-1, keepdims=True)
    with np.errstate(over="ignore"):
        return (-scaled / inputs.scale)[..., 0]


def _prepare(
    losses: Array, alpha: float | Array, present: Array | None, *, validate: bool
) -> _Inputs:
    """Check and convert the arguments and subtract the maximum (exact for |f| up to 1e308)."""
    xp, losses = _as_floating(losses)
    if losses.ndim == 0 or losses.shape[-1] == 0:
        raise ValueError(
            f"`losses` should have a last axis of at least one task; found shape {_shape(losses)}"
        )
    alpha = _as_sharpness(xp, alpha, losses, validate=validate)
    if present is not None:
        present = _as_mask(xp, present, losses, validate=validate)
        losses = xp.where(present, losses, -math.inf)
    if validate and _some(xp, xp.isnan(losses)):
        raise ValueError("`losses` should not be NaN; found NaN in a present task")
    top = xp.max(losses, axis=-1, keepdims=True)
    scale = _overflow_scale(xp, alpha, losses)
    with np.errstate(invalid="ignore", over="ignore"):
        plain = isinstance(scale, float) and scale == 1
        drop = losses - top if plain else losses * scale - top * scale
    level = xp.isnan(drop) & (top == top)  # inf - inf
    if present is not None and not isinstance(alpha, float):
        level = level | ~present  # alpha's gradient is a multiple of the drop
    return _Inputs(xp, losses, alpha, present, top, scale, xp.where(level, 0.0, drop))


def _overflow_scale(xp: ModuleType, alpha: float | Array, losses: Array) -> float | Array:
    """1/2 where alpha is so small that a difference beyond the largest float has some weight.

    Halving is exact but for subnormal losses, which do not matter to so small an alpha; for any
    other alpha, a difference that overflows has weight 0 either way.
    """
    threshold = 1024 * float(xp.finfo(losses.dtype).smallest_normal)
    if isinstance(alpha, float):
        return 0.5 if alpha < threshold else 1.0
    return xp.where(alpha < threshold, xp.full_like(alpha, 0.5), 1.0)


def _exponentials(inputs: _Inputs) -> tuple[Array, Array]:
    """exp(alpha (f - max f)) ``[..., T]``, zero where absent, and its sum ``[..., 1]``.

    The sum of a row without a present task is 1, so that its weights are 0.
    """
    xp = inputs.xp
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        exponentials = xp.exp(_exponent(inputs))
    if inputs.present is None:
        return exponentials, xp.sum(exponentials, axis=-1, keepdims=True)
    exponentials = xp.where(inputs.present, exponentials, 0.0)
    total = xp.sum(exponentials, axis=-1, keepdims=True)
    return exponentials, total + (total == 0)


def _exponent(inputs: _Inputs) -> Array:
    """Alpha (f - max f) ``[..., T]``, with 0 * inf = 0 and constant at alpha = 0 and infinity."""
    xp, alpha, drop = inputs.xp, inputs.alpha, inputs.drop
    if isinstance(alpha, float):
        if alpha == 0:
            return _flat(xp, drop)
        if alpha == math.inf:
            return _hard(xp, drop)
        if inputs.scale == 1:
            return alpha * drop
        # So small an alpha may round to 0 in single precision, and 0 * inf is no number.
        return xp.where(drop == -math.inf, drop, alpha * drop / inputs.scale)
    flat, hard = alpha == 0, xp.isinf(alpha)
    # The placeholder 1 keeps the branches not taken, and so all gradients, finite.
    exponent = xp.where(flat | hard, 1.0, alpha) * drop / inputs.scale
    return xp.where(flat, _flat(xp, drop), xp.where(hard, _hard(xp, drop), exponent))


def _flat(xp: ModuleType, drop: Array) -> Array:
    """Exponent at alpha = 0: 0, but NaN stays NaN."""
    return xp.where(drop <= 0, 0.0, drop)


def _hard(xp: ModuleType, drop: Array) -> Array:
    """Exponent at alpha = inf: 0 at the maximum and -inf below it, but NaN stays NaN."""
    return xp.where(drop < 0, -math.inf, _flat(xp, drop))


def _as_floating(losses: Array) -> tuple[ModuleType, Array]:
    """The array namespace and the losses as float32 or wider."""
    if not is_array_api_obj(losses):
        losses = np.asarray(losses)
        if losses.dtype == object:
            raise TypeError("`losses` should be numeric; found objects")
    xp = array_namespace(losses)
    dtype = losses.dtype
    if xp.isdtype(dtype, "integral"):
        return xp, xp.astype(losses, xp.float64)
    if not xp.isdtype(dtype, "real floating"):
        raise TypeError(f"`losses` should be real numbers; found dtype {dtype}")
    if dtype.itemsize < 4:
        return xp, xp.astype(losses, xp.float32)
    return xp, losses


def _as_sharpness(
    xp: ModuleType, alpha: float | Array, losses: Array, *, validate: bool
) -> float | Array:
    """Alpha as a number, or an array ``[..., 1]`` of the losses' dtype and device."""
    if isinstance(alpha, int | float | np.integer | np.floating) and not isinstance(alpha, bool):
        if not alpha >= 0:
            raise ValueError(f"`alpha` should be at least 0; found {alpha}")
        # 1e308 is beyond float32: the hard maximum
        return float(alpha) if float(alpha) <= float(xp.finfo(losses.dtype).max) else math.inf
    if not is_array_api_obj(alpha):
        alpha = np.asarray(alpha)
    if not array_namespace(alpha).isdtype(alpha.dtype, ("real floating", "integral")):
        raise TypeError(
            f"`alpha` should be a real number or an array of them; found dtype {alpha.dtype}"
        )
    with np.errstate(over="ignore"):
        if array_namespace(alpha) is xp:
            alpha = to_device(xp.astype(alpha, losses.dtype), device(losses))
        else:
            alpha = xp.asarray(alpha, dtype=losses.dtype, device=device(losses))
    if validate and not bool(xp.all(alpha >= 0)):
        raise ValueError(f"`alpha` should be at least 0; found {alpha}")
    batch = losses.shape[:-1]
    try:
        np.broadcast_shapes(tuple(alpha.shape), tuple(batch))
    except ValueError as error:
        raise ValueError(
            f"`alpha` should broadcast against the leading axes {tuple(batch)} of `losses`; "
            f"found shape {_shape(alpha)}"
        ) from error
    return alpha[..., None]


def _as_mask(xp: ModuleType, present: Array, losses: Array, *, validate: bool) -> Array:
    """The mask as a boolean array of the losses' shape."""
    if not is_array_api_obj(present):
        present = np.asarray(present)
    if not array_namespace(present).isdtype(present.dtype, "bool"):
        raise TypeError(f"`present` should be boolean; found dtype {present.dtype}")
    present = xp.asarray(present, device=device(losses))
    try:
        if present.shape != losses.shape:
            present = xp.broadcast_to(present, losses.shape)
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"`present` should broadcast to the shape {_shape(losses)} of `losses`; "
            f"found shape {_shape(present)}"
        ) from error
    if validate and not bool(xp.all(xp.any(present, axis=-1))):
        raise ValueError("`present` should have at least one present task in every row; found none")
    return present


def _some(xp: ModuleType, condition: bool | Array) -> bool:
    """Whether any entry is true, read back to the host."""
    return condition if isinstance(condition, bool) else bool(xp.any(condition))


def _shape(array: Array) -> tuple[int, ...]:
    return tuple(int(n) for n in array.shape)
