"""Which runs Figure 3 shows, beside `test_commands`, which draws it from real ones."""

from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from experiments.mae.downstream.evaluation import INPUT, PICTURED
from experiments.tables import figure3


class Runs:
    """A maker of a table with two rows; a run is finished if it has a folder."""

    table = SimpleNamespace(rows={"None": "average", "Minimax": "minimax"})

    def __init__(self, root):
        self.root = root

    def parts(self):
        return ("pretrain", "semseg-half-0")

    def folder(self, arm, seed):
        return self.root / arm / str(seed)

    def finish(self, arm, seed, *, pictured=True):
        folder = self.folder(arm, seed)
        folder.mkdir(parents=True)
        if pictured:
            classes = torch.full((1, 8, 8), seed)
            kept = {
                "index": torch.tensor([0]),
                f"{INPUT}rgb": torch.zeros(1, 3, 8, 8),
                "semseg": torch.zeros(1, 8, 8, dtype=torch.int64),
                "prediction": classes,
            }
            save_file(kept, folder / PICTURED)

    def pictured(self, arm, seed, part):
        assert part == figure3.PART + "-0"
        folder = self.folder(arm, seed)
        data = SimpleNamespace(class_names=["wall", "floor", "chair"])
        return SimpleNamespace(folder=folder, data=data) if folder.is_dir() else None


@pytest.fixture
def runs(tmp_path):
    return Runs(tmp_path / "runs")


@pytest.fixture
def drawn(monkeypatch):
    """What is handed to the drawing: seed of each row, read off its predictions."""
    shown = {}
    draw = figure3.draw

    def seen(path, task, arms, names):
        shown.update({row: int(kept["prediction"].unique()) for row, kept in arms.items()})
        draw(path, task, arms, names)

    monkeypatch.setattr(figure3, "draw", seen)
    return shown


def test_the_first_finished_run_of_each_row_is_shown(runs, drawn, tmp_path):
    for arm, seed in (("average", 0), ("average", 2), ("minimax", 1), ("minimax", 2)):
        runs.finish(arm, seed)
    path = tmp_path / "figure.png"
    assert figure3.draw_figure3(runs, 3, path) == []
    assert drawn == {"None, seed 0": 0, "Minimax, seed 1": 1}
    with Image.open(path) as image:
        assert image.format == "PNG"


def test_seeds_beyond_those_asked_for_are_not_shown(runs, drawn, tmp_path):
    runs.finish("average", 0)
    runs.finish("minimax", 1)
    assert figure3.draw_figure3(runs, 1, tmp_path / "figure.png") == ["Minimax"]
    assert drawn == {"None": 0}


def test_rows_without_pictures_are_named_and_nothing_is_drawn_of_none(runs, tmp_path):
    runs.finish("average", 0, pictured=False)
    path = tmp_path / "figure.png"
    assert figure3.draw_figure3(runs, 2, path) == ["Minimax", "None"]
    assert not path.exists()
