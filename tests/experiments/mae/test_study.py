import math

import pytest

from experiments.configuration import ConfigurationError, dump, load, preset_path, presets
from experiments.mae.arms import check_arms
from experiments.mae.configuration import DEPTH, RGB, SEMSEG, ModelSize
from experiments.mae.study import MaeStudy, Optimisation


def study(preset, *overrides):
    return load(MaeStudy, preset_path("mae", preset), overrides, study="mae")


@pytest.mark.parametrize("preset", presets("mae"))
def test_every_preset_can_be_used_and_survives_being_written_out(preset, tmp_path):
    found = study(preset)
    check_arms(found, list(found.arms))
    assert {"average", "minimax"} <= found.arms.keys()
    path = tmp_path / "written.yaml"
    path.write_text(dump(found), encoding="utf-8")
    assert load(MaeStudy, path) == found


def test_the_paper_is_vit_b_on_three_modalities_with_table_6(  # mm-mae facts: Table 6, D.2
):
    found = study("paper")
    assert found.model == ModelSize(modalities=(RGB, DEPTH, SEMSEG))
    assert found.masking.visible == 98
    how = found.optimisation
    assert how.learning_rate == pytest.approx(8e-4)
    assert how.steps(1_281_167) == math.floor(1_281_167 * 1600 / 2048 + 0.5)
    assert len(found.arms) == 5


def test_the_code_differs_from_the_paper_where_it_says():
    paper, code = study("paper"), study("code")
    assert code.optimisation.learning_rate == pytest.approx(2.578125e-4)
    assert code.arms["minimax"].balancer == "minimax-attached"
    assert (paper.downstream.cls.learning_rate, code.downstream.cls.learning_rate) == (4e-3, 2e-3)
    assert code.model == paper.model


def test_steps_and_learning_rate_follow_the_batch():
    how = Optimisation(epochs=10, warmup_epochs=1, batch_size=32, base_learning_rate=1e-3)
    assert how.learning_rate == 1e-3 / 8
    assert how.steps(64) == 20
    assert how.steps(64, 0.5) == 1
    assert how.steps(1, 0.001) == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("masking.visible=108", "`masking.visible` should be less than the 108 tokens"),
        ("optimisation.warmup_epochs=21", "`optimisation.warmup_epochs` should be at most"),
        ("optimisation.min_learning_rate=1", "`optimisation.min_learning_rate` should be at most"),
        ("crop.scale=[0.5, 0.2]", "`crop.scale` should ascend"),
        ("crop.ratio=[2.0, 1.0]", "`crop.ratio` should ascend"),
        ("held_out_split=train", "`held_out_split` should be another than `train_split`"),
        ("optimisation.epoch=3", "`optimisation.epoch`"),
        ("arms.a/b={balancer: average}", "arms"),
    ],
)
def test_what_cannot_be_is_refused_by_name(override, message):
    with pytest.raises(ConfigurationError, match=message.replace(".", r"\.")):
        study("smoke", override)


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ([], "`arms` should have at least one arm"),
        (["minmax"], r"unknown arm 'minmax' \(known: average, minimax\)"),
    ],
)
def test_arms_that_are_not_there_are_refused(arms, message):
    with pytest.raises(ConfigurationError, match=message):
        check_arms(study("smoke"), arms)


def test_a_wrong_option_of_a_balancer_is_refused_with_the_arm():
    wrong = study("smoke", "arms.mine={balancer: minimax, options: {alpha: -1.0}}")
    with pytest.raises(ConfigurationError, match=r"arm 'mine': .*alpha"):
        check_arms(wrong, ["mine"])
