import os
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import hstack
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from experiments.bert.configuration import FineTuning
from experiments.bert.glue.finetune import PREDICTIONS, finetune, plan
from experiments.bert.glue.generated import SIZES, write_generated
from experiments.bert.glue.metrics import METRICS
from experiments.bert.glue.models import find_models
from experiments.bert.glue.read import read_task
from experiments.bert.glue.tasks import TASKS

pytestmark = pytest.mark.usefixtures("one_thread")


def shuffled(examples):
    """The same examples, labels in another order."""
    order = np.random.default_rng(0).permutation(len(examples))
    return replace(examples, labels=examples.labels[order])


def texts_of(part):
    return set(zip(part.first, part.second or part.first, strict=True))


@pytest.mark.parametrize("name", TASKS)
def test_generated_files_are_read_like_glues(name, generated_folder):
    data = read_task(TASKS[name], generated_folder)
    assert set(data.dev) == set(data.test) == {part.name for part in TASKS[name].parts}
    for split, part in data.splits().items():
        assert len(part) == SIZES[split.split()[0]]
        assert part.skipped == 0
    for part in data.test.values():
        assert part.index == tuple(map(str, range(SIZES["test"])))
    known = texts_of(data.train)
    for part in data.dev.values():  # few examples are known
        assert len(known & texts_of(part)) < 0.05 * len(texts_of(part))


REAL = Path(os.environ.get("TASKROBUST_DATA", "nowhere")) / "glue"


def header(archive, name):
    with zipfile.ZipFile(archive) as opened, opened.open(name) as stream:
        return stream.readline().rstrip(b"\r\n")


@pytest.mark.skipif(not REAL.is_dir(), reason="TASKROBUST_DATA names no folder with glue/")
@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if not task.headless])
def test_generated_files_have_the_header_lines_of_glue(name, generated_folder):
    task = TASKS[name]
    for split in ("train", *(part.dev for part in task.parts)):
        path = f"{task.title}/{split}.tsv"
        own = (generated_folder / path).read_bytes().splitlines()[0]
        assert own == header(REAL / f"{task.title}.zip", path)


def test_the_same_seed_gives_the_same_files(tmp_path, generated_folder):
    again = write_generated(tmp_path / "again", ["stsb"])
    other = write_generated(tmp_path / "other", ["stsb"], seed=1)
    files = [folder / "STS-B" / "dev.tsv" for folder in (generated_folder, again, other)]
    first, second, third = (path.read_bytes() for path in files)
    assert first == second != third


def test_scores_are_shares_of_common_words(generated_folder):
    part = read_task(TASKS["stsb"], generated_folder).dev[""]
    for first, second, score in zip(part.first, part.second, part.labels, strict=True):
        one, other = ({word.lower() for word in text.split()} for text in (first, second))
        assert score == pytest.approx(5 * len(one & other) / len(one | other), abs=1e-3)


def test_what_never_happens_is_not_entailed(generated_folder):
    part = read_task(TASKS["rte"], generated_folder).train
    never = np.array(["never" in text.lower().split() for text in part.second])
    assert np.array_equal(never, part.labels == 1)


def words_of(text):
    return set(text.lower().split())


def test_labels_say_what_the_sentences_do(generated_folder):
    read = {name: read_task(TASKS[name], generated_folder).train for name in TASKS}
    for premise, text, label in rows(read["mnli"]):
        added = words_of(text) - words_of(premise)
        assert added == (set(), {"may"}, {"never"})[int(label)]
    for first, second, label in rows(read["qqp"]):
        assert words_of(first) - {"how"} == words_of(second) - {"how", "when", "where", "why"}
        assert (words_of(first) == words_of(second)) == label
    for _, sentence, label in rows(read["qnli"]):  # 1 is "not_entailment"
        assert bool(words_of(sentence) & {"often", "soon", "still", "never"}) != label
    for first, second, label in rows(read["mrpc"]):
        assert (len(second.split()) > len(first.split()) / 2 + 0.5) == label
        assert words_of(second) <= words_of(first)


def rows(part):
    return zip(part.first, part.second, part.labels, strict=True)


def test_the_mismatched_parts_of_mnli_are_of_other_topics(generated_folder):
    data = read_task(TASKS["mnli"], generated_folder)
    nouns = {"fox", "tree", "river", "owl", "teacher", "book", "lesson", "pupil"}

    def share(part):
        return np.mean([bool(words_of(text) & nouns) for text in part.first])

    assert share(data.train) == share(data.dev["matched"]) == share(data.test["matched"]) == 0
    assert share(data.dev["mismatched"]) > 0.5
    assert share(data.test["mismatched"]) > 0.5


def classifier_score(task, train, dev):
    """Of a logistic regression on words and pairs of neighbouring words of each sentence."""
    columns = [(train.first, dev.first)]
    if train.second is not None:
        columns.append((train.second, dev.second))
    known, asked = [], []
    for own, other in columns:
        words = CountVectorizer(ngram_range=(1, 2), token_pattern=r"\S+")
        known.append(words.fit_transform(own))
        asked.append(words.transform(other))
    model = LogisticRegression(max_iter=1000).fit(hstack(known), train.labels)
    return METRICS[task.metric](model.predict(hstack(asked)), dev.labels)


@pytest.mark.parametrize(
    ("name", "learned", "chance"),
    [
        ("mnli", 0.9, 0.45),
        ("qqp", 0.9, 0.62),
        ("qnli", 0.9, 0.6),
        ("sst2", 0.95, 0.6),
        ("cola", 0.6, 0.2),
        ("mrpc", 0.85, 0.82),  # F1 of always saying yes is 0.8
        ("rte", 0.9, 0.6),
    ],
)
def test_tasks_can_be_learned_but_not_from_shuffled_labels(name, learned, chance, generated_folder):
    data = read_task(TASKS[name], generated_folder)
    for dev in data.dev.values():
        assert classifier_score(data.task, data.train, dev) > learned
        assert classifier_score(data.task, shuffled(data.train), dev) < chance


def explained(data, out, models):
    """Share of the variance of the dev scores that a fine-tuned model explains, at most 1.

    Not the rank correlation: that of a nearly constant output may be anything.
    """
    how = FineTuning(epochs=2, learning_rate=5e-3, batch_size=16, seeds=(0,), sequence_length=64)
    (run,) = plan(how, models, [data], out)
    found = finetune(run, how)["dev"][""]
    with np.load(run.folder / PREDICTIONS) as kept:
        outputs, labels = kept["dev"][:, 0], data.dev[""].labels
    assert found["pearson"] == pytest.approx(np.corrcoef(outputs, labels)[0, 1], abs=1e-4)
    return 1 - np.mean((outputs - labels) ** 2) / np.var(labels)


def test_fine_tuning_learns_generated_scores_but_not_shuffled_ones(
    tmp_path, generated_folder, make_checkpoint
):
    models = find_models([str(make_checkpoint(tmp_path / "model", hidden=32, dropout=0.0))])
    data = read_task(TASKS["stsb"], generated_folder)
    assert explained(data, tmp_path / "true", models) > 0.3
    lost = replace(data, train=shuffled(data.train))
    assert explained(lost, tmp_path / "shuffled", models) < 0.1
