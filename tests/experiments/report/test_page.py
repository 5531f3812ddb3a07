"""The page opens alone, its links lead somewhere, and it says what the material says."""

import base64
import json
import re
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from experiments.__main__ import main
from experiments.report.command_line import RESULTS
from experiments.report.html import to_html
from experiments.report.pages import page_section
from experiments.report.text import Links, anchor, plain, table
from experiments.tables import table3
from experiments.tables.store import Key, Store
from tests.experiments.report.checking import Page, check_page, local_files
from tests.experiments.report.stores import fill_bert, filled
from tests.experiments.tables.helpers import TRUNKS

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
README = """\
# A study

See [its numbers](numbers.json), [another](../other/README.md#part) and [the paper](https://arxiv.org/).

![A picture](picture.png)

## How it was run

```yaml
# not a heading, [nor](a-link.md)
```
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A report with everything in it; the ledger is a real one."""
    from theory.__main__ import main as verify

    folder = tmp_path_factory.mktemp("made")
    filled(folder / "store")
    fill_bert(Store(folder / "store"), preset="smoke", seeds=1)
    assert (
        verify(["--claim", "A4", "A6", "--effort", "quick", "--out", str(folder / "theory")]) == 0
    )
    settings = table3.Settings(tasks=(2,), repeats=1, trunks=TRUNKS[:1])
    text = table3.to_json(table3.run(settings, "python -m experiments table3"))
    (folder / "table3.json").write_text(text, encoding="utf-8")
    study = folder / "results" / "study"
    study.mkdir(parents=True)
    (study / "README.md").write_text(README, encoding="utf-8")
    (study / "numbers.json").write_text("{}", encoding="utf-8")
    write_cost(study.parent / "costs", "table1-paper", 1234.5)
    write_cost(study.parent / "costs", "table2-paper", 5.0)
    write_cost(folder / "tables", "table2-paper", 16.0)  # their own dry run, beside the store
    (study.parent / "other").mkdir()
    (study.parent / "other" / "README.md").write_text("# Another\n", encoding="utf-8")
    (folder / "figures").mkdir()
    for path in (study / "picture.png", folder / "figures" / "geometry.png"):
        path.write_bytes(PNG)
    (folder / "figures" / "geometry.csv").write_text("x\n", encoding="utf-8")
    assert run(folder) == 0
    return folder


def write_cost(folder, name, hours):
    folder.mkdir(exist_ok=True)
    content = {"gpu_hours": {"A100": hours, "H100": hours / 4}, "utilisation": 0.35}
    (folder / f"{name}-cost.json").write_text(json.dumps(content), encoding="utf-8")


def run(folder, *more):
    sources = {
        "--store": "store",
        "--ledger": "theory/ledger.json",
        "--table3": "table3.json",
        "--results": "results",
        "--figures": "figures",
        "--out": "out",
    }
    words = [word for name, at in sources.items() for word in (name, str(folder / at))]
    return main(["report", *words, *more])


@pytest.fixture
def copy(made, tmp_path):
    return shutil.copytree(made, tmp_path / "copy")


@pytest.fixture(scope="module")
def page(made):
    return Page(made / "out" / "report.html")


@pytest.fixture(scope="module")
def markdown(made):
    return (made / "out" / "report.md").read_text(encoding="utf-8")


def test_the_page_loads_nothing(page):
    text = page.path.read_text(encoding="utf-8")
    assert not {"script", "link", "iframe", "object", "embed", "video"} & set(page.tags)
    assert "url(" not in text
    assert "@import" not in text
    assert len(page.sources) == 5  # a study's picture, a figure, three forest plots
    for source in page.sources:
        kind, _, data = source.partition(";base64,")
        assert kind == "data:image/png"
        assert base64.b64decode(data, validate=True).startswith(b"\x89PNG")


def test_links_lead_somewhere(page):
    assert len(page.names) == len(set(page.names))
    within = [link for link in page.links if link.startswith("#")]
    assert {link.removeprefix("#") for link in within} <= set(page.names)
    files = local_files(page, (link.partition("#")[0] for link in page.links if link[0] != "#"))
    assert [str(path) for path in files if not path.exists()] == []
    assert len(files) > 9 * 13  # every number of every seed, and more


def test_markdown_has_the_same_links_and_its_pictures_beside_it(made, page, markdown):
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", markdown)
    assert len(pictures) == len(page.sources)
    assert all((made / "out" / address).is_file() for address in pictures)
    links = re.findall(r"(?<!!)\[[^]]*\]\(([^)]+)\)", markdown)
    contents = [name for name in page.links if name.startswith("#")]
    assert set(links) - {"a-link.md"} <= set(page.links)
    assert set(page.links) <= set(links) | set(contents)


def test_the_verdict_comes_first_and_agrees_with_the_tables(made, markdown):
    cover = markdown.partition("\n## ")[0]
    found = json.loads((made / "out" / "report.json").read_text(encoding="utf-8"))["comparisons"]
    evidence = [each for each in found if each["evidence"]]
    assert {each["preset"] for each in evidence} == {"cpu"}
    printed = [each for each in evidence if each["printed_gain"] is not None]
    counts = [
        sum(each["verdict"] == verdict for each in printed)
        for verdict in ("supports", "contradicts", "cannot tell")
    ]
    assert f"**Of {len(printed)} comparisons with gains of Minimax" in cover
    told = f"support the sign of {counts[0]}, contradict {counts[1]} and cannot tell {counts[2]}, "
    assert told in cover
    assert "**No evidence.** Table 1 (smoke) is of generated data" in cover
    assert sum(counts) == len(printed) >= 6


def test_smoke_presets_are_said_to_be_no_evidence(markdown):
    _, _, smoke = markdown.partition("\n### Table 1 (smoke)")
    assert "**No evidence:**" in smoke.partition("\n### ")[0]
    _, _, cpu = markdown.partition("\n### Table 1 (cpu)")
    assert "**No evidence:**" not in cpu.partition("\n### ")[0]


def test_the_ledger_is_counted_claim_by_claim(made, page):
    ledger = json.loads((made / "theory" / "ledger.json").read_text(encoding="utf-8"))
    (block,) = [b for b in page.blocks if b.rows[0][0].text == "claim" and len(b.rows[0]) > 4]
    verdicts = ("holds", "holds as corrected", "refuted as printed")
    for name, _, _, *counts, other, status in block.rows[1:]:
        lines = [line["verdict"] for line in ledger["lines"] if line["claim"] == name.text]
        assert [cell.text or "0" for cell in counts] == [str(lines.count(v)) for v in verdicts]
        assert other.text == ""
        assert status.text == "refuted and corrected"
    assert [row[0].text for row in block.rows[1:]] == ["A4", "A6"]


def test_a_line_that_did_not_come_out_leaves_its_claim_open(copy):
    path = copy / "theory" / "ledger.json"
    ledger = json.loads(path.read_text(encoding="utf-8"))
    ledger["lines"][-1]["verdict"] = "fails"
    ledger |= {"verified": False, "counts": ledger["counts"] | {"fails": 1}}
    path.write_text(json.dumps(ledger), encoding="utf-8")
    assert run(copy) == 0
    text = (copy / "out" / "report.md").read_text(encoding="utf-8")
    assert re.search(r"^\| A6 .*\| 1 \| open \|$", text, flags=re.MULTILINE)
    assert "1 fails" in text
    assert "Not every line came out as it should." in text


def test_table_3_is_told_from_its_file(markdown):
    _, _, section = markdown.partition("\n## Table 3")
    for method in ("None", "Uncertainty", "DWA", "GradNorm", "Minimax"):
        assert f"\n| {method} | " in section


def test_pages_of_results_go_one_floor_down(markdown):
    assert "\n### A study\n\nSource: [study/README.md](../results/study/README.md).\n" in markdown
    assert "\n#### How it was run\n" in markdown
    assert "\n# not a heading, [nor](a-link.md)\n" in markdown
    assert "[its numbers](../results/study/numbers.json)" in markdown
    assert "[another](../results/other/README.md#part)" in markdown
    assert "![A picture](pictures/study-picture.png)" in markdown


def test_what_was_not_run_is_listed_with_the_reason(markdown):
    _, _, section = markdown.partition("\n## What was not run\n")
    section = section.partition("\n## ")[0]
    assert "| Table 2 (cpu) | 14 of 35 cells |" in section  # GradNorm and DWA
    assert re.search(r"\| `table2 --preset smoke` \| all \| .*needs no data", section)
    assert re.search(r"\| `table1 --preset paper` \| all \| .*Wikipedia", section)
    assert "table1 --preset cpu" not in section


def test_runs_that_failed_are_told_with_the_reason(tmp_path):
    store = filled(tmp_path / "store")
    lost = next(store.root.glob("bert/cpu/minimax/seed-1/rte-0.json"))
    lost.unlink()
    store.add_failure(Key("bert", "cpu", "minimax", 1, "rte-0"), "diverged | at step 4", "")
    store.add_failure(Key("bert", "cpu", "no-row", 0, "pretrain"), "of another table", "")
    assert run(tmp_path) == 0
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    (line,) = (line for line in text.splitlines() if line.startswith("| Table 1 (cpu) |"))
    assert "| some of 3 seeds (there are: Minimax 2–3) |" in line
    assert r"minimax, seed 1: rte-0 failed: diverged \| at step 4." in line
    assert "of another table" not in text


def test_a_preset_of_which_every_run_failed_is_told_with_the_reason(tmp_path):
    store = filled(tmp_path / "store")
    store.add_failure(Key("mae", "small", "average", 0, "pretrain"), "no such card", "")
    assert run(tmp_path) == 0
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    (line,) = (line for line in text.splitlines() if "`table2 --preset small`" in line)
    assert "average, seed 0: pretrain failed: no such card; no record in the store" in line


def test_pictures_of_folders_with_one_name_are_kept_apart(tmp_path):
    stores = [filled(tmp_path / name / "store", seeds=n).root for name, n in (("a", 2), ("b", 3))]
    for number, store in enumerate(stores):
        (store.parent / "tables").mkdir()
        (store.parent / "tables" / "figure3-cpu.png").write_bytes(PNG + bytes([number]))
    assert run(tmp_path, "--store", *map(str, stores)) == 0
    kept = {path.read_bytes() for path in (tmp_path / "out" / "pictures").glob("*figure3-cpu.png")}
    assert kept == {PNG + b"\0", PNG + b"\1"}


def test_what_it_would_cost_is_that_of_the_dry_run_it_links_to(markdown):
    lines = {line.split(" |")[0]: line for line in markdown.splitlines() if "--preset" in line}
    paper = lines["| `table1 --preset paper`"]
    assert "[1,234 / 309](../results/costs/table1-paper-cost.json) at 35 %" in paper
    paper = lines["| `table2 --preset paper`"]
    assert "[16 / 4.0](../tables/table2-paper-cost.json) at 35 %" in paper
    assert "`--dry-run` says" in lines["| `table1 --preset small`"]


def test_one_seed_tells_nothing(tmp_path, capsys):
    store = filled(tmp_path / "store", seeds=1)
    assert run(tmp_path, "--store", str(store.root)) == 0
    found = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert {each["verdict"] for each in found["comparisons"]} == {"one seed"}
    said = " ".join(capsys.readouterr().out.split())
    count = sum(each["printed_gain"] is not None for each in found["comparisons"])
    assert f"contradict 0 and cannot tell 0; {count} have one seed only" in said
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "worst held-out upstream risk has one seed only" in text
    assert (
        "| Table 1 (cpu) | some of 3 seeds (there are: None 1, Minimax 1, token mean 1) |" in text
    )
    assert not check_page(tmp_path / "out" / "report.html")[1]


def test_an_empty_store_gives_a_page_that_says_so(tmp_path, capsys):
    (tmp_path / "store").mkdir()
    assert run(tmp_path) == 0
    page = Page(tmp_path / "out" / "report.html")
    text = page.path.read_text(encoding="utf-8")
    assert "the stores are empty" in text
    assert "No ledger was found" in text
    assert "the stores are empty" in " ".join(capsys.readouterr().out.split())


def refusal(folder, capsys, *more):
    with pytest.raises(SystemExit) as stopped:
        run(folder, *more)
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_a_missing_store_is_named(tmp_path, capsys):
    assert f"--store {tmp_path / 'store'}: should be a folder of records" in refusal(
        tmp_path, capsys
    )


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("store/mae/cpu/minimax/seed-0/cls-0.json", "{", "cls-0.json is not valid JSON"),
        ("store/mae/cpu/minimax/seed-0/cls-0.json", "{}", "has no 'arm'"),
        ("theory/ledger.json", "[]", "ledger.json should hold an object"),
        ("theory/ledger.json", "{}", "has no 'counts'"),
        ("table3.json", "{}", "has no 'printed'"),
    ],
)
def test_a_damaged_file_is_named(copy, capsys, file, text, message):
    (copy / file).write_text(text, encoding="utf-8")
    assert message in refusal(copy, capsys)


@given(st.text(alphabet=st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"])))
def test_plain_text_stays_as_it_is_in_a_cell(text):
    lines = table(["head"], [[f"a {plain(text)} z"]])
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    inline = [t for t in parser.parse("\n".join(lines)) if t.type == "inline"][-1]
    assert "".join(t.content for t in inline.children) == f"a {' '.join(text.split())} z"
    assert {t.type for t in inline.children} <= {"text", "text_special"}


@given(st.lists(st.text(alphabet="ab A-1(,", min_size=1).filter(str.strip), max_size=6))
def test_headings_have_names_of_their_own(titles):
    text = "\n\n".join(f"## x{title}" for title in titles)
    found = re.findall(r'<h2 id="([^"]*)">', to_html(text, None))
    assert len(found) == len(set(found)) == len(titles)
    assert all(
        name.startswith(anchor(f"x{t}".strip())) for name, t in zip(found, titles, strict=True)
    )


def test_a_page_without_headings_is_taken_whole(tmp_path):
    path = tmp_path / "study" / "README.md"
    path.parent.mkdir()
    path.write_text("Only text.\n", encoding="utf-8")
    found = page_section(path, Links(tmp_path), lambda _: "")
    assert "Only text." in found
    assert "[study/README.md](study/README.md)" in found


def test_pages_of_this_repository_lead_somewhere(tmp_path):
    (tmp_path / "store").mkdir()
    assert run(tmp_path, "--results", str(RESULTS)) == 0
    page = Page(tmp_path / "out" / "report.html")
    assert {name.removeprefix("#") for name in page.links if name[0] == "#"} <= set(page.names)
    links = (link.partition("#")[0] for link in page.links if link[0] != "#")
    assert [str(path) for path in local_files(page, links) if not path.exists()] == []


def test_html_in_a_page_is_shown_not_run():
    assert "<script>" not in to_html("# T\n\n<script>alert(1)</script>", None)


def test_the_same_store_gives_the_same_pictures(made, tmp_path):
    assert run(made, "--out", str(tmp_path)) == 0
    for path in (made / "out" / "pictures").iterdir():
        assert path.read_bytes() == (tmp_path / "pictures" / path.name).read_bytes()
