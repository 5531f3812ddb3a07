import numpy as np
import pytest
from datasets import Dataset

from experiments.bert.configuration import Preparation
from experiments.bert.preparation.annotate import Annotator
from experiments.bert.preparation.quality import TaggerQuality, tagger_quality
from experiments.bert.preparation.report import SplitReport, to_data, to_markdown
from experiments.bert.preparation.sources import read_splits, sources
from experiments.bert.preparation.text import read_documents
from experiments.bert.preparation.wordpiece import train_wordpiece
from experiments.bert.tags import CLASSES
from experiments.progress import without_other_bars

UH = CLASSES.index("interjection")


@pytest.fixture(scope="module")
def gold(real_data, tmp_path_factory):
    """Dev and test set of UD English EWT: documents, and the folder of a tokenizer for them."""
    work = tmp_path_factory.mktemp("gold")
    options = Preparation(
        train=("text/ud-english-ewt/*-dev*", "text/ud-english-ewt/*-test*"), held_out=0.01
    )
    with without_other_bars():
        splits = read_splits(sources(options, real_data), work, lambda _, documents: documents)
    texts = [text for rows in splits.values() for each in rows["sentences"] for text in each]
    train_wordpiece(lambda: [texts], 4000).save_pretrained(str(work / "tokenizer"))
    return splits, work / "tokenizer"


@pytest.mark.usefixtures("nltk_models")
def test_nltks_tagger_against_the_gold_tags_of_ewt(gold):
    splits, tokenizer = gold
    quality = tagger_quality(splits.values(), Annotator(tokenizer, "nltk"))
    found = quality.as_data()
    assert found["tokens"] == 50_241
    assert found["exact"] == pytest.approx(0.853, abs=0.001)
    assert found["ten_class"] == pytest.approx(0.915, abs=0.001)
    classes = found["classes"]
    recalls = {name: each["recall"] for name, each in classes.items()}
    assert recalls["interjection"] == pytest.approx(0.078, abs=0.001)
    assert recalls["adjective"] == pytest.approx(0.78, abs=0.005)
    assert recalls["adverb"] == pytest.approx(0.82, abs=0.005)
    others = set(recalls) - {"interjection", "adjective", "adverb", "other"}
    assert min(recalls[name] for name in others) > 0.93
    assert classes["interjection"]["precision"] == 1
    assert found["interjections_as"]["noun"] / classes["interjection"]["gold"] == pytest.approx(
        0.54, abs=0.01
    )
    # On pieces, and with its own tokens, the tagger is no better; rare words have more pieces.
    assert 0.85 < found["pieces_agree"] < found["ten_class"]


@pytest.mark.usefixtures("nltk_models")
def test_the_gold_tagger_agrees_with_itself_and_text_without_tags_has_no_quality(gold):
    splits, tokenizer = gold
    few = splits["valid"]
    assert tagger_quality([few], Annotator(tokenizer, "gold")).pieces_agree == 1
    untagged = few.map(
        lambda row: {**row, "spans": [], "tags": []}, features=few.features, keep_in_memory=True
    )
    assert tagger_quality([untagged], Annotator(tokenizer, "nltk")) is None


@pytest.mark.usefixtures("nltk_models")
def test_treating_marks_as_the_treebank_does_improves_the_classes_of_pieces(gold, monkeypatch):
    splits, tokenizer = gold
    few = [splits["valid"], splits["train"].select(range(150))]
    with_care = tagger_quality(few, Annotator(tokenizer, "nltk")).pieces_agree
    module = "experiments.bert.preparation.tagger"
    monkeypatch.setattr(f"{module}._PENN_TOKENS", {"``": '"', "''": '"'})
    monkeypatch.setattr(f"{module}._PLAIN_CHARACTERS", {})
    assert tagger_quality(few, Annotator(tokenizer, "nltk")).pieces_agree < with_care


def test_conllu_of_real_size_is_read_whole(real_data):
    paths = sorted((real_data / "text" / "ud-english-ewt").glob("*-test*"))
    documents = list(read_documents(paths, real_data))
    assert sum(len(document.sentences) for document in documents) == 2077
    words = [tag for d in documents for sentence in d.sentences for tag in sentence.tags]
    assert len(words) == 25_094


def quality():
    confusion = np.diag(np.arange(10, 20))
    confusion[UH] = 0
    confusion[UH, 1], confusion[UH, UH] = 6, 2
    return TaggerQuality(200, 0.75, confusion, 300, 0.9)


def split(**changes):
    counts = {name: 10 * number for number, name in enumerate(CLASSES)}
    values = {
        "documents": 4, "sentences": 40, "words": 300, "tokens": 330, "pieces": 450, "unknown": 9,
        "unaligned": 0, "straddling": 2, "classes": counts, "instances": 8, "random_next": 5,
        "instance_pieces": 800, **changes,
    }  # fmt: skip
    return SplitReport(**values)


FACTS = {"tagger": "nltk", "vocabulary": 8192, "sequence_length": 128, "tag_table": "abc"}


def test_recall_and_precision_follow_from_the_confusion():
    found = quality().as_data()
    assert found["classes"]["interjection"] == {
        "gold": 8, "found": 2, "recall": 0.25, "precision": 1.0
    }  # fmt: skip
    assert found["classes"]["noun"] == {
        "gold": 11, "found": 17, "recall": 1.0, "precision": pytest.approx(11 / 17)
    }  # fmt: skip
    total = sum(range(10, 20)) - 18 + 8
    assert found["ten_class"] == pytest.approx((total - 6) / total)
    assert found["interjections_as"]["noun"] == 6


def test_a_class_without_a_token_has_no_recall():
    confusion = np.zeros((10, 10), np.int64)
    confusion[0, 1] = 3
    found = TaggerQuality(3, 0, confusion, 3, 0).as_data()["classes"]
    assert (found["verb"]["recall"], found["verb"]["precision"]) == (0.0, None)
    assert (found["noun"]["recall"], found["noun"]["precision"]) == (None, 0.0)


def cells(markdown, label):
    (line,) = (line for line in markdown.splitlines() if line.startswith(f"| {label} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_the_markdown_shows_the_counts_and_shares_of_each_split():
    data = to_data({"train": split(), "valid": split(words=1234567)}, None, FACTS)
    markdown = to_markdown(data)
    assert cells(markdown, "words") == ["300", "1,234,567"]
    assert cells(markdown, "pieces a word") == ["1.50", "0.00"]
    assert cells(markdown, r"[UNK]") == ["2.00 %", "2.00 %"]
    assert cells(markdown, "random next sentence") == ["62.50 %", "62.50 %"]
    assert cells(markdown, "interjection") == ["17.778 %", "17.778 %"]
    assert "gold tags" not in markdown
    assert data["splits"]["train"]["class_shares"]["other"] == 0.2


def test_the_markdown_shows_the_quality_of_the_tagger():
    markdown = to_markdown(to_data({"train": split()}, quality(), FACTS))
    assert "200 gold tokens: 75.0 % with the gold tag" in markdown
    assert "Gold interjections were taken for: noun 75.00 %, interjection 25.00 %." in markdown
    quality_table = markdown.split("## Tagger")[1]
    assert cells(quality_table, "interjection") == ["8", "2", "25.0 %", "100.0 %"]


def test_every_table_row_has_as_many_cells_as_its_header():
    markdown = to_markdown(to_data({"train": split(), "test": split()}, quality(), FACTS))
    widths = {}
    for block in markdown.split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        widths.update({line: len({each.count("|") for each in lines}) for line in lines[:1]})
    assert len(widths) == 3
    assert set(widths.values()) == {1}


def test_nothing_prepared_divides_by_nothing():
    empty = split(**dict.fromkeys(("words", "pieces", "instances", "sentences"), 0))
    assert to_markdown(to_data({"train": empty}, None, FACTS))


def test_columns_of_documents_survive_the_disk(tmp_path):
    options = Preparation(source="generated", generated_documents=8, tagger="gold")
    with without_other_bars():
        splits = read_splits(sources(options, None), tmp_path, lambda _, documents: documents)
    for rows in splits.values():
        assert isinstance(rows, Dataset)
        for row in rows:
            for text, spans, tags in zip(row["sentences"], row["spans"], row["tags"], strict=True):
                assert len(spans) == 2 * len(tags)
                assert text[spans[0] : spans[1]][0].isupper()
