import pytest

from figures import data, registry
from tests.figures import made_up_mae_runs
from tests.figures.made_up_runs import ARMS, GROUPED, write_runs
from theory.claims import Context, Effort

TINY = Effort(
    name="tiny",
    instances=2,
    tasks=4,
    dim=3,
    steps=(10, 30, 100),
    vectors=1,
    max_tasks=40,
    hard_steps=100,
)


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """A folder of made-up PoS-BERT runs: two seeds of every arm."""
    folder = tmp_path_factory.mktemp("runs") / "pretrained"
    write_runs(folder, {**ARMS, **GROUPED}, seeds=(0, 3))
    return folder


@pytest.fixture(scope="session")
def mae_runs(tmp_path_factory):
    """A folder of made-up runs of the MAE: two seeds of every arm."""
    folder = tmp_path_factory.mktemp("mae-runs") / "pretrained"
    made_up_mae_runs.write_runs(folder)
    return folder


@pytest.fixture(scope="session")
def saved(tmp_path_factory, runs, mae_runs):
    """A directory with the numbers of every figure, measured at a tiny effort."""
    directory = tmp_path_factory.mktemp("figures")
    for entry in registry.FIGURES.values():
        of_it = mae_runs if entry.name.startswith("mae") else runs
        data.save(entry.obtain(Context(TINY), of_it), directory)
    return directory


@pytest.fixture(scope="session")
def convergence_data(saved):
    return data.load("convergence", saved)


@pytest.fixture(scope="session")
def appendix_data(saved):
    return data.load("appendix_c", saved)
