import pytest

from experiments.bert.preparation.conllu import conllu_documents
from experiments.configuration import ConfigurationError


def word(number, form, tag):
    return "\t".join([str(number), form, "_", "_", tag, *"_____"])


def sentence(text, *words):
    return [f"# text = {text}", *(word(*each) for each in words), ""]


def read(lines):
    return list(conllu_documents(iter(enumerate(lines, start=1)), "f.conllu"))


DOGS = sentence("Dogs bark.", (1, "Dogs", "NNS"), (2, "bark", "VBP"), (3, ".", "."))


def pairs(tagged):
    """Token texts and tags."""
    texts = [tagged.text[a:b] for a, b in tagged.spans]
    return list(zip(texts, tagged.tags, strict=True))


def test_tokens_are_found_in_the_text_of_their_sentence():
    (document,) = read(DOGS)
    (tagged,) = document.sentences
    assert tagged.text == "Dogs bark."
    assert tagged.spans == ((0, 4), (5, 9), (9, 10))
    assert tagged.tags == ("NNS", "VBP", ".")


def test_newdoc_begins_a_document_and_the_last_sentence_needs_no_blank_line():
    documents = read(
        ["# newdoc id = a", *DOGS, *DOGS, "# newdoc", "# newpar", *DOGS, "# newdoc id = c", *DOGS]
    )[:3]
    assert [document.name for document in documents] == ["f.conllu:a", "f.conllu:12", "f.conllu:c"]
    assert [len(document.sentences) for document in documents] == [2, 1, 1]
    assert len(read(DOGS[:-1])[0].sentences) == 1


def test_a_file_without_newdoc_is_one_document():
    (document,) = read(DOGS * 3)
    assert len(document.sentences) == 3


def test_words_of_a_multiword_token_share_out_its_text():
    lines = sentence(
        "I don't.", (1, "I", "PRP"), ("2-3", "don't", "_"), (2, "do", "VBP"), (3, "n't", "RB"),
        (4, ".", "."),
    )  # fmt: skip
    (tagged,) = read(lines)[0].sentences
    assert pairs(tagged) == [("I", "PRP"), ("do", "VBP"), ("n't", "RB"), (".", ".")]


def test_a_multiword_token_of_other_letters_has_the_tag_of_its_first_word():
    lines = sentence(
        "vámonos al mar", ("1-2", "vámonos", "_"), (1, "vamos", "VB"), (2, "nos", "PRP"),
        ("3-4", "al", "_"), (3, "a", "IN"), (4, "el", "DT"), (5, "mar", "NN"),
    )  # fmt: skip
    (tagged,) = read(lines)[0].sentences
    assert pairs(tagged) == [("vámonos", "VB"), ("al", "IN"), ("mar", "NN")]


def test_empty_nodes_are_left_out():
    lines = sentence("A b", (1, "A", "DT"), ("1.1", "E", "VB"), (2, "b", "NN"), ("8.1", "E", "X"))
    assert pairs(read(lines)[0].sentences[0]) == [("A", "DT"), ("b", "NN")]


def test_a_word_may_hold_a_space_and_occur_twice():
    lines = sentence("to 10 000 to", (1, "to", "TO"), (2, "10 000", "CD"), (3, "to", "TO"))
    assert read(lines)[0].sentences[0].spans == ((0, 2), (3, 9), (10, 12))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (sentence("Dogs run", (1, "Dogs", "NNS"), (2, "bark", "VBP")), "line 3: the word 'bark' "),
        (sentence("b a", (1, "a", "NN"), (2, "b", "NN")), "line 3: the word 'b' .*character 3 on"),
        (sentence("Dogs", (1, "Dogs", "NOUN")), "line 2: unknown Penn Treebank tag 'NOUN'"),
        (sentence("Dogs", (1, "Dogs", "_")), "line 2: unknown Penn Treebank tag '_'"),
        ([word(1, "Dogs", "NNS"), ""], "line 1: a sentence without a `# text =` line"),
        (["# text = a", "1\ta\ta", ""], "line 2: CoNLL-U has 10 columns between tabs; found 3"),
        (["# text = a", "1 a NN", ""], "line 2: CoNLL-U has 10 columns between tabs; found 1"),
        (sentence("a", ("x", "a", "NN")), "line 2: the first column .* found 'x'"),
        (sentence("a", ("1-", "a", "NN")), "line 2: the first column .* found '1-'"),
        (sentence("a", ("1-2", "a", "_")), "line 2: the multiword token 'a' has no words"),
    ],
)
def test_faults_are_named_with_file_and_line(lines, message):
    with pytest.raises(ConfigurationError, match=f"f.conllu, {message}"):
        read(lines)
