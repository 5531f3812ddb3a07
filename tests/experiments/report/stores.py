"""Stores of made-up runs, with random numbers where the report looks."""

import random

from experiments.tables.store import Key, Store

TASKS = {"cola": "matthews", "rte": "accuracy", "mrpc": "f1"}
BERT_ARMS = ("average", "minimax", "token-mean")
MAE_ARMS = ("average", "minimax", "uncertainty")
MODALITIES = ("rgb", "depth", "semseg")


def provenance(rng):
    return {
        "command": "python -m experiments table1 --preset cpu",
        "git": {"commit": f"{rng.getrandbits(160):040x}", "modified": False},
        "date": f"2026-11-{rng.randint(10, 28)} 12:00:00",
        "versions": {"torch": "2.15.0"},
        "seconds": rng.uniform(1, 1000),
        "parameters": 1_500_000,
        "device": "cpu",
        "configuration": "{}",
    }


def fill_bert(store, *, preset="cpu", arms=BERT_ARMS, seeds=3, fine_tunings=2, rng=None):
    """Records of Table 1."""
    rng = rng or random.Random(0)
    for arm in arms:
        for seed in range(seeds):
            common = {**provenance(rng), "arm": arm}
            risks = {
                name: {"value": rng.uniform(2, 9)}
                for name in ("worst_but_interjection", "mean_but_interjection")
            }
            result = {**common, "seed": seed, "test": risks}
            store.add(Key("bert", preset, arm, seed, "pretrain"), "{}", result)
            for task, metric in TASKS.items():
                for number in range(fine_tunings):
                    dev = {"": {metric: rng.uniform(0.1, 0.9)}}
                    result = {
                        **common, "pretraining_seed": seed, "seed": number, "task": task, "dev": dev
                    }  # fmt: skip
                    store.add(Key("bert", preset, arm, seed, f"{task}-{number}"), "{}", result)
    return store


def fill_mae(store, *, preset="cpu", arms=MAE_ARMS, seeds=3, rng=None):
    """Records of Table 2."""
    rng = rng or random.Random(1)
    metrics = {"cls": "accuracy", "semseg": "mean_iou", "depth": "delta_1"}
    for arm in arms:
        for seed in range(seeds):
            common = {**provenance(rng), "arm": arm}
            risks = {name: {"value": rng.uniform(0.5, 2)} for name in MODALITIES}
            held_out = {"risks": risks, "worst": max(r["value"] for r in risks.values())}
            result = {**common, "seed": seed, "held_out": held_out}
            store.add(Key("mae", preset, arm, seed, "pretrain"), "{}", result)
            for task, metric in metrics.items():
                test = {metric: rng.uniform(0.1, 0.9)}
                result = {
                    **common, "pretraining_seed": seed, "seed": 0, "task": task, "test": test
                }  # fmt: skip
                store.add(Key("mae", preset, arm, seed, f"{task}-0"), "{}", result)
    return store


def filled(root, **options):
    """A store with both tables of one preset."""
    store = Store(root)
    fill_bert(store, **options)
    fill_mae(store, **options)
    return store
