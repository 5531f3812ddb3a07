r"""What a convex multi-task problem is: the protocol, its domain and its constants.

A problem is T convex task risks :math:`f_t` on a Euclidean ball :math:`\Theta`. Its minimax
objective is :math:`F = \max_t f_t`, Eq. (5); its average objective :math:`\frac1T\sum_t f_t`,
Eq. (4). Leading axes are batches: a problem with arrays ``[I, T, d]`` is I instances, and every
method broadcasts them against the leading axes of ``theta``.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, Self, runtime_checkable

import cvxpy as cp
import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Ball:
    """Closed Euclidean ball: the domain of every problem.

    Attributes:
        center: ``[..., d]``.
        radius: ``[...]``, positive and finite.
    """

    center: Float
    radius: Float

    @classmethod
    def of(cls, center: ArrayLike, radius: ArrayLike) -> "Ball":
        """Build from anything array-like.

        Raises:
            ValueError: the centre is not finite or the radius not positive and finite. Theorem 3.1
                needs a bounded domain: on the whole space a strongly convex risk has no Lipschitz
                constant and a bounded convex risk is constant.
        """
        c, r = np.asarray(center, dtype=float), np.asarray(radius, dtype=float)
        if c.ndim == 0 or c.shape[-1] == 0 or c.shape[:-1] != r.shape:
            raise ValueError(
                f"`center` [..., d] and `radius` [...] of the domain should share their leading "
                f"axes; found shapes {c.shape} and {r.shape}"
            )
        if not np.all(np.isfinite(c)):
            raise ValueError(f"`center` of the domain should be finite; found {center!r}")
        if not np.all((r > 0) & np.isfinite(r)):
            raise ValueError(
                f"`radius` of the domain should be positive and finite (the theory needs a bounded "
                f"domain); found {radius!r}"
            )
        return cls(c, r)

    @property
    def dim(self) -> int:
        """Dimension d."""
        return int(self.center.shape[-1])

    def project(self, theta: Float) -> Float:
        """Euclidean projection of ``theta[..., d]``; exact identity inside the ball."""
        offset = theta - self.center
        norm = np.sqrt(np.sum(offset * offset, axis=-1))
        outside = norm > self.radius
        if not np.any(outside):
            return theta
        shrink = np.where(outside, self.radius / np.where(norm == 0, 1.0, norm), 1.0)
        return np.where(outside[..., None], self.center + shrink[..., None] * offset, theta)

    def min_linear(self, gradient: Float) -> Float:
        r"""Minimum of :math:`\langle g, \theta\rangle` over the ball, for ``g[..., d]``."""
        return np.asarray(
            np.sum(gradient * self.center, axis=-1)
            - self.radius * np.linalg.norm(gradient, axis=-1)
        )


@dataclass(frozen=True)
class Constants:
    r"""Constants of the task risks on the domain; each is exact or rigorous on the safe side.

    Attributes:
        lipschitz: :math:`L'`, largest norm of a (sub)gradient of any task anywhere on the domain.
        smoothness: :math:`L`, Lipschitz constant of every gradient; inf where not smooth.
        strong_convexity: :math:`\mu \ge 0` of every task.
        loss_bound: :math:`B`, upper bound of every risk on the domain.
        loss_range: upper bound of ``max f - min f`` over tasks and domain.
        exact: names of the fields that are exact; the others are rigorous bounds.
    """

    lipschitz: Any
    smoothness: Any = np.inf
    strong_convexity: Any = 0.0
    loss_bound: Any = np.inf
    loss_range: Any = np.inf
    exact: frozenset[str] = frozenset()

    def provenance(self, name: str) -> str:
        """Either ``"exact"`` or ``"bound"`` (rigorous, on the safe side)."""
        return "exact" if name in self.exact else "bound"


@runtime_checkable
class Problem(Protocol):
    """All that Algorithm 1, the certificate and the figures ask of a problem.

    A class may add ``dual_bound(weights) -> float``, a rigorous lower bound on the minimum over the
    domain of the weighted risk; without it one is built from the gradients (`theory.optima`).
    """

    @property
    def num_tasks(self) -> int:
        """Number of tasks T."""
        ...

    @property
    def domain(self) -> Ball:
        """The ball over which the risks are minimised."""
        ...

    def losses(self, theta: Float) -> Float:
        """Task risks ``[..., T]`` at ``theta[..., d]``."""
        ...

    def weighted_gradient(self, theta: Float, weights: Float) -> Float:
        """A subgradient ``[..., d]`` of the risk weighted by ``weights[..., T]``."""
        ...

    def constants(self) -> Constants:
        """Constants that hold on the whole domain."""
        ...

    def epigraph(self, theta: cp.Variable, levels: cp.Expression) -> list[cp.Constraint]:
        """Convex constraints that say ``f_t(theta) <= levels[t]`` for every task."""
        ...


@dataclass(frozen=True)
class ConvexProblem(ABC):
    """Base of the families: a frozen dataclass of arrays that share their leading batch axes.

    The abstract methods are those of `Problem`.
    """

    domain: Ball

    @property
    @abstractmethod
    def num_tasks(self) -> int:
        """Number of tasks T."""

    @abstractmethod
    def losses(self, theta: Float) -> Float:
        """Task risks ``[..., T]``."""

    @abstractmethod
    def weighted_gradient(self, theta: Float, weights: Float) -> Float:
        """Subgradient ``[..., d]`` of the weighted risk."""

    @abstractmethod
    def constants(self) -> Constants:
        """Constants on the domain, arrays of `batch_shape`."""

    @abstractmethod
    def epigraph(self, theta: cp.Variable, levels: cp.Expression) -> list[cp.Constraint]:
        """Constraints ``f_t(theta) <= levels[t]`` of a single instance."""

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Shape of the batch of instances; () for a single one."""
        return tuple(self.domain.radius.shape)

    def __getitem__(self, index: int | slice | NDArray[np.intp]) -> Self:
        """One instance, or a sub-batch for a slice or an array of indices."""
        if not self.batch_shape:
            raise IndexError("a single instance has no batch axis to index")
        changes: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Ball):
                changes[field.name] = Ball(value.center[index], value.radius[index])
            elif isinstance(value, np.ndarray):
                changes[field.name] = value[index]
        return replace(self, **changes)

    def instances(self) -> Iterator[Self]:
        """The instances one by one; itself for a single instance."""
        if not self.batch_shape:
            yield self
        else:
            for index in range(self.batch_shape[0]):
                yield self[index]


def jacobian(problem: Problem, theta: Float) -> Float:
    """Task gradients ``[..., T, d]`` at ``theta[..., d]``, by one weighted gradient a task."""
    return np.stack(
        [
            problem.weighted_gradient(theta, np.broadcast_to(row, (*theta.shape[:-1], row.size)))
            for row in np.eye(problem.num_tasks)
        ],
        axis=-2,
    )


def check_shape(
    name: str, array: Float, core: tuple[int | None, ...], batch: tuple[int, ...]
) -> None:
    """Raise ValueError unless `array` has shape ``batch + core`` (None matches any length)."""
    shape = array.shape
    fits = len(shape) == len(batch) + len(core) and shape[: len(batch)] == batch
    if not fits or any(c not in (None, n) for c, n in zip(core, shape[len(batch) :], strict=True)):
        wanted = ", ".join([*map(str, batch), *("any" if c is None else str(c) for c in core)])
        raise ValueError(f"`{name}` should have shape ({wanted}); found {shape}")
    if array.size == 0:
        raise ValueError(f"`{name}` should have at least one task; found shape {shape}")
    if not np.all(np.isfinite(array)):
        raise ValueError(f"`{name}` should be finite; found NaN or inf")
