from collections import Counter

import pytest
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from experiments.bert.preparation.generated import generated_documents
from experiments.bert.preparation.wordpiece import LARGEST, load_wordpiece, train_wordpiece
from experiments.configuration import ConfigurationError

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def texts():
    for document in generated_documents(60, seed=0):
        yield [sentence.text for sentence in document.sentences]


@pytest.fixture(scope="module")
def tokenizer():
    return train_wordpiece(texts, 300)


def pieces(vocabulary):
    return sorted(vocabulary, key=vocabulary.get)


def test_training_again_gives_the_same_vocabulary_in_the_same_order(tokenizer):
    # The library's hash tables are seeded anew with each training.
    for _ in range(3):
        assert pieces(train_wordpiece(texts, 300).get_vocab()) == pieces(tokenizer.get_vocab())


def test_the_vocabulary_has_the_size_asked_for_and_the_special_pieces_first(tokenizer):
    assert len(tokenizer) == 300
    assert pieces(tokenizer.get_vocab())[:5] == SPECIAL
    assert sorted(tokenizer.all_special_tokens) == sorted(SPECIAL)


def test_pieces_of_a_word_put_together_are_the_word(tokenizer):
    for batch in texts():
        for text in batch:
            found = "".join(piece.removeprefix("##") for piece in tokenizer.tokenize(text))
            assert found == text.lower().replace(" ", "")


def test_frequent_words_are_single_pieces(tokenizer):
    words = [word for batch in texts() for text in batch for word in text.lower().split()]
    counts = Counter(filter(str.isalpha, words))
    for word, _ in counts.most_common(20):
        assert tokenizer.tokenize(word) == [word]


def test_words_are_cut_greedily_from_the_left_as_wordpiece_does(tokenizer):
    vocabulary = tokenizer.get_vocab()

    def greedy(word):
        cut, start = [], 0
        while start < len(word):
            prefix = "##" if start else ""
            end = next(
                (e for e in range(len(word), start, -1) if prefix + word[start:e] in vocabulary), 0
            )
            if not end:
                return ["[UNK]"]
            cut.append(prefix + word[start:end])
            start = end
        return cut

    for word in ("harbouring", "unslept", "captains", "zebra", "qx", "ships"):
        assert tokenizer.tokenize(word) == greedy(word)


def test_characters_outside_the_alphabet_are_unknown(tokenizer):
    assert tokenizer.tokenize("東京 Ship") == ["[UNK]", "[UNK]", "ship"]


def test_pairs_are_wrapped_as_berts_and_it_loads_as_any_tokenizer(tokenizer, tmp_path):
    tokenizer.save_pretrained(str(tmp_path))
    loaded = AutoTokenizer.from_pretrained(str(tmp_path))
    found = loaded("The ship", "a fox")
    assert found["input_ids"] == tokenizer("The ship", "a fox")["input_ids"]
    assert loaded.convert_ids_to_tokens(found["input_ids"]) == [
        "[CLS]", "the", "ship", "[SEP]", "a", "fox", "[SEP]"
    ]  # fmt: skip
    assert found["token_type_ids"] == [0, 0, 0, 0, 1, 1, 1]
    assert loaded.model_max_length == 512
    assert load_wordpiece(str(tmp_path)).get_vocab() == tokenizer.get_vocab()


def test_a_vocabulary_too_small_for_the_characters_says_how_large_it_should_be():
    with pytest.raises(ConfigurationError, match=r"at least \d+, .* found 20") as caught:
        train_wordpiece(texts, 20)
    needed = int(str(caught.value).split("at least ")[1].split(",")[0])
    assert len(train_wordpiece(texts, needed)) == needed
    with pytest.raises(ConfigurationError, match=f"at least {needed}"):
        train_wordpiece(texts, needed - 1)


def test_a_vocabulary_beyond_16_bits_is_refused():
    with pytest.raises(ConfigurationError, match=r"at most 65,536; found 65,537"):
        train_wordpiece(texts, LARGEST + 1)


def test_a_tokenizer_that_cannot_be_had_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match=r"`preparation.vocabulary`: no tokenizer from"):
        load_wordpiece(str(tmp_path / "empty"))


def wrapped(model, folder, **special):
    PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model), **special).save_pretrained(folder)
    return str(folder)


FIVE = dict(
    zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True)
)


def test_a_tokenizer_of_another_kind_is_refused(tmp_path):
    folder = wrapped(models.BPE({"a": 0}, []), tmp_path, **FIVE)
    with pytest.raises(ConfigurationError, match="should be a WordPiece tokenizer"):
        load_wordpiece(folder)


def test_a_tokenizer_without_a_mask_is_refused(tmp_path):
    special = {name: token for name, token in FIVE.items() if name != "mask_token"}
    vocabulary = {token: n for n, token in enumerate(SPECIAL[:4])}
    folder = wrapped(models.WordPiece(vocabulary, unk_token="[UNK]"), tmp_path, **special)
    with pytest.raises(ConfigurationError, match="has no mask_token"):
        load_wordpiece(folder)


def test_a_tokenizer_with_too_many_pieces_is_refused(tmp_path):
    vocabulary = {token: n for n, token in enumerate(SPECIAL)}
    vocabulary |= {f"w{n}": n + 5 for n in range(LARGEST)}
    folder = wrapped(models.WordPiece(vocabulary, unk_token="[UNK]"), tmp_path, **FIVE)
    with pytest.raises(ConfigurationError, match=r"at most 65,536 pieces; .* has 65,541"):
        load_wordpiece(folder)
