"""The numbers behind a figure: a tidy table with its meaning and provenance, saved and loaded.

A figure's data are two files, ``NAME.csv`` (one observation a row) and ``NAME.json`` (what the
columns mean, the parameters, and how the numbers came about). Numbers survive the round trip
exactly: they are written with as many digits as identify them.
"""

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from taskrobust._files import write_atomically

SCHEMA_VERSION = 1
"""Version of the JSON file; raised whenever a field changes its meaning or goes."""

_DTYPES = {"text": np.str_, "integer": np.int64, "number": np.float64}


class DataError(RuntimeError):
    """Data are missing or unusable; the message names the file."""


class NothingToDrawError(DataError):
    """There is nothing that a figure could be drawn from."""


@dataclass(frozen=True)
class Column:
    """What a column holds.

    Attributes:
        type: of its values; a missing number is NaN, an empty cell in the file.
        meaning: with its unit.
    """

    type: Literal["text", "integer", "number"]
    meaning: str


@dataclass(frozen=True)
class FigureData:
    """All that a figure is drawn from.

    Attributes:
        name: the figure's name, which is also that of its files.
        columns: type and meaning of each column, in order.
        values: arrays ``[n]``, one a column.
        parameters: what the figure was computed for, JSON-representable.
        provenance: seed, command and versions, JSON-representable.
    """

    name: str
    columns: Mapping[str, Column]
    values: Mapping[str, NDArray[Any]]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        name: str,
        columns: Mapping[str, Column],
        rows: Iterable[tuple[Any, ...]],
        parameters: Mapping[str, Any],
    ) -> Self:
        """Build from observations in the order of the columns.

        Raises:
            ValueError: a row is longer or shorter than the columns.
        """
        table = list(rows)
        if any(len(row) != len(columns) for row in table):
            raise ValueError(f"every row should have {len(columns)} values: {', '.join(columns)}")
        values: dict[str, NDArray[Any]] = {
            key: np.array([row[i] for row in table], dtype=_DTYPES[column.type])
            for i, (key, column) in enumerate(columns.items())
        }
        return cls(name, columns, values, parameters)

    def __len__(self) -> int:
        return len(next(iter(self.values.values())))

    def where(self, **equal: Any) -> Self:
        """The rows whose named columns have the given values."""
        mask = np.ones(len(self), dtype=bool)
        for key, value in equal.items():
            mask &= self.values[key] == value
        kept = {key: array[mask] for key, array in self.values.items()}
        return type(self)(self.name, self.columns, kept, self.parameters, self.provenance)

    def __getitem__(self, column: str) -> NDArray[Any]:
        return self.values[column]


def save(data: FigureData, directory: Path) -> None:
    """Write ``NAME.csv`` and ``NAME.json`` into an existing directory, each atomically.

    Raises:
        OSError: a file cannot be written.
    """
    table = _to_csv(data)
    document = {
        "schema_version": SCHEMA_VERSION,
        "figure": data.name,
        "table": f"{data.name}.csv",
        "table_sha256": hashlib.sha256(table).hexdigest(),
        "columns": {key: asdict(column) for key, column in data.columns.items()},
        "parameters": data.parameters,
        "provenance": data.provenance,
    }
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(directory / f"{data.name}.csv", table)
    write_atomically(directory / f"{data.name}.json", text.encode())


def load(name: str, directory: Path) -> FigureData:
    """Read what `save` wrote.

    Raises:
        NothingToDrawError: both files are missing.
        DataError: one is missing or damaged, of another version, or the two do not belong
            together (the checksum in the JSON file is not that of the CSV file).
    """
    document_path, table_path = directory / f"{name}.json", directory / f"{name}.csv"
    try:
        document = json.loads(document_path.read_bytes())
        table = table_path.read_bytes()
    except OSError as error:
        missing = not document_path.exists() and not table_path.exists()
        kind = NothingToDrawError if missing else DataError
        raise kind(f"cannot read {error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{document_path} is not valid JSON: {error}") from error
    found = document.get("schema_version") if isinstance(document, dict) else None
    if found != SCHEMA_VERSION:
        raise DataError(f"{document_path} has schema version {found}; expected {SCHEMA_VERSION}")
    if hashlib.sha256(table).hexdigest() != document["table_sha256"]:
        raise DataError(f"{table_path} is not the table that {document_path} describes")
    columns = {key: Column(**column) for key, column in document["columns"].items()}
    values = _from_csv(table.decode(), columns)
    return FigureData(name, columns, values, document["parameters"], document["provenance"])


def _to_csv(data: FigureData) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(data.columns)
    writer.writerows(
        zip(*([_cell(v) for v in data[key].tolist()] for key in data.columns), strict=True)
    )
    return text.getvalue().encode()


def _from_csv(text: str, columns: Mapping[str, Column]) -> dict[str, NDArray[Any]]:
    rows = list(csv.DictReader(io.StringIO(text)))
    return {
        key: np.array(
            [float(row[key] or "nan") if column.type == "number" else row[key] for row in rows],
        ).astype(_DTYPES[column.type])
        for key, column in columns.items()
    }


def _cell(value: float | str) -> str:
    """Shortest text that identifies the value; NaN is empty."""
    return "" if value != value else str(value)
