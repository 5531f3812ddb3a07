import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from experiments.bert import pretrain as pretraining
from experiments.bert.adaptive import LossGroups, RegroupingTrainer, quantile_groups
from experiments.bert.configuration import Regrouping
from experiments.bert.groupings import IGNORED, UNASSIGNED, AdaptiveGroups, WithoutOther
from experiments.bert.pretrain import pretrain, run_configuration
from experiments.bert.tags import NUM_TASKS, OTHER, TASKS
from experiments.comparable import check_comparable
from experiments.configuration import ConfigurationError
from experiments.records import RESULT, run_folder
from tests.experiments.bert.rank_jobs import regrouping_jobs
from tests.experiments.bert.runs import losses, same, weights
from tests.taskrobust.distributed.harness import Failure, run_on_ranks

pytestmark = pytest.mark.usefixtures("one_thread")

ADAPTIVE = (
    "arms.adaptive={balancer: minimax, options: {alpha: 1.0}, grouping: adaptive}",
    "regrouping={every: 3, decay: 0.5}",
)
types = st.lists(
    st.tuples(st.floats(0.01, 12.0), st.integers(0, 40)), min_size=12, max_size=60
).filter(lambda found: sum(count for _, count in found) > 0)


def groups_of(means, counts, num_groups):
    means, counts = (torch.tensor(x, dtype=torch.float64) for x in (means, counts))
    return quantile_groups(means * counts, counts, num_groups)


@given(types, st.integers(1, 9))
def test_groups_have_equal_mass_up_to_the_heaviest_type(found, num_groups):
    means, counts = zip(*found, strict=True)
    groups = groups_of(means, counts, num_groups).numpy()
    mass = np.bincount(groups, weights=counts, minlength=num_groups)
    assert len(mass) == num_groups
    assert np.abs(mass - sum(counts) / num_groups).max() <= max(counts) + 1e-9
    edges = np.cumsum(mass) - sum(counts) * np.arange(1, num_groups + 1) / num_groups
    assert np.abs(edges).max() <= max(counts) / 2 + 1e-9


@given(types, st.integers(1, 9))
def test_harder_types_are_in_later_groups(found, num_groups):
    means, counts = zip(*found, strict=True)
    groups = groups_of(means, counts, num_groups).tolist()
    overall = sum(m * c for m, c in found) / sum(counts)
    shrunk = [(m * c + overall) / (c + 1) for m, c in found]
    for a in range(len(found)):
        for b in range(len(found)):
            if shrunk[a] < shrunk[b] - 1e-9:
                assert groups[a] <= groups[b]


@given(types, st.integers(1, 9), st.randoms(use_true_random=False))
def test_the_group_of_a_type_does_not_depend_on_its_id(found, num_groups, random):
    means = [mean + 1e-3 * n for n, (mean, _) in enumerate(found)]  # no ties
    counts = [count + 1 for _, count in found]
    order = random.sample(range(len(found)), len(found))
    there = groups_of([means[n] for n in order], [counts[n] for n in order], num_groups)
    here = groups_of(means, counts, num_groups)
    shrunk = torch.tensor(means)[order]
    assert len(shrunk.unique()) < len(order) or torch.equal(there, here[order])


def observed(groups, steps):
    for values, labels in steps:
        taking_part = torch.ones(len(labels), dtype=torch.bool)
        groups.observe(torch.tensor(values), torch.tensor(labels), taking_part)
        groups.end_step()
    return groups


def test_types_are_regrouped_every_n_steps_by_decayed_losses():
    how = Regrouping(every=2, decay=0.25)
    groups = LossGroups(4, 2, how)
    assert groups.group_of_type.tolist() == [0, 1, 0, 1]
    easy_first = ([1.0, 2.0, 8.0, 9.0], [0, 1, 2, 3])
    observed(groups, [easy_first])
    assert groups.group_of_type.tolist() == [0, 1, 0, 1]
    observed(groups, [easy_first])
    assert groups.group_of_type.tolist() == [0, 0, 1, 1]
    assert float(groups.moved) == 0.5  # types 1 and 2, of four of equal mass
    assert groups.counts.tolist() == [0.5] * 4
    assert groups.sums.tolist() == [0.5, 1.0, 4.0, 4.5]
    hard_first = ([9.0, 8.0, 2.0, 1.0], [0, 1, 2, 3])
    observed(groups, [hard_first] * 2)
    assert groups.group_of_type.tolist() == [1, 1, 0, 0]
    assert float(groups.moved) == 1.0


def test_what_takes_no_part_or_is_not_finite_is_passed_over():
    groups = LossGroups(3, 3, Regrouping(every=1, decay=0.5))
    values = torch.tensor([1.0, torch.nan, 3.0, 4.0, 5.0])
    labels = torch.tensor([0, 1, 2, IGNORED, 1])
    groups.observe(values, labels, torch.tensor([True, True, False, True, True]))
    groups.end_step()
    assert (2 * groups.counts).tolist() == [1.0, 1.0, 0.0]
    assert (2 * groups.sums).tolist() == [1.0, 5.0, 0.0]
    assert groups.group_of_type[0] < groups.group_of_type[2] < groups.group_of_type[1]


def test_a_window_without_a_piece_leaves_the_groups():
    groups = LossGroups(5, 2, Regrouping(every=1))
    groups.end_step()
    assert groups.group_of_type.tolist() == [0, 1, 0, 1, 0]


def test_only_unassigned_pieces_get_the_group_of_their_type():
    groups = LossGroups(6, 3, Regrouping())
    ids = torch.tensor([[UNASSIGNED, IGNORED, UNASSIGNED], [OTHER, UNASSIGNED, 2]])
    labels = torch.tensor([[4, IGNORED, 3], [4, 5, 5]])
    assert groups.assign(ids, labels).tolist() == [[1, IGNORED, 0], [OTHER, 2, 2]]


def test_pieces_outside_the_nine_classes_are_left_out_as_in_every_grouping():
    pos = np.arange(OTHER + 1)
    rng = np.random.default_rng(0)
    found = AdaptiveGroups()(pos, pos, rng)
    assert found.tolist() == [UNASSIGNED] * NUM_TASKS + [OTHER]
    assert WithoutOther(AdaptiveGroups())(pos, pos, rng).tolist()[-1] == IGNORED


class StoppedError(Exception):
    """Instead of a killed process."""


def stopping(step):
    class Trainer(RegroupingTrainer):
        def training_step(self, *args, **kwargs):
            if self.state.global_step == step:
                raise StoppedError
            return super().training_step(*args, **kwargs)

    return Trainer


@pytest.fixture(scope="module")
def straight(tiny, prepared_folder, tmp_path_factory):
    """Folder and result of a run that is not stopped."""
    out = tmp_path_factory.mktemp("straight")
    return out, pretrain(tiny(*ADAPTIVE), prepared_folder, out, "adaptive", 0)


def test_a_run_that_is_stopped_goes_on_with_the_same_groups(
    monkeypatch, tmp_path, tiny, prepared_folder, straight
):
    study = tiny(*ADAPTIVE)  # regrouped after steps 3 and 6, stopped in step 7, saved after 4
    with monkeypatch.context() as patch:
        patch.setattr(pretraining, "RegroupingTrainer", stopping(6))
        with pytest.raises(StoppedError):
            pretrain(study, prepared_folder, tmp_path, "adaptive", 0)
    assert not (run_folder(tmp_path, "adaptive", 0) / RESULT).exists()
    monkeypatch.setattr(pretraining, "RegroupingTrainer", stopping(0))  # not from the start
    resumed = pretrain(study, prepared_folder, tmp_path, "adaptive", 0)
    assert resumed["resumed_from"] == "checkpoint-4"
    out, whole = straight
    folders = [run_folder(each, "adaptive", 0) for each in (out, tmp_path)]
    assert same(*map(weights, folders))
    assert losses(resumed) == losses(whole)
    moved = [[row.get("moved") for row in run["history"]] for run in (resumed, whole)]
    assert moved[0] == moved[1]
    states = [
        torch.load(folder / "checkpoints" / "checkpoint-8" / "balancer.pt", weights_only=True)
        for folder in folders
    ]
    assert same(*(state["state"] for state in states))
    assert states[0]["state"]["regrouping.steps"] == 8


def test_groups_are_what_is_trained_and_parts_of_speech_what_is_measured(straight):
    _, result = straight
    first, *_, last = [row for row in result["history"] if "loss" in row]
    assert [name for name in first if name.startswith("weight/")] == [
        f"weight/adaptive {t}" for t in range(1, NUM_TASKS + 1)
    ]
    assert (first["moved"], last["moved"] > 0) == (0.0, True)
    assert set(result["valid"]["risks"]) <= {*TASKS, "other"}
    assert {"noun", "verb"} <= set(result["valid"]["risks"])


def test_micro_batches_are_the_groups_and_parameters_of_the_whole_batch(
    tmp_path, tiny, prepared_folder
):
    states = []
    for name, override in (("whole", "null"), ("parts", "4")):
        study = tiny(*ADAPTIVE, f"optimisation.micro_batch_size={override}", "model.dropout=0.0")
        pretrain(study, prepared_folder, tmp_path / name, "adaptive", 0)
        folder = run_folder(tmp_path / name, "adaptive", 0)
        path = folder / "checkpoints" / "checkpoint-8" / "balancer.pt"
        states.append(torch.load(path, weights_only=True)["state"])
    whole, parts = states
    assert torch.equal(whole["regrouping.counts"], parts["regrouping.counts"])  # seen once a step
    torch.testing.assert_close(
        whole["regrouping.sums"], parts["regrouping.sums"], rtol=1e-4, atol=1e-4
    )
    same_group = whole["regrouping.group_of_type"] == parts["regrouping.group_of_type"]
    assert same_group.double().mean() > 0.9  # float32 losses may change places


def test_two_ranks_have_the_groups_of_one(tmp_path_factory):
    one, two = (
        run_on_ranks(regrouping_jobs, n, tmp_path_factory.mktemp(f"ranks-{n}")) for n in (1, 2)
    )
    for result in (*one, *two):
        assert not isinstance(result["groups"], Failure), result
    (alone,), (first, second) = ([each["groups"] for each in found] for found in (one, two))
    for name, expected in alone.items():
        torch.testing.assert_close(first[name], expected, rtol=1e-12, atol=1e-12)
        assert torch.equal(first[name], second[name])
    assert torch.equal(first["group_of_type"], alone["group_of_type"])
    assert alone["moved"] > 0


def test_arms_of_other_groupings_do_not_depend_on_when_it_is_regrouped(tiny, prepared_folder):
    texts = {
        (arm, every): run_configuration(
            tiny(*ADAPTIVE, f"regrouping.every={every}"), arm, prepared_folder
        )
        for arm in ("minimax", "adaptive")
        for every in (3, 4)
    }
    assert texts["minimax", 3] == texts["minimax", 4]
    assert "regrouping" not in texts["minimax", 3]
    assert texts["adaptive", 3] != texts["adaptive", 4]
    runs = [
        {"arm": arm, "seed": 0, "configuration": texts[arm, 3]} for arm in ("minimax", "adaptive")
    ]
    check_comparable(runs)


@pytest.mark.parametrize("override", ["regrouping.every=0", "regrouping.decay=1.0"])
def test_regroupings_that_cannot_be_are_refused(tiny, override):
    field = override.partition("=")[0]
    with pytest.raises(ConfigurationError, match=f"`{field}`"):
        tiny(*ADAPTIVE, override)
