"""Each first-order method against a plain loop over one instance, written from its formulas."""

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.theory.solvers.runs import case, single
from theory.problems import DenseQuadratic, MaxLinear
from theory.solvers import SOLVERS
from theory.solvers.group_dro import group_dro

STEPS = 12


class Plain:
    """One instance in scalar loops, and what a method needs to know of it."""

    def __init__(self, family):
        one = single(family, STEPS)
        self.problem, self.start, self.target = one.problem, one.start, one.target
        setting = one.setting
        self.radius, self.lipschitz = setting.radius, setting.lipschitz
        self.range, self.smoothness = setting.loss_bound, setting.smoothness
        self.tasks, self.dim = self.problem.num_tasks, self.start.size

    def loss(self, t, x):
        p = self.problem
        if isinstance(p, MaxLinear):
            return sum(p.slopes[t, i] * x[i] for i in range(self.dim)) + p.offsets[t]
        assert isinstance(p, DenseQuadratic)
        y = [x[i] - p.minimizers[t, i] for i in range(self.dim)]
        return 0.5 * sum(
            y[i] * p.hessians[t, i, j] * y[j] for i in range(self.dim) for j in range(self.dim)
        )

    def losses(self, x):
        return [self.loss(t, x) for t in range(self.tasks)]

    def gradient(self, w, x):
        p, total = self.problem, np.zeros(self.dim)
        for t in range(self.tasks):
            if isinstance(p, MaxLinear):
                total += w[t] * p.slopes[t]
            else:
                total += w[t] * (p.hessians[t] @ (x - p.minimizers[t]))
        return total

    def project(self, x):
        center, radius = self.problem.domain.center, float(self.problem.domain.radius)
        distance = math.dist(x, center)
        return x if distance <= radius else center + (x - center) * radius / distance


def softmax(scores):
    top = max(scores)
    powers = [math.exp(s - top) for s in scores]
    return [p / sum(powers) for p in powers]


def simplex(v):
    """Projection by bisection on the threshold."""
    low, high = min(v) - 1, max(v)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(max(x - middle, 0) for x in v) > 1 else (low, middle)
    return [max(x - low, 0) for x in v]


def hard_max(p):
    x, seen = p.start, []
    for _ in range(STEPS):
        seen.append(x)
        f = p.losses(x)
        w = [float(t == f.index(max(f))) for t in range(p.tasks)]
        x = p.project(x - p.radius / (p.lipschitz * math.sqrt(STEPS)) * p.gradient(w, x))
    return np.mean(seen, axis=0)


def polyak(p):
    x, best = p.start, (math.inf, p.start)
    for _ in range(STEPS):
        f = p.losses(x)
        best = min(best, (max(f), x), key=lambda pair: pair[0])
        g = p.gradient([float(t == f.index(max(f))) for t in range(p.tasks)], x)
        x = p.project(x - max(max(f) - p.target, 0.0) / (g @ g) * g)
    return best[1]


def exponentiated(p, first=False):
    x, seen, total = p.start, [], [0.0] * p.tasks
    rate = math.sqrt(8 * math.log(p.tasks) / STEPS) / p.range
    for _ in range(STEPS):
        seen.append(x)
        after = [a + b for a, b in zip(total, p.losses(x), strict=True)]
        w = softmax([rate * s for s in (after if first else total)])
        x = p.project(x - p.radius / (p.lipschitz * math.sqrt(STEPS)) * p.gradient(w, x))
        total = after
    return np.mean(seen, axis=0)


def descent_ascent(p):
    x, w, seen = p.start, [1 / p.tasks] * p.tasks, []
    rate = 2 * math.sqrt(1 - 1 / p.tasks) / (p.range * math.sqrt(p.tasks * STEPS))
    for _ in range(STEPS):
        seen.append(x)
        f, g = p.losses(x), p.gradient(w, x)
        x = p.project(x - p.radius / (p.lipschitz * math.sqrt(STEPS)) * g)
        w = simplex([a + rate * b for a, b in zip(w, f, strict=True)])
    return np.mean(seen, axis=0)


def extragradient(p):
    curved = p.smoothness * p.radius**2
    steep = p.lipschitz * p.radius * math.sqrt(2 * math.log(p.tasks))
    matrix = np.array([[curved, steep], [steep, 0.0]])
    step = 1 / np.max(np.linalg.eigvalsh(matrix))
    x, w, seen = p.start, [1 / p.tasks] * p.tasks, []
    ascent = 2 * math.log(p.tasks) * step

    def ascended(w, f):
        raised = [a * math.exp(ascent * b) for a, b in zip(w, f, strict=True)]
        return [r / sum(raised) for r in raised]

    for _ in range(STEPS):
        half = p.project(x - step * p.radius**2 * p.gradient(w, x))
        middle = ascended(w, p.losses(x))
        seen.append(half)
        x = p.project(x - step * p.radius**2 * p.gradient(middle, half))
        w = ascended(w, p.losses(half))
    return np.mean(seen, axis=0)


def average(p):
    x = p.start
    size = 1 / p.smoothness if p.smoothness else p.radius / (p.lipschitz * math.sqrt(STEPS))
    for _ in range(STEPS):
        x = p.project(x - size * p.gradient([1 / p.tasks] * p.tasks, x))
    return x


LOOPS = {
    "hard max": hard_max,
    "Polyak": polyak,
    "GroupDRO": exponentiated,
    "GDA": descent_ascent,
    "mirror-prox": extragradient,
    "average": average,
}


@pytest.mark.parametrize("family", ["max-linear", "quadratic"])
@pytest.mark.parametrize("name", LOOPS)
def test_equals_the_plain_loop(name, family):
    solver = SOLVERS[name]
    found = getattr(single(family, STEPS).run(solver), solver.point)
    np.testing.assert_allclose(found, LOOPS[name](Plain(family)), rtol=0, atol=1e-11)


@pytest.mark.parametrize("family", ["max-linear", "quadratic"])
def test_group_dro_in_sagawas_order(family):
    one = single(family, STEPS)
    found = group_dro(one.problem, one.setting, one.start, weights_first=True).average
    wanted = exponentiated(Plain(family), first=True)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-11)
    assert np.max(np.abs(found - exponentiated(Plain(family)))) > 1e-3


def test_prox_linear_equals_its_program():
    import cvxpy as cp

    one, plain = single("quadratic", 3), Plain("quadratic")
    x = one.start
    for _ in range(3):
        theta, s = cp.Variable(3), cp.Variable()
        slopes = np.array([plain.gradient(row, x) for row in np.eye(plain.tasks)])
        below = np.array(plain.losses(x)) + slopes @ (theta - x) <= s
        ball = cp.norm(theta - one.problem.domain.center) <= one.problem.domain.radius
        objective = s + plain.smoothness / 2 * cp.sum_squares(theta - x)
        cp.Problem(cp.Minimize(objective), [below, ball]).solve(solver=cp.CLARABEL)
        x = theta.value
    np.testing.assert_allclose(one.run(SOLVERS["prox-linear"]).last, x, atol=2e-5)


@pytest.mark.parametrize("family", ["max-linear", "quadratic"])
def test_level_bundle_equals_its_programs(family):
    import cvxpy as cp

    # from near the optimum, so that the quadratics rise on the way
    one, plain = single(family, 9), Plain(family)
    one = replace(one, start=0.9 * case(family).optimum.point[1] + 0.1 * one.start)
    domain = one.problem.domain
    share, x, below = 1 - 1 / math.sqrt(2), one.start, []
    theta, s = cp.Variable(3), cp.Variable()
    ball = cp.norm(theta - domain.center) <= domain.radius
    upper, path, values = math.inf, [], []
    for _ in range(9):
        values.append(max(plain.losses(x)))
        upper = min(upper, values[-1])
        slopes = np.array([plain.gradient(row, x) for row in np.eye(plain.tasks)])
        below.append((np.array(plain.losses(x)) - slopes @ x, slopes))
        cuts = [a + b @ theta <= s for a, b in below]
        lower = cp.Problem(cp.Minimize(s), [*cuts, ball]).solve(solver=cp.CLARABEL)
        level = [a + b @ theta <= lower + share * (upper - lower) for a, b in below]
        distance = cp.sum_squares(theta - x)
        cp.Problem(cp.Minimize(distance), [*level, ball]).solve(solver=cp.CLARABEL)
        x = theta.value
        path.append(x)
    history = one.run(SOLVERS["level bundle"], tuple(range(1, 9))).history
    found = np.array([point.last for point in history])
    np.testing.assert_allclose(found, path, atol=2e-3)
    assert family == "max-linear" or np.max(np.diff(values)) > 0.01
