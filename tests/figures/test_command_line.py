import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys

import pytest

from figures import registry
from figures.__main__ import main
from tests.figures.conftest import TINY
from tests.figures.helpers import table
from tests.figures.made_up_runs import alter, write_runs

RUNS_FIGURES = [
    name for name, entry in registry.FIGURES.items() if isinstance(entry, registry.RunsFigure)
]
MAGIC = {"png": b"\x89PNG\r\n", "svg": b"<?xml", "pdf": b"%PDF"}


@pytest.fixture
def no_computing(monkeypatch):
    """Every figure refuses to compute."""

    def refuse(_):
        raise AssertionError("nothing should be computed")

    for name, entry in registry.FIGURES.items():
        kind = "read" if isinstance(entry, registry.RunsFigure) else "compute"
        changed = dataclasses.replace(entry, **{kind: refuse})
        monkeypatch.setitem(registry.FIGURES, name, changed)


def fails(arguments, capsys):
    """Standard error of a call that must exit with status 2."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_unknown_figure_is_named_with_a_suggestion(capsys):
    message = fails(["convergance"], capsys)
    assert "unknown figure 'convergance'; did you mean convergence?" in message
    assert "known: convergence, appendix_c" in message


def test_unknown_figure_without_a_near_name(capsys):
    message = fails(["zzz"], capsys)
    assert "unknown figure 'zzz' (known" in message


def test_unknown_format_is_named(capsys):
    message = fails(["--format", "gif"], capsys)
    assert all(word in message for word in ("--format", "gif", "png", "svg", "pdf"))


@pytest.mark.usefixtures("no_computing")
def test_unwritable_directory_is_named_before_any_work(capsys, tmp_path):
    (tmp_path / "file").touch()
    message = fails(["--out", tmp_path / "file" / "figures"], capsys)
    assert f"argument --out: cannot write to {tmp_path / 'file' / 'figures'}" in message


@pytest.mark.usefixtures("no_computing")
def test_missing_data_are_named(capsys, tmp_path):
    message = fails(["appendix_c", "--from-data", tmp_path / "no", "--out", tmp_path], capsys)
    assert "argument --from-data: cannot read" in message
    assert "appendix_c.json" in message


def test_list_names_every_figure(capsys):
    assert main(["--list"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in registry.FIGURES)


def test_missing_package_has_its_own_exit_status():
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from figures.__main__ import main; sys.exit(main(['--list']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "needs the package 'matplotlib'" in done.stderr
    assert "taskrobust[theory]" in done.stderr


@pytest.mark.usefixtures("no_computing")
@pytest.mark.parametrize("file_format", MAGIC)
def test_redrawing_needs_no_computing(saved, tmp_path, file_format):
    arguments = ["--from-data", str(saved), "--out", str(tmp_path), "--format", file_format]
    assert main(arguments) == 0
    for name in registry.FIGURES:
        content = (tmp_path / f"{name}.{file_format}").read_bytes()
        assert content.startswith(MAGIC[file_format])
        assert len(content) > 10_000
    assert len(list(tmp_path.iterdir())) == len(registry.FIGURES)


@pytest.mark.usefixtures("no_computing")
def test_the_same_numbers_give_the_same_file(saved, tmp_path):
    for folder in ("a", "b"):
        main(["appendix_c", "--from-data", str(saved), "--out", str(tmp_path / folder)])
    first, second = (tmp_path / folder / "appendix_c.png" for folder in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_computed_figure_is_saved_with_its_numbers(saved, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(registry, "EFFORT", TINY)
    out = tmp_path / "new" / "figures"
    assert main(["Appendix-C", "--out", str(out), "--seed", "3"]) == 0
    assert {path.name for path in out.iterdir()} == {
        "appendix_c.png",
        "appendix_c.csv",
        "appendix_c.json",
    }
    assert table(out, "appendix_c") == table(saved, "appendix_c")
    provenance = json.loads((out / "appendix_c.json").read_text(encoding="utf-8"))["provenance"]
    assert provenance["seed"] == 3
    assert provenance["command"] == "python -m figures appendix_c --seed 3"
    assert {"numpy", "cvxpy", "matplotlib", "python"} <= set(provenance["versions"])
    assert str(out / "appendix_c.png") in capsys.readouterr().out


def test_figure_of_runs_says_which_runs_it_shows(runs, tmp_path):
    assert main(["pos-bert-summary", "--runs", str(runs), "--out", str(tmp_path)]) == 0
    document = json.loads((tmp_path / "pos_bert_summary.json").read_text(encoding="utf-8"))
    provenance = document["provenance"]
    assert provenance["command"] == f"python -m figures pos_bert_summary --runs {runs}"
    assert {"numpy", "matplotlib", "python"} <= set(provenance["versions"])
    shown = {run["file"]: run for run in provenance["runs"]}
    arms = ("average", "minimax", "token-mean", "my own")
    assert shown.keys() == {f"{arm}/seed-{seed}/result.json" for arm in arms for seed in (0, 3)}
    for name, run in shown.items():
        result = json.loads((runs / name).read_text(encoding="utf-8"))
        assert run["sha256"] == hashlib.sha256((runs / name).read_bytes()).hexdigest()
        assert {key: run[key] for key in ("date", "command", "versions")} == {
            key: result[key] for key in ("date", "command", "versions")
        }


@pytest.fixture
def few_figures(monkeypatch):
    """Only one figure that is computed, and those of runs."""
    monkeypatch.setattr(registry, "EFFORT", TINY)
    for name, entry in list(registry.FIGURES.items()):
        if name != "appendix_c" and not isinstance(entry, registry.RunsFigure):
            monkeypatch.delitem(registry.FIGURES, name)


@pytest.mark.usefixtures("few_figures")
def test_without_runs_their_figures_are_left_out_and_the_remedy_is_said(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["--runs", str(tmp_path / "none"), "--out", str(out)]) == 0
    assert {path.name for path in out.glob("*.png")} == {"appendix_c.png"}
    said = capsys.readouterr().out
    for name in ("pos_bert_curves", "pos_bert_summary", "pos_bert_grouping", "mae_curves"):
        assert f"{name}: left out: {tmp_path / 'none'} holds no finished run" in said
    assert "python -m experiments bert pretrain" in said
    assert "python -m experiments mae pretrain" in said


@pytest.mark.usefixtures("few_figures")
def test_without_a_folder_each_experiment_is_looked_for_where_it_leaves_its_runs(
    tmp_path, monkeypatch, mae_runs
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(mae_runs, tmp_path / "runs" / "mae" / "pretrained")
    write_runs(tmp_path / "runs" / "bert" / "pretrained", {"average": "pos"})
    assert main([]) == 0
    drawn = {path.stem for path in (tmp_path / "runs" / "figures").glob("*.png")}
    assert drawn == {"appendix_c", "pos_bert_curves", "pos_bert_summary", "mae_curves"}
    found = json.loads((tmp_path / "runs/figures/mae_curves.json").read_text(encoding="utf-8"))
    command = "python -m figures mae_curves --runs runs/mae/pretrained"
    assert found["provenance"]["command"] == command
    assert main(["--runs", "runs", "--out", "again"]) == 0
    assert {path.stem for path in (tmp_path / "again").glob("*.png")} == drawn


@pytest.mark.usefixtures("few_figures")
def test_with_runs_every_figure_that_they_allow_is_drawn(tmp_path, capsys):
    write_runs(tmp_path / "runs", {"average": "pos", "minimax": "pos"})
    out = tmp_path / "out"
    assert main(["--runs", str(tmp_path / "runs"), "--out", str(out)]) == 0
    drawn = {"appendix_c.png", "pos_bert_curves.png", "pos_bert_summary.png"}
    assert {path.name for path in out.glob("*.png")} == drawn
    said = capsys.readouterr().out
    assert "pos_bert_grouping: left out:" in said
    assert "mae_curves: left out: " in said
    assert "holds runs of PoS-BERT, none of the MAE" in said
    again = tmp_path / "again"
    assert main(["--from-data", str(out), "--out", str(again)]) == 0
    assert {path.name for path in again.iterdir()} == drawn
    assert "pos_bert_grouping: left out: cannot read" in capsys.readouterr().out


@pytest.mark.parametrize("name", RUNS_FIGURES)
def test_a_figure_of_runs_that_was_asked_for_is_an_error_without_runs(name, tmp_path, capsys):
    message = fails([name, "--runs", tmp_path / "none", "--out", tmp_path], capsys)
    assert f"argument --runs: {tmp_path / 'none'} holds no finished run" in message
    message = fails([name, "--from-data", tmp_path / "none", "--out", tmp_path], capsys)
    assert "argument --from-data: cannot read" in message


@pytest.mark.usefixtures("few_figures")
def test_a_damaged_run_is_an_error_even_if_no_figure_was_asked_for(tmp_path, capsys):
    write_runs(tmp_path, {"average": "pos"})
    path = alter(tmp_path, "average", 0, lambda content: content.pop("history"))
    message = fails(["--runs", tmp_path, "--out", tmp_path / "out"], capsys)
    assert f"argument --runs: {path}: `history` should be a list; found None" in message


def test_a_package_that_only_runs_need_is_named(runs, tmp_path):
    code = (
        "import sys; sys.modules['yaml'] = None\nfrom figures.__main__ import main\n"
        f"sys.exit(main(['pos_bert_summary', '--runs', {str(runs)!r}, '--out', {str(tmp_path)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "needs the package 'yaml'" in done.stderr
    assert "taskrobust[experiments]" in done.stderr


def test_figures_need_no_torch_until_they_are_of_runs():
    code = (
        "import sys\nfrom figures import registry\n"
        "print(sorted({'torch', 'transformers', 'yaml', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
