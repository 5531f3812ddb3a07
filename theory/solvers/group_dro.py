r"""GroupDRO (Sagawa et al., 2020) with exact risks: exponentiated-gradient ascent on the weights.

The weights are the softmax of *accumulated* risks, where Algorithm 1 uses the current ones.
"""

import math
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskrobust.weights import softmax_weights
from theory.problems import Problem
from theory.schedules import Setting
from theory.solvers.inputs import checked_start, column
from theory.solvers.result import Recorder, Result

Float = NDArray[np.float64]


def group_dro(
    problem: Problem,
    setting: Setting,
    start: Float,
    checkpoints: Collection[int] = (),
    *,
    weights_first: bool = False,
    weight_rate: Any = None,
) -> Result:
    r"""Descent in theta against exponentiated-gradient ascent in the weights.

    :math:`w_{k}\propto\exp(\eta_w\sum_{j<k}f(\theta_j))`,
    :math:`\theta_{k+1}=\Pi(\theta_k-\eta\sum_tw_t\nabla f_t(\theta_k))`,
    :math:`\eta=R_0/(L'\sqrt K)`, with :math:`w_k` or, `weights_first`, :math:`w_{k+1}`, which has
    already seen :math:`f(\theta_k)`. The latter is the order of Sagawa's Algorithm 1.

    *Guarantee.* Both players' regrets add up; theta's is :math:`R_0L'\sqrt K`. With :math:`w_k`
    that of the weights is at most :math:`\log T/\eta_w+\eta_wKB^2/8` (Hoeffding's lemma; B is the
    range of the risks). With :math:`w_{k+1}` it is at most :math:`\log T/\eta_w` for *every* rate:
    the gradient of the convex :math:`\Phi(S)=\eta_w^{-1}\log\frac1T\sum_te^{\eta_wS_t}` at the
    end of a step bounds its increase.

    Args:
        problem: one instance or a batch.
        setting: K, T, R0, L' and B, the range of the risks.
        start: ``[..., d]`` in the domain.
        checkpoints: steps to record.
        weights_first: whether theta's step uses the weights that have seen its current risks.
        weight_rate: :math:`\eta_w`, ``[...]``, in 1 / loss units; `default_rate` if None.

    Returns:
        The result. Guarantee for the average: `theory.bounds.group_dro`, with `weights_first`
        `theory.bounds.group_dro_weights_first`.

    Raises:
        ValueError: as `theory.solvers.inputs.checked_start`.
    """
    theta = checked_start(problem, setting, start, needs=("loss_bound",))
    recorder = Recorder(problem, setting.num_steps, checkpoints)
    rate = np.asarray(default_rate(setting) if weight_rate is None else weight_rate, dtype=float)
    step_size = column(setting.radius / (setting.lipschitz * math.sqrt(setting.num_steps)))
    accumulated = np.zeros((*theta.shape[:-1], problem.num_tasks))
    for k in range(setting.num_steps):
        losses = recorder.problem.losses(theta)
        seen = accumulated + losses
        weights = softmax_weights(seen if weights_first else accumulated, rate, validate=False)
        gradient = recorder.problem.weighted_gradient(theta, weights)
        recorder.visit(theta, losses, weights, gradient)
        theta, accumulated = problem.domain.project(theta - step_size * gradient), seen
        recorder.reach(k + 1, theta)
    return recorder.result()


def default_rate(setting: Setting) -> Any:
    r""":math:`\eta_w=\sqrt{8\log T/K}/B`, the best for weights that have not seen the risks."""
    return math.sqrt(8 * math.log(setting.num_tasks) / setting.num_steps) / setting.loss_bound
