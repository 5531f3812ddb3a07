import numpy as np
import pytest
import torch
from accelerate.data_loader import prepare_data_loader
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, chisquare
from torch.utils.data import DataLoader

from experiments.bert.batches import InstanceOrder, mask_instance
from experiments.bert.groupings import FrequencyGroups
from experiments.bert.tags import OTHER
from tests.experiments.bert.instances import (
    CLS,
    MASK,
    PAD,
    SEP,
    SPECIAL,
    VOCABULARY,
    collator,
    instances,
)

UNLIKELY = 1e-4


def masked(pieces, rng, probability=0.15, cap=20, vocabulary=VOCABULARY):
    return mask_instance(
        pieces,
        rng,
        probability=probability,
        max_predictions=cap,
        mask_id=MASK,
        special_ids=SPECIAL,
        vocabulary=vocabulary,
    )


def by_instance(batches):
    """Rows of batches that hold "duplicate" and "index", as comparable values."""
    return {
        (int(batch["duplicate"][row]), int(batch["index"][row])): tuple(
            tuple(batch[name][row].reshape(-1).tolist()) for name in sorted(batch)
        )
        for batch in batches
        for row in range(len(batch["index"]))
    }


class Labelled:
    """A collator whose batches say which instances they hold."""

    def __init__(self, masking):
        self.masking = masking

    def __call__(self, rows):
        names = {n: torch.tensor([row[n] for row in rows]) for n in ("duplicate", "index")}
        return {**self.masking(rows), **names}


@pytest.fixture(scope="module")
def many_masks():
    """Original and replaced pieces at all chosen positions of 2000 instances, and positions."""
    rng = np.random.default_rng(5)
    before, after, where = [], [], []
    for index in range(2000):
        pieces = rng.integers(MASK + 1, VOCABULARY, size=102)
        pieces[[0, 51, 101]] = CLS, SEP, SEP
        found, positions = masked(pieces, np.random.default_rng([7, 0, index]))
        before.append(pieces[positions])
        after.append(found[positions])
        where.append(positions)
    return tuple(np.concatenate(each) for each in (before, after, where))


def test_chosen_pieces_are_masked_kept_and_replaced_in_the_shares_80_10_10(many_masks):
    before, after, _ = many_masks
    stray = 0.1 / VOCABULARY  # a random piece may be [MASK], or the piece itself
    expected = {
        "masked": (after == MASK, 0.8 + stray),
        "kept": (after == before, 0.1 + stray),
        "random": ((after != MASK) & (after != before), 0.1 - 2 * stray),
    }
    for name, (happened, share) in expected.items():
        assert binomtest(int(happened.sum()), len(before), share).pvalue > UNLIKELY, name


def test_random_pieces_are_uniform_over_the_whole_vocabulary(many_masks):
    before, after, _ = many_masks
    random = after[(after != MASK) & (after != before)]
    common = np.bincount(random, minlength=VOCABULARY)
    # Equal pieces are not seen as random, which makes the ordinary ones a little rarer.
    chance = np.full(VOCABULARY, 1.0)
    chance[MASK + 1 :] -= np.bincount(before, minlength=VOCABULARY)[MASK + 1 :] / len(before)
    chance[MASK] = 0
    seen = chance > 0
    assert common[MASK] == 0
    expected = chance[seen] / chance.sum() * len(random)
    assert chisquare(common[seen], expected).pvalue > UNLIKELY


def test_every_ordinary_position_is_as_likely_to_be_chosen(many_masks):
    counts = np.bincount(many_masks[2], minlength=102)
    special = [0, 51, 101]
    assert counts[special].sum() == 0
    assert chisquare(np.delete(counts, special)).pvalue > UNLIKELY


@given(
    st.integers(0, 2**32),
    st.integers(4, 128),
    st.integers(1, 24),
    st.sampled_from([0.0, 0.15, 0.5, 1.0]),
)
def test_the_number_of_predictions_is_the_rounded_share_within_bounds(seed, n, cap, probability):
    rng = np.random.default_rng(seed)
    pieces = rng.integers(0, VOCABULARY, size=n)
    pieces[0], pieces[1] = CLS, MASK + 1
    original = pieces.copy()
    found, positions = masked(pieces, rng, probability, cap)
    ordinary = sum(int(piece) not in SPECIAL for piece in pieces)
    assert len(positions) == min(max(round(probability * n), 1), cap, ordinary)
    assert sorted(set(positions.tolist())) == positions.tolist()
    assert not set(pieces[positions].tolist()) & set(SPECIAL)
    np.testing.assert_array_equal(pieces, original)
    elsewhere = np.setdiff1d(np.arange(n), positions)
    np.testing.assert_array_equal(found[elsewhere], pieces[elsewhere])
    assert found.min() >= 0
    assert found.max() < VOCABULARY


def test_a_batch_holds_what_is_needed_to_undo_the_masking():
    rows = instances()
    batch = collator()(rows)
    assert {name: tuple(values.shape) for name, values in batch.items()} == {
        "input_ids": (30, 40),
        "attention_mask": (30, 40),
        "token_type_ids": (30, 40),
        "masked_positions": (30, 8),
        "mlm_labels": (30, 8),
        "task_ids": (30, 8),
        "next_sentence_label": (30,),
    }
    for r, row in enumerate(rows):
        n = len(row["input_ids"])
        restored = batch["input_ids"][r].clone()
        chosen = batch["mlm_labels"][r] != -100
        positions = batch["masked_positions"][r][chosen]
        restored[positions] = batch["mlm_labels"][r][chosen]
        assert restored[:n].tolist() == row["input_ids"].tolist()
        assert restored[n:].tolist() == [PAD] * (40 - n)
        assert batch["attention_mask"][r].tolist() == [1] * n + [0] * (40 - n)
        second = n - row["first_length"]
        ids = [0] * row["first_length"] + [1] * second + [0] * (40 - n)
        assert batch["token_type_ids"][r].tolist() == ids
        assert int(batch["next_sentence_label"][r]) == row["next_sentence_label"]
        assert (batch["task_ids"][r][~chosen] == -100).all()
        is_other = torch.from_numpy(row["pos"])[positions] == OTHER
        assert ((batch["task_ids"][r][chosen] == OTHER) == is_other).all()


def test_tasks_are_those_of_the_original_pieces():
    batch = collator(task_of_piece=FrequencyGroups(tuple(range(VOCABULARY))))(instances())
    tasks = batch["task_ids"]
    words = (batch["mlm_labels"] != -100) & (tasks != OTHER)  # tasks are numbers of pieces here
    assert words.sum() > 50
    assert torch.equal(tasks[words], batch["mlm_labels"][words])


def test_an_instance_that_is_too_long_is_refused_by_its_number():
    rows = instances()
    longest = max(rows, key=lambda row: len(row["input_ids"]))
    with pytest.raises(ValueError, match=rf"instance {longest['index']} has .*found 10"):
        collator(sequence_length=10)([longest])


def test_masks_depend_on_seed_duplicate_and_instance():
    (row,) = instances(1)

    def mask(seed=3, duplicate=0, index=0):
        batch = collator(seed=seed)([{**row, "duplicate": duplicate, "index": index}])
        return [*batch["masked_positions"][0].tolist(), *batch["input_ids"][0].tolist()]

    assert mask() == mask()
    others = [mask(duplicate=d) for d in range(1, 5)]
    others += [mask(index=i) for i in range(1, 5)] + [mask(seed=s) for s in range(4, 8)]
    distinct = {tuple(each) for each in [mask(), *others]}
    assert len(distinct) >= 12  # of 13; two may agree by chance


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_masks_depend_neither_on_order_nor_on_batches_nor_on_workers():
    order = InstanceOrder(instances(), length=75, duplicates=3, seed=1)
    reference = by_instance(DataLoader(order, batch_size=5, collate_fn=Labelled(collator())))
    assert len(reference) == 75
    shuffled = torch.randperm(75, generator=torch.Generator().manual_seed(0)).tolist()
    loaders = {
        "batches": DataLoader(order, batch_size=7, collate_fn=Labelled(collator())),
        "order": DataLoader(order, 5, sampler=shuffled, collate_fn=Labelled(collator())),
        "workers": DataLoader(
            order,
            5,
            num_workers=2,
            multiprocessing_context="fork",
            collate_fn=Labelled(collator()),
        ),
    }
    for name, loader in loaders.items():
        assert by_instance(loader) == reference, name


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_ranks_divide_each_step_of_one_process_among_themselves_with_its_masks(ranks):
    def steps(size, **process):
        order = InstanceOrder(instances(), length=96, duplicates=3, seed=1)  # into a second epoch
        loader = DataLoader(order, size, collate_fn=Labelled(collator()))
        return list(prepare_data_loader(loader, put_on_device=False, **process))

    one = [by_instance([batch]) for batch in steps(12, num_processes=1)]
    parts = [steps(12 // ranks, num_processes=ranks, process_index=rank) for rank in range(ranks)]
    assert [by_instance(batches) for batches in zip(*parts, strict=True)] == one
    assert len(one) == 8


@given(st.integers(1, 12), st.integers(1, 4), st.integers(1, 3), st.integers(0, 9))
def test_every_epoch_visits_every_duplicate_of_every_instance_once(n, duplicates, epochs, seed):
    size = n * duplicates
    order = InstanceOrder([{"row": i} for i in range(n)], epochs * size, duplicates, seed)
    visits = [order[k] for k in range(len(order))]
    assert all(visit["row"] == visit["index"] for visit in visits)
    pairs = [(visit["duplicate"], visit["index"]) for visit in visits]
    expected = [(d, i) for d in range(duplicates) for i in range(n)]
    for epoch in range(epochs):
        assert sorted(pairs[epoch * size : (epoch + 1) * size]) == expected


def test_the_order_is_the_same_wherever_reading_starts():
    def reader(seed=2):
        return InstanceOrder([{}] * 20, 100, 2, seed)

    straight = reader()
    visits = [straight[k] for k in range(100)]
    backwards = reader()
    assert [backwards[k] for k in reversed(range(100))][::-1] == visits
    assert reader()[63] == visits[63]
    assert visits[:40] != visits[40:80]
    other = reader(seed=3)
    assert [other[k] for k in range(100)] != visits


def test_positions_outside_the_run_and_empty_data_are_refused():
    order = InstanceOrder([{}], 3, 1, 0)
    assert len(order) == 3
    for position in (3, -1):
        with pytest.raises(IndexError):
            order[position]
    with pytest.raises(ValueError, match="at least one example; found none"):
        InstanceOrder([], 3, 1, 0)
