r"""Families of sample losses (C2.4); each says which assumption of section 5 it drops."""

import numpy as np

from theory.sampling.laws import Float, Rng, TaskSamples


def shifted_additive(centers: Float, length: float = 1.0) -> TaskSamples:
    r"""Shifted: :math:`\ell_t = \tfrac12\|\theta-c_t-z\|^2`, signs :math:`z_i=\pm s/\sqrt d`.

    Nonnegative and strongly convex samples; drops only the zero minimum of the expectation
    (:math:`f_t^* = s^2/2`).

    Args:
        centers: c, ``[T, d]``.
        length: s, the norm of every z.

    Returns:
        The law; all tasks share z.
    """
    tasks, dim = centers.shape
    size = length / np.sqrt(dim)
    hessian = np.zeros((tasks, 1 + dim, dim, dim))
    hessian[:, 0] = np.eye(dim)
    linear = np.zeros((tasks, 1 + dim, dim))
    linear[:, 0] = centers - size
    linear[:, 1:] = 2 * size * np.eye(dim)
    constant = np.zeros((tasks, 1 + dim))
    constant[:, 0] = 0.5 * np.sum((centers - size) ** 2, axis=-1)
    constant[:, 1:] = 2 * size * centers
    return TaskSamples("shifted", np.full(dim, 0.5), hessian, linear, constant, 1.0)


def linear_noise(hessians: Float, centers: Float, length: float = 1.0) -> TaskSamples:
    r"""Linear: :math:`\tfrac12(\theta-c_t)^\top H_t(\theta-c_t) + \langle z, \theta-c_t\rangle`.

    Zero-mean minimum and strongly convex samples; drops their nonnegativity, so that B is the range
    of the samples.

    Args:
        hessians: H, ``[T, d, d]``, positive definite.
        centers: c, ``[T, d]``.
        length: the norm of every z, whose coordinates are independent signs.

    Returns:
        The law; all tasks share z.
    """
    tasks, dim = centers.shape
    size = length / np.sqrt(dim)
    hessian = np.zeros((tasks, 1 + dim, dim, dim))
    hessian[:, 0] = hessians
    pulls = np.einsum("tij,tj->ti", hessians, centers)
    linear = np.zeros((tasks, 1 + dim, dim))
    linear[:, 0] = pulls - size  # bit 0 is z = +size, bit 1 is z = -size
    linear[:, 1:] = 2 * size * np.eye(dim)
    constant = np.zeros((tasks, 1 + dim))
    constant[:, 0] = 0.5 * np.sum(pulls * centers, axis=-1) - size * np.sum(centers, axis=-1)
    constant[:, 1:] = 2 * size * centers
    modulus = float(np.min(np.linalg.eigvalsh(hessians)))
    return TaskSamples("linear noise", np.full(dim, 0.5), hessian, linear, constant, modulus)


def multiplicative(low: Float, high: Float, probabilities: Float, centers: Float) -> TaskSamples:
    r"""Multiplicative: :math:`\ell_t = \tfrac12(\theta-c_t)^\top H_t(z)(\theta-c_t)`.

    Section 5 to the letter: nonnegative, strongly convex and smooth samples, and risks of minimum
    zero. :math:`\mu` is that of the samples.

    Args:
        low: usual Hessians ``[T, d, d]``.
        high: Hessians ``[T, d, d]`` with probability p_t, independently; high - low is positive
            semidefinite.
        probabilities: p, ``[T]``.
        centers: c, ``[T, d]``.

    Returns:
        The law.
    """
    tasks, dim = centers.shape
    hessian = np.zeros((tasks, 1 + tasks, dim, dim))
    hessian[:, 0] = low
    hessian[np.arange(tasks), 1 + np.arange(tasks)] = high - low
    linear = np.einsum("tgij,tj->tgi", hessian, centers)
    constant = 0.5 * np.einsum("tgi,ti->tg", linear, centers)
    modulus = float(np.min(np.linalg.eigvalsh(low)))
    return TaskSamples("multiplicative", probabilities, hessian, linear, constant, modulus)


def random_multiplicative(rng: Rng, tasks: int, dim: int, condition: float = 20.0) -> TaskSamples:
    """Random instances of `multiplicative`: T tasks whose minimisers have norm 2.

    Args:
        rng: source of bases and minimisers.
        tasks: T.
        dim: d >= 2.
        condition: ratio of the extreme eigenvalues over all samples of a task, at least 10.

    Returns:
        The law; each task's Hessian is, with probability 1/10, ten times its usual value.
    """
    bases, _ = np.linalg.qr(rng.standard_normal((tasks, dim, dim)))
    eigenvalues = np.geomspace(1.0, condition / 10, dim) / condition
    low = (bases * eigenvalues) @ np.swapaxes(bases, -1, -2)
    low = 0.5 * (low + np.swapaxes(low, -1, -2))
    centers = rng.standard_normal((tasks, dim))
    centers *= 2 / np.linalg.norm(centers, axis=-1, keepdims=True)
    return multiplicative(low, 10 * low, np.full(tasks, 0.1), centers)
