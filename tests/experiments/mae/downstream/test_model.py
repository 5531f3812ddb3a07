import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from experiments.mae.configuration import DEPTH, RGB, SEMSEG, ModelSize
from experiments.mae.downstream.heads import Head
from experiments.mae.downstream.losses import berhu, labelled_cross_entropy
from experiments.mae.downstream.model import DownstreamModel, downstream_model
from experiments.mae.model.depth import standardise_depth
from experiments.mae.model.encoder import MultiModalEncoder
from tests.experiments.mae import samples
from tests.experiments.mae.downstream import cases

SIZE = samples.SIZE
INPUTS = [("rgb",), ("rgb", "depth"), ("depth", "semseg"), ("rgb", "depth", "semseg")]
SHAPES = {"cls": (4, 6), "semseg": (4, 5, 24, 16), "depth": (4, 1, 24, 16)}


@pytest.mark.parametrize(
    ("task", "classes", "count"),
    [("cls", 1000, 86_416_360), ("semseg", 40, 95_192_104), ("depth", 1, 105_711_745)],
)
def test_the_paper_s_models_have_the_documented_numbers_of_parameters(task, classes, count):
    """Input rgb alone; positions are no parameters; DPT's never trained ones are counted."""
    with torch.device("meta"):
        encoder = MultiModalEncoder(ModelSize(modalities=(RGB,)))
        model = downstream_model(task, encoder, classes)
        out = model({"rgb": torch.empty(2, 3, 224, 224)})
    assert sum(p.numel() for p in model.parameters()) == count
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert count - trained == {"cls": 0, "semseg": 0, "depth": 1_180_160}[task]
    wanted = {"cls": (2, 1000), "semseg": (2, 40, 224, 224), "depth": (2, 1, 224, 224)}
    assert out.predictions.shape == wanted[task]


class Recorder(Head):
    """Gives the mean of the last block and remembers what it was given."""

    def forward(self, states, grid):
        self.states, self.grid = states, grid
        return states[-1].mean(1)


@pytest.mark.parametrize("names", INPUTS)
def test_a_head_gets_the_output_of_every_block_of_the_encoder(names):
    encoder = cases.model("cls", names).encoder.eval()
    head = Recorder()
    given = cases.inputs(names, scale=2)
    DownstreamModel(encoder, head, "cls")(given)
    assert head.grid == (6, 4)
    assert len(head.states) == SIZE.layers
    prepared = dict(given)
    if "depth" in names:
        prepared["depth"] = standardise_depth(given["depth"])
    assert torch.equal(head.states[-1], encoder(prepared))
    assert torch.equal(encoder.blocks[1](head.states[0]), head.states[1])


@pytest.mark.parametrize("names", INPUTS)
@pytest.mark.parametrize("task", cases.TASKS)
def test_any_modalities_give_predictions_of_the_task_and_train_everything(task, names):
    model = cases.model(task, names)
    out = model(cases.inputs(names), **cases.targets(task))
    assert out.predictions.shape == SHAPES[task]
    out.loss.backward()
    for name, each in model.named_parameters():
        assert (each.grad is not None) == each.requires_grad, name
        if each.requires_grad:
            assert each.grad.isfinite().all(), name
            assert each.grad.abs().max() > 0, name


@pytest.mark.parametrize("task", cases.TASKS)
def test_images_of_another_size_give_maps_of_that_size(task):
    model = cases.model(task)
    large = cases.inputs(size=replace(SIZE, image_size=(40, 56)))
    out = model(large, **cases.targets(task, size=(40, 56)))
    assert out.predictions.shape == (*SHAPES[task][:2], *([] if task == "cls" else [40, 56]))
    assert out.loss.isfinite()


@pytest.mark.parametrize("task", cases.TASKS)
def test_without_a_target_there_is_no_loss_and_the_same_predictions(task):
    model = cases.model(task).eval()
    with torch.no_grad():
        alone = model(cases.inputs())
        both = model(cases.inputs(), **cases.targets(task))
    assert alone.loss is None
    assert list(alone.keys()) == ["predictions"]
    assert torch.equal(alone.predictions, both.predictions)
    assert list(both.keys()) == ["loss", "predictions"]


def test_classification_takes_class_ids_or_their_probabilities():
    model = cases.model("cls")
    ids = cases.targets("cls")["label"]
    hard = model(cases.inputs(), label=ids)
    scores = hard.predictions.log_softmax(1)
    expected = -sum(scores[row, id_] for row, id_ in enumerate(ids)) / len(ids)
    torch.testing.assert_close(hard.loss, expected)
    one_hot = functional.one_hot(ids, 6).float()
    torch.testing.assert_close(model(cases.inputs(), label=one_hot).loss, expected)
    mixed = 0.3 * one_hot + 0.7 * one_hot.roll(1, 0)
    found = model(cases.inputs(), label=mixed).loss
    torch.testing.assert_close(found, -(mixed * scores).sum() / len(ids), rtol=1e-6, atol=0)


def test_a_head_of_zeros_has_the_loss_of_a_uniform_guess():
    for task in ("cls", "semseg"):
        model = cases.model(task)
        with torch.no_grad():
            for each in model.head.classifier.parameters():
                each.zero_()
        loss = model(cases.inputs(), **cases.targets(task)).loss
        assert loss.item() == pytest.approx(math.log(cases.CLASSES[task]))


def test_segmentation_scores_the_labelled_pixels():
    model = cases.model("semseg")
    labels = cases.targets("semseg")["semseg"]
    assert (labels == 5).any()
    out = model(cases.inputs(), semseg=labels)
    torch.testing.assert_close(out.loss, labelled_cross_entropy(out.predictions, labels, 5))
    nothing = model(cases.inputs(), semseg=torch.full_like(labels, 5))
    assert nothing.loss == 0


def test_depth_is_predicted_in_metres_and_scored_standardised():
    model = downstream_model(
        "depth", cases.model("depth").encoder, depth_mean=3.0, depth_deviation=2.0
    ).double()
    given = cases.targets("depth")
    out = model(cases.inputs(), **given)
    expected = berhu((out.predictions - 3) / 2, (given["depth"] - 3) / 2, given["depth_valid"])
    torch.testing.assert_close(out.loss, expected)
    other = torch.where(given["depth_valid"], given["depth"], math.nan)
    found = model(cases.inputs(), depth=other, depth_valid=given["depth_valid"])
    assert torch.equal(found.loss, out.loss)
    with torch.no_grad():
        model.head.output.head[-2].weight.zero_()
        model.head.output.head[-2].bias.fill_(-0.5)
    assert (model(cases.inputs()).predictions == 2.0).all()


def test_mean_and_deviation_of_depth_are_saved_with_the_model():
    model = downstream_model("depth", cases.model("depth").encoder, depth_mean=3.0)
    other = downstream_model("depth", cases.model("depth").encoder)
    assert other.depth_mean == pytest.approx(2.0707764)
    assert other.depth_deviation == pytest.approx(0.7775723)
    other.load_state_dict(model.state_dict())
    assert other.depth_mean == 3
    assert "depth_mean" not in cases.model("cls").state_dict()


@pytest.mark.parametrize("task", cases.TASKS)
def test_losses_and_predictions_under_mixed_precision_are_float32(task):
    model = cases.model(task, dtype=torch.float32)
    given = {k: v.float() if v.is_floating_point() else v for k, v in cases.targets(task).items()}
    with torch.autocast("cpu", torch.bfloat16):
        out = model(cases.inputs(dtype=torch.float32), **given)
    assert out.loss.dtype == out.predictions.dtype == torch.float32
    again = {
        "cls": lambda p: functional.cross_entropy(p, given["label"]),
        "semseg": lambda p: labelled_cross_entropy(p, given["semseg"], 5),
        "depth": lambda p: berhu(
            (p - model.depth_mean) / model.depth_deviation,
            (given["depth"] - model.depth_mean) / model.depth_deviation,
            given["depth_valid"],
        ),
    }[task](out.predictions)
    torch.testing.assert_close(out.loss, again, rtol=1e-5, atol=1e-6)
    full = model(cases.inputs(dtype=torch.float32), **given)
    torch.testing.assert_close(out.predictions, full.predictions, rtol=0.1, atol=0.1)
    assert not torch.equal(out.predictions, full.predictions)


def test_unknown_pixels_of_an_input_have_no_influence():
    model = cases.model("semseg", ("rgb", "depth"))
    given = cases.inputs(("rgb", "depth"))
    valid = torch.ones(4, 1, 24, 16, dtype=torch.bool)
    valid[:, :, 3:9, 2:5] = False
    found = model(given, {"depth": valid}).predictions
    other = {**given, "depth": torch.where(valid, given["depth"], math.nan)}
    assert torch.equal(model(other, {"depth": valid}).predictions, found)
    assert not torch.equal(model(given).predictions, found)


def test_the_order_in_which_modalities_are_given_does_not_matter():
    for task in cases.TASKS:
        model = cases.model(task, ("rgb", "depth"))
        given = cases.inputs(("rgb", "depth"))
        backwards = dict(reversed(given.items()))
        assert torch.equal(model(given).predictions, model(backwards).predictions)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("rgb",), "should hold rgb, depth; found none named depth"),
        (("rgb", "depth", "semseg"), "some of rgb, depth; found semseg"),
    ],
)
def test_other_modalities_than_the_encoder_s_are_refused(names, message):
    with pytest.raises(ValueError, match=message):
        cases.model("cls", ("rgb", "depth"))(cases.inputs(names))


@pytest.mark.parametrize(
    ("task", "target", "message"),
    [
        ("cls", {"label": torch.zeros(3).long()}, r"`label` .*\(4,\) or \(4, 6\); found \(3,\)"),
        ("cls", {"label": torch.zeros(4, 5)}, r"`label` .*found \(4, 5\)"),
        (
            "semseg",
            {"semseg": torch.zeros(4, 12, 8).long()},
            r"`semseg` .*\(4, 24, 16\); found \(4, 12, 8\)",
        ),
        ("depth", {"depth": torch.ones(4, 24, 16)}, r"`depth` .*\(4, 1, 24, 16\); found"),
    ],
)
def test_targets_of_another_shape_are_refused(task, target, message):
    with pytest.raises(ValueError, match=message):
        cases.model(task)(cases.inputs(), **target)


@pytest.mark.parametrize("task", cases.TASKS)
def test_a_few_images_can_be_learned_by_heart(task):
    model = cases.model(task, dtype=torch.float32)
    given = cases.inputs(dtype=torch.float32)
    blocky = cases.targets(task, size=(6, 4))
    target = {
        name: value.repeat_interleave(4, -2).repeat_interleave(4, -1) if value.ndim > 1 else value
        for name, value in blocky.items()
    }
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    losses = []
    for _ in range(120):
        loss = model(given, **target).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.25 * losses[0]


def test_the_default_tokens_of_all_modalities_are_those_of_pre_training():
    with torch.device("meta"):
        encoder = MultiModalEncoder(ModelSize(modalities=(RGB, DEPTH, replace(SEMSEG, void=True))))
        head = Recorder()
        images = {
            "rgb": torch.empty(1, 3, 224, 224),
            "depth": torch.empty(1, 1, 224, 224),
            "semseg": torch.empty(1, 56, 56, dtype=torch.long),
        }
        DownstreamModel(encoder, head, "cls")(images)
    assert [tuple(each.shape) for each in head.states] == [(1, 589, 768)] * 12
