"""Every number of the page is that of the records it links to."""

import json
import shutil
from pathlib import Path

import pytest

from experiments.__main__ import main
from tests.experiments.report.checking import check_page
from tests.experiments.report.stores import filled

COMMITTED = Path(__file__).parents[3] / "experiments" / "results" / "store"


def report(store, out, *more):
    nowhere = str(out / "nowhere")
    left_out = [f"--{name}={nowhere}" for name in ("ledger", "table3", "results", "figures")]
    words = ["report", "--store", str(store), "--out", str(out), *left_out, *more]
    assert main(words) == 0
    return out / "report.html"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a store and its report."""
    folder = tmp_path_factory.mktemp("made")
    report(filled(folder / "store").root, folder / "out")
    return folder


@pytest.fixture
def copy(made, tmp_path):
    return shutil.copytree(made, tmp_path / "copy")


def test_every_number_is_that_of_its_records(made):
    checked, wrong = check_page(made / "out" / "report.html")
    # 3 arms × 3 seeds × (6 + 7 columns); 3 means each and their two comparisons; token mean and
    # Uncertainty against None
    assert checked == 9 * 13 + 3 * 13 + 2 * 13 + 13
    assert wrong == []


@pytest.mark.parametrize(
    ("record", "path"),
    [
        ("bert/cpu/average/seed-1/rte-1.json", ("dev", "", "accuracy")),
        ("bert/cpu/minimax/seed-2/pretrain.json", ("test", "worst_but_interjection", "value")),
        ("mae/cpu/uncertainty/seed-0/depth-0.json", ("test", "delta_1")),
    ],
)
def test_a_number_that_is_not_that_of_its_record_is_noticed(copy, record, path):
    file = copy / "store" / record
    content = json.loads(file.read_text(encoding="utf-8"))
    *parents, last = path
    inner = content
    for step in parents:
        inner = inner[step]
    inner[last] = 1 - inner[last]
    file.write_text(json.dumps(content), encoding="utf-8")
    _, wrong = check_page(copy / "out" / "report.html")
    assert len(wrong) >= 2  # of the seed, and the mean over seeds


@pytest.mark.parametrize("kind", ["seed", "mean", "deviation", "interval", "verdict"])
def test_a_number_that_was_changed_on_the_page_is_noticed(copy, kind):
    page = copy / "out" / "report.html"
    text = page.read_text(encoding="utf-8")
    anchor = "#table-1-cpu-row-minimax"
    if kind in {"mean", "deviation"}:
        start = text.index(f'<a href="{anchor}">', text.index("<h3", text.index("tables-1-and-2")))
        start = text.index(" ± ", start) if kind == "deviation" else text.index(">", start)
    elif kind == "seed":
        start = text.index('<a href="', text.index('<h4 id="table-1-cpu-row-minimax'))
        start = text.index('pretrain.json">', start)
    elif kind == "interval":
        start = text.index(" to ", text.index("<p>Minimax less None:</p>"))
    if kind == "verdict":
        start = text.index("cannot tell</td>", text.index("<p>Minimax less None:</p>"))
        text = text[:start] + "supports" + text[start + len("cannot tell") :]
    else:
        digit = next(i for i in range(start, len(text)) if text[i].isdigit())
        text = text[:digit] + str((int(text[digit]) + 5) % 10) + text[digit + 1 :]
    page.write_text(text, encoding="utf-8")
    _, wrong = check_page(page)
    assert len(wrong) == 1


def test_cells_that_were_not_run_are_left_open(tmp_path):
    store = filled(tmp_path / "store")
    for path in store.root.glob("bert/cpu/minimax/seed-2/*.json"):
        path.unlink()
    for path in store.root.glob("mae/cpu/uncertainty/seed-*/depth-0.json"):
        path.unlink()
    page = report(store.root, tmp_path / "out")
    _, wrong = check_page(page)
    assert wrong == []
    text = page.read_text(encoding="utf-8")
    assert "Not run yet: Uncertainty/δ1, GradNorm/accuracy" in text
    assert "2 of 6" not in text


def test_two_stores_with_one_preset_are_told_apart(tmp_path):
    stores = [filled(tmp_path / name / "store", seeds=n).root for name, n in (("a", 2), ("b", 3))]
    page = report(stores[0], tmp_path / "out", "--store", *map(str, stores))
    checked, wrong = check_page(page)
    assert wrong == []
    assert checked == (6 * 13 + 6 * 13) + (9 * 13 + 6 * 13)
    assert "Table 1 (cpu, " in page.read_text(encoding="utf-8")


def test_numbers_of_this_repository_are_those_of_its_records(tmp_path):
    if not COMMITTED.is_dir():
        pytest.skip(f"no store in the repository: {COMMITTED}")
    checked, wrong = check_page(report(COMMITTED, tmp_path))
    assert checked > 0
    assert wrong == []
