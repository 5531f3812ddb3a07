import pytest

from experiments.bert.configuration import Preparation
from experiments.bert.preparation.documents import Document, TaggedSentence
from experiments.bert.preparation.sources import LONGEST, read_splits, sources
from experiments.configuration import ConfigurationError
from experiments.progress import without_other_bars


def text(documents, sentences=2):
    return "\n\n".join(
        "\n".join(f"Sentence {d} {s} ." for s in range(sentences)) for d in range(documents)
    )


def splits(folder, files, read=None, **options):
    """Splits of text files, by name."""
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    where = sources(Preparation(**options), folder)
    with without_other_bars():
        return read_splits(where, folder / "work", read or (lambda _, documents: documents))


def documents(rows):
    return {tuple(document) for document in rows["sentences"]}


@pytest.mark.parametrize(("share", "size"), [(0.1, 10), (0.01, 2), (0.3, 30)])
def test_documents_are_held_out_by_document_for_both_splits(tmp_path, share, size):
    found = splits(tmp_path, {"a.txt": text(100)}, held_out=share)
    parts = [documents(found[name]) for name in ("train", "valid", "test")]
    assert [len(part) for part in parts] == [100 - 2 * size, size, size]
    assert len(set.union(*parts)) == 100


def test_the_seed_decides_what_is_held_out(tmp_path):
    found = []
    for number, seed in enumerate((0, 0, 1)):
        (tmp_path / str(number)).mkdir()
        found.append(splits(tmp_path / str(number), {"a.txt": text(100)}, seed=seed, held_out=0.1))
    first, again, other = (documents(each["valid"]) for each in found)
    assert first == again
    assert first != other


def test_given_splits_are_taken_and_only_missing_ones_held_out(tmp_path):
    files = {"a.txt": text(50), "v.txt": text(3), "t.txt": text(4)}
    given = splits(tmp_path, files, train=("a.txt",), valid=("v.txt",), test=("t.txt",))
    assert [len(given[name]) for name in ("train", "valid", "test")] == [50, 3, 4]
    (tmp_path / "b").mkdir()
    half = splits(tmp_path / "b", files, train=("a.txt",), valid=("v.txt",), held_out=0.1)
    assert [len(half[name]) for name in ("train", "valid", "test")] == [45, 3, 5]


def test_without_a_share_there_is_no_test_text(tmp_path):
    files = {"a.txt": text(50), "v.txt": text(3)}
    found = splits(tmp_path, files, train=("a.txt",), valid=("v.txt",), held_out=0)
    assert sorted(found) == ["train", "valid"]


@pytest.mark.parametrize("seed", range(4))
def test_a_long_document_has_several_rows_and_is_held_out_as_a_whole(tmp_path, seed):
    files = {"a.txt": text(9), "book.txt": text(1, 2 * LONGEST + 1)}
    found = splits(tmp_path, files, seed=seed, held_out=0.3)
    with_book = [rows for rows in found.values() if LONGEST in map(len, rows["sentences"])]
    assert [set(map(len, rows["sentences"])) for rows in with_book] == [{1, 2, LONGEST}]
    assert [len(set(found[name]["document"])) for name in ("train", "valid", "test")] == [4, 3, 3]
    sizes = sorted(len(sentences) for rows in found.values() for sentences in rows["sentences"])
    assert sizes == [1] + [2] * 9 + [LONGEST] * 2


def test_what_was_read_is_not_read_again(tmp_path):
    seen = []

    def read(split, documents):
        seen.append(split)
        return documents

    for _ in range(2):
        found = splits(tmp_path, {"a.txt": text(9)}, read)
    assert seen == ["train"]
    assert sum(map(len, found.values())) == 9


def test_generated_documents_have_tags():
    where = sources(Preparation(source="generated", generated_documents=5), None)
    assert all(s.tagged for document in where.documents("train") for s in document.sentences)
    assert list(where.documents("valid")) == []


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ({"a.txt": " \n\n"}, {}, "the train text has no sentence"),
        ({"a.txt": text(1)}, {}, "train text should have at least two documents, .* found 1"),
        (
            {"a.txt": text(9), "v.txt": text(1)},
            {"train": ("a.txt",), "valid": ("v.txt",)},
            "valid text should have at least two documents",
        ),
        ({"a.txt": text(5)}, {}, "`preparation.held_out` of 5 documents should leave two"),
        (
            {"a.txt": text(1, 5 * LONGEST)},
            {},
            "of 1 documents should leave two .* separate documents by blank lines",
        ),
        ({"a.txt": text(9), "b.txt": text(9)}, {}, "a.txt and b.txt have the same content"),
        (
            {"a.txt": text(9), "v.txt": text(9)},
            {"train": ("a.txt",), "valid": ("v.txt",)},
            "a.txt and v.txt have the same content",
        ),
        ({"a.txt": text(9)}, {"held_out": 0.5}, "besides 4 each for valid and test"),
        ({"a.txt": text(9)}, {"held_out": 0}, "`preparation.held_out` should be above 0"),
        ({"a.txt": text(9)}, {"train": ()}, "`preparation.train` should name files"),
        ({"a.txt": text(9)}, {"valid": ("a.txt",)}, "a.txt is in `preparation.train` and in"),
        ({"a.txt": text(9)}, {"tagger": "gold"}, "'gold' needs tags, .* found none in a.txt:1"),
        ({"a.txt": b"\xff".decode("latin-1")}, {"train": ("b.txt",)}, "'b.txt' matches no text"),
    ],
)
def test_text_that_cannot_be_used_is_refused(tmp_path, files, options, message):
    with pytest.raises(ConfigurationError, match=message):
        splits(tmp_path, files, **options)


@pytest.mark.parametrize("data", [None, "missing"])
def test_local_text_needs_a_folder(tmp_path, data):
    with pytest.raises(ConfigurationError, match="--data should be the folder of the text"):
        sources(Preparation(), data and tmp_path / data)


def test_the_hub_needs_a_name():
    with pytest.raises(ConfigurationError, match=r"`preparation.hub` should name data sets"):
        sources(Preparation(source="hub"), None)


def test_a_document_knows_whether_its_sentences_are_tagged():
    tagged = TaggedSentence("Oh", ((0, 2),), ("UH",))
    assert [s.tagged for s in Document("d", (tagged, TaggedSentence("Oh"))).sentences] == [
        True, False
    ]  # fmt: skip
