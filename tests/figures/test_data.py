import dataclasses
import json

import numpy as np
import pytest

from figures.data import Column, DataError, FigureData, load, save

COLUMNS = {
    "series": Column("text", "a name"),
    "count": Column("integer", "how many"),
    "value": Column("number", "loss units"),
}
ROWS = [
    ('with, comma and "quotes"', 2**60 + 1, 0.1 + 0.2),
    ("α = 1", -3, 5e-324),
    ("", 0, float("nan")),
    ("line\nbreak", 7, float("inf")),
    ("last", 1, -1.7976931348623157e308),
]


@pytest.fixture
def example():
    made = FigureData.of("example", COLUMNS, ROWS, {"T": 10, "grid": [1, 2]})
    return dataclasses.replace(made, provenance={"seed": 0})


def test_round_trip_is_exact(example, tmp_path):
    save(example, tmp_path)
    again = load("example", tmp_path)
    assert again.columns == COLUMNS
    assert again.parameters == {"T": 10, "grid": [1, 2]}
    assert again.provenance == {"seed": 0}
    for key in COLUMNS:
        assert again[key].dtype.kind == example[key].dtype.kind
        np.testing.assert_array_equal(again[key], example[key])


def test_table_is_tidy(example, tmp_path):
    save(example, tmp_path)
    text = (tmp_path / "example.csv").read_text(encoding="utf-8")
    assert text.startswith("series,count,value\n")
    assert "\nα = 1,-3,5e-324\n" in text
    assert "\n,0,\n" in text  # a missing number is an empty cell


def test_no_rows_survive_the_round_trip(tmp_path):
    save(FigureData.of("empty", COLUMNS, [], {}), tmp_path)
    assert len(load("empty", tmp_path)) == 0


def test_where_selects_rows(example):
    assert example.where(series="α = 1")["count"].tolist() == [-3]
    assert len(example.where(series="α = 1", count=0)) == 0


def test_rows_of_another_length_are_refused():
    with pytest.raises(ValueError, match="3 values: series, count, value"):
        FigureData.of("example", COLUMNS, [("a", 1)], {})


def test_missing_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"example\.json: No such file"):
        load("example", tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("example.json", b"{", "not valid JSON"),
        ("example.json", b"[]", "schema version None"),
        ("example.json", b'{"schema_version": 99}', "schema version 99; expected 1"),
        ("example.csv", b"series,count,value\n", "is not the table"),
    ],
)
def test_damaged_files_are_named(example, tmp_path, file, content, message):
    save(example, tmp_path)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(DataError, match=message):
        load("example", tmp_path)


def test_metadata_must_be_json(example, tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        save(dataclasses.replace(example, parameters={"x": float("nan")}), tmp_path)
    assert not list(tmp_path.iterdir())


def test_meaning_of_every_column_is_saved(example, tmp_path):
    save(example, tmp_path)
    document = json.loads((tmp_path / "example.json").read_text(encoding="utf-8"))
    assert document["columns"]["value"] == {"type": "number", "meaning": "loss units"}
