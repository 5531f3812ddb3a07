"""The package as a whole: what importing it needs, what it exports, and its example."""

import doctest
import subprocess
import sys
from pathlib import Path

import taskrobust
from taskrobust import schedules, weights

ROOT = Path(__file__).resolve().parents[2]

ONLY_THE_BASE_INSTALL = """
import sys

class OnlyTheBaseInstall:
    allowed = sys.stdlib_module_names | {"numpy", "array_api_compat", "taskrobust"}

    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in self.allowed and not top.startswith("_sysconfigdata"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, OnlyTheBaseInstall())
"""


def run(code):
    """Run code in a fresh interpreter at the root of the repository; its standard output."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_works_with_nothing_but_numpy_and_array_api_compat():
    code = """
import numpy as np
import taskrobust
w = taskrobust.softmax_weights(np.array([1.0, 3.0]), taskrobust.alpha_for_tolerance(2, 0.1))
assert w[1] > 0.99 and "torch" not in sys.modules, w
assert taskrobust.smooth_max(np.array([1.0, 3.0]), 1.0) > 3
print(taskrobust.__file__)
"""
    assert Path(run(ONLY_THE_BASE_INSTALL + code)) == ROOT / "taskrobust/__init__.py"


def test_the_blocker_of_the_test_above_blocks():
    code = "\ntry:\n    import torch\nexcept ModuleNotFoundError as error:\n    print(error.name)"
    assert run(ONLY_THE_BASE_INSTALL + code) == "torch"


def test_imports_nothing_else_even_where_it_is_installed():
    code = """
import sys
before = set(sys.modules)
import taskrobust
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(new - sys.stdlib_module_names))
"""
    assert run(code).split() == ["array_api_compat", "numpy", "taskrobust"]


def test_exports_every_public_function_of_its_modules():
    assert set(taskrobust.__all__) >= {*schedules.__all__, *weights.__all__}
    assert sorted(taskrobust.__all__) == taskrobust.__all__
    for name in taskrobust.__all__:
        assert getattr(taskrobust, name).__doc__


def test_its_example_runs():
    results = doctest.testmod(taskrobust)
    assert results.attempted >= 3
    assert results.failed == 0
