import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.bert.preparation.alignment import align
from experiments.bert.tags import OTHER


@st.composite
def spans_in_text(draw, smallest=0):
    """Ascending spans of at least one character, without overlap, in a text of 60 characters."""
    edges = sorted(draw(st.sets(st.integers(0, 60), min_size=smallest, max_size=24)))
    return list(zip(edges[::2], edges[1::2], strict=False))


@given(offsets=spans_in_text(), spans=spans_in_text(), seed=st.integers(0, 99))
def test_alignment_agrees_with_painting_characters_one_by_one(offsets, spans, seed):
    classes = np.random.default_rng(seed).integers(0, OTHER, len(spans)).tolist()
    token_at = [None] * 61
    for token, (start, end) in enumerate(spans):
        token_at[start:end] = [token] * (end - start)
    expected, unaligned, straddling = [], [], []
    for start, end in offsets:
        token = token_at[start]
        expected.append(OTHER if token is None else classes[token])
        unaligned.append(token is None)
        straddling.append(token is not None and any(t != token for t in token_at[start:end]))
    found = align(offsets, spans, classes)
    assert found.classes.tolist() == expected
    assert found.classes.dtype == np.int8
    assert found.unaligned.tolist() == unaligned
    assert found.straddling.tolist() == straddling


def test_pieces_of_a_word_inherit_its_class_and_a_contraction_straddles():
    # can|n't against ca|n't: tokens "ca" and "n't", pieces "can", "'", "t".
    found = align([(0, 3), (3, 4), (4, 5)], [(0, 2), (2, 5)], [0, 4])
    assert found.classes.tolist() == [0, 4, 4]
    assert found.unaligned.tolist() == [False] * 3
    assert found.straddling.tolist() == [True, False, False]


def test_nothing_to_align():
    assert align([], [(0, 2)], [1]).classes.shape == (0,)
    assert align([(0, 2), (3, 4)], [], []).classes.tolist() == [OTHER, OTHER]
    assert align([(0, 2), (3, 4)], [], []).unaligned.all()


@pytest.mark.parametrize("spans", [[(0, 3), (2, 4)], [(3, 5), (0, 2)], [(0, 0), (0, 2)]])
def test_spans_out_of_order_are_refused(spans):
    with pytest.raises(ValueError, match="ascending"):
        align([(0, 1)], spans, [0, 1])


def test_classes_of_another_number_are_refused():
    with pytest.raises(ValueError, match=r"one a span \(1\); found 2"):
        align([(0, 1)], [(0, 1)], [0, 1])
