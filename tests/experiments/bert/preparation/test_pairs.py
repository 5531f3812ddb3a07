from itertools import pairwise

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from experiments.bert.preparation import annotate
from experiments.bert.preparation.annotate import STATISTICS
from experiments.bert.preparation.corpus import Corpus
from experiments.bert.preparation.pairs import PairMaker, make_pairs

lengths = st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=14), min_size=2, max_size=5)


def edges(documents):
    return [np.concatenate([[0], np.cumsum(document)]) for document in documents]


def pieces(documents):
    """Each piece is (document, position), so that it says where it is from."""
    found = []
    for number, document in enumerate(documents):
        cuts = np.cumsum([0, *document])
        found.append([[(number, p) for p in range(a, b)] for a, b in pairwise(cuts)])
    return found


def as_devlin_et_al(documents, index, rng, longest, probability):
    """BERT's procedure as its paper's code has it, on lists of pieces, one step after another."""
    document = documents[index]
    target = longest
    if rng.random() < probability:
        target = int(rng.integers(2, longest + 1))
    chunk, i, made = [], 0, []
    while i < len(document):
        chunk.append(document[i])
        if i == len(document) - 1 or sum(len(sentence) for sentence in chunk) >= target:
            a_end = 1 if len(chunk) < 2 else int(rng.integers(1, len(chunk)))
            a = [piece for sentence in chunk[:a_end] for piece in sentence]
            b = []
            is_random = len(chunk) == 1 or rng.random() < 0.5
            if is_random:
                for _ in range(10):
                    other = int(rng.integers(0, len(documents)))
                    if other != index:
                        break
                start = int(rng.integers(0, len(documents[other])))
                for sentence in documents[other][start:]:
                    b.extend(sentence)
                    if len(b) >= target - len(a):
                        break
                i -= len(chunk) - a_end
            else:
                for sentence in chunk[a_end:]:
                    b.extend(sentence)
            while len(a) + len(b) > longest:
                front = rng.random() < 0.5
                longer = a if len(a) > len(b) else b
                if front:
                    del longer[0]
                else:
                    longer.pop()
            made.append((a, b, is_random))
            chunk = []
        i += 1
    return made


@given(lengths, st.integers(0, 2**20), st.integers(5, 40), st.sampled_from([0.0, 0.5, 1.0]))
def test_pairs_are_those_of_berts_own_procedure(documents, seed, sequence_length, probability):
    index = seed % len(documents)
    expected = as_devlin_et_al(
        pieces(documents), index, np.random.default_rng(seed), sequence_length - 3, probability
    )
    found = make_pairs(
        edges(documents),
        index,
        np.random.default_rng(seed),
        sequence_length=sequence_length,
        short_pair_probability=probability,
    )
    as_pieces = [
        (
            [(pair.first.document, p) for p in range(*pair.first[1:])],
            [(pair.second.document, p) for p in range(*pair.second[1:])],
            pair.is_random,
        )
        for pair in found
    ]
    assert as_pieces == expected


def every_pair(documents, sequence_length, seed=0, probability=0.1):
    for index in range(len(documents)):
        yield from (
            (index, pair)
            for pair in make_pairs(
                edges(documents),
                index,
                np.random.default_rng([seed, index]),
                sequence_length=sequence_length,
                short_pair_probability=probability,
            )
        )


@given(lengths, st.integers(0, 2**20), st.integers(5, 64))
def test_pairs_fit_have_two_segments_and_straddle_documents_only_where_random(
    documents, seed, sequence_length
):
    for index, pair in every_pair(documents, sequence_length, seed):
        sizes = [segment.end - segment.begin for segment in pair[:2]]
        assert min(sizes) >= 1
        assert sum(sizes) + 3 <= sequence_length
        assert pair.first.document == index
        for segment in pair[:2]:
            assert 0 <= segment.begin < segment.end <= sum(documents[segment.document])
        if not pair.is_random:
            assert pair.second.document == index
            assert pair.first.end <= pair.second.begin


@given(lengths, st.integers(0, 2**20))
def test_without_truncation_every_piece_of_a_document_is_used_once_outside_random_segments(
    documents, seed
):
    # Longer than any document with its random segment, so that nothing is ever cut off.
    used = {index: [] for index in range(len(documents))}
    for index, pair in every_pair(documents, 3 + 2 * 30 * 14, seed, probability=0.0):
        used[index] += range(*pair.first[1:])
        if not pair.is_random:
            used[index] += range(*pair.second[1:])
    for index, document in enumerate(documents):
        assert sorted(used[index]) == list(range(sum(document)))


def test_the_second_segment_is_random_about_half_of_the_time_and_from_another_document():
    rng = np.random.default_rng(0)
    documents = [rng.integers(5, 40, 400).tolist() for _ in range(20)]
    found = list(every_pair(documents, 128))
    labels = np.array([pair.is_random for _, pair in found])
    # Half of the draws; a little more, for a chunk of one sentence is always followed at random.
    assert abs(labels.mean() - 0.5) < 4 * 0.5 / np.sqrt(len(labels)) + 0.02
    assert all(pair.second.document != index for index, pair in found if pair.is_random)


def test_one_in_ten_documents_is_cut_into_short_pairs():
    documents = [[10] * 200 for _ in range(300)]
    longest = {}
    for index, pair in every_pair(documents, 128):
        size = sum(segment.end - segment.begin for segment in pair[:2])
        longest[index] = max(longest.get(index, 0), size)
    short = sum(size < 125 for size in longest.values())
    assert 10 <= short <= 50


def test_equal_documents_are_cut_differently_by_number_and_by_seed():
    rows = {"input_ids": [[7] * 200] * 12, "pos": [[1] * 200] * 12, "lengths": [[10] * 20] * 12}
    rows |= {name: [0] * 12 for name in STATISTICS}
    corpus = Corpus(Dataset.from_dict(rows, features=annotate.FEATURES))

    def instances(seed, *documents):
        return PairMaker(corpus, 2, 3, 64, 0.1, seed)({"document": documents})

    cuts = {tuple(instances((0, 0), number)["first_length"]) for number in range(12)}
    assert len(cuts) > 8
    one_by_one = [instances((0, 0), number)["input_ids"] for number in range(12)]
    together = instances((0, 0), *range(12))["input_ids"]
    assert [row.tolist() for rows in one_by_one for row in rows] == [r.tolist() for r in together]
    assert instances((0, 0), 0)["first_length"] != instances((0, 1), 0)["first_length"]


def test_a_lone_document_pairs_with_itself():
    pairs = list(every_pair([[4] * 30], 32))
    assert {pair.second.document for _, pair in pairs if pair.is_random} == {0}


@pytest.mark.parametrize("size", [1, 2, 500])
def test_a_single_sentence_of_any_size_makes_one_random_pair(size):
    ((_, pair),) = make_pairs_of([size], [7])
    assert pair.is_random
    assert pair.second.document == 1


def make_pairs_of(document, other):
    return [(i, pair) for i, pair in every_pair([document, other], 24) if i == 0]
