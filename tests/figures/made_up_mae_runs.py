"""Finished runs of the MAE in the true format, with made-up numbers.

That the format is the true one is tested by `tests.figures.test_mae_curves` on a real run.
"""

import json

import numpy as np

from experiments.records import RESULT, run_folder

TASKS = ("rgb", "depth", "semseg")
ARMS = ("average", "minimax", "my own")


def write_runs(folder, arms=ARMS, seeds=(0, 3), logs=4):
    """Write a run for each arm and seed."""
    for arm in arms:
        for seed in seeds:
            write_run(folder, arm, seed, logs=logs)


def write_run(folder, arm, seed, *, logs=4, tasks=TASKS, width=8):
    """Write one run; its content."""
    rng = np.random.default_rng([seed, *arm.encode()])
    place = run_folder(folder, arm, seed)
    place.mkdir(parents=True)
    content = {
        "command": f"python -m experiments mae pretrain --arms '{arm}'",
        "date": "2026-01-02 03:04:05",
        "versions": {"taskrobust": "0.1.0", "torch": "2.15.0"},
        "arm": arm,
        "seed": seed,
        "configuration": f"model:\n  width: {width}\narms:\n  {arm}: {{}}\n",
        "held_out": {
            "risks": {t: {"value": rng.uniform(0.5, 2), "standard_error": 0.01} for t in tasks}
        },
        "history": list(history(rng, tasks, logs)),
    }
    (place / RESULT).write_text(json.dumps(content, indent=1), encoding="utf-8")
    return content


def history(rng, tasks, logs):
    """Training logs, an evaluation at every second of them, and the closing log."""
    for index in range(1, logs + 1):
        weights = rng.dirichlet(np.ones(len(tasks)))
        log = {"loss": 1.0, "images_per_second": 50.0, "worst_risk": 2.0}
        for task, weight in zip(tasks, weights, strict=True):
            log |= {f"risk/{task}": rng.uniform(0.5, 3), f"weight/{task}": float(weight)}
            log[f"count/{task}"] = 8.0
        # names in the order of the alphabet, as in the checkpoint that a run went on from
        yield {**dict(sorted(log.items())), "epoch": index / logs, "step": 10 * index}
        if index % 2 == 0:
            risks = {f"eval_risk/{task}": rng.uniform(0.5, 3) for task in tasks}
            yield {**risks, "eval_loss": 1.0, "step": 10 * index}
    yield {"train_runtime": 1.0, "train_loss": 1.0, "step": 10 * logs + 1}
