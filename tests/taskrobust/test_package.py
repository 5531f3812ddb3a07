"""The package as a whole: what importing it needs, what it exports, and its examples."""

import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

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


def without(*packages):
    """Code that makes packages look uninstalled."""
    return f"""
import sys

class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {packages!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Without())
"""


ASK_FOR_EACH = """
import taskrobust
for name in taskrobust._LAZY:
    try:
        getattr(taskrobust, name)
    except ImportError as error:
        print(f"{name}: {error}")
"""


def test_what_needs_torch_is_imported_when_it_is_asked_for():
    code = """
import sys
import taskrobust
assert "torch" not in sys.modules and "Minimax" not in vars(taskrobust)
from taskrobust import Minimax, grouped_risks
assert Minimax(2, alpha=1.0).num_tasks == 2
assert vars(taskrobust)["Minimax"] is Minimax  # found at once from now on
print(*sorted({"torch", "transformers", "torchjd", "accelerate"} & set(sys.modules)))
"""
    assert run(code) == "torch"


def test_without_torch_each_lazy_name_says_which_extra_is_missing():
    lines = run(ONLY_THE_BASE_INSTALL + ASK_FOR_EACH).splitlines()
    assert [line.partition(":")[0] for line in lines] == list(taskrobust._LAZY)
    assert lines[list(taskrobust._LAZY).index("Minimax")] == (
        "Minimax: taskrobust.Minimax needs the package 'torch'; "
        "install the torch extra: pip install 'taskrobust[torch]'"
    )
    for line, place in zip(lines, taskrobust._LAZY.values(), strict=True):
        extra = "transformers" if place == "trainer" else "torch"  # the former brings the latter
        assert line.endswith(f"install the {extra} extra: pip install 'taskrobust[{extra}]'")


def test_an_import_statement_says_so_too():
    code = """
try:
    from taskrobust import Minimax
except ImportError as error:
    print(error)
"""
    assert run(without("torch") + code).endswith("pip install 'taskrobust[torch]'")


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        (["transformers", "accelerate"], "transformers"),
        # What an environment of the torch extra alone lacks.
        (["transformers", "accelerate", "safetensors", "tokenizers"], "safetensors"),
    ],
)
def test_without_transformers_only_the_trainer_is_missing(missing, named):
    lines = run(without(*missing) + ASK_FOR_EACH).splitlines()
    of_the_trainer = [name for name, place in taskrobust._LAZY.items() if place == "trainer"]
    assert lines == [
        f"{name}: taskrobust.{name} needs the package {named!r}; "
        "install the transformers extra: pip install 'taskrobust[transformers]'"
        for name in of_the_trainer
    ]


def test_without_torchjd_its_adapter_says_which_extra_is_missing():
    code = """
from taskrobust import create_balancer
try:
    create_balancer("torchjd", 3, method="STCH")
except ImportError as error:
    print(error)
"""
    assert run(without("torchjd") + code).endswith("pip install 'taskrobust[torchjd]'")


def test_a_missing_package_that_no_extra_brings_is_not_hidden():
    code = """
try:
    from taskrobust import Minimax
except ModuleNotFoundError as error:
    print(error.name)
"""
    assert run(without("difflib") + code) == "difflib"


def test_names_of_both_kinds_are_listed_and_found():
    assert set(dir(taskrobust)) >= {*taskrobust.__all__, *taskrobust._LAZY}
    for name, place in taskrobust._LAZY.items():
        module = importlib.import_module(f"taskrobust.{place}")
        assert getattr(taskrobust, name) is getattr(module, name)
        assert name in module.__all__
        assert name in taskrobust.__all__


def test_unknown_names_are_attribute_errors():
    assert not hasattr(taskrobust, "Maximin")
    with pytest.raises(AttributeError, match="module 'taskrobust' has no attribute 'Maximin'"):
        taskrobust.Maximin  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Maximin'"):
        exec("from taskrobust import Maximin")


def modules_with_examples():
    """Import paths; only these, since some modules take seconds to import."""
    found = []
    for path in sorted((ROOT / "taskrobust").rglob("*.py")):
        if ">>> " in path.read_text(encoding="utf-8"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


@pytest.mark.parametrize("name", modules_with_examples())
def test_the_examples_of_each_module_run(name):
    module = importlib.import_module(name)
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0
