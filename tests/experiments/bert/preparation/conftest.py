import os
from pathlib import Path

import nltk
import pytest

from experiments.bert.preparation import tagger


@pytest.fixture(scope="session")
def real_data():
    """Folder of the real data, with text/ and nltk_data/."""
    folder = os.environ.get("TASKROBUST_DATA")
    if not folder:
        pytest.skip("needs the real data: set TASKROBUST_DATA")
    return Path(folder)


@pytest.fixture
def nltk_models(real_data, monkeypatch):
    """NLTK finds its models."""
    monkeypatch.setattr(nltk.data, "path", [str(real_data / "nltk_data"), *nltk.data.path])


@pytest.fixture
def no_nltk_models(tmp_path, monkeypatch):
    """NLTK finds nothing, and nothing is loaded already."""
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path / "nowhere")])
    tagger.tagger_named.cache_clear()
    tagger._punkt.cache_clear()
