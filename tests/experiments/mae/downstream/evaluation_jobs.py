"""Evaluation on several ranks or without any."""

from functools import partial
from pathlib import Path

import torch

from experiments.mae.downstream.data import evaluation_images
from experiments.mae.downstream.evaluation import evaluate
from experiments.mae.downstream.models import find_models
from experiments.mae.downstream.plan import plan
from experiments.mae.downstream.study import read_data
from tests.experiments.mae.downstream import mosaics


def scores(rank, folder, task):  # noqa: ARG001
    """Metrics of a model of random parameters on all test images."""
    data = read_data(mosaics.recipe(task), folder)
    statistics = (3.0, 1.5) if task == "depth" else None
    (run,) = plan(find_models(["scratch"]), data, mosaics.SIZE, statistics, Path("unused"))
    model = run.build()
    images = evaluation_images(data, model.encoder.size)
    found = evaluate(model, images, data, 4, run.title)
    flat = {**found.pop("class_iou", {}), **found}
    return {name: torch.tensor(-1.0 if value is None else value) for name, value in flat.items()}


def jobs(folder, world_size=1):  # noqa: ARG001
    """All tasks."""
    return {task: partial(scores, folder=folder, task=task) for task in ("cls", "semseg", "depth")}
