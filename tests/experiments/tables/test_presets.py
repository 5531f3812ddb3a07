"""Every preset of the tables loads and plans, without data."""

import io
import os
from functools import cache
from pathlib import Path

import pytest
from rich.console import Console

from experiments.bert.configuration import BertStudy
from experiments.configuration import ConfigurationError, load, preset_path, presets
from experiments.mae.study import MaeStudy
from experiments.tables.bert_runs import BertRuns
from experiments.tables.mae_runs import MaeRuns
from experiments.tables.preset import TablePreset, check_data, missing_data, preparation_of
from experiments.tables.store import PRETRAIN

KINDS = {"table1": (BertRuns, BertStudy), "table2": (MaeRuns, MaeStudy)}
ALL = [(name, preset) for name in KINDS for preset in presets(name)]
REAL = Path(os.environ.get("TASKROBUST_DATA", "nowhere"))


@cache
def maker(name, preset):
    table = load(TablePreset, preset_path(name, preset))
    kind, _ = KINDS[name]
    return kind(preset, table, None, Path("nowhere"), Console(file=io.StringIO()))


def test_there_are_presets_of_all_sizes():
    for name in KINDS:
        assert {"smoke", "cpu", "small", "paper"} <= set(presets(name))


@pytest.mark.parametrize(("name", "preset"), ALL)
def test_runs_are_planned_without_data(name, preset):
    made = maker(name, preset)
    parts = made.parts()
    assert parts[0] == PRETRAIN
    assert len(parts) == len(set(parts)) > 1
    for arm in made.table.rows.values():
        recipes = {part: made.recipe(arm, part) for part in parts}
        assert f"balancer: {made.configuration.arms[arm].balancer}" in recipes[PRETRAIN]
        assert all("learning_rate" in text for text in recipes.values())


@pytest.mark.parametrize(("name", "preset"), ALL)
def test_what_is_read_is_prepared_from_data_that_is_named(name, preset):
    made = maker(name, preset)
    table = made.table
    study, kind = made.study, KINDS[name][1]
    for part, read in table.reads.items():
        assert read in (table.data if part == "glue" else table.prepared)
    paths = [each.path for each in table.data.values()]
    for each, prepared in table.prepared.items():
        how = preparation_of(kind, study, table, each, Path("/the data"))
        if how.source in ("generated", "scenes"):
            continue
        assert prepared.path == "." or prepared.path in paths
        hub = getattr(how, "hub", ())
        assert all(text.startswith("/the data/text/") for text in hub)


def test_the_phases_of_the_paper_read_what_is_prepared_for_them():
    made = maker("table1", "paper")
    lengths = {
        each: preparation_of(BertStudy, "bert", made.table, each, Path()).sequence_length
        for each in made.table.prepared
    }
    read = [phase.data or made.table.reads[PRETRAIN] for phase in made.configuration.phases]
    assert [lengths[each] for each in read] == [128, 512]
    assert [phase.share for phase in made.configuration.phases] == [0.9, 0.1]


@pytest.mark.parametrize("name", KINDS)
def test_the_paper_is_refused_without_its_data_naming_each_and_where_to_get_it(name, tmp_path):
    table = load(TablePreset, preset_path(name, "paper"))
    first, *others = table.data.values()
    (tmp_path / first.path).mkdir(parents=True)
    with pytest.raises(ConfigurationError) as refused:
        check_data(table, tmp_path)
    said = str(refused.value)
    assert str(tmp_path) in said
    for each in others:
        assert f"{each.path}: {each.title} ({each.licence}); {each.source}" in said
    assert first.title not in said


@pytest.mark.skipif(not REAL.is_dir(), reason="TASKROBUST_DATA names no folder")
@pytest.mark.parametrize("name", KINDS)
def test_small_finds_the_real_data(name):
    assert missing_data(load(TablePreset, preset_path(name, "small")), REAL) == []
