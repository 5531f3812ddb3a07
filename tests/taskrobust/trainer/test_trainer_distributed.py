"""Two processes under torchrun train, evaluate, skip and resume as one process does, in float64."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.taskrobust.trainer import ranks
from tests.taskrobust.trainer.models import BALANCERS, NAMES, assert_near, assert_same, distance

ROOT = Path(__file__).resolve().parents[3]
MODES = [f"{mode} {n}" for mode in ("exact", "micro") for n in (1, 2)]


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """Two ranks at work, and the folder they write to."""
    out = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    with (out / "stdout").open("w") as stdout, (out / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            [*command, "-m", ranks.__name__, str(out)], cwd=ROOT, stdout=stdout, stderr=stderr
        )
        yield process, out
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module")
def one(launched, tmp_path_factory):  # noqa: ARG001
    """What one process finds, while the two are at work."""
    out = tmp_path_factory.mktemp("one")
    return {name: found for run in ranks.ALIKE for name, found in run(out).items()}


@pytest.fixture(scope="module")
def two(launched, one):  # noqa: ARG001
    """What each of two ranks found, by run, and what they printed."""
    process, out = launched
    assert process.wait(600) == 0, (out / "stderr").read_text()[-5000:]
    found = [torch.load(out / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
    return found, (out / "stdout").read_text()


def assert_alike(run, one, two):
    """The same parameters, state and logs on each rank, and in one process."""
    first, second = (found[run] for found in two[0])
    assert_same(first["state"], second["state"])
    assert_near(first["state"], one[run]["state"])
    assert_same_logs(first["logs"], one[run]["logs"])


def assert_same_logs(actual, expected):
    assert len(actual) == len(expected) > 0
    for row, other in zip(actual, expected, strict=True):
        assert row.keys() == other.keys()
        for key, value in row.items():
            # The Trainer adds losses up in float32.
            rounding = 1e-6 if key in ("loss", "train_loss") else 1e-12
            assert value == pytest.approx(other[key], rel=rounding, abs=1e-12, nan_ok=True), key


@pytest.mark.parametrize("micro_batches", [1, 2])
@pytest.mark.parametrize("name", BALANCERS)
def test_two_ranks_train_as_one_process(one, two, name, micro_batches):
    assert_alike(f"{name} {micro_batches}", one, two)


@pytest.mark.parametrize("micro_batches", [1, 2])
@pytest.mark.parametrize("name", ["shuffled", "auxiliary", "sums", "keywords", "clipped"])
def test_two_ranks_train_as_one_process_in_other_settings(one, two, name, micro_batches):
    assert_alike(f"{name} {micro_batches}", one, two)


def test_risks_that_are_not_reduced_train_otherwise(one, two):
    wrong = two[0][0]["wrong"]["state"]
    assert distance(wrong, one["minimax 1"]["state"]) > 1e-2


def test_heads_without_an_example_are_in_the_graph_all_the_same(two):
    for found in two[0]:
        assert found["wrapped"] == {"type": "DistributedDataParallel", "unused": False}


@pytest.mark.parametrize("mode", MODES)
def test_all_ranks_skip_a_step_that_is_not_finite_on_one(one, two, mode):
    assert_alike(f"skip {mode}", one, two)
    assert two[0][0][f"skip {mode}"]["state"]["balancer._extra_state"][1] == 1


@pytest.mark.parametrize("mode", MODES)
def test_all_ranks_raise_for_a_risk_that_is_not_finite_on_one(one, two, mode):
    assert_alike(f"raise {mode}", one, two)
    for found in (one, *two[0]):
        assert "verb = nan" in found[f"raise {mode}"]["error"]


@pytest.mark.parametrize("metrics", ["with metrics", "without metrics"])
@pytest.mark.parametrize("name", ["odd", "few", "batch"])
def test_every_example_is_evaluated_once(one, two, name, metrics):
    run = f"{name} {metrics}"
    for found in two[0]:
        assert_same_logs(found[run]["logs"], one[run]["logs"])
    (row,) = one[run]["logs"]
    assert {key for key in row if "risk/" in key} <= {f"eval_risk/{name}" for name in NAMES}


def test_two_ranks_resume_as_if_they_had_never_stopped(two):
    first, second = two[0]
    for run in ("resume 0", "resume 3", "resume 5"):
        for found in (first, second):
            assert_same(found[run]["state"], first["resume 0"]["state"])


def test_only_the_first_rank_prints(two):
    (first, _), shown = two
    logged = 0
    for name, found in first.items():
        before = int(name.split()[1]) if name.startswith("resume") else 0  # printed by another run
        logged += sum("risk/noun" in r and r["step"] > before for r in found.get("logs", ()))
    assert sum("'risk/noun'" in line for line in shown.splitlines()) == logged > 0
