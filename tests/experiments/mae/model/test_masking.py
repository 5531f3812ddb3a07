from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, chisquare

from experiments.mae.configuration import Masking, ModelSize
from experiments.mae.model.masking import TokenMasking, hidden_tokens, sample_visible

UNLIKELY = 1e-6
PAPER = TokenMasking.of(Masking(seed=3), ModelSize())


@pytest.fixture(scope="module")
def drawn():
    """Visible tokens of many samples of the paper's masking."""
    return np.stack([PAPER.sample(0, index) for index in range(10_000)])


def counts_of(ids):
    """Visible tokens by modality."""
    return np.stack([(ids // 196 == modality).sum(-1) for modality in range(3)], -1)


def test_the_paper_s_masking_shows_98_of_588_tokens():
    assert PAPER.tokens == (196, 196, 196)
    batch = PAPER.batch((0, index) for index in range(50))
    ids, mask = batch["ids_keep"], batch["mask"]
    assert ids.shape == (50, 98)
    assert mask.shape == (50, 588)
    assert mask.sum(1).tolist() == [490] * 50
    for row, kept in zip(mask, ids.tolist(), strict=True):
        assert (~row).nonzero().flatten().tolist() == sorted(set(kept)) == kept


def test_every_modality_has_a_third_of_the_visible_tokens_on_average(drawn):
    counts = counts_of(drawn)
    error = 23.1 / np.sqrt(len(drawn))
    np.testing.assert_allclose(counts.mean(0), 98 / 3, atol=5 * error)
    np.testing.assert_allclose(counts.std(0), 23.1, atol=0.6)
    np.testing.assert_allclose((counts == 0).mean(0), 0.010, atol=0.005)
    assert counts.max() <= 98


def test_rounding_leaves_one_too_many_or_one_missing_which_is_mended_at_random(drawn):
    counts = counts_of(drawn)
    seen, mended = Counter(), Counter()
    for index, count in enumerate(counts):
        shares = np.random.default_rng([3, 0, index]).dirichlet(np.ones(3))
        wanted = np.round(98 * shares).astype(int)
        surplus = int(wanted.sum() - 98)
        seen[surplus] += 1
        change = count - wanted
        assert change.sum() == -surplus
        assert np.abs(change).sum() == abs(surplus) <= 1
        if surplus == -1:
            mended[int(change.argmax())] += 1
    found = [seen[-1], seen[0], seen[1]]
    assert chisquare(found, np.array([0.125, 0.75, 0.125]) * len(counts)).pvalue > UNLIKELY
    assert min(mended.values()) > 0.25 * mended.total()  # by symmetry a third each


def test_every_token_of_a_modality_is_as_likely_to_be_visible(drawn):
    frequency = np.bincount(drawn.flatten(), minlength=588).reshape(3, 196)
    for modality in frequency:
        # Without replacement: a little more even than independent draws.
        assert chisquare(modality).pvalue > UNLIKELY


def brute_force(rng, tokens, visible, concentration):
    """The steps of the documentation, one after the other, with Python's own tools."""
    shares = rng.dirichlet([concentration] * len(tokens))
    flags = []
    for count, share in zip(tokens, shares, strict=True):
        wanted = min(int(np.round(visible * share)), count)
        shown = set(rng.permutation(count)[:wanted].tolist())
        flags += [0 if token in shown else 1 for token in range(count)]
    noisy = [(flag + rng.random(), token) for token, flag in enumerate(flags)]
    return tuple(sorted(token for _, token in sorted(noisy)[:visible]))


@pytest.mark.parametrize("concentration", [1.0, 0.3])
def test_sets_of_visible_tokens_are_as_likely_as_by_brute_force(concentration):
    tokens, visible = (4, 2, 1), 3
    rng = np.random.default_rng(0)
    ours, theirs = Counter(), Counter()
    for _ in range(8_000):
        ours[tuple(sample_visible(rng, tokens, visible, concentration).tolist())] += 1
        theirs[brute_force(rng, tokens, visible, concentration)] += 1
    table = [[each[s] for s in combinations(range(7), 3)] for each in (ours, theirs)]
    assert np.min(np.sum(table, 0)) > 0
    assert chi2_contingency(table).pvalue > UNLIKELY
    assert chisquare(table[0]).pvalue < UNLIKELY  # not simply any three tokens


@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=5),
    st.floats(1e-5, 1e3),
    st.integers(0, 2**32),
    st.data(),
)
def test_the_number_of_visible_tokens_is_exact(tokens, concentration, seed, data):
    visible = data.draw(st.integers(1, sum(tokens)))
    masking = TokenMasking(tuple(tokens), visible, concentration, seed)
    ids = masking.sample(1, 2)
    assert len(ids) == visible
    assert sorted(set(ids.tolist())) == ids.tolist()
    assert 0 <= ids[0] <= ids[-1] < sum(tokens)


def test_large_concentration_is_an_even_split_and_small_ones_show_one_modality():
    even = TokenMasking((20, 20, 20), 30, 1e6)
    single = TokenMasking((20, 20, 20), 18, 1e-3)
    for index in range(20):
        assert np.bincount(even.sample(0, index) // 20).tolist() == [10, 10, 10]
    splits = [np.bincount(single.sample(0, i) // 20, minlength=3).max() for i in range(50)]
    assert np.mean([split == 18 for split in splits]) > 0.9


def test_a_modality_smaller_than_its_share_is_shown_whole_and_others_fill_up():
    masking = TokenMasking((4, 4), 6, 1e-4)
    for index in range(30):
        counts = np.bincount(masking.sample(0, index) // 4, minlength=2)
        assert sorted(counts.tolist()) == [2, 4]


def test_masks_follow_seed_duplicate_and_index_and_nothing_else():
    def row(seed=0, duplicate=0, index=0):
        return tuple(TokenMasking((9, 9), 6, seed=seed).sample(duplicate, index).tolist())

    keys = [(s, d, i) for s in range(3) for d in range(3) for i in range(3)]
    assert len({row(*key) for key in keys}) > 24  # of 27; two may agree by chance
    masking = TokenMasking((9, 9), 6)
    together = masking.batch([(0, 5), (2, 1), (0, 5)])["ids_keep"].tolist()
    assert together == [list(row(0, 0, 5)), list(row(0, 2, 1)), list(row(0, 0, 5))]


def test_the_mask_is_where_nothing_is_kept():
    mask = hidden_tokens(torch.tensor([[3, 0], [1, 2]]), 5)
    assert mask.int().tolist() == [[0, 1, 1, 0, 1], [1, 0, 0, 1, 1]]


@pytest.mark.parametrize("visible", [0, 9])
def test_more_visible_tokens_than_there_are_or_none_are_refused(visible):
    with pytest.raises(ValueError, match=rf"`visible` should be from 1 to 8.*found {visible}"):
        TokenMasking((4, 4), visible)


def test_a_concentration_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="`concentration` should be positive; found 0"):
        TokenMasking((4, 4), 2, 0)
