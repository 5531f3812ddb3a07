"""The rule by which runs support, contradict, or cannot tell."""

import json
import random
import shutil
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from experiments.estimates import estimate
from experiments.report.collect import Sources, collect
from experiments.report.summary import headline, table_sentences
from experiments.report.verdicts import Verdict, compare, verdict_of
from experiments.tables.store import Store
from tests.experiments.report.stores import fill_bert, fill_mae

NOWHERE = Path("nowhere")
numbers = st.floats(-100, 100).map(lambda x: round(x, 3))
gains = st.decimals(-20, 20, places=1)


def collected(*stores):
    return collect(Sources(stores, NOWHERE, NOWHERE, NOWHERE, NOWHERE))


@given(st.lists(numbers, min_size=2, max_size=6), gains)
def test_a_gain_is_supported_iff_the_interval_is_on_its_side(differences, gain):
    if len(set(differences)) < 2:
        return
    ends = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    if min(map(abs, ends)) < 1e-9:
        return
    found = verdict_of(estimate(differences), gain, more_is_better=True)
    # the ends may be on two sides, or both on the gain's, or both on the other
    sides = {bool(end * float(gain) > 0) for end in ends}
    expected = {(True,): Verdict.SUPPORTS, (False,): Verdict.CONTRADICTS}
    if gain == 0:
        assert found is Verdict.CANNOT_TELL
    else:
        assert found is expected.get(tuple(sides), Verdict.CANNOT_TELL)


@given(st.lists(numbers, min_size=1, max_size=6), gains)
def test_what_supports_a_gain_contradicts_its_opposite(differences, gain):
    opposite = {
        Verdict.SUPPORTS: Verdict.CONTRADICTS,
        Verdict.CONTRADICTS: Verdict.SUPPORTS,
        Verdict.CANNOT_TELL: Verdict.CANNOT_TELL,
        Verdict.ONE_SEED: Verdict.ONE_SEED,
    }
    found = estimate(differences)
    one, other = (verdict_of(found, each, more_is_better=True) for each in (gain, -gain))
    assert opposite[one] is other


@given(numbers, gains | st.none(), st.booleans())
def test_one_seed_never_tells(difference, gain, more_is_better):
    assert verdict_of(estimate([difference]), gain, more_is_better) is Verdict.ONE_SEED


@given(st.integers(0, 277), st.integers(0, 277), st.integers(0, 277), st.integers(2, 4))
def test_seeds_that_agree_but_for_rounding_never_tell(one, other, shift, count):
    ours = [100 * (k + shift) / 277 for k in (one, other, *range(count - 2))]
    theirs = [100 * k / 277 for k in (one, other, *range(count - 2))]
    found = estimate([a - b for a, b in zip(ours, theirs, strict=True)])
    assert verdict_of(found, Decimal(1), more_is_better=True) is Verdict.CANNOT_TELL


@given(st.lists(numbers, min_size=2, max_size=6))
def test_without_a_printed_gain_better_is_the_metric_s_direction(differences):
    found = estimate(differences)
    more, less = (verdict_of(found, None, each) for each in (True, False))
    if len(differences) == 1:
        assert more is less is Verdict.ONE_SEED
    elif found.sign == 0:
        assert more is less is Verdict.CANNOT_TELL
    else:
        assert (more is Verdict.BETTER) == (np.mean(differences) > 0)
        assert {more, less} == {Verdict.BETTER, Verdict.WORSE}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def test_an_average_over_some_tasks_is_not_held_against_one_over_eight(store):
    (table,) = collected(fill_bert(store).root).tables  # of three tasks
    by_column = {each.column.title: each.printed for each in compare(table) if each.other == "None"}
    assert by_column["CoLA"] == Decimal("7.0")
    assert by_column["Avg."] is None


def test_ordinary_bert_stands_beside_the_printed_bert(store):
    (table,) = collected(fill_bert(store).root).tables
    found = {each.column.title: each for each in compare(table) if each.other == "token mean"}
    assert found["RTE"].printed == Decimal("4.3")
    assert found["RTE"].printed_other == "BERT"
    assert found["worst"].printed is None


def test_depth_is_held_against_both_baselines(store):
    (table,) = collected(fill_mae(store).root).tables
    printed = {e.other: e.printed for e in compare(table) if e.column.title == "δ1"}
    assert printed == {"None": Decimal("22.0"), "Uncertainty": Decimal("3.9")}


@pytest.mark.parametrize(("by", "said"), [(-1.0, "is lower than"), (1.0, "is higher than")])
def test_the_first_sentence_says_what_became_of_the_worst_risk(store, by, said):
    fill_bert(store, arms=("average", "minimax"))
    for path in store.root.glob("bert/cpu/*/seed-*/pretrain.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        worst = 5 + by * (record["arm"] == "minimax") + 0.01 * record["seed"] ** 2
        record["test"]["worst_but_interjection"]["value"] = worst
        if record["arm"] == "minimax":
            record["test"]["worst_but_interjection"]["value"] += 0.001 * record["seed"]
        path.write_text(json.dumps(record), encoding="utf-8")
    material = collected(store.root)
    assert f"Table 1 (cpu): the worst held-out upstream risk {said} that of None." in headline(
        material
    )


def test_arms_without_a_common_seed_are_not_compared(store):
    fill_bert(store, arms=("average",), seeds=1)
    material = collected(store.root)
    assert headline(material) == (
        "No printed gain can be compared yet. Table 1 (cpu): Minimax and None have no seed in "
        "common yet."
    )
    (sentence,) = [s for s in table_sentences(material.tables[0]) if "no seed in common" in s]
    assert "Minimax and None" in sentence


def test_arms_of_an_unknown_preset_are_rows_by_their_names(store):
    fill_bert(store, preset="my-own", arms=("token-mean", "minimax", "average"))
    (table,) = collected(store.root).tables
    assert [row.name for row in table.grid.rows] == ["None", "Minimax", "token mean"]
    assert {each.other for each in compare(table)} == {"None", "token mean"}
    assert table.evidence
    assert table.preset is None


@pytest.mark.parametrize(("source", "evidence"), [("generated", False), ("local", True)])
def test_generated_data_are_no_evidence_whatever_the_preset_is_called(store, source, evidence):
    fill_bert(store, preset="own", seeds=1)
    for path in store.root.glob("bert/own/*/seed-*/pretrain.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        record["recipe"] = f"preparation: {{source: {source}}}"
        path.write_text(json.dumps(record), encoding="utf-8")
    (table,) = collected(store.root).tables
    assert table.evidence is evidence


@pytest.mark.parametrize(
    ("override", "evidence"),
    [("={source: generated}", False), ("source=generated", False), ("seed=3", True)],
)
def test_generated_data_of_a_preparation_are_no_evidence(store, override, evidence):
    fill_bert(store, preset="own", seeds=1)
    recipe = "preparation: {source: local}\nprepared: {a: {path: ., preparation: [%s]}}"
    for path in store.root.glob("bert/own/*/seed-*/pretrain.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        record["recipe"] = recipe % json.dumps(override)
        path.write_text(json.dumps(record), encoding="utf-8")
    (table,) = collected(store.root).tables
    assert table.evidence is evidence


def test_real_data_of_every_preparation_are_evidence_whatever_the_study_says(store):
    fill_mae(store, preset="own", seeds=1)
    recipe = "preparation: {source: scenes}\nprepared: {a: {preparation: ['={source: folders}']}}"
    for path in store.root.glob("mae/own/*/seed-*/pretrain.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(record | {"recipe": recipe}), encoding="utf-8")
    (table,) = collected(store.root).tables
    assert table.evidence


def test_rows_with_unequal_seeds_are_told_with_the_seeds_that_they_share(store):
    fill_bert(store)
    for path in store.root.glob("bert/cpu/minimax/seed-2/*.json"):
        path.unlink()
    (table,) = collected(store.root).tables
    first, *others = table_sentences(table)
    assert first.endswith("; 2 to 3 seeds a row.")
    assert all("(2 common seeds)" in sentence for sentence in others)


def test_without_none_only_that_comparison_is_missing(store):
    fill_bert(store, arms=("minimax", "token-mean"))
    material = collected(store.root)
    sentences = list(table_sentences(material.tables[0]))
    assert "Minimax and None have no seed in common yet: they cannot be compared." in sentences
    assert any(sentence.startswith("Minimax less token mean beside") for sentence in sentences)


def test_runs_that_a_second_store_has_as_well_are_counted_once(tmp_path):
    stores = [Store(tmp_path / name) for name in ("committed", "own")]
    for store, seeds in zip(stores, (2, 3), strict=True):
        fill_bert(store, seeds=seeds, rng=random.Random(5))
    for path in stores[1].root.glob("bert/cpu/*/*/*.json"):  # as imported from there
        theirs = stores[0].root / path.relative_to(stores[1].root)
        if theirs.is_file():
            theirs.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    for order in (stores, stores[::-1]):
        (table,) = collected(*(store.root for store in order)).tables
        assert table.grid.seeds == 3
        assert table.place == ""
    shutil.rmtree(stores[1].root)
    shutil.copytree(stores[0].root, stores[1].root)
    (table,) = collected(*(store.root for store in stores)).tables
    assert table.store.root == stores[0].root


def test_stores_of_one_name_are_told_apart_by_their_whole_paths(tmp_path):
    stores = []
    for number, name in enumerate(("m1", "m2")):
        store = Store(tmp_path / name / "runs" / "reproduction" / "store")
        fill_bert(store, rng=random.Random(number))
        stores.append(store.root)
    tables = collected(*stores).tables
    assert len({table.name for table in tables}) == 2
    assert len({table.label for table in tables}) == 2
