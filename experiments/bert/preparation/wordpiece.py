"""The vocabulary: a WordPiece tokenizer of others, or our own, trained the same way each time."""

from collections import Counter
from collections.abc import Callable, Iterable

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, BertTokenizerFast, PreTrainedTokenizerBase

from experiments.configuration import ConfigurationError

__all__ = ["LARGEST", "load_wordpiece", "train_wordpiece"]

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LARGEST = 2**16
"""Pieces that fit the 16 bits of a column."""
_ALPHABET = 1000
"""Characters at most; words with others are [UNK]. BERT's value."""
_MIN_FREQUENCY = 2
_LENGTH = 512
"""Pieces that BERT's position embeddings allow."""

Texts = Callable[[], Iterable[list[str]]]
"""Batches of raw sentences, anew with each call."""


def train_wordpiece(texts: Texts, size: int) -> BertTokenizerFast:
    """A lower-case WordPiece tokenizer, as BERT's.

    The library numbers the pieces "##x" of one character in the order of a hash table, which
    differs from run to run and decides which of two equally frequent pairs is merged. So we find
    these pieces first, and number them in order.

    Args:
        texts: the training text; it is gone through three times.
        size: pieces at most; fewer, if the text has no more that occur twice.

    Raises:
        ConfigurationError: a vocabulary that cannot hold the characters of the text, or is too
            large for 16 bits.
    """
    if size > LARGEST:
        raise ConfigurationError(
            f"`preparation.vocabulary_size` should be at most {LARGEST:,}; found {size:,}"
        )
    alphabet = _frequent_characters(texts)
    single = _trained(texts, alphabet, SPECIAL, 0).get_vocab()
    if len(single) > size:
        raise ConfigurationError(
            f"`preparation.vocabulary_size` should be at least {len(single)}, for the special "
            f"pieces and the {len(alphabet)} characters of the text; found {size}"
        )
    continued = sorted(set(single) - set(alphabet) - set(SPECIAL))
    vocabulary = _trained(texts, alphabet, (*SPECIAL, *continued), size).get_vocab()
    # A new tokenizer: there, only the five special pieces are special.
    return BertTokenizerFast(vocab=vocabulary, do_lower_case=True, model_max_length=_LENGTH)


def load_wordpiece(name: str) -> PreTrainedTokenizerBase:
    """A WordPiece tokenizer by its Hub id, or from a folder.

    Raises:
        ConfigurationError: it cannot be had, or is none that BERT can use.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"`preparation.vocabulary`: no tokenizer from {name!r} ({error}); give a Hub id that "
            "can be reached, a folder of `save_pretrained`, or null to train one"
        ) from error
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(getattr(backend, "model", None), models.WordPiece):
        raise ConfigurationError(
            f"`preparation.vocabulary` should be a WordPiece tokenizer; found "
            f"{type(tokenizer).__name__} at {name!r}"
        )
    special = ("cls_token", "sep_token", "mask_token", "pad_token", "unk_token")
    missing = [each for each in special if getattr(tokenizer, each) is None]
    if missing:
        raise ConfigurationError(f"`preparation.vocabulary`: {name!r} has no {', '.join(missing)}")
    if len(tokenizer) > LARGEST:
        raise ConfigurationError(
            f"`preparation.vocabulary` should have at most {LARGEST:,} pieces; {name!r} has "
            f"{len(tokenizer):,}"
        )
    return tokenizer


def _frequent_characters(texts: Texts) -> list[str]:
    """The most frequent characters of the normalised text; ties in the order of Unicode."""
    normalizer = normalizers.BertNormalizer()
    counts: Counter[str] = Counter()
    for batch in texts():
        counts.update(normalizer.normalize_str("\n".join(batch)))
    order = sorted(counts, key=lambda character: (-counts[character], character))
    return [character for character in order if not character.isspace()][:_ALPHABET]


def _trained(texts: Texts, alphabet: list[str], first: tuple[str, ...], size: int) -> Tokenizer:
    """Train a tokenizer whose pieces begin with `first` and the alphabet."""
    tokenizer = Tokenizer(models.WordPiece(unk_token=SPECIAL[1]))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        min_frequency=_MIN_FREQUENCY,
        special_tokens=list(first),
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    return tokenizer
