"""The command line: exit status, messages, files and width."""

import errno
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from rich.cells import cell_len

from theory import claims, terminal
from theory.__main__ import main
from theory.claims import Claim
from theory.judge import Measurement, holds

ROOT = Path(__file__).parents[2]
QUICK = ("--claim", "A4", "--effort", "quick")


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch):
    """Whatever the environment of the tests says about colours and columns."""
    for name in ("FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


def replace_claim(monkeypatch, checks):
    monkeypatch.setitem(claims.CLAIMS, "A4", Claim("A4", "t", "s", "p", "c", checks))


def never(_):
    raise AssertionError("a claim was measured")
    yield


def refusal(capsys, *arguments):
    """What is said on standard error when the arguments are refused."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One run as a process of its own: its result and its directory."""
    out = tmp_path_factory.mktemp("run") / "not" / "yet" / "there"
    command = [sys.executable, "-m", "theory", *QUICK, "--out", str(out)]
    result = subprocess.run(
        command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False, timeout=300
    )
    return result, out


def test_a_verified_run_exits_with_zero_and_leaves_both_files(finished):
    result, out = finished
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert sorted(path.name for path in out.iterdir()) == ["ledger.json", "ledger.md"]
    found = json.loads((out / "ledger.json").read_text(encoding="utf-8"))
    assert found["verified"] is True
    assert {line["claim"] for line in found["lines"]} == {"A4"}
    assert (out / "ledger.md").read_text(encoding="utf-8").startswith("# Ledger of claims")


def test_the_output_shows_every_line_and_the_end_result(finished):
    result, out = finished
    found = json.loads((out / "ledger.json").read_text(encoding="utf-8"))
    for line in found["lines"]:
        rows = [row for row in result.stdout.splitlines() if row.startswith(line["name"])]
        assert any(line["verdict"] in row for row in rows)
    assert "these claims are verified" in result.stdout
    assert "ledger.json" in result.stdout


def test_every_printed_line_fits_a_hundred_columns(finished):
    result, _ = finished
    assert max(map(cell_len, result.stdout.splitlines())) <= terminal.WIDTH == 100
    assert "\x1b" not in result.stdout  # no colours where nobody sees them


def test_the_same_seed_gives_the_same_document_apart_from_times(finished, tmp_path, capsys):
    def timeless(path):
        found = json.loads((path / "ledger.json").read_text(encoding="utf-8"))
        for part in (found, *found["lines"]):
            assert part.pop("seconds") >= 0
        return found

    assert main([*QUICK, "--out", str(tmp_path / "same")]) == 0
    assert timeless(tmp_path / "same") == timeless(finished[1])
    assert main([*QUICK, "--seed", "1", "--out", str(tmp_path / "other")]) == 0
    other = timeless(tmp_path / "other")
    assert other.pop("seed") == 1
    same = timeless(tmp_path / "same")
    assert same.pop("seed") == 0
    assert other != same
    capsys.readouterr()


def test_a_failing_line_exits_with_one_and_says_where(monkeypatch, tmp_path, capsys):
    wrong = holds("bad [b]line", "x ≤ 1", "<=", [Measurement.value(2.5, 1.0, "T=3 [x]")])
    replace_claim(monkeypatch, lambda _: iter([wrong]))
    assert main([*QUICK, "--out", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "NOT VERIFIED" in out
    assert "A4 bad [b]line: fails, measured 2.5 <= 1 at T=3 [x]" in out
    assert json.loads((tmp_path / "ledger.json").read_text(encoding="utf-8"))["verified"] is False


def test_a_claim_without_lines_is_not_verified(monkeypatch, tmp_path, capsys):
    replace_claim(monkeypatch, lambda _: iter(()))
    assert main([*QUICK, "--out", str(tmp_path)]) == 1
    assert "NOT VERIFIED" in capsys.readouterr().out


def test_the_list_names_every_claim_and_writes_nothing(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    replace_claim(monkeypatch, never)
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = [line.split()[0] for line in lines if line[2:4].strip()]
    assert [key for key in listed if key in claims.CLAIMS] == list(claims.CLAIMS)
    assert max(map(cell_len, lines)) <= 100
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a4", "A4"])
def test_names_are_accepted_in_any_case(monkeypatch, tmp_path, capsys, name):
    replace_claim(monkeypatch, lambda c: iter([passing(c.effort.name)]))
    assert main(["--claim", name, "--effort", "QUICK", "--out", str(tmp_path)]) == 0
    assert "quick" in capsys.readouterr().out


def passing(name):
    return holds(name, "x ≤ 1", "<=", [Measurement.value(0.5, 1.0, "w")])


def test_an_unknown_claim_is_refused_with_the_nearest_name(capsys):
    said = refusal(capsys, "--claim", "A44")
    assert "argument --claim: unknown claim 'A44'; did you mean A4? (known: " in said
    assert "A4" in refusal(capsys, "--claim", "A4", "softmax")


def test_an_unknown_effort_is_refused_with_the_nearest_name(capsys):
    said = refusal(capsys, "--effort", "quik")
    assert "unknown effort 'quik'; did you mean quick? (known: quick, default, full)" in said
    assert "did you mean" not in refusal(capsys, "--effort", "zzz")


@pytest.mark.parametrize(
    "arguments", [("--seed", "one"), ("--claim",), ("--effort",), ("stray",), ("--unknown",)]
)
def test_bad_arguments_are_refused_with_the_usage(capsys, arguments):
    assert "usage: python -m theory" in refusal(capsys, *arguments)


def test_a_place_that_cannot_be_written_is_refused_before_any_work(monkeypatch, tmp_path, capsys):
    replace_claim(monkeypatch, never)
    blocked = tmp_path / "file"
    blocked.write_text("kept")
    for out in (blocked, blocked / "below", blocked / "far" / "below"):
        said = refusal(capsys, *QUICK, "--out", str(out))
        assert f"argument --out: cannot write to {out}: " in said
    assert blocked.read_text() == "kept"
    assert list(tmp_path.iterdir()) == [blocked]


def test_a_directory_that_takes_no_file_is_refused_before_any_work(monkeypatch, tmp_path, capsys):
    # not by permissions, which a superuser passes
    def read_only(**_):
        raise OSError(errno.EROFS, "Read-only file system")

    replace_claim(monkeypatch, never)
    monkeypatch.setattr(tempfile, "TemporaryFile", read_only)
    said = refusal(capsys, *QUICK, "--out", str(tmp_path))
    assert f"cannot write to {tmp_path}: Read-only file system" in said


BLOCK = """
import sys
class Missing:
    @staticmethod
    def find_spec(name, *_):
        if name.split(".")[0] == PACKAGE:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing)
"""


def without(package, *arguments, before=""):
    """`python -m theory` as a process in which a package is not installed."""
    program = f"PACKAGE = {package!r}{BLOCK}{before}\n"
    program += "from theory.__main__ import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("package", ["cvxpy", "rich"])
def test_a_missing_package_exits_with_three_and_names_the_extra(package):
    result = without(package, "--list")
    assert result.returncode == 3, result.stderr
    assert result.stdout == ""
    assert f"'{package}'" in result.stderr
    assert "pip install 'taskrobust[theory]'" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_training_framework_is_not_needed():
    result = without("torch", "--list")
    assert result.returncode == 0, result.stderr
    assert "A4" in result.stdout


def test_the_package_of_the_real_data_is_missed_by_name_too(tmp_path):
    result = without(
        "sklearn",
        *QUICK,
        "--out",
        str(tmp_path),
        before="""
from theory import claims
from theory.problems import digits_by_class
def checks(_): yield digits_by_class()
claims.CLAIMS["A4"] = claims.Claim("A4", "t", "s", "p", "c", checks)""",
    )
    assert result.returncode == 3
    assert "taskrobust[theory]" in result.stderr


def test_a_negative_seed_is_refused(tmp_path, capsys):
    assert "--seed" in refusal(capsys, *QUICK, "--seed", "-1", "--out", str(tmp_path))


def test_the_place_of_the_files_is_printed_as_it_is(monkeypatch, tmp_path, capsys):
    replace_claim(monkeypatch, lambda _: iter([passing("good")]))
    monkeypatch.chdir(tmp_path)
    main([*QUICK, "--out", "runs[red]"])
    assert "details: runs[red]/ledger.md" in capsys.readouterr().out


def test_a_claim_named_twice_is_measured_once(monkeypatch, tmp_path, capsys):
    replace_claim(monkeypatch, lambda _: iter([passing("good")]))
    assert main([*QUICK, "--claim", "a4", "--out", str(tmp_path)]) == 0
    assert "1 lines" in capsys.readouterr().out
