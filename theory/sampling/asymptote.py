r"""What the sample complexity tends to as epsilon falls, B5 (iii).

By the central limit theorem n times the excess risk tends to :math:`\tfrac12\xi^\top H^{-1}\xi`,
:math:`\xi\sim N(0,C)`, C the covariance of the sample gradients at the minimiser, so that
:math:`N\epsilon \to q_{1-\delta}`, the quantile of this weighted sum of :math:`\chi^2_1`.
"""

import numpy as np
from scipy.stats import chi2

from theory.sampling.laws import Rng, SampledRisk

DRAWS = 200_000


def asymptotic_quantile(risk: SampledRisk, delta: float, rng: Rng) -> float:
    r"""Limit of :math:`N\epsilon`, in loss units.

    Args:
        risk: the downstream task.
        delta: allowed probability.
        rng: used if the weights of the sum differ.

    Returns:
        The quantile: exact for equal weights, else of `DRAWS` draws.
    """
    root = np.linalg.cholesky(risk.mean_hessian)
    whitened = np.linalg.solve(root, np.linalg.solve(root, risk.gradient_noise).T)
    weights = np.linalg.eigvalsh(0.5 * (whitened + whitened.T)) / 2
    weights = weights[weights > 1e-12 * max(np.max(weights), 1e-300)]
    if len(weights) == 0:
        return 0.0
    if np.ptp(weights) <= 1e-12 * np.max(weights):
        return float(np.mean(weights) * chi2.ppf(1 - delta, len(weights)))
    sums = rng.standard_normal((DRAWS, len(weights))) ** 2 @ weights
    return float(np.quantile(sums, 1 - delta))
