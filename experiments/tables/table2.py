"""Table 2: classification, semantics and depth after Multi-Modal Mask MAE, with its risks."""

from collections.abc import Collection, Mapping
from statistics import mean
from typing import Any

from experiments.tables.grid import Column, Grid, Records, make_grid, parts_of
from experiments.tables.printed_values import TABLE_2
from experiments.tables.store import PRETRAIN, Key

__all__ = ["grid"]

_METRICS = {
    "accuracy": ("cls", "accuracy", "%"),
    "mIoU": ("semseg", "mean_iou", "%"),
    "δ1": ("depth", "delta_1", "%"),
}
"""Part, field of its record and unit, by the title of the column."""
_RISKS = {"rgb": "squared error", "depth": "absolute error", "semseg": "nats"}
_NOTES = """\
The whole test split of each task, at the end of a fixed number of epochs; nothing is chosen on it.
Risks: reconstruction of held-out images, each in its own unit; worst is the largest of them. The \
paper does not print them.
Printed: ImageNet-S50, 800 epochs, as far as the cells were taken down. The gains that the text \
quotes have different baselines: +9.6 mIoU is over None, +3.9 δ1 over Uncertainty (over None \
22.0)."""


def grid(preset: str, rows: Mapping[str, str], records: Mapping[Key, Mapping[str, Any]]) -> Grid:
    """The table of a preset.

    Args:
        preset: its name.
        rows: arm by printed name.
        records: of the store.
    """
    head = {
        "name": "table2",
        "title": f"Table 2, Multi-Modal Mask MAE ({preset})",
        "preset": preset,
        "printed": TABLE_2,
        "notes": tuple(_NOTES.splitlines()),
    }
    parts = parts_of(records)
    columns = [
        *(
            Column(
                title,
                unit,
                _downstream(parts.get(part, ()), field),
                parts=tuple(parts.get(part, ())),
            )
            for title, (part, field, unit) in _METRICS.items()
        ),
        *(
            Column(f"{name} risk", unit, _risk(name), 3, more_is_better=False, upstream=True)
            for name, unit in _RISKS.items()
        ),
        Column("worst", "risk", _worst, 3, more_is_better=False, upstream=True),
    ]
    return make_grid(head, columns, rows, records)


def _downstream(needed: Collection[str], field: str) -> Any:
    def value(parts: Records) -> float | None:
        """Mean over the seeds of fine-tuning, in per cent; None unless all of them are there."""
        found = [parts[part]["test"][field] for part in needed if part in parts]
        return 100 * mean(found) if found and len(found) == len(needed) else None

    return value


def _risk(name: str) -> Any:
    def value(parts: Records) -> float | None:
        risks = parts.get(PRETRAIN, {}).get("held_out", {}).get("risks", {})
        return float(risks[name]["value"]) if name in risks else None

    return value


def _worst(parts: Records) -> float | None:
    held_out = parts.get(PRETRAIN, {}).get("held_out")
    return None if held_out is None else float(held_out["worst"])
