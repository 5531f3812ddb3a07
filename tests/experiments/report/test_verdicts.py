"""The rule by which runs support, contradict, or cannot tell."""

import json
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
    }
    found = estimate(differences)
    one, other = (verdict_of(found, each, more_is_better=True) for each in (gain, -gain))
    assert opposite[one] is other


@given(numbers, gains | st.none(), st.booleans())
def test_one_seed_never_tells(difference, gain, more_is_better):
    assert verdict_of(estimate([difference]), gain, more_is_better) is Verdict.CANNOT_TELL


@given(st.lists(numbers, min_size=2, max_size=6))
def test_without_a_printed_gain_better_is_the_metric_s_direction(differences):
    found = estimate(differences)
    more, less = (verdict_of(found, None, each) for each in (True, False))
    if found.sign == 0:
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
        "No printed gain can be compared yet. Table 1 (cpu): nothing can be compared yet."
    )
    (sentence,) = [s for s in table_sentences(material.tables[0]) if "no seed in common" in s]
    assert "Minimax and None" in sentence


def test_arms_of_an_unknown_preset_are_rows_by_their_names(store):
    fill_bert(store, preset="my-own", arms=("token-mean", "minimax", "average"))
    (table,) = collected(store.root).tables
    assert [row.name for row in table.grid.rows] == ["None", "Minimax", "token-mean"]
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
