import hashlib

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from experiments.bert import tags
from experiments.bert.tags import CLASSES, NUM_TASKS, OTHER, TASKS, class_of_tag, table_key

# The tag set of the Penn Treebank: Marcus, Santorini and Marcinkiewicz (1993), table 2, with the
# brackets and quotes as the treebank's files write them, and without the dash.
PRINTED = (
    "CC CD DT EX FW IN JJ JJR JJS LS MD NN NNS NNP NNPS PDT POS PRP PRP$ RB RBR RBS RP SYM TO UH "
    "VB VBD VBG VBN VBP VBZ WDT WP WP$ WRB # $ . , : ( ) `` ''"
)
PENN = PRINTED.split()

NAMES = [
    "verb", "noun", "adjective", "determiner", "adverb", "pronoun", "preposition", "conjunction",
    "interjection",
]  # fmt: skip

TABLE = yaml.safe_load(tags._TABLE.read_text(encoding="utf-8"))


def test_the_nine_tasks_are_the_papers_and_other_is_last():
    assert list(TASKS) == NAMES
    assert NUM_TASKS == OTHER == 9
    assert list(CLASSES) == [*NAMES, "other"]


def test_all_45_penn_tags_are_in_exactly_one_class():
    assert len(PENN) == len(set(PENN)) == 45
    listed = [tag for name in TABLE["classes"] for tag in TABLE["classes"][name]]
    assert sorted(listed) == sorted(PENN)


def test_each_tag_has_the_class_that_lists_it():
    for number, name in enumerate(TABLE["classes"]):
        assert {class_of_tag(tag) for tag in TABLE["classes"][name]} == {number}


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("MD", "verb"),
        ("NNP", "noun"),
        ("WDT", "determiner"),
        ("WRB", "adverb"),
        ("EX", "pronoun"),
        ("TO", "preposition"),
        ("RP", "preposition"),
        ("CC", "conjunction"),
        ("UH", "interjection"),
        ("CD", "other"),
        ("POS", "other"),
        ("-LRB-", "other"),
        ("HYPH", "other"),
    ],
)
def test_contestable_tags_have_the_class_that_was_decided(tag, name):
    assert CLASSES[class_of_tag(tag)] == name


def test_synonyms_are_no_penn_tags_and_mean_one():
    assert not set(TABLE["synonyms"]) & set(PENN)
    assert set(TABLE["synonyms"].values()) <= set(PENN)


@given(st.text(max_size=6).filter(lambda tag: tag not in {*PENN, *TABLE["synonyms"]}))
def test_an_unknown_tag_raises_and_is_named(tag):
    with pytest.raises(ValueError, match="unknown Penn Treebank tag") as caught:
        class_of_tag(tag)
    assert repr(tag) in str(caught.value)


def test_the_key_changes_with_the_table(monkeypatch, tmp_path):
    content = tags._TABLE.read_bytes()
    assert hashlib.sha256(content).hexdigest().startswith(table_key())
    changed = tmp_path / "penn_classes.yaml"
    changed.write_bytes(content.replace(b"version: 1", b"version: 2"))
    before = table_key()
    monkeypatch.setattr(tags, "_TABLE", changed)
    assert table_key() != before
