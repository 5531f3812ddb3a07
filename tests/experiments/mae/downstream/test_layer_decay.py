from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import get_scheduler

from experiments.mae.configuration import RGB, ModelSize
from experiments.mae.downstream.layer_decay import parameter_groups
from experiments.mae.downstream.model import downstream_model
from experiments.mae.model.encoder import MultiModalEncoder
from tests.experiments.mae import samples
from tests.experiments.mae.downstream import cases


def by_name(model, groups):
    """Learning rate and weight decay of every parameter."""
    names = {id(each): name for name, each in model.named_parameters()}
    return {
        names[id(each)]: (group["lr"], group["weight_decay"])
        for group in groups
        for each in group["params"]
    }


def test_the_paper_s_encoder_has_fourteen_layers():
    with torch.device("meta"):
        model = downstream_model("cls", MultiModalEncoder(ModelSize(modalities=(RGB,))), 1000)
    groups = parameter_groups(model, learning_rate=4e-3, weight_decay=0.05, layer_decay=0.65)
    found = by_name(model, groups)
    rates = sorted({lr for lr, _ in found.values()})
    assert rates == pytest.approx([4e-3 * 0.65**k for k in range(13, -1, -1)])
    assert len(groups) == 28
    assert found["encoder.global_token"] == (pytest.approx(4e-3 * 0.65**13), 0)
    assert found["encoder.embeddings.rgb.patches.proj.weight"] == (
        pytest.approx(4e-3 * 0.65**13), 0.05
    )  # fmt: skip
    for block in range(12):
        assert found[f"encoder.blocks.{block}.attn.qkv.weight"] == (
            pytest.approx(4e-3 * 0.65 ** (12 - block)), 0.05
        )  # fmt: skip
    assert found["head.classifier.weight"] == (4e-3, 0.05)
    assert found["head.norm.weight"] == (4e-3, 0)


@given(
    layers=st.integers(1, 12),
    names=st.lists(st.sampled_from(samples.SIZE.names), min_size=1, unique=True),
    task=st.sampled_from(cases.TASKS),
    decay=st.floats(0.1, 1.0),
)
@settings(max_examples=30, deadline=None)
def test_every_trainable_parameter_is_in_exactly_one_group(layers, names, task, decay):
    with torch.device("meta"):
        size = replace(samples.SIZE, layers=layers, norm_rgb=False)
        size = replace(size, modalities=tuple(map(size.modality, names)))
        model = downstream_model(task, MultiModalEncoder(size), cases.CLASSES[task])
    groups = parameter_groups(model, learning_rate=2.0, weight_decay=0.1, layer_decay=decay)
    placed = [id(each) for group in groups for each in group["params"]]
    assert sorted(placed) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    for name, (rate, weight_decay) in by_name(model, groups).items():
        part = name.split(".")
        power = 0
        if part[0] == "encoder":
            power = layers - int(part[2]) if part[1] == "blocks" else layers + 1
        assert rate == pytest.approx(2 * decay**power), name
        single = model.get_parameter(name).ndim == 1 or name == "encoder.global_token"
        assert weight_decay == (0 if single else 0.1), name


def test_a_schedule_keeps_the_ratios_from_zero_over_the_peak_to_the_least():
    model = cases.model("cls")
    groups = parameter_groups(model, learning_rate=1e-3, weight_decay=0.05, layer_decay=0.5)
    peaks = [group["lr"] for group in groups]
    optimiser = torch.optim.AdamW(groups, lr=1e-3)
    scheduler = get_scheduler(
        "cosine_with_min_lr", optimiser, 10, 100, scheduler_specific_kwargs={"min_lr": 1e-5}
    )
    found = []
    for _ in range(101):
        found.append([group["lr"] for group in optimiser.param_groups])
        optimiser.step()
        scheduler.step()
    assert found[0] == [0.0] * len(groups)
    assert found[10] == pytest.approx(peaks)
    assert found[5] == pytest.approx([peak / 2 for peak in peaks])
    assert found[100] == pytest.approx([peak / 100 for peak in peaks])
    assert max(found[100]) == pytest.approx(1e-5)
    assert sorted(set(peaks)) == pytest.approx([1e-3 * 0.5**k for k in (3, 2, 1, 0)])


def test_weight_decay_of_a_class_table_leaves_void_at_zero():
    model = cases.model("cls", ("semseg",), dtype=torch.float32)
    table = model.encoder.embeddings["semseg"].classes.weight
    with torch.no_grad():
        table[-1] = 0
    groups = parameter_groups(model, learning_rate=0.1, weight_decay=0.5)
    before = table.detach().clone()
    optimiser = torch.optim.AdamW(groups, lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        given = cases.inputs(("semseg",), dtype=torch.float32)
        model(given, **cases.targets("cls")).loss.backward()
        optimiser.step()
    assert table[-1].tolist() == [0] * 6
    assert (table[:-1] != before[:-1]).any(1).all()
