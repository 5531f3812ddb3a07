"""``table1``, ``table2`` and ``figure3`` on generated data: runs, restarts, shards, refusals."""

import json

import pytest
from PIL import Image

from experiments.__main__ import main
from experiments.configuration import ConfigurationError
from experiments.mae import pretrain as mae_pretraining
from experiments.tables import bert_runs, mae_runs

pytestmark = pytest.mark.usefixtures("one_thread")

BERT = """\
study: smoke
overrides:
  - "preparation={source: generated, tagger: gold, generated_documents: 40, vocabulary_size: 300, \
sequence_length: 32, held_out: 0.2}"
  - "model={layers: 1, hidden: 16, heads: 2, positions: 32}"
  - "optimisation={steps: 2, batch_size: 4, learning_rate: 1.0e-3, warmup_steps: 0}"
  - "fine_tuning={source: generated, tasks: [cola, rte], epochs: 1, max_train_examples: 8, \
batch_size: 8, sequence_length: 24, seeds: [0]}"
rows: {None: average, Minimax: minimax}
seeds: 2
prepared: {prepared: {}}
reads: {pretrain: prepared}
"""
DOWNSTREAM = "image_size: [32, 32], epochs: 1, warmup_epochs: 0, batch_size: 8, pictures: 2"
MAE = f"""\
study: smoke
overrides:
  - "preparation={{source: scenes, splits: {{train: 16, test: 6}}, size: [32, 32]}}"
  - model.image_size=[32, 32]
  - model.width=16
  - model.heads=2
  - model.layers=4
  - model.decoder_width=16
  - masking.visible=4
  - "optimisation={{epochs: 1, warmup_epochs: 0, batch_size: 8}}"
  - pictures=0
  - "downstream.cls={{{DOWNSTREAM}, rand_augment: null, mixup: 0, cutmix: 0}}"
  - "downstream.semseg={{{DOWNSTREAM}}}"
  - "downstream.depth={{{DOWNSTREAM}}}"
rows: {{None: average, Minimax: minimax}}
seeds: 1
prepared: {{prepared: {{}}}}
reads: {{pretrain: prepared, cls: prepared, semseg: prepared, depth: prepared}}
"""


@pytest.fixture(scope="session")
def one_thread():
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch):
    """Whatever the environment of the tests says about colours and columns."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture(params=["table1", "table2"])
def table(request, tmp_path):
    """A table and the start of its command."""
    path = tmp_path / "own.yaml"
    path.write_text({"table1": BERT, "table2": MAE}[request.param], encoding="utf-8")
    return request.param, [request.param, "--preset", str(path)]


def cells(out, name):
    return (out / "tables" / f"{name}-own.csv").read_text(encoding="utf-8")


def refused(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    assert stop.value.code == 2
    return " ".join(capsys.readouterr().err.split())


def test_a_table_is_filled_interrupted_restarted_and_sharded_alike(
    table, tmp_path, capsys, monkeypatch
):
    name, words = table
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main([*words, "--out", str(whole)]) == 0
    said = capsys.readouterr().out
    assert "not run yet" not in said
    made = sorted(path.relative_to(whole) for path in whole.rglob("store/**/*.json"))
    assert f"{len(made)} runs made, 0 done before" in said
    assert {"md", "csv", "tex"} == {p.suffix[1:] for p in (whole / "tables").iterdir()}

    maker = {"table1": bert_runs.BertRuns, "table2": mae_runs.MaeRuns}[name]
    run, ran = maker.run, set()

    def two_runs(self, arm, seed, part):
        if len(ran) == 2 and (arm, seed, part) not in ran:
            raise KeyboardInterrupt
        ran.add((arm, seed, part))
        return run(self, arm, seed, part)

    monkeypatch.setattr(maker, "run", two_runs)
    assert main([*words, "--out", str(parts)]) == 130
    before = {path: path.read_bytes() for path in parts.rglob("store/**/*.json")}
    assert len(before) == 2
    monkeypatch.setattr(maker, "run", run)
    assert main([*words, "--out", str(parts), "--shard", "2/2"]) == 0
    assert main([*words, "--out", str(parts), "--shard", "1/2"]) == 0
    assert all(path.read_bytes() == content for path, content in before.items())
    assert sorted(path.relative_to(parts) for path in parts.rglob("store/**/*.json")) == made
    assert cells(parts, name) == cells(whole, name)

    capsys.readouterr()
    monkeypatch.setattr(maker, "run", None)
    assert main([*words, "--out", str(whole)]) == 0
    assert f"0 runs made, {len(made)} done before" in capsys.readouterr().out


def test_a_record_says_how_it_was_made(table, tmp_path):
    _, words = table
    words += ["--out", str(tmp_path / "out"), "--rows", "Minimax", "--seeds", "1"]
    assert main(words) == 0
    for path in (tmp_path / "out" / "store").rglob("*.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        assert record["arm"] == "minimax"
        assert record["command"] == " ".join(["python -m experiments", *words])
        assert record["preset"] == "own"
        assert record["part"] == path.stem
        assert {"configuration", "versions", "date", "seconds", "git", "device"} <= record.keys()


def test_figure_3_is_of_the_model_halfway(tmp_path, capsys, monkeypatch):
    path, out = tmp_path / "own.yaml", tmp_path / "out"
    path.write_text(MAE, encoding="utf-8")
    kept = []
    save = mae_pretraining.save_model

    def recorded(model, folder):
        kept.append((folder, model.encoder.global_token.detach().clone()))
        save(model, folder)

    monkeypatch.setattr(mae_pretraining, "save_model", recorded)
    assert main(["figure3", "--preset", str(path), "--out", str(out)]) == 0
    assert "not run yet" not in capsys.readouterr().out
    with Image.open(out / "tables" / "figure3-own.png") as image:
        assert image.width > image.height / 2
    half, end = (token for folder, token in kept if "minimax" in str(folder))
    assert not half.equal(end)
    record = json.loads(next(out.rglob("minimax/seed-0/semseg-half-0.json")).read_text("utf-8"))
    assert record["model"].endswith("minimax/seed-0/snapshots/0.5")
    # the table goes on with the same pre-training
    assert main(["table2", "--preset", str(path), "--out", str(out)]) == 0
    assert "6 runs made, 2 done before" in capsys.readouterr().out


def test_bad_input_is_refused_before_anything_is_run(tmp_path, capsys, monkeypatch):
    path, out = tmp_path / "own.yaml", tmp_path / "out"
    path.write_text(BERT, encoding="utf-8")
    monkeypatch.setattr(bert_runs.BertRuns, "run", None)
    words = ["table1", "--preset", path, "--out", out]
    assert "found 'Max' (known: None, Minimax)" in refused(capsys, *words, "--rows", "Max")
    assert "should be i/n" in refused(capsys, *words, "--shard", "3/2")
    assert "should be at least 1; found 0" in refused(capsys, *words, "--seeds", "0")
    assert "unknown preset 'smoky'; did you mean smoke?" in refused(
        capsys, "table1", "--preset", "smoky", "--out", out
    )
    wrong = refused(capsys, *words, "--set", "arms.minimax.balancer=maximin")
    assert "arm 'minimax': unknown balancer 'maximin'" in wrong
    text = BERT + "data:\n  text: {path: text, title: A corpus, licence: CC0, source: from me}\n"
    path.write_text(text, encoding="utf-8")
    said = refused(capsys, *words)
    assert "--data DIR is needed, a folder with text: A corpus (CC0); from me" in said
    assert "should have text: A corpus" in refused(capsys, *words, "--data", tmp_path)


def test_another_recipe_does_not_mix_with_what_is_there(tmp_path, capsys):
    path, out = tmp_path / "own.yaml", tmp_path / "out"
    path.write_text(BERT, encoding="utf-8")
    words = ["table1", "--preset", path, "--out", out, "--rows", "None", "--seeds", "1"]
    assert main([str(word) for word in words]) == 0
    said = refused(capsys, *words, "--set", "optimisation.steps=3")
    assert "`optimisation.steps` is 2 there and 3 here; choose another --out" in said


@pytest.fixture
def made_up(monkeypatch):
    """Runs that train nothing; those named fail."""
    failing = set()

    def run(_, arm, seed, part):
        if (arm, part) in failing:
            raise ConfigurationError("training diverged")
        common = {"arm": arm, "configuration": "{}", "device": "cpu", "parameters": 1}
        if part == "pretrain":
            return {**common, "seed": seed}
        task, _, number = part.rpartition("-")
        metric = {"cola": "matthews", "rte": "accuracy"}.get(task, "")
        scores = {"accuracy": 0.5, "mean_iou": 0.5, "delta_1": 0.5}
        return {
            **common, "pretraining_seed": seed, "task": task, "seed": int(number), "test": scores,
            "dev": {"": {metric: 0.5}},
        }  # fmt: skip

    for maker in (bert_runs.BertRuns, mae_runs.MaeRuns):
        monkeypatch.setattr(maker, "run", run)
    return failing


def test_a_failed_run_is_told_and_the_others_are_shown(table, tmp_path, capsys, made_up):
    name, words = table
    made_up.add(("minimax", {"table1": "cola-0", "table2": "cls-0"}[name]))
    assert main([*words, "--out", str(tmp_path / "out"), "--seeds", "1"]) == 1
    said = capsys.readouterr()
    assert "failed: minimax, seed 0: " in said.err
    assert "training diverged" in said.err
    (missing,) = (line for line in said.out.splitlines() if "not run yet: " in line)
    column = {"table1": "CoLA", "table2": "accuracy"}[name]
    assert f"Minimax/{column}" in missing
    assert f"None/{column}" not in missing
    assert "50.0" in said.out
    made_up.clear()
    assert main([*words, "--out", str(tmp_path / "out"), "--seeds", "1"]) == 0


@pytest.mark.usefixtures("made_up")
def test_a_command_for_some_rows_writes_the_whole_table(table, tmp_path, capsys):
    name, words = table
    words += ["--out", str(tmp_path / "out")]
    assert main(words) == 0
    whole = cells(tmp_path / "out", name)
    assert main([*words, "--rows", "Minimax"]) == 0
    assert cells(tmp_path / "out", name) == whole
    capsys.readouterr()
    assert main([*words, "--dry-run"]) == 0
    assert main([*words, "--dry-run", "--seeds", "1"]) == 0
    folder = tmp_path / "out" / "tables"
    all_of_it, part = (
        json.loads((folder / f"{name}-own-cost{end}.json").read_text(encoding="utf-8"))
        for end in ("", "-of-a-part")
    )
    assert part["seeds"] == {"None": 1, "Minimax": 1}
    assert all_of_it["seeds"] == {"table1": {"None": 2, "Minimax": 2}}.get(name, part["seeds"])


@pytest.mark.usefixtures("made_up")
def test_other_preparation_is_another_recipe(table, tmp_path, capsys):
    _, words = table
    words += ["--out", str(tmp_path / "out")]
    assert main(words) == 0
    preset = tmp_path / "own.yaml"
    text = preset.read_text(encoding="utf-8")
    own = "prepared: {prepared: {preparation: [seed=1]}}"
    preset.write_text(text.replace("prepared: {prepared: {}}", own), encoding="utf-8")
    assert "`prepared.prepared.preparation` is [] there and ['seed=1'] here" in refused(
        capsys, *words
    )


@pytest.mark.usefixtures("made_up")
def test_who_loads_the_images_is_no_part_of_the_recipe(tmp_path, capsys):
    path = tmp_path / "own.yaml"
    path.write_text(MAE, encoding="utf-8")
    words = ["table2", "--preset", str(path), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    more = ["--set", "optimisation.workers=1", "--set", "downstream.cls.workers=1"]
    capsys.readouterr()
    assert main([*words, *more]) == 0
    assert "0 runs made, 8 done before" in capsys.readouterr().out


def test_a_row_without_an_arm_is_refused(table, tmp_path, capsys, made_up):
    _, words = table
    preset = tmp_path / "own.yaml"
    text = preset.read_text(encoding="utf-8").replace("Minimax: minimax", "Minimax: maximin")
    preset.write_text(text, encoding="utf-8")
    assert "maximin" in refused(capsys, *words, "--out", tmp_path / "out")
    assert not made_up
