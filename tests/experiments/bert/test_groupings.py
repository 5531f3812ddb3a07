import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from experiments.bert.groupings import (
    FrequencyGroups,
    PosGroups,
    RandomGroups,
    frequency_table,
    task_names,
)
from experiments.bert.tags import CLASSES, NUM_TASKS, OTHER, TASKS

SHARES = (0.3, 0.2, 0.15, 0.12, 0.1, 0.06, 0.04, 0.02, 0.01)
UNLIKELY = 1e-4


def text(size, seed=0, vocabulary=300):
    rng = np.random.default_rng(seed)
    return rng.integers(0, vocabulary, size), rng.integers(0, OTHER + 1, size), rng


def band_shares(counts, table):
    return np.bincount(table, weights=counts, minlength=NUM_TASKS) / counts.sum()


@pytest.mark.parametrize(
    "grouping",
    [PosGroups(), FrequencyGroups((0, 1, 2) * 100), RandomGroups(SHARES)],
    ids=lambda grouping: type(grouping).__name__,
)
def test_pieces_outside_the_nine_classes_are_the_same_in_every_grouping(grouping):
    pieces, pos, rng = text(2000)
    tasks = grouping(pieces, pos, rng)
    np.testing.assert_array_equal(tasks == OTHER, pos == OTHER)
    assert tasks.min() >= 0


def test_tasks_by_part_of_speech_are_the_classes():
    pieces, pos, rng = text(50)
    np.testing.assert_array_equal(PosGroups()(pieces, pos, rng), pos)


def test_the_band_of_a_piece_does_not_depend_on_its_class_or_chance():
    pieces, _, rng = text(500)
    table = tuple(int(band) for band in rng.integers(0, NUM_TASKS, size=300))
    tasks = FrequencyGroups(table)(pieces, np.zeros(500, np.int64), rng)
    assert tasks.tolist() == [table[piece] for piece in pieces]


def test_random_groups_have_the_shares_asked_for_whatever_the_class():
    pieces, pos, rng = text(100_000)
    tasks = RandomGroups(SHARES)(pieces, pos, rng)
    for each in (0, 5):
        counts = np.bincount(tasks[pos == each], minlength=NUM_TASKS)
        assert chisquare(counts, np.asarray(SHARES) * counts.sum()).pvalue > UNLIKELY


def test_random_groups_come_from_the_generator_given():
    pieces, pos, _ = text(100)
    grouping = RandomGroups(SHARES)
    one, same, other = (grouping(pieces, pos, np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


counts_of_pieces = st.lists(st.integers(0, 500), min_size=30, max_size=120).filter(sum)
shares_of_classes = st.lists(st.integers(1, 100), min_size=NUM_TASKS, max_size=NUM_TASKS)


@given(counts_of_pieces, shares_of_classes)
def test_bands_are_as_large_as_the_classes_up_to_one_piece(counts, weights):
    counts, shares = np.asarray(counts), np.asarray(weights) / sum(weights)
    found = band_shares(counts, frequency_table(counts, shares))
    assert np.abs(found - shares).max() <= counts.max() / counts.sum() + 1e-12
    order = np.argsort(-shares, kind="stable")
    edges = np.cumsum(found[order]) - np.cumsum(shares[order])
    assert np.abs(edges).max() <= counts.max() / counts.sum() / 2 + 1e-12


@given(counts_of_pieces, st.permutations(list(SHARES)))
def test_the_largest_band_has_the_most_frequent_pieces_and_so_on(counts, shares):
    counts = np.asarray(counts)
    table = np.asarray(frequency_table(counts, shares))
    rarest = np.inf
    for band in np.argsort(-np.asarray(shares)):
        within = counts[table == band]
        if within.size:
            assert within.max() <= rarest
            rarest = within.min()


def test_bands_of_a_zipf_vocabulary_have_the_shares_of_the_classes():
    counts = np.random.default_rng(0).permutation((1e7 / np.arange(10, 8010)).astype(int))
    found = band_shares(counts, frequency_table(counts, SHARES))
    np.testing.assert_allclose(found, SHARES, atol=0.007)


def test_names_follow_the_ids_of_the_tasks():
    names = task_names("pos", other_is_task=True, next_sentence_is_task=True)
    assert names == [*CLASSES, "next sentence"]
    assert task_names("pos", other_is_task=False, next_sentence_is_task=False) == list(TASKS)
    random = task_names("random", other_is_task=False, next_sentence_is_task=True)
    assert random == [*(f"random {t}" for t in range(1, 10)), "next sentence"]
