import pytest

from theory.claims import Context, Effort

TINY = Effort(
    name="tiny",
    instances=2,
    tasks=4,
    dim=3,
    steps=(10, 100),
    vectors=2_000,
    max_tasks=100,
    hard_steps=1_000,
)


@pytest.fixture
def context():
    """A context of its own for every test, so that injected faults leave no trace."""
    return Context(TINY)
