import json
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from experiments.configuration import ConfigurationError, dump
from experiments.mae import pretrain as pretraining
from experiments.mae.held_out import TaskRisks, differences, summarise
from experiments.mae.model import MultiModalMaskMae
from experiments.mae.model.checkpoints import load_model
from experiments.mae.pretrain import pretrain, pretraining_trainer
from experiments.mae.reading import ImageOrder, Images
from experiments.records import RESULT, RecordError, run_folder

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_study, scene_folder):
    """Both arms of the tiny study, trained once for the tests that only read them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("runs")
    found = {
        arm: pretrain(tiny_study(), scene_folder, out, arm, 0, command="typed")
        for arm in ("average", "minimax")
    }
    torch.set_num_threads(before)
    return out, found


def weights(out, arm, seed=0):
    return load_model(run_folder(out, arm, seed) / "model").state_dict()


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def history(result, key):
    return [row[key] for row in result["history"] if key in row]


def test_a_result_says_how_it_was_made(finished, tiny_study):
    out, found = finished
    result = found["minimax"]
    assert json.loads((run_folder(out, "minimax", 0) / RESULT).read_text()) == result
    assert (result["arm"], result["seed"], result["command"]) == ("minimax", 0, "typed")
    recorded = yaml.safe_load(result["configuration"])
    assert recorded["model"] == yaml.safe_load(dump(tiny_study()))["model"]
    assert list(recorded["arms"]) == ["minimax"]
    assert recorded["data"]["splits"] == {"test": 6, "train": 16}
    assert result["versions"]["torch"] == torch.__version__
    assert result["parameters"] == sum(
        p.numel() for p in MultiModalMaskMae(tiny_study().model).parameters()
    )
    risks = [each["value"] for each in result["held_out"]["risks"].values()]
    assert result["held_out"]["worst"] == max(risks)
    assert result["held_out"]["mean"] == pytest.approx(sum(risks) / 3)


def test_the_log_has_risks_and_weights_of_the_tasks_images_a_second_and_epochs(finished):
    _, found = finished
    rows = [row for row in found["minimax"]["history"] if "loss" in row]
    assert [row["step"] for row in rows] == list(range(1, 9))
    assert [row["epoch"] for row in rows] == [step / 2 for step in range(1, 9)]
    for row in rows:
        risks = torch.tensor([row[f"risk/{task}"] for task in ("rgb", "depth", "semseg")])
        given = torch.tensor([row[f"weight/{task}"] for task in ("rgb", "depth", "semseg")])
        torch.testing.assert_close(given, risks.softmax(0), rtol=1e-4, atol=1e-5)
        assert row["images_per_second"] > 0
    assert all(row["weight/rgb"] == pytest.approx(1 / 3) for row in found["average"]["history"]
               if "loss" in row)  # fmt: skip


def test_arms_share_parameters_images_windows_and_masks_of_the_first_step(finished):
    _, found = finished
    first = [next(row for row in found[arm]["history"] if "loss" in row) for arm in found]
    for task in ("rgb", "depth", "semseg"):
        assert first[0][f"risk/{task}"] == first[1][f"risk/{task}"]
    last = [history(found[arm], "risk/semseg")[-1] for arm in found]
    assert last[0] != last[1]


def test_training_lowers_held_out_risks(finished, tiny_study, scene_folder):
    _, found = finished
    images = Images(tiny_study(), scene_folder)
    batch = images.held_out_collator([images.held_out[index] for index in range(6)])
    torch.manual_seed(0)
    before = MultiModalMaskMae(tiny_study().model)(**batch).task_values.mean(0)
    for place, task in enumerate(("rgb", "depth", "semseg")):
        after = found["minimax"]["held_out"]["risks"][task]["value"]
        assert after < before[place].item(), task


def test_held_out_risks_are_those_of_the_model_that_is_kept(finished, tiny_study, scene_folder):
    out, found = finished
    images = Images(tiny_study(), scene_folder)
    model = load_model(run_folder(out, "average", 0) / "model").eval()
    with torch.no_grad():
        values = [
            model(**images.held_out_collator([images.held_out[index]])).task_values[0]
            for index in range(6)
        ]
    expected = torch.stack(values).double().numpy()
    with np.load(run_folder(out, "average", 0) / "held-out.npz") as kept:
        np.testing.assert_allclose(kept["values"], expected, rtol=1e-5)
    logged = [row for row in found["average"]["history"] if "eval_risk/rgb" in row][-1]
    for place, task in enumerate(("rgb", "depth", "semseg")):
        summary = found["average"]["held_out"]["risks"][task]
        assert summary["value"] == pytest.approx(expected[:, place].mean(), rel=1e-5)
        assert logged[f"eval_risk/{task}"] == pytest.approx(summary["value"], rel=1e-5)


def test_a_summary_leaves_out_what_is_not_scored():
    values = np.array([[1.0, 2.0], [3.0, np.nan], [np.nan, 4.0]])
    found = summarise(TaskRisks(values), ("a", "b"))
    assert found["risks"]["a"] == {"value": 2.0, "standard_error": 1.0, "images": 2}
    assert found["worst"] == 3.0
    assert found["mean"] == 2.5
    alone = summarise(TaskRisks(values[:1]), ("a", "b"))["risks"]["a"]
    assert alone["standard_error"] is None


def test_a_difference_is_that_of_pairs_of_images():
    rng = np.random.default_rng(0)
    hard = rng.normal(size=(50, 2), scale=10)  # what both models find hard
    change = rng.normal(size=(50, 2), loc=[1.0, -1.0], scale=0.1)
    found = differences(TaskRisks(hard + change), TaskRisks(hard), ("a", "b"))
    for place, name in enumerate(("a", "b")):
        column = change[:, place]
        assert found[name]["value"] == pytest.approx(column.mean())
        assert found[name]["standard_error"] == pytest.approx(column.std(ddof=1) / 50**0.5)
    with pytest.raises(ValueError, match="`reference` should have the shape"):
        differences(TaskRisks(hard), TaskRisks(hard[:3]), ("a", "b"))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"{}"])
def test_damaged_risks_are_refused_by_name(tmp_path, content):
    path = tmp_path / "held-out.npz"
    with pytest.raises(RecordError, match=r"held-out\.npz should hold risks"):
        TaskRisks.read(path)
    path.write_bytes(content)
    with pytest.raises(RecordError, match=r"held-out\.npz should hold risks"):
        TaskRisks.read(path)


@pytest.mark.parametrize(
    "options", ["batch_size: 8", "batch_size: 8, micro_batch_size: 4", "batch_size: 8, workers: 1"]
)
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_run_is_adamw_on_whole_batches_with_warm_up_from_zero_and_a_cosine(
    tmp_path, tiny_study, scene_folder, options
):
    study = tiny_study(
        "optimisation={epochs: 3, warmup_epochs: 1, base_learning_rate: 0.3, weight_decay: 0.2, "
        f"betas: [0.7, 0.9], epsilon: 1.0e-3, min_learning_rate: 1.0e-3, {options}}}"
    )
    found = pretrain(study, scene_folder, tmp_path, "average", 3)
    images = Images(study, scene_folder)
    torch.manual_seed(3)
    model = MultiModalMaskMae(study.model)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1.0, betas=(0.7, 0.9), eps=1e-3, weight_decay=0.2
    )
    peak, least = 0.3 * 8 / 256, 1e-3
    cosine = [(peak - least) * (1 + np.cos(np.pi * k / 4)) / 2 + least for k in range(4)]
    loader = DataLoader(ImageOrder(images.train, 48, study.seed), 8, collate_fn=images.collator)
    rates = [0.0, peak / 2, *cosine]
    for rate, batch in zip(rates, loader, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        model(**batch).task_values.mean(0).mean().backward()
        optimizer.step()
    assert history(found, "learning_rate") == pytest.approx(rates)
    for name, value in weights(tmp_path, "average", 3).items():
        torch.testing.assert_close(value, model.state_dict()[name], rtol=1e-3, atol=1e-5, msg=name)


def test_vectors_and_tokens_are_left_out_of_the_decay_if_asked(tmp_path, tiny_study, scene_folder):
    decay = "optimisation={epochs: 4, warmup_epochs: 1, batch_size: 8, weight_decay: 0.5, "
    ends = {}
    for name, both in (("all", "true"), ("matrices", "false")):
        study = tiny_study(decay + f"base_learning_rate: 0.1, decay_vectors: {both}}}")
        images = Images(study, scene_folder)
        trainer, _ = pretraining_trainer(study, images, tmp_path / name, "average", 0)
        groups = trainer.create_optimizer().param_groups
        ends[name] = {id(p) for g in groups if g["weight_decay"] == 0.5 for p in g["params"]}
        names = {n for n, p in trainer.model.named_parameters() if id(p) in ends[name]}
        everything = {n for n, _ in trainer.model.named_parameters()}
        left_out = everything - names
        if name == "all":
            assert not left_out
        else:
            assert "encoder.global_token" in left_out
            assert "decoders.rgb.mask_token" in left_out
            assert "decoders.rgb.head.bias" in left_out
            assert "encoder.blocks.0.norm1.weight" in left_out
            assert "decoders.rgb.head.weight" in names
            assert "encoder.embeddings.semseg.classes.weight" in names


def test_a_finished_run_is_read_back_and_another_study_refused(
    monkeypatch, finished, tiny_study, scene_folder
):
    out, found = finished

    def refuse(*_args, **_kwargs):
        raise AssertionError

    monkeypatch.setattr(pretraining.PretrainingTrainer, "train", refuse)
    again = pretrain(tiny_study("pictures=3"), scene_folder, out, "minimax", 0)
    assert again == found["minimax"]
    with pytest.raises(ConfigurationError, match="holds a run of another configuration"):
        pretrain(tiny_study("masking.seed=1"), scene_folder, out, "minimax", 0)


def test_files_that_are_read_in_another_way_are_another_run(finished, tiny_study, scene_folder):
    out, _ = finished
    path = scene_folder / "elsewhere.jsonl"
    text = (scene_folder / "manifest.jsonl").read_text(encoding="utf-8")
    header, rest = text.split("\n", 1)
    changed = {**json.loads(header)}
    (depth,) = [each for each in changed["modalities"] if each["name"] == "depth"]
    depth["void"] = None
    depth["unit"], depth["limits"] = "relative", None
    path.write_text(json.dumps(changed) + "\n" + rest, encoding="utf-8")
    with pytest.raises(ConfigurationError, match="holds a run of another configuration"):
        pretrain(tiny_study(), path, out, "minimax", 0)
    path.unlink()


def test_another_process_at_a_run_keeps_this_one_out(tmp_path, tiny_study, scene_folder):
    folder = run_folder(tmp_path, "average", 0)
    folder.mkdir(parents=True)
    lock = "from filelock import FileLock; import sys; lock = FileLock(sys.argv[1]); lock.acquire()"
    command = [sys.executable, "-c", f"{lock}; print('held', flush=True); input()"]
    with subprocess.Popen(
        [*command, str(folder / ".lock")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ConfigurationError, match="another process is at this run"):
            pretrain(tiny_study(), scene_folder, tmp_path, "average", 0)
        other.kill()
    assert pretrain(tiny_study(), scene_folder, tmp_path, "average", 0)["arm"] == "average"


def test_training_that_diverges_ends_in_one_line(tmp_path, tiny_study, scene_folder):
    study = tiny_study("optimisation.base_learning_rate=1.0e+30")
    with pytest.raises(ConfigurationError, match=r"arm 'average', seed 0: training diverged"):
        pretrain(study, scene_folder, tmp_path, "average", 0)


def test_windows_of_dynamic_weight_average_are_epochs(tiny_study):
    from experiments.mae.arms import arm_balancer
    from experiments.mae.study import Arm

    model = MultiModalMaskMae(tiny_study().model)
    assert arm_balancer("x", Arm(balancer="dwa"), model, epoch=7).window == 7
    assert arm_balancer("x", Arm(balancer="dwa", options={"window": 3}), model, epoch=7).window == 3


def test_every_epoch_has_windows_and_masks_of_its_own(tiny_study, scene_folder):
    images = Images(tiny_study(), scene_folder)
    order = ImageOrder(images.train, 48, seed=0)
    visits = [order[position] for position in range(48)]
    for epoch in range(3):
        part = visits[16 * epoch : 16 * (epoch + 1)]
        assert sorted(each["index"] for each in part) == list(range(16))
        assert {each["duplicate"] for each in part} == {epoch}
    of_first = [each for each in visits if each["index"] == 0]
    assert not torch.equal(of_first[0]["rgb"], of_first[1]["rgb"])
    kept = images.collator(of_first)["ids_keep"]
    assert not torch.equal(kept[0], kept[1])
    held_out = images.held_out_collator([of_first[0]])["ids_keep"][0]
    assert not torch.equal(kept[0], held_out)


def test_semantic_risk_of_a_silent_head_is_that_of_uniform_classes(tiny_study, scene_folder):
    images = Images(tiny_study(), scene_folder)
    model = MultiModalMaskMae(tiny_study().model)
    torch.nn.init.zeros_(model.decoders["semseg"].head.weight)
    batch = images.held_out_collator([images.held_out[0]])
    risk = model(**batch).task_values[0, 2]
    uniform = cross_entropy(torch.zeros(1, 6), torch.zeros(1, dtype=torch.int64))
    torch.testing.assert_close(risk, uniform)
