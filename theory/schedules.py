r"""Schedules of Algorithm 1 as data: sharpness, step size and averaging weight of every iteration.

Each named schedule turns the constants of a setting into arrays, with the formulas of
`taskrobust.schedules`; the guarantee that goes with it is in `theory.bounds` under the same name.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskrobust import schedules as core

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Setting:
    r"""Named constants that schedules and bounds are functions of; arrays ``[...]`` broadcast.

    Attributes:
        num_tasks: T.
        num_steps: K.
        radius: R0, distance of the start from a minimiser (or an upper bound of it).
        lipschitz: L'.
        loss_bound: B, upper bound of nonnegative risks (their range, if they can be shifted).
        smoothness: L.
        strong_convexity: mu.
        diameter: D of the domain.
    """

    num_tasks: int
    num_steps: int
    radius: Any
    lipschitz: Any
    loss_bound: Any = np.inf
    smoothness: Any = np.inf
    strong_convexity: Any = 0.0
    diameter: Any = np.inf


@dataclass(frozen=True)
class Schedule:
    """What Algorithm 1 does at each iteration k = 0, ..., K - 1.

    Attributes:
        alpha: sharpness ``[K, ...]``; the trailing axes broadcast against the batch.
        step_size: ``[K, ...]``, likewise.
        averaging: weight of each iterate in the average, ``[K, ...]``, positive; normalised by use.
    """

    alpha: Float
    step_size: Float
    averaging: Float

    def __post_init__(self) -> None:
        for name in ("alpha", "step_size", "averaging"):
            array = getattr(self, name)
            if array.ndim == 0 or len(array) != len(np.atleast_1d(self.alpha)) or len(array) == 0:
                raise ValueError(
                    f"`{name}` should have one row for each iteration, as `alpha` has; found shape "
                    f"{array.shape}"
                )
        if not np.all(self.alpha >= 0):
            raise ValueError("`alpha` should be at least 0; found a negative number or NaN")
        if not np.all(self.averaging > 0):
            raise ValueError("`averaging` should be positive")

    @property
    def num_steps(self) -> int:
        """K."""
        return int(self.alpha.shape[0])


def paper(setting: Setting) -> Schedule:
    """The schedule printed in Theorem 3.1."""
    alpha = core.paper_alpha(
        _steps(setting),
        num_tasks=setting.num_tasks,
        radius=setting.radius,
        lipschitz=setting.lipschitz,
        loss_bound=setting.loss_bound,
    )
    return _constant_step(setting, alpha)


def logarithmic(setting: Setting) -> Schedule:
    r"""The sharpened schedule with :math:`\log T` in place of :math:`c_T`."""
    ratio = np.log(setting.num_tasks) / max(core.sharp_constant(setting.num_tasks), 1e-300)
    return _constant_step(setting, sharpened(setting).alpha * ratio)


def sharpened(setting: Setting) -> Schedule:
    """The sharp constant's schedule of the corrected Theorem 3.1 (A3)."""
    alpha = core.sharpened_alpha(
        _steps(setting),
        num_tasks=setting.num_tasks,
        radius=setting.radius,
        lipschitz=setting.lipschitz,
    )
    return _constant_step(setting, alpha)


def constant(setting: Setting) -> Schedule:
    """Constant sharpness with the same guarantee, B1 (b)."""
    alpha = core.constant_alpha(
        setting.num_steps,
        num_tasks=setting.num_tasks,
        radius=setting.radius,
        lipschitz=setting.lipschitz,
    )
    return _constant_step(setting, np.broadcast_to(alpha, (setting.num_steps, *alpha.shape)))


def unit(setting: Setting) -> Schedule:
    """Sharpness 1 throughout, as Remark 3.3 recommends; no guarantee goes with it."""
    return _constant_step(setting, np.ones(setting.num_steps))


def anytime(setting: Setting) -> Schedule:
    """Horizon-free schedule on a domain of known diameter, B1 (c)."""
    steps = _steps(setting)
    alpha = core.anytime_alpha(
        steps,
        num_tasks=setting.num_tasks,
        diameter=setting.diameter,
        lipschitz=setting.lipschitz,
    )
    size = core.anytime_step_size(steps, diameter=setting.diameter, lipschitz=setting.lipschitz)
    return Schedule(alpha, size, np.ones(setting.num_steps))


def strongly_convex(setting: Setting) -> Schedule:
    """Schedule for strongly convex risks with averaging weights k + 1, B1 (d)."""
    steps = _steps(setting)
    alpha = core.strongly_convex_alpha(
        steps,
        num_tasks=setting.num_tasks,
        lipschitz=setting.lipschitz,
        strong_convexity=setting.strong_convexity,
    )
    size = core.strongly_convex_step_size(steps, strong_convexity=setting.strong_convexity)
    return Schedule(alpha, size, np.arange(1.0, setting.num_steps + 1))


def smoothed(setting: Setting) -> Schedule:
    r"""Gradient descent on the smooth maximum for a last-iterate guarantee, B2.

    :math:`\alpha=\sqrt{2K\log T}/(L'R_0)`, :math:`\eta = 1/(L + \alpha L'^2)`.
    """
    if not np.all(np.isfinite(setting.smoothness)):
        raise ValueError(f"`smoothness` should be finite; found {setting.smoothness}")
    scale = np.asarray(setting.lipschitz * setting.radius, dtype=float)
    alpha = np.sqrt(2 * setting.num_steps * np.log(setting.num_tasks)) / scale
    size = 1 / (setting.smoothness + alpha * np.asarray(setting.lipschitz) ** 2)
    shape = (setting.num_steps, *scale.shape)
    return Schedule(
        np.broadcast_to(alpha, shape),
        np.broadcast_to(size, (setting.num_steps, *np.shape(size))),
        np.ones(setting.num_steps),
    )


SCHEDULES: dict[str, Callable[[Setting], Schedule]] = {
    "paper": paper,
    "log T": logarithmic,
    "sharpened": sharpened,
    "constant": constant,
    "alpha = 1": unit,
    "anytime": anytime,
    "strongly convex": strongly_convex,
    "smoothed": smoothed,
}
"""Schedules by name."""


def stack(schedules: Sequence[Schedule], batch_shape: tuple[int, ...]) -> Schedule:
    """Several schedules of equal length as one, on a new leading batch axis.

    Args:
        schedules: S schedules of K steps each.
        batch_shape: batch of the problem they will run on.

    Returns:
        Arrays ``[K, S, *batch_shape]``: running it on a problem of that batch runs all S at once.
    """

    def joined(arrays: list[Float]) -> Float:
        rows = []
        for array in arrays:
            padding = (1,) * (1 + len(batch_shape) - array.ndim)
            expanded = array.reshape(array.shape[0], *padding, *array.shape[1:])
            rows.append(np.broadcast_to(expanded, (array.shape[0], *batch_shape)))
        return np.stack(rows, axis=1)

    return Schedule(
        joined([s.alpha for s in schedules]),
        joined([s.step_size for s in schedules]),
        joined([s.averaging for s in schedules]),
    )


def _steps(setting: Setting) -> Float:
    """0, ..., K - 1 as ``[K, 1, ...]``, broadcastable against the setting's arrays."""
    ndim = max(
        np.ndim(value)
        for value in (
            setting.radius,
            setting.lipschitz,
            setting.loss_bound,
            setting.strong_convexity,
            setting.diameter,
        )
    )
    return np.arange(float(setting.num_steps)).reshape(-1, *(1,) * ndim)


def _constant_step(setting: Setting, alpha: Float) -> Schedule:
    size = core.constant_step_size(
        setting.num_steps, radius=setting.radius, lipschitz=setting.lipschitz
    )
    return Schedule(
        alpha,
        np.broadcast_to(size, (setting.num_steps, *size.shape)),
        np.ones(setting.num_steps),
    )
