import math
from dataclasses import replace

import pytest
import torch
from transformers import TrainingArguments

from experiments.mae.configuration import ModelSize
from experiments.mae.model import MultiModalMaskMae
from experiments.mae.model.checkpoints import load_weights
from experiments.mae.model.depth import standardise_depth
from experiments.mae.model.inputs import prepare
from experiments.mae.model.masking import TokenMasking
from experiments.mae.model.patches import patch_statistics, patchify
from taskrobust import TaskRobustTrainer, create_balancer, global_risks, task_sums
from tests.experiments.mae import samples

SIZE = samples.SIZE
TASKS = 4


@pytest.fixture(scope="module")
def model():
    return samples.model()


def risks(outputs):
    """Global risks of all tasks, as the trainer takes them."""
    return global_risks(task_sums(outputs.task_values, outputs.task_groups, TASKS))


def gradients(loss, model):
    parameters = dict(model.named_parameters())
    found = torch.autograd.grad(loss, list(parameters.values()))
    return dict(zip(parameters, found, strict=True))


def parameters_of(size):
    with torch.device("meta"):
        return sum(p.numel() for p in MultiModalMaskMae(size).parameters())


def test_the_paper_s_model_has_the_documented_numbers_of_parameters_and_of_frozen_positions():
    assert parameters_of(ModelSize()) == 95_152_016
    assert parameters_of(ModelSize(norm_rgb=True)) == 97_917_072
    with torch.device("meta"):
        made = MultiModalMaskMae(ModelSize())
    assert all(parameter.requires_grad for parameter in made.parameters())
    assert {name: buffer.numel() for name, buffer in made.named_buffers()} == {
        **{f"encoder.embeddings.{name}.positions.table": 150_528 for name in ModelSize().names},
        **{f"decoders.{name}.positions.table": 50_176 for name in ModelSize().names},
    }


def slow_risks(predictions, targets, mask):
    """Loops over samples and patches; NaN for a sample without a masked patch of the modality."""
    rows = []
    for sample in range(len(mask)):
        row = []
        for task, modality in (("rgb", 0), ("depth", 1), ("semseg", 2), ("norm_rgb", 0)):
            side = 2 if task == "semseg" else 8
            values = []
            for place in range(6):
                if mask[sample, 6 * modality + place]:
                    y, x = (side * each for each in divmod(place, 2))
                    window = (..., slice(y, y + side), slice(x, x + side))
                    values.append(
                        slow_loss(
                            task, predictions[task][sample][window], targets[task][sample][window]
                        )
                    )
            row.append(sum(values) / len(values) if values else math.nan)
        rows.append(row)
    return torch.tensor(rows, dtype=torch.float64)


def slow_loss(task, predicted, target):
    """Of a patch ``[C, P, P]``, labels ``[P, P]``."""
    if task == "semseg":
        likelihood = predicted.softmax(0).gather(0, target[None])
        return -likelihood.log().mean().item()
    if task == "norm_rgb":  # the prediction is restored; take mean and deviation out of both
        scale = (target.var() + 1e-6).sqrt()
        return (((predicted - target) / scale) ** 2).mean().item()
    difference = predicted - target
    return (difference.abs() if task == "depth" else difference**2).mean().item()


CASES = {
    "some of each": samples.batch(),
    "rgb wholly visible in one sample": {
        "modalities": samples.images(samples=2),
        **samples.kept([[0, 1, 2, 3, 4, 5, 9], [0, 6, 7, 8, 12, 13, 14]]),
    },
    "depth wholly visible in all": {
        "modalities": samples.images(samples=2),
        **samples.kept([[6, 7, 8, 9, 10, 11], [11, 10, 9, 8, 7, 6]]),
    },
    "rgb and semseg wholly hidden": {
        "modalities": samples.images(samples=2),
        **samples.kept([[6], [9]]),
    },
    "nothing hidden": {
        "modalities": samples.images(samples=2),
        **samples.kept([list(range(18))] * 2),
    },
}


@pytest.mark.parametrize("case", CASES)
def test_risks_are_those_of_loops_and_without_nan_in_value_or_gradient(case, model):
    batch = CASES[case]
    found = model(**batch, return_predictions=True)
    images = batch["modalities"]
    targets = {**images, "depth": standardise_depth(images["depth"]), "norm_rgb": images["rgb"]}
    expected = slow_risks(found.predictions, targets, batch["mask"])
    present = ~expected.isnan()
    assert torch.equal(found.task_groups, torch.where(present, torch.arange(TASKS), -100))
    torch.testing.assert_close(found.task_values, expected.nan_to_num(0), rtol=1e-9, atol=0)
    total = risks(found)
    assert torch.equal(total.present, present.any(0))
    mean = expected.nanmean(0).nan_to_num(0)
    torch.testing.assert_close(total.risks, mean, rtol=1e-9, atol=0)
    for name, gradient in gradients(total.risks.sum(), model).items():
        assert gradient.isfinite().all(), name


def test_the_corner_cases_are_corners():
    def share(case, modality):
        return CASES[case]["mask"].view(-1, 3, 6)[:, modality].double().mean(1).tolist()

    assert share("rgb wholly visible in one sample", 0) == pytest.approx([0, 5 / 6])
    assert share("depth wholly visible in all", 1) == [0, 0]
    assert share("rgb and semseg wholly hidden", 0) == [1, 1]
    assert share("rgb and semseg wholly hidden", 2) == [1, 1]
    assert share("nothing hidden", 0) == [0, 0]


def test_without_a_mask_what_is_not_visible_is_scored(model):
    batch = samples.batch()
    given = model(**batch)
    del batch["mask"]
    assert torch.equal(model(**batch).task_values, given.task_values)


def mixed(batch, where_masked, where_visible):
    """Images with the masked patches of some and the visible ones of others."""
    found = {}
    for index, name in enumerate(SIZE.names):
        side = 2 if name == "semseg" else 8
        mask = batch["mask"].view(4, 3, 3, 2)[:, index]
        pixels = mask.repeat_interleave(side, 1).repeat_interleave(side, 2)
        pixels = pixels if name == "semseg" else pixels[:, None]
        found[name] = torch.where(pixels, where_masked[name], where_visible[name])
    return found


# The statistics of standardised depth carry masked values into visible ones.
PLAIN = replace(
    SIZE,
    modalities=(
        SIZE.modalities[0],
        replace(SIZE.modalities[1], standardised=False),
        samples.SEMSEG,
    ),
)


def test_inputs_at_masked_patches_change_no_prediction():
    model, batch = samples.model(PLAIN), samples.batch()
    found = model(**batch, return_predictions=True)
    batch["modalities"] = mixed(batch, samples.images(seed=5), batch["modalities"])
    other = model(**batch, return_predictions=True)
    for name in SIZE.names:
        torch.testing.assert_close(other.predictions[name], found.predictions[name])
    assert not torch.isclose(other.task_values, found.task_values, rtol=1e-3).any()


def test_targets_at_visible_patches_change_no_risk(monkeypatch):
    model, batch = samples.model(PLAIN), samples.batch()
    found = model(**batch)
    encoded = model.encoder(batch["modalities"], batch["ids_keep"])
    monkeypatch.setattr(model.encoder, "forward", lambda *_: encoded)  # which sees the targets
    images = batch["modalities"]
    batch["modalities"] = mixed(batch, images, samples.images(seed=5))
    torch.testing.assert_close(model(**batch).task_values, found.task_values, rtol=1e-12, atol=0)
    batch["modalities"] = mixed(batch, samples.images(seed=5), images)
    assert not torch.isclose(model(**batch).task_values, found.task_values, rtol=1e-3).any()


@pytest.mark.parametrize("task", range(TASKS))
def test_predictions_at_visible_patches_change_no_risk(task):
    model, batch = samples.model(), samples.batch()
    decoded = []
    decoder = model.decoders[SIZE.tasks[task]]
    decoder.register_forward_hook(lambda _module, _inputs, output: decoded.append(output))
    values = model(**batch).task_values
    (gradient,) = torch.autograd.grad(values.sum(), decoded)
    visible = ~batch["mask"].view(4, 3, 6)[:, task % 3]
    assert visible.any()
    assert (gradient[visible] == 0).all()
    assert (gradient[~visible].abs().sum((1, 2)) > 0).all()


def test_the_order_of_the_modalities_makes_no_difference():
    order = ("semseg", "rgb", "depth")
    other_size = replace(SIZE, modalities=tuple(SIZE.modality(name) for name in order))
    model, other = samples.model(), samples.model(other_size)
    state = model.state_dict()
    places = [SIZE.names.index(name) for name in order]
    for name in list(state):
        if name.endswith(".modalities"):
            state[name] = state[name][places]
    other.load_state_dict(state)
    batch = samples.batch()
    found = model(**batch, return_predictions=True)
    moved = dict(batch, ids_keep=batch["ids_keep"].clone())
    for new, old in enumerate(places):
        chosen = batch["ids_keep"] // 6 == old
        moved["ids_keep"][chosen] = batch["ids_keep"][chosen] % 6 + 6 * new
    moved["mask"] = batch["mask"].view(4, 3, 6)[:, places].flatten(1)
    permuted = other(**moved, return_predictions=True)
    assert other.size.tasks == ("semseg", "rgb", "depth", "norm_rgb")
    for name in SIZE.tasks:
        torch.testing.assert_close(permuted.predictions[name], found.predictions[name])
    tasks = [SIZE.tasks.index(name) for name in other.size.tasks]
    torch.testing.assert_close(permuted.task_values, found.task_values[:, tasks])


def test_without_the_last_linear_map_risks_are_those_of_predicting_0():
    model = samples.model()
    for decoder in model.decoders.values():
        torch.nn.init.zeros_(decoder.head.weight)
        torch.nn.init.zeros_(decoder.head.bias)
    batch = samples.batch()
    found = model(**batch)
    targets = prepare(SIZE, batch["modalities"])
    mask = batch["mask"].view(4, 3, 6)
    present = found.task_groups >= 0
    expected = torch.zeros(4, TASKS, dtype=torch.float64)
    for sample in range(4):
        rgb = patchify(targets["rgb"], 8)[sample][mask[sample, 0]]
        normal = patch_statistics(patchify(targets["rgb"], 8)).normalise(
            patchify(targets["rgb"], 8)
        )
        depth = patchify(targets["depth"], 8)[sample][mask[sample, 1]]
        expected[sample] = torch.stack(
            [
                rgb.square().mean(),
                depth.abs().mean(),
                torch.tensor(math.log(samples.CLASSES)).double(),
                normal.square().mean(),
            ]
        )
    assert present.sum() > 10
    torch.testing.assert_close(found.task_values[present], expected[present], rtol=1e-6, atol=0)


def test_of_133_classes_the_risk_of_predicting_nothing_is_4_8903():
    size = ModelSize(modalities=ModelSize().modalities, **tiny_widths())
    model = samples.model(size)
    torch.nn.init.zeros_(model.decoders["semseg"].head.weight)
    torch.nn.init.zeros_(model.decoders["semseg"].head.bias)
    found = model(**samples.batch(size, visible=8))
    assert found.task_values[:, 2].tolist() == pytest.approx([4.8903] * 4, abs=5e-5)


def tiny_widths():
    widths = {"width": 8, "layers": 1, "heads": 1, "decoder_width": 8, "decoder_heads": 1}
    return {**widths, "image_size": (48, 48)}


def test_the_paper_s_model_at_its_start():
    torch.manual_seed(0)
    size = ModelSize(norm_rgb=True)
    model = MultiModalMaskMae(size)
    batch = samples.batch(size, samples=1, visible=98, dtype=torch.float32)
    with torch.no_grad():
        found = model(**batch, return_predictions=True)
    assert {name: tuple(value.shape) for name, value in found.predictions.items()} == {
        "rgb": (1, 3, 224, 224),
        "depth": (1, 1, 224, 224),
        "semseg": (1, 133, 56, 56),
        "norm_rgb": (1, 3, 224, 224),
    }
    assert found.task_groups.tolist() == [[0, 1, 2, 3]]
    assert found.task_values[0, 2].item() == pytest.approx(5.26, abs=0.15)
    assert found.predictions["semseg"].std().item() == pytest.approx(0.87, abs=0.1)


@pytest.mark.parametrize("name", ["minimax", "average"])
def test_two_ranks_with_half_a_batch_each_are_one_with_all_of_it(model, name):
    # One sample's rgb is wholly visible, so that the ranks have different numbers of samples.
    masks = samples.kept(
        [
            [0, 1, 2, 3, 4, 5, 8],
            [0, 1, 2, 3, 4, 8, 12],
            [6, 7, 8, 9, 10, 12, 15],
            [0, 5, 6, 11, 12, 17, 3],
            [1, 7, 13, 14, 15, 16, 17],
            [17, 15, 2, 1, 0, 7, 9],
        ]
    )
    images = samples.images(samples=6)
    sums = []
    for part in (slice(0, 3), slice(3, 6), slice(0, 6)):
        modalities = {each: values[part] for each, values in images.items()}
        found = model(modalities, masks["ids_keep"][part], masks["mask"][part])
        sums.append(task_sums(found.task_values, found.task_groups, TASKS))
    assert [each.counts.tolist() for each in sums[:2]] == [[2, 3, 3, 2], [3, 3, 3, 3]]
    two, one = (
        balanced(name, global_risks(each), model) for each in (sums[0].plus(sums[1]), sums[2])
    )
    torch.testing.assert_close(two[0], one[0], rtol=1e-10, atol=0)
    for parameter, gradient in one[1].items():
        torch.testing.assert_close(two[1][parameter], gradient, rtol=1e-10, atol=1e-13)


def balanced(name, found, model):
    """Loss of a balancer and its gradients."""
    loss = create_balancer(name, TASKS).double()(found)
    return loss.detach(), gradients(loss, model)


def test_all_parameters_learn_and_positions_do_not():
    model = samples.model()
    before = {name: value.clone() for name, value in model.named_buffers()}
    for name, gradient in gradients(risks(model(**samples.batch())).risks.sum(), model).items():
        # A key's bias adds the same to all scores of a query: no softmax sees it.
        keys = slice(16, 32) if "encoder" in name else slice(8, 16)
        if name.endswith(("qkv.bias", "in_proj_bias")):
            assert gradient[keys].abs().max() < 1e-12, name
        assert gradient.abs().max() > 1e-9, name
    assert len(before) == 7
    assert all(torch.equal(before[name], value) for name, value in model.named_buffers())


def test_pixels_of_unknown_depth_and_void_labels_are_not_scored():
    semseg = replace(samples.SEMSEG, void=True)
    size = replace(SIZE, modalities=(*SIZE.modalities[:2], semseg))
    model = samples.model(size)
    batch = samples.batch(size)
    valid = torch.rand(4, 1, 24, 16, generator=torch.Generator().manual_seed(1)) < 0.7
    batch["modalities"]["semseg"][:, ::2] = samples.CLASSES
    found = model(**batch, valid={"depth": valid}, return_predictions=True)
    target = standardise_depth(batch["modalities"]["depth"], valid)
    labels = batch["modalities"]["semseg"]
    mask = batch["mask"].view(4, 3, 3, 2)
    for sample in range(4):
        scored = mask[sample, 1].repeat_interleave(8, 0).repeat_interleave(8, 1) & valid[sample, 0]
        error = (found.predictions["depth"] - target)[sample, 0][scored].abs().mean()
        torch.testing.assert_close(found.task_values[sample, 1], error, rtol=1e-10, atol=0)
        scored = mask[sample, 2].repeat_interleave(2, 0).repeat_interleave(2, 1)
        scored = scored & (labels[sample] < samples.CLASSES)
        logits = found.predictions["semseg"][sample][:, scored].T
        loss = torch.nn.functional.cross_entropy(logits, labels[sample][scored])
        torch.testing.assert_close(found.task_values[sample, 2], loss, rtol=1e-10, atol=0)
    spoilt = dict(batch["modalities"])
    spoilt["depth"] = torch.where(valid, spoilt["depth"], torch.nan)
    again = model(**{**batch, "modalities": spoilt}, valid={"depth": valid})
    assert torch.equal(again.task_values, found.task_values)


def test_images_of_another_size_are_reconstructed_on_their_own_grid(model):
    images = samples.images(samples=2, scale=2)
    masks = TokenMasking((24, 24, 24), 12).batch([(0, 0), (0, 1)])
    found = model(images, **masks, return_predictions=True)
    assert found.predictions["rgb"].shape == images["rgb"].shape
    assert found.task_values.isfinite().all()


@pytest.mark.parametrize("missing", SIZE.names)
def test_a_missing_modality_is_named(missing, model):
    batch = samples.batch()
    del batch["modalities"][missing]
    with pytest.raises(ValueError, match=rf"hold rgb, depth, semseg; found none named {missing}"):
        model(**batch)


def test_risks_are_in_float32_under_mixed_precision():
    model = samples.model(dtype=torch.float32)
    batch = samples.batch(dtype=torch.float32)
    expected = model(**batch).task_values
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model(**batch)
    assert found.task_values.dtype == torch.float32
    assert not torch.equal(found.task_values, found.task_values.bfloat16().float())
    torch.testing.assert_close(found.task_values, expected, rtol=0.03, atol=0.03)
    assert all(g.isfinite().all() for g in gradients(found.task_values.sum(), model).values())


@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_task_robust_trainer_trains_evaluates_and_saves_it(tmp_path, accumulation):
    model = samples.model(dtype=torch.float32)
    whole = samples.batch(samples=8, dtype=torch.float32)
    rows = [
        {n: v[i] for n, v in {**whole, **whole["modalities"]}.items() if n != "modalities"}
        for i in range(8)
    ]

    def collate(examples):
        stacked = {name: torch.stack([each[name] for each in examples]) for name in examples[0]}
        modalities = {name: stacked.pop(name) for name in SIZE.names}
        return {"modalities": modalities, **stacked}

    trainer = TaskRobustTrainer(
        model,
        TrainingArguments(
            str(tmp_path),
            max_steps=6,
            per_device_train_batch_size=8 // accumulation,
            gradient_accumulation_steps=accumulation,
            learning_rate=1e-2,
            lr_scheduler_type="constant",
            logging_steps=1,
            remove_unused_columns=False,
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
        ),
        train_dataset=rows,
        eval_dataset=rows,
        data_collator=collate,
        balancer=create_balancer("minimax", TASKS, task_names=SIZE.tasks),
    )
    before = trainer.evaluate()
    expected = risks(model.eval()(**whole)).risks
    for task, risk in zip(SIZE.tasks, expected.tolist(), strict=True):
        assert before[f"eval_risk/{task}"] == pytest.approx(risk, rel=1e-5)
    trainer.train()
    losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    weights = torch.softmax(expected, 0)
    assert losses[0] == pytest.approx((weights @ expected).item(), rel=1e-4)
    assert losses[-1] < 0.9 * losses[0]
    trainer.save_model(str(tmp_path / "saved"))
    read = samples.model(seed=1, dtype=torch.float32)
    load_weights(read, tmp_path / "saved" / "model.safetensors")
    assert torch.equal(read(**whole).task_values, model.eval()(**whole).task_values)
