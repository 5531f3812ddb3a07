import pytest

from tests.experiments.mae.conftest import MISSING


def test_the_model_and_its_data_can_be_tested():
    if MISSING:
        pytest.skip(f"needs {' and '.join(MISSING)}: pip install -e '.[dev,mae]'")
