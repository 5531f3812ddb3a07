"""The house rules of the tree: floors import only downwards, and the top level stays small."""

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

MAY_IMPORT = {
    "taskrobust": {"taskrobust"},
    "theory": {"taskrobust", "theory"},
    "experiments": {"taskrobust", "experiments"},
    "figures": {"taskrobust", "theory", "experiments", "figures"},
}
FLOORS = {*MAY_IMPORT, "tests"}
TOP_LEVEL = {
    *FLOORS, "pyproject.toml", "README.md", "Makefile", "LICENSE", "constraints.txt"
}  # fmt: skip


def imported(source, package):
    """Absolute names of the modules that `source`, a module of `package`, imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: 1 - node.level or None] if node.level else []
            yield ".".join([*above, *([node.module] if node.module else [])])
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = ast.unparse(node.func).rpartition(".")[2]
            if called in {"import_module", "__import__"}:
                yield str(node.args[0].value)


def upward(source, package):
    """The imports in `source`, a module of `package`, that its floor may not make."""
    floor = package.partition(".")[0]
    forbidden = FLOORS - MAY_IMPORT[floor]
    return [name for name in imported(source, package) if name.partition(".")[0] in forbidden]


@pytest.mark.parametrize("floor", MAY_IMPORT)
def test_floors_import_only_downwards(floor):
    modules = sorted((ROOT / floor).rglob("*.py"))
    if not modules:
        pytest.skip(f"{floor}/ holds no module yet")
    found = {}
    for path in modules:
        package = ".".join(path.relative_to(ROOT).parent.parts)
        if names := upward(path.read_text(encoding="utf-8"), package):
            found[str(path.relative_to(ROOT))] = names
    assert found == {}


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("taskrobust", "import theory"),
        ("taskrobust", "def f():\n    from theory.bounds import sharp"),
        ("taskrobust.balancers", "from experiments import bert"),
        ("theory", "import numpy, experiments.bert as bert"),
        ("theory.claims", "from figures import draw"),
        ("theory.claims", "import importlib\nimportlib.import_module('experiments.tables')"),
        ("experiments.bert", "import theory.bounds"),
        ("figures", "from tests.taskrobust import exact"),
    ],
)
def test_an_upward_import_is_found(package, source):
    assert len(upward(source, package)) == 1


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("taskrobust", "import numpy\nfrom taskrobust.weights import smooth_max"),
        ("taskrobust.balancers", "from .. import weights\nfrom . import minimax"),
        ("theory.claims", "from ..problems.base import Problem\nimport taskrobust, scipy"),
        ("figures", "import theory, experiments, taskrobust, matplotlib"),
        ("theory", "# import experiments\n'import figures'"),
    ],
)
def test_a_downward_import_is_allowed(package, source):
    assert upward(source, package) == []


def test_relative_imports_are_resolved():
    source = "from . import a\nfrom .b import c\nfrom .. import d\nfrom ..e.f import g"
    assert list(imported(source, "theory.claims")) == [
        "theory.claims", "theory.claims.b", "theory", "theory.e.f"
    ]  # fmt: skip


def tracked():
    """Files under version control, or a skip with the reason there are none to ask about."""
    try:
        top, files = (
            subprocess.run(
                ["git", *command], cwd=ROOT, capture_output=True, text=True, check=True
            ).stdout
            for command in (["rev-parse", "--show-toplevel"], ["ls-files", "-z"])
        )
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"not a git checkout: {getattr(error, 'stderr', None) or error}")
    if Path(top.strip()).resolve() != ROOT:
        pytest.skip(f"a part of another git checkout: {top.strip()}")
    return files.split("\0")[:-1]


def test_the_top_level_holds_the_floors_and_nothing_else():
    entries = {name.partition("/")[0] for name in tracked()}
    assert {name for name in entries if not name.startswith(".")} <= TOP_LEVEL
