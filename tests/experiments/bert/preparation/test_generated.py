from collections import Counter

import yaml

from experiments.bert.preparation.generated import GRAMMAR, generated_documents
from experiments.bert.tags import CLASSES, class_of_tag

CONTENT = yaml.safe_load(GRAMMAR.read_text(encoding="utf-8"))


def test_every_token_is_a_word_that_the_grammar_lists_under_its_tag():
    listed = {}
    for words in (CONTENT["words"], *CONTENT["topics"].values()):
        for slot, choices in words.items():
            listed.setdefault(slot.partition("/")[0], set()).update(choices)
    for document in generated_documents(40, seed=1):
        for sentence in document.sentences:
            for number, ((start, end), tag) in enumerate(
                zip(sentence.spans, sentence.tags, strict=True)
            ):
                word = sentence.text[start:end]
                assert (word if number else word.lower()) in listed[tag]


def test_tokens_and_spaces_make_up_the_sentence():
    for document in generated_documents(20, seed=2):
        for sentence in document.sentences:
            covered = "".join(sentence.text[a:b] for a, b in sentence.spans)
            assert covered == sentence.text.replace(" ", "")
            assert sentence.text[0].isupper()
            assert " ." not in sentence.text
            assert " ," not in sentence.text


def test_all_nine_classes_and_other_occur():
    found = Counter(
        CLASSES[class_of_tag(tag)]
        for document in generated_documents(30, seed=0)
        for sentence in document.sentences
        for tag in sentence.tags
    )
    assert set(found) == set(CLASSES)


def test_templates_name_slots_that_every_topic_can_fill():
    for topic in CONTENT["topics"].values():
        for template in CONTENT["templates"]:
            assert set(template.split()) <= {*CONTENT["words"], *topic}


def test_a_document_depends_on_seed_and_number_alone():
    many, few = list(generated_documents(9, seed=3)), list(generated_documents(4, seed=3))
    assert many[:4] == few
    assert list(generated_documents(4, seed=4)) != few


def test_a_document_keeps_to_one_topic():
    nouns = {name: {*words["NN"], *words["NNS"]} for name, words in CONTENT["topics"].items()}
    topics = set()
    for document in generated_documents(40, seed=5):
        used = {
            sentence.text[a:b].lower()
            for sentence in document.sentences
            for (a, b), tag in zip(sentence.spans, sentence.tags, strict=True)
            if tag in {"NN", "NNS"}
        }
        matching = [name for name, words in nouns.items() if used <= words]
        assert matching
        topics.update(matching)
    assert topics == set(nouns)
