import json

import datasets
import pytest
from datasets import Dataset

from experiments.bert.preparation.hub import HubTexts, parse
from experiments.configuration import ConfigurationError

ARTICLES = [
    "Harbour\n\nThe ship left. It sank.\nNobody saw it.\n\nReferences",
    "   \n",
    "Fox\n\nA fox is small. It hunts at night.",
]
SENTENCES = [f"sentence number {n} ." for n in range(250)]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def wikipedia(tmp_path):
    """A folder as the Hub has it for wikimedia/wikipedia: Parquet, one folder a configuration."""
    folder = tmp_path / "wikipedia"
    for config, texts in (("20231101.en", ARTICLES), ("20231101.simple", ["One. Two."])):
        rows = [
            {"id": str(n), "url": f"https://example.org/{n}", "title": f"T{n}", "text": text}
            for n, text in enumerate(texts)
        ]
        (folder / config).mkdir(parents=True)
        Dataset.from_list(rows).to_parquet(folder / config / "train-00000-of-00001.parquet")
    configs = "\n".join(
        f'- config_name: {config}\n  data_files:\n  - split: train\n    path: "{config}/*"'
        for config in ("20231101.en", "20231101.simple")
    )
    (folder / "README.md").write_text(f"---\nconfigs:\n{configs}\n---\n", encoding="utf-8")
    return folder


def sentences(texts):
    return [[sentence.text for sentence in document.sentences] for document in texts.documents()]


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("wikimedia/wikipedia:20231101.en@text", ("wikimedia/wikipedia", "20231101.en", "text")),
        ("rojagtap/bookcorpus@text", ("rojagtap/bookcorpus", None, "text")),
        ("owner/name:config", ("owner/name", "config", None)),
        ("name", ("name", None, None)),
    ],
)
def test_ids_configurations_and_columns_are_told_apart(source, parts):
    assert parse(source) == parts


def test_a_folder_may_have_signs_of_the_syntax_in_its_name(tmp_path):
    folder = tmp_path / "me@home:1"
    folder.mkdir()
    assert parse(str(folder)) == (str(folder), None, None)
    assert parse(f"{folder}@text") == (str(folder), None, "text")


@pytest.mark.usefixtures("nltk_models")
def test_articles_are_documents_of_paragraphs_and_blank_ones_are_left_out(wikipedia):
    texts = HubTexts.load(f"{wikipedia}:20231101.en@text")
    assert not texts.rows_are_sentences
    assert sentences(texts) == [
        ["Harbour", "The ship left. It sank.", "Nobody saw it.", "References"],
        ["Fox", "A fox is small. It hunts at night."],
    ]
    assert all(document.paragraphs for document in texts.documents())


@pytest.mark.usefixtures("nltk_models")
def test_rows_of_sentences_make_documents_of_a_hundred_or_up_to_a_blank_row(tmp_path):
    rows = [*SENTENCES[:130], "", *SENTENCES[130:]]
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "books.txt").write_text("\n".join(rows), encoding="utf-8")
    texts = HubTexts.load(f"{tmp_path / 'books'}")
    assert texts.rows_are_sentences
    documents = sentences(texts)
    assert [len(document) for document in documents] == [100, 30, 100, 20]
    assert [sentence for document in documents for sentence in document] == SENTENCES
    assert not any(document.paragraphs for document in texts.documents())


@pytest.mark.usefixtures("nltk_models")
def test_json_lines_and_a_column_by_name(tmp_path):
    folder = tmp_path / "json"
    folder.mkdir()
    lines = [json.dumps({"body": text, "summary": "x y ."}) for text in ARTICLES]
    (folder / "train.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert len(sentences(HubTexts.load(f"{folder}@body"))) == 2
    with pytest.raises(ConfigurationError, match="found 'bodi' among body, summary; did you mean"):
        HubTexts.load(f"{folder}@bodi")
    with pytest.raises(ConfigurationError, match="should name a column of strings after @"):
        HubTexts.load(str(folder))


@pytest.mark.usefixtures("nltk_models")
def test_the_fingerprint_changes_with_the_rows(wikipedia):
    first, again, other = (
        HubTexts.load(f"{wikipedia}:{config}").fingerprint
        for config in ("20231101.en", "20231101.en", "20231101.simple")
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("source", ["{}:20231101.xx@text", "{}/missing@text"])
def test_what_cannot_be_loaded_is_named_with_a_remedy(wikipedia, source, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    source = source.format(wikipedia)
    with pytest.raises(ConfigurationError, match=r"`preparation.hub`: .* cannot be loaded") as e:
        HubTexts.load(source)
    assert source in str(e.value)
    assert "give its folder" in str(e.value)


def test_a_damaged_file_is_named(tmp_path):
    folder = tmp_path / "damaged"
    folder.mkdir()
    (folder / "train.jsonl").write_text('{"text": "a"}\n{"text": "b', encoding="utf-8")
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        HubTexts.load(str(folder))


def test_a_loading_script_is_refused_with_advice(tmp_path):
    folder = tmp_path / "bookcorpus"
    folder.mkdir()
    (folder / "bookcorpus.py").write_text("raise SystemExit", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="Loading scripts are not run"):
        HubTexts.load(str(folder))
