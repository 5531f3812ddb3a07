"""The command line of the experiments: exit status, messages and files."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from experiments.__main__ import main
from experiments.configuration import load, preset_path, presets
from experiments.tables import table3
from tests.experiments.tables.helpers import TRUNKS

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch):
    """Whatever the environment of the tests says about colours and columns."""
    for name in ("FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def small(tmp_path):
    """A preset with a small model."""
    path = tmp_path / "small.yaml"
    trunk = json.dumps(asdict(TRUNKS[0]))
    path.write_text(f"tasks: [3, 4]\nrepeats: 2\ntrunks: [{trunk}]\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def no_work(monkeypatch):
    """Nothing may be measured."""

    def refuse(*_):
        raise AssertionError("something was measured")

    monkeypatch.setattr(table3, "run", refuse)


def refusal(capsys, *arguments):
    """What is said on standard error when the arguments are refused."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def test_a_run_leaves_both_files_and_says_where(tmp_path, capsys, small):
    out = tmp_path / "not" / "yet"
    arguments = ["table3", "--preset", small, "--tasks", "2", "3", "2", "--repeats", "1"]
    arguments += ["--seed", "4"]
    assert main([*arguments, "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert f"{out}/table3.md, {out}/table3.json" in captured.out
    assert sorted(path.name for path in out.iterdir()) == ["table3.json", "table3.md"]
    document = json.loads((out / "table3.json").read_text(encoding="utf-8"))
    settings = document["settings"]
    assert (settings["tasks"], settings["repeats"], settings["seed"]) == ([2, 3], 1, 4)
    expected = f"python -m experiments {' '.join(arguments)} --out {out}"
    assert document["provenance"]["command"] == expected
    assert expected in (out / "table3.md").read_text(encoding="utf-8")


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--tasks", "1"), "argument --tasks: should be at least 2; found 1"),
        (("--tasks", "three"), "argument --tasks: invalid integer value: 'three'"),
        (("--tasks",), "argument --tasks: expected at least one argument"),
        (("--repeats", "0"), "argument --repeats: should be at least 1; found 0"),
        (("--seed", "-1"), "argument --seed: should be at least 0; found -1"),
        (("--device", "abacus"), "argument --device: invalid choice: 'abacus'"),
        (("--unknown",), "unrecognized arguments: --unknown"),
    ],
)
def test_bad_arguments_are_refused_before_any_work(capsys, arguments, message):
    assert message in refusal(capsys, "table3", *arguments)


def test_an_unknown_command_is_refused_with_the_known_ones(capsys):
    said = refusal(capsys, "tabel3")
    assert "invalid choice: 'tabel3'" in said
    assert "table3" in said.rpartition("invalid choice")[2].replace("tabel3", "")


def test_no_command_is_refused(capsys):
    assert "usage: python -m experiments" in refusal(capsys)


def test_a_preset_says_what_is_not_typed(tmp_path, small, monkeypatch):
    seen = []

    def stop(settings, *_):
        seen.append(settings)
        raise KeyboardInterrupt

    monkeypatch.setattr(table3, "run", stop)
    for more in ([], ["--repeats", "5", "--device", "cpu"]):
        assert main(["table3", "--preset", small, "--out", str(tmp_path), *more]) == 130
    assert [each.repeats for each in seen] == [2, 5]
    assert {each.tasks for each in seen} == {(3, 4)}
    assert {each.trunks for each in seen} == {TRUNKS[:1]}


@pytest.mark.parametrize("name", presets("table3"))
def test_presets_can_be_read(name):
    assert load(table3.Preset, preset_path("table3", name)).trunks


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("trunks: []", "trunks"),
        ("trunks: [{kind: MLP, wide: 3}]", "wide"),
        ("trunks: [{kind: CNN}]", "CNN"),
        ("trunks: [{kind: MLP}, {kind: MLP, width: 3}]", "of different kinds; found MLP, MLP"),
        ("{trunks: [{kind: MLP}], tasks: [1]}", "tasks"),
    ],
)
def test_bad_presets_are_refused(tmp_path, capsys, content, message):
    path = tmp_path / "own.yaml"
    path.write_text(content, encoding="utf-8")
    assert message in refusal(capsys, "table3", "--preset", str(path))


@pytest.mark.usefixtures("no_work")
def test_a_device_that_is_not_there_is_refused(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    said = refusal(capsys, "table3", "--device", "cuda", "--out", str(tmp_path / "new"))
    assert "argument --device: this installation of torch finds no CUDA device" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_work")
def test_a_place_that_cannot_be_written_is_refused_before_any_work(tmp_path, capsys):
    blocked = tmp_path / "file"
    blocked.write_text("kept")
    said = refusal(capsys, "table3", "--out", str(blocked))
    assert f"argument --out: cannot write to {blocked}: " in said
    assert blocked.read_text() == "kept"


def test_an_interrupted_run_writes_nothing(monkeypatch, tmp_path, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(table3, "run", interrupt)
    assert main(["table3", "--out", str(tmp_path)]) == 130
    assert "interrupted; what was finished is kept" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("package", ["torch", "rich"])
def test_a_missing_package_exits_with_three_and_names_the_extra(package, tmp_path):
    program = f"""
import sys
class Missing:
    @staticmethod
    def find_spec(name, *_):
        if name.split(".")[0] == {package!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing)
from experiments.__main__ import main
from experiments.configuration import load, preset_path, presets
sys.exit(main(["table3", "--out", sys.argv[1]]))
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 3, done.stderr
    assert f"'{package}'" in done.stderr
    assert "python -m experiments table3 needs" in done.stderr
    assert "pip install 'taskrobust[experiments]'" in done.stderr
    assert done.stdout == ""


def test_help_lists_the_command(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    assert "table3" in capsys.readouterr().out
