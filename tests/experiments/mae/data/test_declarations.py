import numpy as np
import pytest
from pydantic import ValidationError

from experiments.mae.data.declarations import DepthFiles, LabelFiles, class_table


def test_ids_begin_at_the_first_and_ignored_ones_are_the_id_after_the_last():
    table = class_table(LabelFiles(classes=3, first=1, ignored=(0, 1000)))
    assert table[[0, 1, 2, 3, 4, 1000]].tolist() == [3, 0, 1, 2, -1, 3]
    assert np.count_nonzero(table >= 0) == 5


def test_without_ignored_values_nothing_is_unlabelled():
    table = class_table(LabelFiles(classes=3))
    assert table[:5].tolist() == [0, 1, 2, -1, -1]
    assert table.max() == 2


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (LabelFiles, {"classes": 5, "ignored": (4,)}, "should be no class .stored as 0 to 4.; "),
        (LabelFiles, {"classes": 5, "first": 1, "ignored": (255, 1)}, "stored as 1 to 5.; found 1"),
        (LabelFiles, {"classes": 65_536, "first": 1}, "at most 65535; found 65536"),
        (LabelFiles, {"classes": 3, "class_names": ("a",)}, "should be 3 names or none; found 1"),
        (DepthFiles, {"scale": 1.0, "bits": 8, "void": 256}, "fit into `bits` 8; found 256"),
        (DepthFiles, {"scale": 1.0, "limits": (2.0, 1.0)}, "should ascend"),
        (DepthFiles, {"scale": float("nan")}, "scale"),
        (DepthFiles, {"scale": 0.0}, "scale"),
        (DepthFiles, {"scale": 1.0, "unit": "feet"}, "unit"),
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused(kind, fields, message):
    with pytest.raises(ValidationError, match=message):
        kind(**fields)
