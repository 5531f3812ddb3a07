"""An example's `main`, run by several processes for its tests: one launch for all runs."""

import importlib
import inspect
import os
import pickle
import subprocess
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from unittest import mock

import torch
import torch.distributed as dist

from taskrobust import create_balancer
from taskrobust.balancers import balancer_info
from tests.examples.toy import TASKS

ROOT = Path(__file__).resolve().parents[2]


def balancer(name, **options):
    """A `make_balancer` for the examples, by name."""
    return partial(_balancer_of, name, options)


def _balancer_of(name, options, model):
    if "shared" in inspect.signature(balancer_info(name).balancer).parameters:
        options = {"shared": model[0], **options}
    return create_balancer(name, len(TASKS), **options)


def counted(make_balancer):
    """`make_balancer`, and a list that grows with each call of a balancer it made."""
    calls = []

    def make(model):
        made = make_balancer(model)
        made.register_forward_hook(lambda *_: calls.append(made))
        return made

    return make, calls


def torchrun(example, runs, folder, processes=2):
    """Final states ``[run][rank]`` of `main` called with the options of each run.

    An option ``per_rank`` is not passed on: it takes the risks of each rank by themselves.
    """
    (folder / "runs.pickle").write_bytes(pickle.dumps(runs))
    launcher = ("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}")
    python(*launcher, "-m", "tests.examples.launch", example, str(folder))
    ranks = range(processes)
    return [[torch.load(folder / f"{i}-{rank}.pt") for rank in ranks] for i in range(len(runs))]


def python(*arguments, status=0):
    """Run the interpreter at the root of the repository, on one thread and no accelerator."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == status, done.stderr[-4000:]


def final_state(result):
    """What `main` returned, the model and the balancer, as one dictionary of tensors."""
    model, balancer = result
    own = {f"balancer.{name}": value for name, value in balancer.state_dict().items()}
    return {name: value.clone() for name, value in {**model.state_dict(), **own}.items()}


def assert_equal(actual, expected, tolerance=0.0):
    """The same names and values: bit for bit, or to an absolute and relative tolerance."""
    assert actual.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(
            {name: actual[name]},
            {name: expected[name]},
            rtol=tolerance,
            atol=tolerance,
            equal_nan=True,
        )


def work(example, folder):
    """One rank of `torchrun`."""
    main = importlib.import_module(f"tests.examples.{example}").main
    if example == "plain_loop":  # the others do it themselves
        dist.init_process_group("gloo")
    for i, options in enumerate(pickle.loads((folder / "runs.pickle").read_bytes())):
        alone = mock.patch("taskrobust.risks.num_ranks", return_value=1)
        with alone if options.pop("per_rank", False) else nullcontext():
            result = main(**options)
        torch.save(final_state(result), folder / f"{i}-{os.environ['RANK']}.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    work(sys.argv[1], Path(sys.argv[2]))
    dist.destroy_process_group()
