"""Figure 3: semantic predictions of each balancer at half pre-training, beside input and truth."""

from pathlib import Path

from experiments.mae.downstream.evaluation import read_pictured
from experiments.mae.downstream.pictures import draw
from experiments.tables.mae_runs import MaeRuns

__all__ = ["PART", "draw_figure3"]

PART = "semseg-half"
"""Fine-tuning of the model halfway."""


def draw_figure3(maker: MaeRuns, seeds: int, path: Path) -> list[str]:
    """Write the PNG: a test image a row; input, ground truth and a column a row of the table.

    The first finished run of each arm is shown, with its seed if they are not the same. A few
    pictures prove nothing: the mean IoU over all test images is in the records.

    Args:
        maker: of the runs, with the part `PART`.
        seeds: of pre-training.
        path: of the PNG.

    Returns:
        Rows without a finished run, or whose predictions have gone.
    """
    kept, missing, names, shown_seeds = {}, [], None, dict[str, int]()
    (part, *_) = [part for part in maker.parts() if part.startswith(PART)]
    for row, arm in maker.table.rows.items():
        for seed in range(seeds):
            found = maker.pictured(arm, seed, part)
            if found is not None:
                kept[row], names = read_pictured(found.folder), found.data.class_names
                shown_seeds[row] = seed
                break
        else:
            missing.append(row)
    several = len(set(shown_seeds.values())) > 1
    shown = {
        f"{row}, seed {shown_seeds[row]}" if several else row: each
        for row, each in kept.items()
        if each is not None
    }
    if shown and names is not None:
        draw(path, "semseg", shown, names)
    return missing + [row for row, each in kept.items() if each is None]
