"""Tiny runs: eight steps of one layer of 16, with dropout."""

import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from transformers import AutoModelForMaskedLM, AutoTokenizer

from experiments.bert import pretrain as pretraining
from experiments.bert.arms import check_arms, in_order
from experiments.bert.data import Prepared, held_out_batches, training_data
from experiments.bert.evaluation import class_sums
from experiments.bert.model import PosBertForPreTraining
from experiments.bert.pretrain import pretrain
from experiments.bert.tags import CLASSES, TASKS
from experiments.configuration import ConfigurationError, dump
from experiments.records import RESULT, run_folder
from tests.experiments.bert.runs import MORE, Recorded, losses, same, weights

pytestmark = pytest.mark.usefixtures("one_thread")

ARMS = ("average", "minimax", "excess")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny, prepared_folder):
    """A folder with a run of each arm, their results, and what was recorded."""
    out, recorded, study = tmp_path_factory.mktemp("out"), Recorded(), tiny()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretraining, "OrderedTrainer", recorded.trainer())
        found = {arm: pretrain(study, prepared_folder, out, arm, 0) for arm in ARMS}
    torch.set_num_threads(threads)
    return out, found, recorded


def test_batches_come_in_the_order_of_the_data(finished, tiny, prepared_folder):
    out, _, recorded = finished
    instances, masking, _ = training_data(tiny(), prepared_folder)
    batches = recorded_of(recorded, out, "average", "batches")
    for step, batch in enumerate(batches):
        assert same(batch, masking([instances[8 * step + k] for k in range(8)]))


def recorded_of(recorded, out, arm, what):
    return getattr(recorded, what)[str(run_folder(out, arm, 0) / "checkpoints")]


def test_all_arms_of_a_seed_share_initial_parameters_and_masked_batches(finished):
    out, _, recorded = finished
    start = recorded_of(recorded, out, "average", "parameters")
    batches = recorded_of(recorded, out, "average", "batches")
    assert len(batches) == 8
    for arm in ARMS[1:]:
        assert same(recorded_of(recorded, out, arm, "parameters"), start)
        for one, other in zip(recorded_of(recorded, out, arm, "batches"), batches, strict=True):
            assert same(one, other)
    ends = [weights(run_folder(out, arm, 0)) for arm in ARMS]
    assert not any(same(end, start) for end in ends)
    assert not same(ends[0], ends[1])
    assert not same(ends[1], ends[2])


def test_another_seed_has_other_parameters_and_the_same_batches(
    finished, monkeypatch, tmp_path, tiny, prepared_folder
):
    out, _, first = finished
    second = Recorded()
    monkeypatch.setattr(pretraining, "OrderedTrainer", second.trainer())
    pretrain(tiny(), prepared_folder, tmp_path, "average", 1)
    assert (first.seeds, second.seeds) == ({0}, {1})
    (parameters,), (batches,) = second.parameters.values(), second.batches.values()
    assert not same(parameters, recorded_of(first, out, "average", "parameters"))
    for one, other in zip(batches, recorded_of(first, out, "average", "batches"), strict=True):
        assert same(one, other)


def test_a_result_holds_the_held_out_risks_of_the_saved_model(finished, tiny, prepared_folder):
    out, found, _ = finished
    prepared = Prepared(prepared_folder)
    for arm in ARMS:
        folder = run_folder(out, arm, 0)
        model = PosBertForPreTraining.from_pretrained(folder / "model")
        for split in ("valid", "test"):
            if not prepared.has(split):
                continue
            batches = held_out_batches(tiny(), prepared, split, 8)
            measured = class_sums(model, batches, "cpu")
            risks = measured.sums.sum(0) / measured.counts.sum(0)
            for c, name in enumerate(TASKS):
                value = found[arm][split]["risks"][name]["value"]
                assert value == pytest.approx(risks[c], rel=1e-5)
            kept = np.load(folder / f"{split}.npz")
            np.testing.assert_array_equal(kept["counts"], measured.counts)
            np.testing.assert_allclose(kept["sums"], measured.sums, rtol=1e-5)


def test_a_result_says_how_it_was_made(finished, tiny):
    _, found, _ = finished
    result = found["minimax"]
    assert (result["arm"], result["seed"], result["resumed_from"]) == ("minimax", 0, None)
    recorded = yaml.safe_load(result["configuration"])
    assert recorded["optimisation"] == yaml.safe_load(dump(tiny()))["optimisation"]
    assert list(recorded["arms"]) == ["minimax"]
    assert result["versions"]["torch"] == torch.__version__
    assert [step for step, _ in losses(result)] == list(range(1, 9))
    logged = [row for row in result["history"] if "loss" in row]
    for name in TASKS:
        assert f"weight/{name}" in logged[0]
    total = [sum(row[f"weight/{name}"] for name in TASKS) for row in logged]
    assert total == pytest.approx([1.0] * 8, abs=1e-5)


def test_the_model_and_its_tokenizer_load_without_us(finished):
    folder = run_folder(finished[0], "average", 0) / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForMaskedLM.from_pretrained(folder)
    assert model.config.vocab_size == len(tokenizer)
    text = tokenizer("The cat sleeps.", return_tensors="pt")
    assert model(**text).logits.shape[-1] == len(tokenizer)


def test_a_finished_run_is_read_back(finished, monkeypatch, tiny, prepared_folder):
    out, found, _ = finished

    def refuse(*_):
        raise AssertionError("something was computed")

    monkeypatch.setattr(pretraining, "training_data", refuse)
    for arm in ARMS:
        again = pretrain(tiny(), prepared_folder, out, arm, 0)
        assert again == json.loads(json.dumps(found[arm]))


def test_a_folder_of_another_configuration_is_refused_and_kept(finished, tiny, prepared_folder):
    out, _, _ = finished
    path = run_folder(out, "average", 0) / RESULT
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="holds a run of another configuration"):
        pretrain(tiny("optimisation.steps=9"), prepared_folder, out, "average", 0)
    assert path.read_bytes() == before


def test_other_arms_and_fine_tuning_leave_a_finished_run_as_it_is(finished, tiny, prepared_folder):
    out, found, _ = finished
    study = tiny("arms.steep.balancer=hard-max", "fine_tuning.epochs=7")
    again = pretrain(study, prepared_folder, out, "average", 0)
    assert again == json.loads(json.dumps(found["average"]))


def test_a_run_on_another_prepared_text_is_refused(finished, tiny, prepared_folder, tmp_path):
    out, _, _ = finished
    other = tmp_path / prepared_folder.name
    shutil.copytree(prepared_folder, other)
    with (other / "preparation.yaml").open("a", encoding="utf-8") as record:
        record.write("note: another text\n")
    with pytest.raises(ConfigurationError, match="holds a run of another configuration"):
        pretrain(tiny(), other, out, "average", 0)


def test_excess_risks_need_a_finished_reference(tmp_path, tiny, prepared_folder):
    with pytest.raises(ConfigurationError, match="the reference arm has to be run first"):
        pretrain(tiny(), prepared_folder, tmp_path, "excess", 0)
    assert list(tmp_path.iterdir()) == []


def test_the_reference_is_of_the_same_seed(finished, tmp_path, tiny, prepared_folder):
    shutil.copytree(finished[0] / "average", tmp_path / "average")  # of seed 0 only
    with pytest.raises(ConfigurationError, match=r"average/seed-1/result\.json is missing"):
        pretrain(tiny(), prepared_folder, tmp_path, "excess", 1)


def test_excess_risks_need_tasks_by_part_of_speech(finished, tmp_path, tiny, prepared_folder):
    shutil.copytree(finished[0] / "average", tmp_path / "average")
    study = tiny("arms.excess.grouping=random")
    with pytest.raises(ConfigurationError, match="no held-out risk of random 1"):
        pretrain(study, prepared_folder, tmp_path, "excess", 0)


def test_weights_of_the_excess_arm_follow_risks_minus_those_of_the_reference(finished):
    _, found, _ = finished
    reference = [found["average"]["valid"]["risks"][name]["value"] for name in TASKS]
    checked = 0
    for row in found["excess"]["history"]:
        if "loss" not in row or not all(row.get(f"weight/{name}") for name in TASKS):
            continue
        risks = np.array([row[f"risk/{name}"] for name in TASKS])
        expected = np.exp(risks - reference)
        weight = [row[f"weight/{name}"] for name in TASKS]
        np.testing.assert_allclose(weight, expected / expected.sum(), rtol=1e-3)
        checked += 1
    assert checked > 0


def test_next_sentence_prediction_and_other_can_be_tasks(tmp_path, tiny, prepared_folder):
    study = tiny("next_sentence=task", "other_is_task=true", "optimisation.steps=2")
    result = pretrain(study, prepared_folder, tmp_path, "minimax", 0)
    (first, *_) = (row for row in result["history"] if "loss" in row)
    assert first["risk/next sentence"] == pytest.approx(np.log(2), abs=0.1)
    assert first["risk/other"] == pytest.approx(np.log(200), abs=0.3)


@pytest.mark.parametrize(
    ("overrides", "arm", "message"),
    [
        (["optimisation.micro_batch_size=3"], "average", r"batch_size` should be a multiple"),
        (["arms.bad={balancer: averag}"], "bad", r"arm .*averag"),
        (["arms.bad={balancer: minimax, options: {beta: 1}}"], "bad", r"arm .*beta"),
        (["arms.bad={balancer: minimax, options: {alpha: -1}}"], "bad", r"arm .*alpha"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is_written(
    tmp_path, tiny, prepared_folder, overrides, arm, message
):
    with pytest.raises(ConfigurationError, match=message):
        pretrain(tiny(*overrides), prepared_folder, tmp_path, arm, 0)
    assert list(tmp_path.iterdir()) == []


def test_references_come_before_the_arms_that_need_them(tiny):
    study = tiny("arms.last={balancer: minimax, reference: excess}")
    order = in_order(study, ["last", "excess", "minimax", "average"])
    assert sorted(order) == ["average", "excess", "last", "minimax"]
    assert order.index("average") < order.index("excess") < order.index("last")
    assert in_order(study, ["minimax", "excess", "minimax"]) == ["minimax", "excess"]


def test_unknown_arms_and_circles_of_references_are_refused(tiny):
    with pytest.raises(ConfigurationError, match=r"unknown arm 'avrage' .*average, minimax"):
        in_order(tiny(), ["average", "avrage"])
    study = tiny("arms.excess.reference=excess")
    with pytest.raises(ConfigurationError, match="circle; found excess → excess"):
        in_order(study, ["excess"])


def test_an_arm_can_have_a_grouping_of_its_own(tiny, prepared_folder, tmp_path):
    study = tiny("arms.drawn={balancer: average, grouping: random}")
    drawn = pretrain(study, prepared_folder, tmp_path, "drawn", 0)
    assert "risk/random 1" in drawn["history"][0]
    assert set(drawn["valid"]["risks"]) <= set(CLASSES)
    whole = pretrain(tiny("grouping=random"), prepared_folder, tmp_path / "whole", "average", 0)
    assert whole["valid"] == drawn["valid"]
    by_pos = pretrain(study, prepared_folder, tmp_path, "average", 0)
    assert "risk/noun" in by_pos["history"][0]
    assert by_pos["valid"] != drawn["valid"]


def test_the_record_has_the_text_as_it_was_prepared(finished, tiny, prepared_folder, tmp_path):
    _, found, _ = finished
    recorded = yaml.safe_load(found["average"]["configuration"])
    assert recorded["prepared"] == [Prepared(prepared_folder).record]
    assert recorded["prepared"][0]["preparation"]["generated_documents"] == 60
    elsewhere = tiny("preparation.generated_documents=7", "optimisation.steps=1")
    result = pretrain(elsewhere, prepared_folder, tmp_path, "average", 0)
    assert yaml.safe_load(result["configuration"])["prepared"] == recorded["prepared"]
    assert "generated_documents: 7" not in result["configuration"]


def test_the_last_evaluation_of_training_is_that_of_the_result(finished):
    _, found, _ = finished
    for result in found.values():
        *_, last = (row for row in result["history"] if "eval_loss" in row)
        assert last["step"] == 8
        for name in TASKS:
            if name in result["valid"]["risks"]:
                expected = result["valid"]["risks"][name]["value"]
                assert last[f"eval_risk/{name}"] == pytest.approx(expected, rel=1e-5)


def test_a_reference_of_another_configuration_is_refused(finished, tiny, prepared_folder, tmp_path):
    shutil.copytree(run_folder(finished[0], "average", 0), run_folder(tmp_path, "average", 0))
    longer = tiny("optimisation.steps=9")
    with pytest.raises(ConfigurationError, match=r"average.seed-0 holds a run of another config"):
        pretrain(longer, prepared_folder, tmp_path, "excess", 0)
    assert not run_folder(tmp_path, "excess", 0).exists()


def test_divergence_is_told_with_a_remedy(tiny, prepared_folder, tmp_path):
    study = tiny("optimisation.learning_rate=1e30", "optimisation.warmup_steps=0")
    with pytest.raises(ConfigurationError, match=r"arm 'minimax', seed 0: training diverged"):
        pretrain(study, prepared_folder, tmp_path, "minimax", 0)


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ("{balancer: nothing}", r"arm 'bad': .*nothing"),
        ("{balancer: minimax, options: {alpha: -1}}", r"arm 'bad': .*-1"),
        ("{balancer: dwa, options: {colour: red}}", r"arm 'bad': .*colour"),
        ("{balancer: minimax, reference: average, grouping: random}", r"arm 'bad': excess risks"),
    ],
)
def test_a_wrong_arm_is_known_before_anything_is_trained(tiny, arm, message):
    with pytest.raises(ConfigurationError, match=message):
        check_arms(tiny(f"arms.bad={arm}"), ["average", "bad"])
    check_arms(tiny(*MORE), ["average", "excess", "gradnorm", "dwa"])


def test_a_study_without_arms_is_refused(tiny):
    with pytest.raises(ConfigurationError, match="at least one arm"):
        check_arms(tiny(), [])
