"""Finished PoS-BERT runs in the true format, with made-up numbers.

That the format is the true one is tested by `tests.figures.test_pos_bert_runs` on a real run.
"""

import json

import numpy as np

from experiments.bert.evaluation import ClassSums, summarise, write_sums
from experiments.bert.groupings import task_names
from experiments.bert.tags import CLASSES, TASKS
from experiments.records import RESULT, run_folder

ARMS = {"average": "pos", "minimax": "pos", "token-mean": "pos", "my own": "pos"}
GROUPED = {
    "average": "pos",
    "minimax": "pos",
    "average-random": "random",
    "minimax-random": "random",
}


def write_runs(folder, arms=ARMS, seeds=(0,), logs=4, instances=12):
    """Write a run for each arm and seed; the contents, by arm and seed."""
    return {
        (arm, seed): write_run(folder, arm, seed, grouping=grouping, logs=logs, instances=instances)
        for arm, grouping in arms.items()
        for seed in seeds
    }


def write_run(folder, arm, seed, *, grouping="pos", logs=4, instances=12, masks=0):
    """Write one run; its content."""
    rng = np.random.default_rng([seed, *arm.encode()])
    place = run_folder(folder, arm, seed)
    place.mkdir(parents=True)
    content = {
        "command": f"python -m experiments bert pretrain --arms '{arm}'",
        "date": "2026-01-02 03:04:05",
        "versions": {"taskrobust": "0.1.0", "torch": "2.13.0"},
        "arm": arm,
        "seed": seed,
        "configuration": f"arms:\n  {arm}:\n    grouping: null\ngrouping: {grouping}\nseed: 0\n",
    }
    for index, split in enumerate(("valid", "test")):
        measured = held_out(rng, np.random.default_rng([masks, index]), instances)
        write_sums(measured, place / f"{split}.npz")
        content[split] = summarise(measured, resamples=40).as_data()
    tasks = task_names(grouping, other_is_task=False, next_sentence_is_task=False)
    content["history"] = list(history(rng, tasks, logs))
    (place / RESULT).write_text(json.dumps(content, indent=1), encoding="utf-8")
    return content


def held_out(rng, masks, instances):
    """Sums whose counts are the same for all runs with the same masks."""
    counts = 1.0 + masks.poisson(5.0, size=(instances, len(CLASSES)))
    means = np.linspace(7, 3, len(CLASSES)) + rng.normal(0, 0.5, len(CLASSES))
    noise = rng.gamma(2.0, 0.2, size=counts.shape)
    return ClassSums(counts * (means + noise), counts, rng.exponential(0.7, size=instances))


def history(rng, tasks, logs):
    """Training logs, an evaluation at every second of them, and the closing log."""
    for index in range(1, logs + 1):
        weights = rng.dirichlet(np.ones(len(tasks)))
        log = {"loss": float(rng.uniform(3, 9)), "learning_rate": 1e-3}
        for t, task in enumerate(tasks):
            if t < 8 or index != 2:  # the last has no piece between the first two logs
                log[f"risk/{task}"] = float(rng.uniform(3, 9))
            log[f"weight/{task}"] = float(weights[t])
            log[f"count/{task}"] = float(rng.uniform(1, 90)) if t < 8 or index != 2 else 0.0
        yield {
            **log,
            "worst_risk": 9.0,
            "weight_scale": 1.0,
            "epoch": index / logs,
            "step": 10 * index,
        }
        if index % 2 == 0:
            risks = {f"eval_risk/{task}": float(rng.uniform(3, 9)) for task in TASKS}
            yield {**risks, "eval_loss": 5.0, "epoch": index / logs, "step": 10 * index}
    yield {"train_runtime": 1.0, "train_loss": 5.0, "epoch": 1.0, "step": 10 * logs}


def alter(folder, arm, seed, change):
    """Change the content of a run by a function; the path of its file."""
    path = run_folder(folder, arm, seed) / RESULT
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
