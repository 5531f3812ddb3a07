import argparse
import ast
import sys
from pathlib import Path

import pytest

from taskrobust import _command_line, _files
from taskrobust._command_line import (
    MISSING_EXTRA,
    named,
    report_missing_extra,
    seed,
    writable_directory,
)


@pytest.mark.parametrize("module", [_command_line, _files])
def test_nothing_but_the_standard_library_is_imported(module):
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
    assert found
    assert {name.partition(".")[0] for name in found} <= sys.stdlib_module_names


@pytest.mark.parametrize("extra", ["theory", "torch"])
def test_a_missing_package_is_reported_with_the_extra_that_brings_it(capsys, extra):
    error = ModuleNotFoundError("No module named 'abc'", name="abc")
    assert report_missing_extra("python -m x", extra, error) == MISSING_EXTRA
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        f"python -m x needs the package 'abc'; install the {extra} extra: "
        f"pip install 'taskrobust[{extra}]'\n"
    )


def test_names_are_folded_and_near_misses_are_suggested():
    parse = named("table", ["one", "two"], str.lower)
    assert parse("ONE") == "one"
    with pytest.raises(argparse.ArgumentTypeError, match=r"unknown table 'twoo'; did you mean two"):
        parse("twoo")
    with pytest.raises(argparse.ArgumentTypeError, match=r"'zzz' \(known: one, two\)"):
        parse("zzz")


def test_a_directory_is_made_and_left_empty(tmp_path):
    path = tmp_path / "a" / "b"
    assert writable_directory(argparse.ArgumentParser(), path) == path
    assert list(path.iterdir()) == []


def test_seeds_start_at_zero():
    assert seed("0") == 0
    with pytest.raises(argparse.ArgumentTypeError, match="found -1"):
        seed("-1")
