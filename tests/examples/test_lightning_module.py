"""Lightning: ranks and micro-batches change nothing, nor does stopping."""

import pytest
import torch

from tests.examples import lightning_module
from tests.examples.launch import assert_equal, balancer, counted, final_state, torchrun
from tests.examples.lightning_module import ExactAccumulation, TaskRobust

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* is not empty:UserWarning"),
]
AVERAGING, LEARNED = balancer("minimax", tolerance=0.1, ema=0.9), balancer("uncertainty")
QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def state_of(folder, **options):
    return final_state(lightning_module.main(folder, **options))


def test_ranks_and_micro_batches_train_as_one_process_on_the_whole_batch(tmp_path):
    exact = {**QUIET, "precision": "64-true", "dropout": 0.0, "epochs": 1}
    cases = [
        {**exact, "make_balancer": AVERAGING, "module": TaskRobust},
        {**exact, "make_balancer": AVERAGING, "module": ExactAccumulation},
        {**exact, "make_balancer": LEARNED, "module": TaskRobust},
        {**exact, "make_balancer": LEARNED, "module": ExactAccumulation},
    ]
    runs = [{**case, "folder": tmp_path / f"ranks-{i}"} for i, case in enumerate(cases)]
    found = torchrun("lightning_module", runs, tmp_path)
    for i, (case, ranks) in enumerate(zip(cases, found, strict=True)):
        alone = state_of(tmp_path / f"alone-{i}", **{**case, "module": TaskRobust})
        for state in ranks:
            assert_equal(state, alone, tolerance=1e-12)


@pytest.mark.parametrize("module", [TaskRobust, ExactAccumulation])
@pytest.mark.parametrize("make_balancer", [AVERAGING, LEARNED], ids=["averaging", "learned"])
def test_stop_load_and_continue_is_never_stopped(make_balancer, module, tmp_path):
    make_balancer, calls = counted(make_balancer)
    options = {**QUIET, "make_balancer": make_balancer, "module": module}
    state_of(tmp_path / "stopped", epochs=1, **options)
    in_one_epoch = len(calls)
    resumed = state_of(tmp_path / "stopped", epochs=2, **options)
    assert len(calls) == 2 * in_one_epoch
    assert_equal(resumed, state_of(tmp_path / "never stopped", epochs=2, **options))


def test_the_checkpoint_holds_the_balancer_and_nothing_that_runs_code(tmp_path):
    lightning_module.main(tmp_path, make_balancer=LEARNED, epochs=1, **QUIET)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert {"balancer.log_variances", "balancer._extra_state"} <= state.keys()
