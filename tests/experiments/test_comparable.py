import pytest
import yaml

from experiments.bert.results import rows
from experiments.comparable import check_comparable
from experiments.records import RecordError

STUDY = {
    "masking": {"seed": 0},
    "optimisation": {"steps": 8},
    "grouping": "pos",
    "log_every": 1,
    "evaluate_every": 4,
    "save_every": 4,
    "prepared": [{"inputs": {"a.txt": "ab"}}],
}


def run(arm, seed, balancer=None, **changes):
    study = {**STUDY, **changes, "arms": {arm: {"balancer": balancer or arm}}}
    return {"arm": arm, "seed": seed, "configuration": yaml.safe_dump(study)}


def test_arms_groupings_and_how_often_is_logged_may_differ():
    often = {"log_every": 2, "evaluate_every": 2, "save_every": 2}
    check_comparable([])
    check_comparable([run("a", 0), run("a", 1, **often), run("b", 0, grouping="random")])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"masking": {"seed": 7}}, r"`masking.seed` is 0 in the one and 7 in the other"),
        ({"optimisation": {"steps": 9}}, r"`optimisation.steps` is 8 .* 9"),
        ({"optimisation": {}}, r"`optimisation.steps` is 8 in the one and missing in the other"),
        ({"new": 1}, r"`new` is missing in the one and 1 in the other"),
        ({"prepared": [{"inputs": {"a.txt": "x" * 99}}]}, r"`prepared\[0\].inputs.a.txt` is 'ab'"),
        ({"prepared": []}, r"`prepared` is \[\{.* and \[\] in the other"),
    ],
)
def test_what_else_differs_is_named_with_both_runs_and_values(changes, message):
    runs = [run("a", 0), run("a", 1), run("b", 3, **changes)]
    with pytest.raises(RecordError, match=rf"a/seed-0 and b/seed-3 .*{message}.*another --out"):
        check_comparable(runs)
    with pytest.raises(RecordError, match=message):
        rows(runs, ["a", "b"], "valid")


@pytest.mark.parametrize(
    ("other", "field"),
    [
        (run("b", 1, balancer="c"), "arms.b.balancer"),
        (run("b", 1, grouping="random"), "grouping"),
    ],
)
def test_runs_of_one_arm_are_of_the_same_arm(other, field):
    with pytest.raises(RecordError, match=rf"b/seed-0 and b/seed-1 .*`{field}`"):
        check_comparable([run("a", 0), run("b", 0), other])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "a/seed-0 has no 'configuration'"),
        ({"configuration": "a: [1"}, "`configuration` of a/seed-0 is not valid YAML"),
        ({"configuration": "text"}, "should hold fields; found 'text'"),
    ],
)
def test_a_configuration_that_cannot_be_read_is_refused(content, message):
    with pytest.raises(RecordError, match=message):
        check_comparable([{"arm": "a", "seed": 0, **content}])
