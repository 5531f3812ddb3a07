import json
import re

import numpy as np
import pytest
import yaml

from experiments.bert.evaluation import ClassSums, differences, read_sums, summarise, write_sums
from experiments.bert.glue.tasks import TASKS as GLUE_TASKS
from experiments.bert.summary import summarise as summary
from experiments.bert.tags import CLASSES, TASKS
from experiments.configuration import dump
from experiments.records import RESULT, RecordError, run_folder
from tests.experiments.bert.test_results import cells

PROVENANCE = {"command": "python -m experiments bert pretrain", "versions": {"torch": "1.2.3"}}


@pytest.fixture
def study(tmp_path, tiny):
    """Three arms, two seeds, without interjections; `early` finished before the reference."""
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 9, size=(40, len(CLASSES))).astype(float)
    counts[:, CLASSES.index("interjection")] = 0
    for minute, arm in enumerate(("early", "average", "minimax")):
        for seed in (0, 1):
            folder = run_folder(tmp_path / "pretrained", arm, seed)
            folder.mkdir(parents=True)
            measured = ClassSums(counts * rng.uniform(1, 9, counts.shape), counts, np.zeros(0))
            write_sums(measured, folder / "valid.npz")
            kept = tiny(f"arms={{{arm}: {{balancer: average}}}}")
            result = {
                **PROVENANCE,
                "arm": arm,
                "seed": seed,
                "date": f"2026-01-01 00:0{minute}:00",
                "device": "cpu",
                "seconds": 90.0,
                "parameters": 12345,
                "configuration": dump(kept) + "# prepared text\n",
                "valid": summarise(measured).as_data(),
            }
            (folder / RESULT).write_text(json.dumps(result), encoding="utf-8")
    return tmp_path


def fine_tuned(folder, arm, seed, score, **more):
    place = folder / arm / "rte" / f"seed-{seed}"
    place.mkdir(parents=True)
    splits = {"train": 1000, "dev": 277, "test": 3000}
    task = GLUE_TASKS["rte"]
    part = task.parts[0].name
    result = {
        "command": "python -m experiments bert finetune",
        "versions": {"torch": "1.2.3", "scipy": "4.5.6"},
        "arm": arm,
        "task": "rte",
        "seed": seed,
        "date": f"2026-01-02 00:00:0{seed}",
        "dev": {part: dict.fromkeys(task.metrics, score)},
        "pretraining_seed": 0,
        "model": str(run_folder(folder.parent / "pretrained", arm, 0) / "model"),
        "configuration": "max_train_examples: 200\nmodel: 0123456789abcdef\n",
        "data": {
            "source": "local",
            "splits": {name: {"rows": rows, "skipped": 0} for name, rows in splits.items()},
        },
        **more,
    }
    (place / RESULT).write_text(json.dumps(result), encoding="utf-8")


def section(text, title):
    """The table between a heading and the next."""
    between = re.split(r"^#+ ", text.split(f"# {title}\n")[1], flags=re.M)[0]
    return "\n".join(line for line in between.splitlines() if line.startswith("|"))


def test_each_number_is_that_of_a_run_and_the_reference_is_first(study):
    text = summary(study / "pretrained").markdown
    table = cells(section(text, "Held-out cross-entropy, valid (nats)"))
    assert table[""][:4] == ["pieces", "average", "early", "minimax"]
    assert "interjection" not in table
    for column, arm in enumerate(("average", "early", "minimax")):
        found = [
            json.loads((run_folder(study / "pretrained", arm, seed) / RESULT).read_text())["valid"]
            for seed in (0, 1)
        ]
        for name in set(TASKS) - {"interjection"}:
            values = [each["risks"][name]["value"] for each in found]
            expected = f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}"
            assert table[name][1 + column].strip("*") == expected


def test_differences_are_paired_with_the_reference_of_the_same_seed(study):
    text = summary(study / "pretrained").markdown
    table = cells(section(text, "Valid: difference to `average`"))
    assert table[""][:2] == ["early", "minimax"]
    for column, arm in enumerate(("early", "minimax")):
        expected = []
        for seed in (0, 1):
            ours, theirs = (
                read_sums(run_folder(study / "pretrained", name, seed) / "valid.npz")
                for name in (arm, "average")
            )
            found = differences(ours, theirs)["worst"]
            expected.append(f"{found.value:+.2f} ({found.lower:+.2f} to {found.upper:+.2f})")
        assert table["worst"][column] == "; ".join(expected).replace("-", "−")


def test_without_the_reference_there_are_no_differences(study):
    for seed in (0, 1):
        (run_folder(study / "pretrained", "average", seed) / RESULT).unlink()
    text = summary(study / "pretrained").markdown
    assert "difference" not in text.split("The star")[0]
    assert "| pieces | early | minimax |" in text


def test_fine_tuning_has_its_table_if_there_is_any(study):
    alone = summary(study / "pretrained", study / "nothing")
    assert "GLUE" not in alone.markdown
    for seed, score in enumerate((0.5, 0.75, 0.625)):
        fine_tuned(study / "finetuned", "minimax", seed, score)
    found = summary(study / "pretrained", study / "finetuned")
    assert len(found.tables) == len(alone.tables) + 1
    table = cells(section(found.markdown, "GLUE, dev (× 100)"))
    assert table["minimax"][0] == "62.5 (50.0–75.0)"
    assert "    python -m experiments bert finetune\n" in found.markdown
    assert "- Versions, fine-tuning: torch 1.2.3, scipy 4.5.6\n" in found.markdown
    assert "- Versions, pre-training: torch 1.2.3\n" in found.markdown
    assert "- RTE: train 200 of 2,490, dev 277; the first training examples\n" in found.markdown


def test_fine_tuning_of_another_pre_training_is_refused(study, tmp_path):
    fine_tuned(study / "finetuned", "minimax", 0, 0.5)
    other = tmp_path / "other" / "finetuned"
    fine_tuned(other, "minimax", 0, 0.5)
    summary(study / "pretrained", study / "finetuned")
    with pytest.raises(RecordError, match=r"other/finetuned.* none of the models .* --finetuned"):
        summary(study / "pretrained", other)
    assert "GLUE" not in summary(study / "pretrained", None).markdown


def test_every_table_has_one_order_of_arms(study):
    for arm in ("minimax", "early", "average"):
        fine_tuned(study / "finetuned", arm, 0, 0.5)
    published = {"pretraining_seed": None, "model": "a/bert"}
    fine_tuned(study / "finetuned", "a/bert", 0, 0.5, **published)
    text = summary(study / "pretrained", study / "finetuned").markdown
    assert list(cells(section(text, "GLUE, dev (× 100)")))[2:] == [
        "average", "early", "minimax", "a/bert"
    ]  # fmt: skip
    assert list(cells(section(text, "How it was run")))[2:] == [
        f"{arm}, seed {seed}" for arm in ("average", "early", "minimax") for seed in (0, 1)
    ]


def test_a_class_of_few_held_out_pieces_has_no_interval(study):
    for arm in ("early", "average", "minimax"):
        for seed in (0, 1):
            path = run_folder(study / "pretrained", arm, seed) / RESULT
            result = json.loads(path.read_text())
            result["valid"]["counts"] |= {"noun": 29, "verb": 30}
            path.write_text(json.dumps(result))
    text = summary(study / "pretrained").markdown
    table = cells(section(text, "Valid: difference to `average`"))
    assert all(re.fullmatch(r"[+−]\d\.\d\d; [+−]\d\.\d\d", cell) for cell in table["noun"])
    assert all(cell.count(" to ") == 2 for cell in table["verb"])
    assert all(cell.count(" to ") == 2 for cell in table["worst"])
    held_out = cells(section(text, "Held-out cross-entropy, valid (nats)"))
    assert (held_out["noun"][0], held_out["verb"][0], held_out["worst"][0]) == ("29", "30", "")


def test_the_page_says_what_the_runs_have_in_common(study, tiny):
    text = summary(study / "pretrained").markdown
    shown = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    assert set(shown["arms"]) == {"average", "early", "minimax"}
    assert shown["model"]["hidden"] == tiny().model.hidden
    path = run_folder(study / "pretrained", "early", 0) / RESULT
    result = json.loads(path.read_text())
    other = dump(tiny("log_every=3", "arms={early: {balancer: average}}"))
    path.write_text(json.dumps({**result, "configuration": other + "# prepared text\n"}))
    text = summary(study / "pretrained").markdown
    shown = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    assert "log_every" not in shown
    assert shown["masking"]["max_predictions"] == tiny().masking.max_predictions


def test_a_folder_without_runs_and_damaged_sums_are_named(study, tmp_path):
    with pytest.raises(
        RecordError, match=r"empty holds no finished run; .* bert pretrain --preset cpu "
    ):
        summary(tmp_path / "empty")
    path = run_folder(study / "pretrained", "minimax", 1) / "valid.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RecordError, match=r"minimax.seed-1.valid\.npz should hold sums"):
        summary(study / "pretrained")


def changed(study, arm, **fields):
    """Change fields of the record of an arm's first run; None removes one."""
    path = run_folder(study / "pretrained", arm, 0) / RESULT
    result = {**json.loads(path.read_text()), **fields}
    kept = {name: value for name, value in result.items() if value is not None}
    path.write_text(json.dumps(kept), encoding="utf-8")


def test_runs_of_different_studies_are_refused(study, tiny):
    other = dump(tiny("model.hidden=32", "arms={minimax: {balancer: average}}"))
    changed(study, "minimax", configuration=other)
    with pytest.raises(RecordError, match=r"`model.hidden` is 16 .* 32 .* another --out"):
        summary(study / "pretrained")


def test_sums_of_other_masked_pieces_are_refused(study):
    path = run_folder(study / "pretrained", "early", 1) / "valid.npz"
    sums = read_sums(path)
    write_sums(ClassSums(sums.sums, sums.counts + 1, sums.next_sentence), path)
    with pytest.raises(RecordError, match=r"early.seed-1.valid.npz and .*same masked pieces"):
        summary(study / "pretrained")


@pytest.mark.parametrize("field", ["date", "command", "versions", "device", "configuration"])
def test_a_record_that_lacks_a_field_is_named(study, field):
    changed(study, "early", **{field: None})
    with pytest.raises(RecordError, match=rf"early/seed-0 has no '{field}'"):
        summary(study / "pretrained")


def test_a_record_of_fine_tuning_without_a_date_is_named(study):
    fine_tuned(study / "finetuned", "early", 0, 0.5)
    path = study / "finetuned" / "early" / "rte" / "seed-0" / RESULT
    result = json.loads(path.read_text())
    del result["date"]
    path.write_text(json.dumps(result))
    with pytest.raises(RecordError, match="early/rte/seed-0 has no 'date'"):
        summary(study / "pretrained", study / "finetuned")
