import json

import pytest

from experiments.__main__ import main
from tests.experiments.bert.conftest import TINY as TINY_BERT
from tests.experiments.mae.conftest import TINY as TINY_MAE

pytestmark = pytest.mark.usefixtures("one_thread")
QUICK = ["--examples", "12", "--head-examples", "16", "--head-steps", "3", "--snapshots", "3"]


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "220")


def words(overrides):
    return [word for each in overrides for word in ("--set", each)]


def command(study, data, out, *more):
    base = ["mechanisms", "hull", "--study", study, "--preset", "smoke", "--data", str(data)]
    return [*base, "--out", str(out), *more]


def check(out, upstream, downstream):
    found = json.loads((out / "hull.json").read_text())
    assert len(found["encoders"]) == 3
    for encoder in found["encoders"]:
        for rows in encoder["gradients"].values():
            kinds = {row["name"]: row["kind"] for row in rows}
            assert upstream <= {name for name, kind in kinds.items() if kind == "upstream"}
            assert downstream == {name for name, kind in kinds.items() if kind == "downstream"}
            for row in rows:
                fits = row["fits"]
                residuals = [fits[name]["residual"] for name in ("span", "cone", "simplex")]
                assert residuals == sorted(residuals) or residuals == pytest.approx(
                    sorted(residuals), abs=1e-6
                )
                assert sum(fits["simplex"]["weights"]) == pytest.approx(1)
    assert {row["name"] for row in found["traces"]} >= downstream
    assert (out / "hull.md").read_text().startswith("# Downstream risks and the hull")


def test_bert_is_trained_measured_and_read_back(tmp_path, prepared_folder, capsys):
    more = [*QUICK, *words(TINY_BERT), "--set", "fine_tuning.sequence_length=24"]
    asked = command("bert", prepared_folder, tmp_path, *more)
    assert main(asked) == 0
    check(tmp_path, {"verb", "noun"}, {"CoLA", "STS-B"})
    first = capsys.readouterr().out
    assert "Gradients of blocks at step-0000008" in first
    assert "done before" not in first
    kept = (tmp_path / "hull.json").read_text()
    assert main(asked) == 0
    assert capsys.readouterr().out.count("(done before)") == 3
    before, after = json.loads(kept), json.loads((tmp_path / "hull.json").read_text())
    assert before["encoders"] == after["encoders"]
    assert before["joint"] == after["joint"]


def test_mae_is_trained_and_measured(tmp_path, scene_folder):
    sizes = [f"downstream.{task}.image_size=[32, 32]" for task in ("cls", "semseg", "depth")]
    asked = command("mae", scene_folder, tmp_path, *QUICK, *words([*TINY_MAE, *sizes]))
    assert main(asked) == 0
    downstream = {"classification", "segmentation", "depth in metres"}
    check(tmp_path, {"rgb", "depth", "semseg"}, downstream)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--examples", "1"], "--examples: Input should be greater than or equal to 2; found 1"),
        (["--snapshots", "1"], "--snapshots should be at least 2; found 1"),
        (["--model", "nowhere/at/all"], "--model nowhere/at/all: is missing"),
        (["--arm", "none"], "unknown arm 'none'"),
        (["--downstream", "a", "b"], "should be one folder of GLUE's files; found 2"),
        (["--set", "optimisation.step=3"], "optimisation.step"),
    ],
)
def test_bad_input_ends_in_one_line_before_any_work(
    more, message, tmp_path, prepared_folder, capsys
):
    with pytest.raises(SystemExit) as stopped:
        main(command("bert", prepared_folder, tmp_path / "out", *words(TINY_BERT), *more))
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.replace("\n", " ")
    assert not list(tmp_path.rglob("hull.json"))
