import json
import shutil

import pytest
import torch

from experiments.bert.configuration import BertStudy
from experiments.bert.preparation.prepare import prepare
from experiments.bert.pretrain import pretrain
from experiments.bert.tags import TASKS
from experiments.configuration import load, preset_path
from experiments.records import RESULT, run_folder
from figures import arms as looks_of
from figures import pos_bert_curves, pos_bert_grouping, pos_bert_runs, pos_bert_summary
from figures.data import DataError, NothingToDrawError
from figures.pos_bert_runs import read_runs
from tests.experiments.bert.conftest import TINY
from tests.figures.made_up_runs import ARMS, alter, write_run, write_runs

READERS = [pos_bert_curves.read, pos_bert_summary.read, pos_bert_grouping.read]


def test_runs_are_in_the_order_of_the_presets_then_of_names_and_seeds(runs):
    found = [(run.arm, run.seed) for run in read_runs(runs)]
    names = ["average", "token-mean", "minimax", "average-random", "minimax-random", "my own"]
    assert found == [(name, seed) for name in names for seed in (0, 3)]


def test_what_a_run_holds_is_what_its_file_says(runs):
    for run in read_runs(runs):
        content = json.loads(run.path.read_text(encoding="utf-8"))
        assert run.path == run_folder(runs, run.arm, run.seed) / RESULT
        assert run.history == content["history"]
        assert run.grouping == ("random" if run.arm.endswith("random") else "pos")
        assert pos_bert_runs.classes_of(run) == list(TASKS)
        for split in ("valid", "test"):
            measured, summary = run.held_out[split], content[split]
            assert measured.pieces == summary["counts"]
            titles = {"worst*": "worst_but_interjection", "mean*": "mean_but_interjection"}
            titles |= {"worst": "worst", "mean": "mean", "token mean": "token_mean"}
            expected = {name: summary["risks"][name] for name in TASKS}
            expected |= {title: summary[field] for title, field in titles.items()}
            assert measured.risks == {
                name: (each["value"], each["lower"], each["upper"])
                for name, each in expected.items()
            }


@pytest.mark.parametrize("read", READERS)
def test_no_runs_are_nothing_to_draw_and_the_remedy_is_said(tmp_path, read):
    with pytest.raises(NothingToDrawError, match="pretrain --preset cpu --out") as raised:
        read(tmp_path)
    assert f"{tmp_path} holds no finished run" in str(raised.value)


def test_runs_of_other_groupings_only_have_no_traces_and_summary(tmp_path):
    write_runs(tmp_path, {"average-random": "random"})
    for read in READERS[:2]:
        with pytest.raises(NothingToDrawError, match="tasks are parts of speech"):
            read(tmp_path)


def without(*keys):
    """A change that removes a nested key."""

    def change(content):
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return change


def setting(value, *keys):
    """A change that sets a nested key."""

    def change(content):
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("history"), "`history` should be a list; found None"),
        (setting([{"loss": 1.0}], "history"), "every log of `history` should have a step"),
        (without("configuration"), "`configuration` should be a str; found None"),
        (setting("grouping: letters\n", "configuration"), "should state the grouping: pos, freq"),
        (without("test", "counts"), "`counts` should be a dict; found None"),
        (without("valid", "mean"), "`mean` should be a dict; found None"),
        (without("valid", "risks", "noun", "lower"), "value, lower and upper: KeyError"),
        (setting("high", "test", "worst", "upper"), "value, lower and upper: ValueError"),
        (setting(None, "test", "worst", "value"), "value, lower and upper: TypeError"),
        (lambda content: [content.pop(split) for split in ("valid", "test")], "held-out risks"),
        (setting("me", "arm"), "arm and seed of its folder; found arm 'me'"),
    ],
)
def test_a_damaged_run_is_named(tmp_path, change, message):
    write_runs(tmp_path, {"average": "pos", "minimax": "pos"})
    path = alter(tmp_path, "minimax", 0, change)
    with pytest.raises(DataError, match=message) as raised:
        read_runs(tmp_path)
    assert str(path) in str(raised.value)


def test_a_truncated_result_is_named(tmp_path):
    write_runs(tmp_path, {"average": "pos"})
    path = run_folder(tmp_path, "average", 0) / RESULT
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match="is not valid JSON") as raised:
        read_runs(tmp_path)
    assert str(path) in str(raised.value)


def rename_noun(content):
    for split in ("valid", "test"):
        counts = content[split]["counts"]
        content[split]["counts"] = {"name" if k == "noun" else k: v for k, v in counts.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename_noun, "should have the same classes; found .*name.* and .*noun"),
        (setting(1, "test", "counts", "noun"), "same masked pieces; their counts of test differ"),
        (without("test"), "same held-out splits; found valid and valid, test"),
    ],
)
def test_runs_that_cannot_be_compared_are_named(tmp_path, change, message):
    write_runs(tmp_path, {"average": "pos", "minimax": "pos"})
    path = alter(tmp_path, "minimax", 0, change)
    with pytest.raises(DataError, match=message) as raised:
        read_runs(tmp_path)
    assert str(path) in str(raised.value)
    assert str(run_folder(tmp_path, "average", 0) / RESULT) in str(raised.value)


def test_runs_with_other_tasks_have_no_common_traces(tmp_path):
    write_runs(tmp_path, {"average": "pos", "minimax": "pos"})

    def add_task(content):
        for log in content["history"]:
            if "weight/noun" in log:
                log["weight/next sentence"] = 0.0

    path = alter(tmp_path, "minimax", 0, add_task)
    with pytest.raises(DataError, match=r"should have the same tasks; .*next sentence") as raised:
        pos_bert_curves.read(tmp_path)
    assert str(path) in str(raised.value)


def test_a_history_without_weights_is_named(tmp_path):
    write_runs(tmp_path, {"average": "pos"})
    path = alter(tmp_path, "average", 0, setting([{"step": 1}], "history"))
    with pytest.raises(DataError, match="weights of tasks; found none") as raised:
        pos_bert_curves.read(tmp_path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04", "should hold sums and counts"),
        (b"", "should hold sums and counts"),
        (b"not an archive", "should hold sums and counts"),
    ],
)
def test_damaged_sums_are_named(tmp_path, content, message):
    write_runs(tmp_path, {"average": "pos", "minimax": "pos"})
    path = run_folder(tmp_path, "minimax", 0) / "test.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as raised:
        pos_bert_summary.read(tmp_path)
    assert str(path) in str(raised.value)


def test_sums_of_other_pieces_are_named(tmp_path):
    write_runs(tmp_path, {"average": "pos", "minimax": "pos"})
    write_run(tmp_path / "other", "minimax", 0, masks=1)
    source, path = (
        run_folder(f, "minimax", 0) / "test.npz" for f in (tmp_path / "other", tmp_path)
    )
    shutil.copy(source, path)
    with pytest.raises(DataError, match="same masked pieces") as raised:
        pos_bert_summary.read(tmp_path)
    assert str(path) in str(raised.value)


def test_every_arm_of_a_figure_has_a_look_of_its_own():
    mine = [f"arm {i}" for i in range(20)]
    arms = [*looks_of.ARMS, *mine]
    looks = {looks_of.arm_look(arm, arms) for arm in arms}
    assert len(looks) == len(arms)
    assert set(ARMS) - {"my own"} <= set(looks_of.ARMS)


def test_every_class_has_a_colour_of_its_own():
    assert set(pos_bert_runs.CLASSES) == set(TASKS)
    assert len({color for color, _ in pos_bert_runs.CLASSES.values()}) == len(TASKS)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Real runs: two arms, one of them with random groups too, of a study of eight steps."""
    folder = tmp_path_factory.mktemp("real")
    arms = {name: {"balancer": name.partition("-")[0]} for name in ("average", "minimax")}
    arms["minimax-random"] = {"balancer": "minimax", "grouping": "random"}
    study = load(BertStudy, preset_path("bert", "smoke"), [*TINY, f"arms={json.dumps(arms)}"])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    prepare(study.preparation, None, folder / "prepared")
    for arm in arms:
        pretrain(study, folder / "prepared", folder / "pretrained", arm, 0)
    torch.set_num_threads(threads)
    return folder / "pretrained"


def test_real_runs_can_be_read_and_every_number_of_a_log_is_found(trained):
    contents = {
        arm: json.loads((run_folder(trained, arm, 0) / RESULT).read_text(encoding="utf-8"))
        for arm in ("average", "minimax")
    }
    found = pos_bert_curves.read(trained)
    assert found.parameters == {"arms": ["average", "minimax"], "tasks": list(TASKS)}
    for arm, content in contents.items():
        rows = found.where(arm=arm)
        for step in range(1, 9):
            assert sum(rows.where(step=step)["weight"]) == pytest.approx(1.0)
        prefixes = {"risk": "risk/", "weight": "weight/", "count": "count/"}
        prefixes["held_out"] = "eval_risk/"
        for column, prefix in prefixes.items():
            logged = {
                (log["step"], key.removeprefix(prefix)): value
                for log in content["history"]
                for key, value in log.items()
                if key.startswith(prefix)
            }
            there = rows[column] == rows[column]
            keys = zip(rows["step"][there], rows["task"][there], strict=True)
            assert dict(zip(keys, rows[column][there], strict=True)) == logged
            assert len(logged) >= len(TASKS)
    summary = pos_bert_summary.read(trained)
    row = summary.where(arm="minimax", split="test", quantity="noun")
    assert row["risk"] == contents["minimax"]["test"]["risks"]["noun"]["value"]
    difference = row["risk"] - contents["average"]["test"]["risks"]["noun"]["value"]
    assert row["difference"] == pytest.approx(difference)
    assert row["difference_lower"] < difference < row["difference_upper"]
    grouping = pos_bert_grouping.read(trained)
    assert set(zip(grouping["grouping"], grouping["arm"], strict=True)) == {
        ("pos", "minimax"),
        ("random", "minimax-random"),
    }
    for module, data in ((pos_bert_curves, found), (pos_bert_summary, summary)):
        assert module.draw(data).axes
    assert pos_bert_grouping.draw(grouping).axes
