import numpy as np
import pytest
from datasets import Dataset, Features, List, Value
from hypothesis import given
from hypothesis import strategies as st

from experiments.bert.preparation import blocks
from experiments.bert.preparation.blocks import MOST, block_edges, map_in_blocks
from experiments.bert.preparation.corpus import Corpus
from experiments.progress import without_other_bars

FEATURES = Features({"values": List(Value("uint16"))})
positive = st.lists(st.integers(0, 1000), min_size=1, max_size=60).filter(any)


@given(positive, st.integers(1, 5000))
def test_blocks_end_where_the_sum_of_weights_passes_multiples(weights, block):
    size = max(block, -(-sum(weights) // MOST))
    edges, before, next_multiple = [0], 0, size
    for row, weight in enumerate(weights):
        if before >= next_multiple:
            edges.append(row)
            next_multiple = (before // size + 1) * size
        before += weight
    assert block_edges(np.array(weights), block) == [*edges, len(weights)]


@given(st.integers(1, 10), st.integers(1000, 3000))
def test_there_are_never_over_256_blocks(block, rows):
    assert len(block_edges(np.full(rows, 100), block)) - 1 <= MOST


def repeated(batch):
    return {"values": [[number] * 2 for number in batch["n"] for _ in range(number % 3)]}


class Failing:
    """Fails on one number, as if interrupted there."""

    def __call__(self, batch):
        if 40 in batch["n"]:
            raise KeyboardInterrupt
        return repeated(batch)


def run(folder, function=repeated, processes=1, block=10, rows=60):
    told = []
    with without_other_bars():
        mapped = map_in_blocks(
            Dataset.from_dict({"n": np.arange(rows)}),
            function,
            FEATURES,
            folder / "cache" / "part",
            weights=np.ones(rows, np.int64),
            block=block,
            processes=processes,
            advance=lambda weight, found: told.append((weight, found)),
        )
    return mapped, told


def expected(rows=60):
    return repeated({"n": range(rows)})["values"]


@pytest.mark.parametrize(("processes", "block"), [(1, 10), (1, 7), (2, 25), (3, 100)])
def test_blocks_and_processes_do_not_change_the_result(tmp_path, processes, block):
    mapped, told = run(tmp_path, processes=processes, block=block)
    assert mapped["values"][:] == expected()
    assert mapped.features == FEATURES
    assert sum(weight for weight, _ in told) == 60
    assert not any(found for _, found in told)


def test_an_interrupted_map_goes_on_at_its_block(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Failing())
    mapped, told = run(tmp_path)
    assert mapped["values"][:] == expected()
    assert told == [(10, True)] * 4 + [(10, False)] * 2


def test_a_map_goes_on_with_another_number_of_processes(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Failing())
    mapped, told = run(tmp_path, processes=2)
    assert mapped["values"][:] == expected()
    assert [found for _, found in told] == [True] * 4 + [False] * 2


def test_a_block_without_rows_is_kept_too(tmp_path):
    nothing = lambda batch: {"values": []}  # noqa: E731
    for found in (False, True):
        mapped, told = run(tmp_path, nothing, block=30)
        assert len(mapped) == 0
        assert [each for _, each in told] == [found] * 2


@given(
    st.lists(st.lists(st.lists(st.integers(0, 65535), min_size=1, max_size=5), max_size=4)),
    st.integers(1, 4),
)
def test_a_corpus_gives_back_the_pieces_of_its_documents(documents, chunk):
    rows = [
        Dataset.from_dict(
            {
                "input_ids": [[piece for s in d for piece in s] for d in part],
                "pos": [[piece % 10 for s in d for piece in s] for d in part],
                "lengths": [[len(s) for s in d] for d in part],
            },
            features=Features(
                {
                    "input_ids": List(Value("uint16")),
                    "pos": List(Value("int8")),
                    "lengths": List(Value("int32")),
                }
            ),
        )
        for part in (documents[n : n + chunk] for n in range(0, len(documents), chunk))
    ]
    corpus = Corpus(blocks.concatenate_datasets(rows)) if rows else []
    filled = [document for document in documents if document]
    assert len(corpus) == len(filled)
    for number, document in enumerate(filled):
        flat = [piece for sentence in document for piece in sentence]
        edges = corpus[number]
        assert edges.tolist() == np.cumsum([0, *map(len, document)]).tolist()
        assert corpus.sizes[number] == len(flat)
        assert corpus.pieces(number, 0, len(flat)).tolist() == flat
        assert corpus.pieces(number, 1, 2).tolist() == flat[1:2]
        assert corpus.classes(number, 0, len(flat)).tolist() == [piece % 10 for piece in flat]
