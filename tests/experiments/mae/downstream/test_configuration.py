from dataclasses import fields

import pytest
from pydantic import TypeAdapter, ValidationError

from experiments.mae.downstream.configuration import Classification, Depth, Downstream, Segmentation


def test_the_learning_rate_of_classification_is_in_proportion_to_the_batch_and_no_other_is():
    assert Classification().peak_learning_rate == pytest.approx(4e-3)
    assert Classification(batch_size=128).peak_learning_rate == pytest.approx(5e-4)
    code = Classification(learning_rate=5e-4, learning_rate_batch=256, batch_size=1024)
    assert code.peak_learning_rate == pytest.approx(2e-3)
    for kind in (Segmentation, Depth):
        for batch in (8, 2048):
            assert kind(batch_size=batch).peak_learning_rate == 1e-4


def test_there_are_steps_even_where_a_batch_is_more_than_the_data():
    assert Depth().steps(795) == round(2000 * 795 / 2048)
    assert Depth(epochs=1, warmup_epochs=0).steps(795) == 1
    assert Segmentation(batch_size=8).steps(795, epochs=1) == 99


@pytest.mark.parametrize(
    ("task", "values", "message"),
    [
        ("semseg", {"inputs": ["rgb", "semseg"]}, "`semseg.inputs` should not hold what is to be"),
        ("depth", {"inputs": ["rgb", "rgb"]}, "`depth.inputs` should be different modalities"),
        ("cls", {"inputs": []}, "inputs"),
        ("cls", {"warmup_epochs": 101}, "`cls.warmup_epochs` should be at most `epochs` 100"),
        ("cls", {"test_split": "train"}, "`cls.test_split` should be another than"),
        ("cls", {"crop_scale": [0.5, 0.4]}, "`cls.crop_scale` should ascend"),
        ("cls", {"crop_scale": [0.5, 1.4]}, "`cls.crop_scale` should ascend"),
        ("cls", {"scale": [0.1, 2]}, "scale"),
        ("semseg", {"scale": [2, 0.1]}, "`semseg.scale` should ascend"),
        ("depth", {"scale": [2, 0.1]}, "`depth.scale` should ascend"),
        ("depth", {"standardisation": [1, 0]}, "greater than 0"),
        ("depth", {"learning_rate": float("nan")}, "learning_rate"),
    ],
)
def test_what_makes_no_sense_is_refused(task, values, message):
    adapter = TypeAdapter(Downstream)
    adapter.validate_python({task: {}})
    with pytest.raises(ValidationError, match=message):
        adapter.validate_python({task: values})


def test_pairs_are_mixed_of_colours_alone():
    assert Classification().mixes
    assert Classification(mixup=0).mixes
    assert not Classification(mixup=0, cutmix=0).mixes
    assert not Classification(inputs=("rgb", "depth")).mixes


def test_a_recipe_is_of_its_task():
    assert [field.default_factory().task for field in fields(Downstream)] == [
        field.name for field in fields(Downstream)
    ]
