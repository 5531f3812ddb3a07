"""What all peer algorithms ask of their arguments."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theory.problems import Problem
from theory.schedules import Setting

Float = NDArray[np.float64]


def checked_start(
    problem: Problem, setting: Setting, start: Float, *, needs: tuple[str, ...] = ()
) -> Float:
    """Check the arguments of a method.

    Args:
        problem: one instance or a batch.
        setting: its constants; every method needs K, T, R0 and L'.
        start: theta_0, ``[..., d]``.
        needs: further constants of the setting that have to be finite.

    Returns:
        The start, broadcast to the whole batch and copied.

    Raises:
        ValueError: a constant out of range, a start of the wrong dimension or outside the domain.
    """
    if setting.num_steps < 1:
        raise ValueError(f"`num_steps` should be at least 1; found {setting.num_steps}")
    if setting.num_tasks != problem.num_tasks:
        raise ValueError(
            f"`num_tasks` should be that of the problem, {problem.num_tasks}; "
            f"found {setting.num_tasks}"
        )
    for name in ("radius", "lipschitz", *needs):
        value = np.asarray(getattr(setting, name), dtype=float)
        least_excluded = name != "smoothness"  # linear tasks have L = 0
        if not np.all(np.isfinite(value) & (value >= 0)) or (least_excluded and np.any(value == 0)):
            kind = "positive and finite" if least_excluded else "finite and at least 0"
            raise ValueError(f"`{name}` of the setting should be {kind}; found {value}")
    return _inside(problem, start)


def column(value: Any) -> Float:
    """A constant ``[...]`` as ``[..., 1]``, to scale vectors."""
    return np.asarray(value, dtype=float)[..., None]


def instance_setting(setting: Setting, index: int) -> Setting:
    """The setting of one instance of a batch."""
    changes: dict[str, Any] = {
        field.name: float(getattr(setting, field.name)[index])
        for field in fields(setting)
        if np.ndim(getattr(setting, field.name))
    }
    return replace(setting, **changes)


def _inside(problem: Problem, start: Float) -> Float:
    theta, domain = np.asarray(start, dtype=float), problem.domain
    if theta.ndim == 0 or theta.shape[-1] != domain.dim:
        raise ValueError(f"`start` should have shape (..., {domain.dim}); found {theta.shape}")
    batch = np.broadcast_shapes(domain.radius.shape, theta.shape[:-1])
    theta = np.array(np.broadcast_to(theta, (*batch, domain.dim)))
    distance = np.linalg.norm(theta - domain.center, axis=-1)
    if not np.all(distance <= domain.radius * (1 + 1e-9)):
        raise ValueError(
            f"`start` should lie in the domain (radius {domain.radius}); found a point at distance "
            f"{float(np.max(distance)):.6g} from its centre"
        )
    return theta
