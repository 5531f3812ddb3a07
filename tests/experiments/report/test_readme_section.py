"""The results section of a README: what its store gives, between the markers, and nothing else."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.__main__ import main
from experiments.configuration import ConfigurationError
from experiments.report.collect import Sources, collect
from experiments.report.command_line import COMMITTED
from experiments.report.readme import END, START, section, with_section
from tests.experiments.report.stores import filled

ROOT = Path(__file__).parents[3]
TEXT = f"# Project\n\nBefore.\n\n{START}\nstale text\n{END}\n\nAfter.\n"


def test_the_readme_has_what_the_store_of_the_repository_gives():
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    stores = tuple(store for store in (COMMITTED,) if store.is_dir())
    nowhere = ROOT / "nowhere"
    material = collect(Sources(stores, nowhere, nowhere, nowhere, nowhere))
    assert with_section(text, section(material, ROOT), "README.md") == text, (
        "run: python -m experiments report --readme README.md"
    )


@pytest.fixture
def readme(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_the_section_is_replaced_and_the_rest_is_kept(readme, tmp_path, capsys):
    store = filled(tmp_path / "store")
    words = ["report", "--store", str(store.root), "--readme", str(readme)]
    assert main(words) == 0
    text = readme.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    inside, _, after = rest.partition(END)
    assert (before, after) == ("# Project\n\nBefore.\n\n", "\n\nAfter.\n")
    assert "stale" not in inside
    assert "comparisons with gains of Minimax that the paper prints" in inside
    assert r"\* follows from another printed cell" in inside
    assert "**Table 1, PoS-BERT on GLUE (cpu)**, [records](store/bert/cpu/):" in inside
    assert re.search(r"^\| Minimax \| \d+\.\d ± ", inside, flags=re.MULTILINE)
    assert "written" in capsys.readouterr().out
    assert main(words) == 0
    assert readme.read_text(encoding="utf-8") == text
    assert "is up to date" in capsys.readouterr().out


def test_smoke_runs_do_not_get_into_a_readme(readme, tmp_path):
    store = filled(tmp_path / "store", preset="smoke")
    assert main(["report", "--store", str(store.root), "--readme", str(readme)]) == 0
    text = readme.read_text(encoding="utf-8")
    assert "only runs on generated data" in " ".join(text.split())
    assert "|" not in text


@given(st.text(), st.text(), st.text())
def test_a_section_put_in_twice_is_in_once(before, content, after):
    marked = f"{before}{START}old{END}{after}"
    if (before + content + after).count("<!--"):
        return
    once = with_section(marked, content, "README.md")
    assert once == f"{before}{START}\n{content}{END}{after}"
    assert with_section(once, content, "README.md") == once


@pytest.mark.parametrize(
    "text",
    ["no markers", START, END, f"{END} {START}", f"{START}{START}{END}", f"{START}{END}{END}"],
)
def test_a_readme_without_markers_is_refused(text):
    with pytest.raises(ConfigurationError, match="should have the line <!-- results -->"):
        with_section(text, "new", "README.md")


def test_a_missing_readme_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["report", "--readme", str(tmp_path / "README.md")])
    assert "README.md: No such file" in capsys.readouterr().err
