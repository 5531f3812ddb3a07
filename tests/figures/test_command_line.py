import dataclasses
import json
import subprocess
import sys

import pytest

from figures import registry
from figures.__main__ import main
from tests.figures.conftest import TINY
from tests.figures.helpers import table

MAGIC = {"png": b"\x89PNG\r\n", "svg": b"<?xml", "pdf": b"%PDF"}


@pytest.fixture
def no_computing(monkeypatch):
    """Every figure refuses to compute."""

    def refuse(_):
        raise AssertionError("nothing should be computed")

    for name, entry in registry.FIGURES.items():
        changed = dataclasses.replace(entry, compute=refuse)
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
