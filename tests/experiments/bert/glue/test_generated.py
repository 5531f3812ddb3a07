from dataclasses import replace

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from experiments.bert.configuration import BertStudy, FineTuning
from experiments.bert.glue.finetune import PREDICTIONS, finetune, plan
from experiments.bert.glue.generated import GENERATED, SIZES, write_generated
from experiments.bert.glue.metrics import METRICS
from experiments.bert.glue.models import find_models
from experiments.bert.glue.read import read_task
from experiments.bert.glue.tasks import TASKS
from experiments.configuration import ConfigurationError, load, preset_path

pytestmark = pytest.mark.usefixtures("one_thread")


def shuffled(examples):
    """The same examples, labels in another order."""
    order = np.random.default_rng(0).permutation(len(examples))
    return replace(examples, labels=examples.labels[order])


@pytest.mark.parametrize("name", GENERATED)
def test_generated_files_are_read_like_glues(name, generated_folder):
    data = read_task(TASKS[name], generated_folder)
    sizes = [len(part) for part in data.splits().values()]
    assert sizes == list(SIZES.values())
    assert data.test[""].index == tuple(map(str, range(SIZES["test"])))
    texts = [
        set(zip(part.first, part.second or part.first, strict=True))
        for part in data.splits().values()
    ]
    assert len(texts[0] & texts[1]) < 0.05 * len(texts[1])  # few dev examples are known


def test_the_smoke_preset_names_tasks_that_can_be_generated():
    how = load(BertStudy, preset_path("bert", "smoke")).fine_tuning
    assert how.source == "generated"
    assert set(how.tasks) <= set(GENERATED)


def test_the_same_seed_gives_the_same_files(tmp_path, generated_folder):
    again = write_generated(tmp_path / "again", ["stsb"])
    other = write_generated(tmp_path / "other", ["stsb"], seed=1)
    files = [folder / "STS-B" / "dev.tsv" for folder in (generated_folder, again, other)]
    first, second, third = (path.read_bytes() for path in files)
    assert first == second != third


def test_other_tasks_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(
        ConfigurationError, match=r"mnli cannot be generated \(only cola, stsb, rte"
    ):
        write_generated(tmp_path, ["cola", "mnli"])
    assert list(tmp_path.iterdir()) == []


def test_scores_are_shares_of_common_words(generated_folder):
    part = read_task(TASKS["stsb"], generated_folder).dev[""]
    for first, second, score in zip(part.first, part.second, part.labels, strict=True):
        one, other = ({word.lower() for word in text.split()} for text in (first, second))
        assert score == pytest.approx(5 * len(one & other) / len(one | other), abs=1e-3)


def test_what_never_happens_is_not_entailed(generated_folder):
    part = read_task(TASKS["rte"], generated_folder).train
    never = np.array(["never" in text.lower().split() for text in part.second])
    assert np.array_equal(never, part.labels == 1)


def bigram_score(train, dev):
    """Matthews correlation of a logistic regression on pairs of neighbouring words."""
    words = CountVectorizer(ngram_range=(1, 2), token_pattern=r"\S+")
    features = words.fit_transform(train.first)
    model = LogisticRegression(max_iter=1000).fit(features, train.labels)
    return METRICS["matthews"](model.predict(words.transform(dev.first)), dev.labels)


def test_grammatical_sentences_can_be_told_apart_but_not_with_shuffled_labels(generated_folder):
    data = read_task(TASKS["cola"], generated_folder)
    assert bigram_score(data.train, data.dev[""]) > 0.6
    assert abs(bigram_score(shuffled(data.train), data.dev[""])) < 0.2


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
