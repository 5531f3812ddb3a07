import lzma
import random
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from nltk.tag.perceptron import AveragedPerceptron, PerceptronTagger
from nltk.tokenize import NLTKWordTokenizer

from experiments.bert.preparation import tagger
from experiments.bert.preparation.documents import TaggedSentence
from experiments.bert.preparation.perceptron import ArrayPerceptron
from experiments.bert.preparation.tagger import GoldTagger, NltkTagger
from experiments.bert.tags import CLASSES, class_of_tag
from experiments.configuration import ConfigurationError

LABELS = ("A", "B", "C", "D")
FEATURES = [f"f{n}" for n in range(12)]
quarters = st.integers(-8, 8).map(lambda n: n / 4)
weights = st.dictionaries(
    st.sampled_from(FEATURES), st.dictionaries(st.sampled_from(LABELS), quarters), max_size=12
)


@given(weights=weights, present=st.lists(st.sampled_from(FEATURES), unique=True))
def test_the_array_predicts_what_nltks_perceptron_predicts_ties_included(weights, present):
    nltks = AveragedPerceptron(weights)
    nltks.classes = set(LABELS)
    features = dict.fromkeys(present, 1)
    assert ArrayPerceptron(nltks).predict(features)[0] == nltks.predict(features)[0]


@pytest.fixture(scope="module")
def sentences(real_data):
    """Real sentences of every kind of text."""
    found = []
    for name in ("brown", "masc", "speeches", "wikitext103.valid"):
        with lzma.open(real_data / "text" / f"{name}.txt.xz", "rt", encoding="utf-8") as file:
            lines = [line.strip() for line in file if line.strip()]
        found += random.Random(0).sample(lines, 200)
    return found


@pytest.mark.usefixtures("nltk_models")
def test_the_array_predicts_what_nltks_perceptron_predicts_on_real_text(sentences):
    ours, nltks = NltkTagger(), PerceptronTagger()
    for sentence in sentences:
        tokens = NLTKWordTokenizer().tokenize(sentence)
        assert ours.tag(tokens) == [tag for _, tag in nltks.tag(tokens)]


@pytest.mark.usefixtures("nltk_models")
def test_spans_are_those_of_nltks_span_tokenize_on_real_text(sentences):
    ours, plain = NltkTagger(), [s for s in sentences if s.isascii() and "[UNK]" not in s]
    assert len(plain) > 400
    for sentence in plain:
        spans, tags = ours(TaggedSentence(sentence))
        assert list(spans) == list(NLTKWordTokenizer().span_tokenize(sentence))
        assert len(tags) == len(spans)


@pytest.mark.usefixtures("nltk_models")
def test_the_tagger_knows_45_tags_and_the_table_all_of_them():
    classes = PerceptronTagger().classes
    assert len(classes) == 45
    assert {class_of_tag(tag) for tag in classes} == set(range(10))


def find(text):
    return list(tagger._spans(NLTKWordTokenizer().tokenize(text), text))


marks = st.text(alphabet="ab .,'\"`[](-’…é", max_size=30)


@given(marks)
@example("``a''")
@example("'\"a\"'")
@example('"a""b"')
@example("a```b'''")
def test_spans_ascend_without_overlap_and_cover_every_letter_whatever_the_quotes(text):
    found = [span for span in find(text) if span is not None]
    assert all(0 <= a < b <= len(text) for a, b in found)
    assert all(before[1] <= after[0] for before, after in pairwise(found))
    covered = {position for a, b in found for position in range(a, b)}
    assert {n for n, character in enumerate(text) if character.isalpha()} <= covered


@given(marks)
def test_spans_are_those_of_nltk_wherever_nltk_finds_any(text):
    try:
        expected = list(NLTKWordTokenizer().span_tokenize(text))
    except (ValueError, RuntimeError):
        return
    assert find(text) == expected


def test_a_token_that_cannot_be_found_has_no_span_and_the_others_keep_theirs():
    assert list(tagger._spans(["a", "x", "b"], "a b")) == [(0, 1), None, (2, 3)]


def classes_of(text):
    spans, tags = NltkTagger()(TaggedSentence(text))
    return {text[a:b]: CLASSES[class_of_tag(t)] for (a, b), t in zip(spans, tags, strict=True)}


@pytest.mark.usefixtures("nltk_models")
@pytest.mark.parametrize("quotes", ['""', "“”", "„“", "«»", "‘’"])
def test_quotes_are_no_words(quotes):
    opening, closing = quotes
    found = classes_of(f"He said : {opening} The ship sails tomorrow {closing} and left .")
    assert found[opening] == found[closing] == "other"
    assert (found["ship"], found["sails"], found["and"]) == ("noun", "verb", "conjunction")


@pytest.mark.usefixtures("nltk_models")
@pytest.mark.parametrize("mark", ["–", "—", "…", "[", "]", "{", "}", "(", ")"])
def test_dashes_and_brackets_are_no_words(mark):
    assert classes_of(f"The old ship {mark} a wreck .")[mark] == "other"


@pytest.mark.usefixtures("nltk_models")
def test_an_apostrophe_of_either_shape_splits_the_same():
    straight, curly = (classes_of(f"They don{mark}t sing .") for mark in "'’")
    assert list(straight.values()) == list(curly.values())
    assert straight["n't"] == curly["n’t"] == "adverb"


@pytest.mark.usefixtures("nltk_models")
def test_the_unknown_word_of_wikitext_is_one_token():
    text = "The [UNK] sang ."
    spans, tags = NltkTagger()(TaggedSentence(text))
    assert spans == ((0, 3), (5, 8), (10, 14), (15, 16))
    assert len(tags) == 4


@pytest.mark.usefixtures("nltk_models")
def test_case_is_kept_for_the_tagger():
    ours = NltkTagger()
    text = "In May , Bill met Mark ."
    upper = ours(TaggedSentence(text))[1]
    assert upper == [tag for _, tag in PerceptronTagger().tag(text.split())]
    assert upper != ours(TaggedSentence(text.lower()))[1]


def test_gold_tags_are_passed_on():
    sentence = TaggedSentence("Oh no", ((0, 2), (3, 5)), ("UH", "DT"))
    assert GoldTagger()(sentence) == (sentence.spans, sentence.tags)


@pytest.mark.usefixtures("no_nltk_models")
@pytest.mark.parametrize(
    ("load", "resource"),
    [
        (NltkTagger, "averaged_perceptron_tagger_eng"),
        (lambda: tagger.split_sentences("One. Two."), "punkt_tab"),
    ],
)
def test_missing_models_are_named_with_remedy_and_never_downloaded(load, resource, monkeypatch):
    monkeypatch.setattr("nltk.download", None)  # calling it would raise TypeError
    with pytest.raises(ConfigurationError) as caught:
        load()
    message = str(caught.value)
    assert f"nltk.download('{resource}')" in message
    assert "NLTK_DATA" in message
    assert "nowhere" in message


@pytest.mark.usefixtures("no_nltk_models")
def test_a_folder_can_be_added_to_nltks_and_is_searched_once(real_data):
    folder = real_data / "nltk_data"
    tagger.search_nltk_data(folder)
    tagger.search_nltk_data(folder)
    tagger.search_nltk_data(folder / "missing")
    assert tagger.nltk.data.path.count(str(folder)) == 1
    assert str(folder / "missing") not in tagger.nltk.data.path
    assert NltkTagger().tag(["The", "dog"]) == ["DT", "NN"]


@pytest.mark.usefixtures("nltk_models")
def test_paragraphs_are_split_into_sentences():
    assert tagger.split_sentences("Mr. Smith left. He was late.") == [
        "Mr. Smith left.", "He was late."
    ]  # fmt: skip


@pytest.mark.usefixtures("nltk_models")
def test_the_digest_is_of_the_model():
    found = NltkTagger()
    before = found.digest()
    found._tagger.model.weights["bias"]["NN"] += 1
    assert found.digest() != before
