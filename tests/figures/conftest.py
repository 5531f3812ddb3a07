import pytest

from figures import data, registry
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
def saved(tmp_path_factory):
    """A directory with the numbers of every figure, measured at a tiny effort."""
    directory = tmp_path_factory.mktemp("figures")
    for entry in registry.FIGURES.values():
        data.save(entry.compute(Context(TINY)), directory)
    return directory


@pytest.fixture(scope="session")
def convergence_data(saved):
    return data.load("convergence", saved)


@pytest.fixture(scope="session")
def appendix_data(saved):
    return data.load("appendix_c", saved)
