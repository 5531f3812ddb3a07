"""The benchmark's arithmetic, with stand-ins for a clock and for a device."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

from experiments.mae.configuration import DEPTH, RGB
from tests.benchmarks import mae_loading, mae_tables, mae_utilisation, matrices
from tests.benchmarks.mae_steps import AVERAGE, MINIMAX, STRAIGHTFORWARD, Case, steps
from tests.experiments.mae.samples import SEMSEG, SIZE, VISIBLE

SECONDS = {"product": 0.5, "step": 2.0}


def spread(median, low=None, high=None):
    return {"median": median, "quartiles": (low or median, high or median)}


def tiny(batch):
    size = replace(SIZE, norm_rgb=False, modalities=(RGB, DEPTH, SEMSEG))
    return Case("tiny", size, VISIBLE, batch)


@pytest.fixture
def compiled(monkeypatch):
    """A CPU in the place of a GPU: work is done and its time made up; what was compiled."""
    found = []

    def clock(seconds):
        return lambda work, times=1: lambda: (work(), seconds)[1]

    monkeypatch.setattr(mae_utilisation, "on_cuda", clock(SECONDS["step"]))
    monkeypatch.setattr(matrices, "on_cuda", clock(SECONDS["product"]))
    monkeypatch.setattr(mae_utilisation, "SIDES", (8, 16))
    monkeypatch.setattr(mae_utilisation, "BATCHES", (8, 4, 2))
    monkeypatch.setattr(mae_utilisation, "base", tiny)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **_: found.append(type(self)))
    return found


def out_of_memory_above(limit):
    def limited(ours, straightforward, batch, **options):
        if len(batch["ids_keep"]) > limit:
            raise torch.OutOfMemoryError
        return steps(ours, straightforward, batch, **options)

    return limited


def test_utilisation_is_the_share_of_the_fastest_product_in_the_largest_steps_that_fit(
    compiled, monkeypatch
):
    monkeypatch.setattr(mae_utilisation, "steps", out_of_memory_above(4))
    found = mae_utilisation.utilisation(Console(quiet=True), torch.device("cpu"), quick=True)
    assert [case["case"] for case in found["cases"]] == [tiny(4).title, tiny(2).title]
    assert len(compiled) == 4
    fastest = 2 * 16**3 / SECONDS["product"]
    for case, batch in zip(found["cases"], (4, 2), strict=True):
        assert len(case["variants"]) == 4
        for name, variant in case["variants"].items():
            assert name.startswith((MINIMAX, STRAIGHTFORWARD))
            assert variant["images_per_second"]["median"] == batch / SECONDS["step"]
            share = case["flops"] / SECONDS["step"] / fastest
            assert variant["utilisation"]["median"] == pytest.approx(share)


@pytest.mark.usefixtures("compiled")
def test_a_device_without_room_for_the_smallest_batch_is_said_so(monkeypatch):
    monkeypatch.setattr(mae_utilisation, "steps", out_of_memory_above(1))
    with pytest.raises(RuntimeError, match="with 2 images"):
        mae_utilisation.largest_batch(torch.device("cpu"))


def test_what_was_loaded_ahead_is_not_timed(monkeypatch):
    clock = [0.0]

    def batches():  # the first two were loaded ahead: they take no time
        for seconds, size in ((0.0, 5), (0.0, 5), (3.0, 5), (1.0, 3)):
            clock[0] += seconds
            yield {"ids_keep": np.empty(size)}

    class Loader:
        def __iter__(self):
            return batches()

    monkeypatch.setattr(mae_loading.time, "perf_counter", lambda: clock[0])
    assert mae_loading._pass(Loader(), ahead=2)() == 4.0 / 8


def results(speed=1.1, cost=1.0, noise=(0.99, 1.01), peak=(20.0, 10.0), rates=(5.0, 90.0, 120.0)):
    return {
        "cases": [
            {
                "case": "tiny",
                "ratio": {
                    "straightforward": spread(speed),
                    "balancing": spread(cost),
                    "noise": spread(1.0, *noise),
                },
            }
        ],
        "memory": [
            {
                "case": "tiny",
                "MiB": {STRAIGHTFORWARD: {"peak": peak[0]}, AVERAGE: {"peak": peak[1]}},
            }
        ],
        "loading": [
            {
                "case": "tiny",
                "source": "scenes",
                "rates": {str(count): spread(rate) for count, rate in enumerate(rates)},
                "step": 100.0,
            }
        ],
        "utilisation": {
            "cases": [
                {
                    "case": "tiny",
                    "variants": {
                        STRAIGHTFORWARD: {"utilisation": spread(0.9)},
                        MINIMAX: {"utilisation": spread(0.4)},
                        MINIMAX + mae_utilisation.COMPILED: {"utilisation": spread(0.5)},
                    },
                }
            ]
        },
    }


def judged(**changes):
    return [aim["holds"] for aim in mae_tables.judge(results(**changes))]


def test_aims_hold_or_fail_by_what_was_measured():
    assert judged() == [True] * 5
    assert judged(speed=0.98) == [False, True, True, True, True]
    assert judged(cost=1.02) == [True, False, True, True, True]
    assert judged(peak=(10.0, 20.0)) == [True, True, False, True, True]
    assert judged(speed=0.5, cost=2.0, noise=(0.9, 1.0)) == [None, None, True, True, True]


def test_loading_keeps_up_only_beside_the_step():
    assert judged(rates=(150.0, 90.0, 95.0)) == [True, True, True, False, True]


def test_only_our_own_utilisation_counts(monkeypatch):
    monkeypatch.setattr(mae_tables, "UTILISATION", 0.6)
    assert judged() == [True, True, True, True, False]
