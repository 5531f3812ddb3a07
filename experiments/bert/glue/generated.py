"""Tasks in GLUE's format on the small generated English, so that fine-tuning needs no data.

Each label is true of its sentences, and follows from what is in them:

========  ==========================================================================================
MNLI      A part of a sentence; with "may" in it neutral, with "never" a contradiction. Sentences of
          mismatched files have a noun of topics that other files lack.
QQP       Two questions of the same words, duplicates if the second asks "how" too.
QNLI      A question for the time, and a sentence with or without a word for it.
SST-2     A sentence with one word that praises, or one that blames.
CoLA      Sentences of the grammar, or the same words shuffled.
STS-B     A sentence and a part of its words, scored by the share of words in common.
MRPC      A sentence and most of its words, or at most half of them.
RTE       A sentence and a part of its words, in which "never" may be put in, and is then not
          entailed.
========  ==========================================================================================

A tiny model learns most of them within a hundred steps, QQP and RTE not with every seed.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import yaml

from experiments.bert.glue.tasks import TASKS, GlueTask
from experiments.bert.preparation.generated import GRAMMAR, generated_documents
from taskrobust._files import write_atomically

__all__ = ["write_generated"]

SIZES = {"train": 1000, "dev": 300, "test": 50}
"""Examples of each split, and of each part of one."""

Words = list[str]
Row = dict[str, str]
"""Cells by column; the others are empty, as many of GLUE's are in copies of MNLI."""

_FOREIGN = ("forest", "school")
"""Topics of MNLI's mismatched files."""
_TIMES = ("often", "soon", "still", "never")
_PRAISE = ("bright", "new", "gladly", "wow", "yes", "please")
_BLAME = ("cold", "empty", "strange", "alas", "never", "no")
_OTHER_QUESTIONS = ("when", "where", "why")


def _sentences(rng: np.random.Generator) -> Iterator[Words]:
    """Words of sentences, as many as are wanted."""
    for document in generated_documents(10_000, int(rng.integers(2**31))):
        for sentence in document.sentences:
            yield [sentence.text[start:end].lower() for start, end in sentence.spans]


def _foreign_nouns() -> set[str]:
    """Nouns that only the foreign topics have."""
    topics = yaml.safe_load(GRAMMAR.read_text(encoding="utf-8"))["topics"]
    own = {
        word
        for name in topics
        if name not in _FOREIGN
        for tag in topics[name].values()
        for word in tag
    }
    return {word for name in _FOREIGN for tag in ("NN", "NNS") for word in topics[name][tag]} - own


def _text(words: Words) -> str:
    return " ".join([words[0].capitalize(), *words[1:]])


def _part(words: Words, rng: np.random.Generator, least: int) -> Words:
    """Some of the words, in their order."""
    order = rng.permutation(len(words))
    return [words[i] for i in sorted(order[: rng.integers(least, len(words) + 1)])]


def _without(words: Words, unwanted: Sequence[str]) -> Words:
    """The words but some, and the first one at least."""
    return [word for word in words if word not in unwanted] or ["the"]


def _with(words: Words, choices: Sequence[str], rng: np.random.Generator) -> Words:
    """The words with one more at any place."""
    place = int(rng.integers(len(words) + 1))
    return [*words[:place], str(rng.choice(choices)), *words[place:]]


def _cola(words: Words, rng: np.random.Generator) -> Row:
    label = rng.integers(2)
    order = np.arange(len(words)) if label else rng.permutation(len(words))
    sentence = _text([words[i] for i in order])
    return {
        "source": "generated",
        "label": str(label),
        "star": "" if label else "*",
        "sentence": sentence,
    }


def _stsb(words: Words, rng: np.random.Generator) -> Row:
    part = _part(words, rng, 1)
    score = 5 * len(set(part)) / len(set(words))
    return _FACTS | _pair(words, part) | {"score": f"{score:.3f}"}


def _rte(words: Words, rng: np.random.Generator) -> Row:
    part = _part(words, rng, 2)
    if entailed := bool(rng.integers(2)):
        part = [word for word in part if word != "never"] or words
    else:
        part.insert(int(rng.integers(1, len(part))), "never")
    return _pair(words, part) | {"label": "entailment" if entailed else "not_entailment"}


def _mnli(words: Words, rng: np.random.Generator) -> Row:
    signs = {"entailment": (), "neutral": ("may",), "contradiction": ("never",)}
    label = str(rng.choice(list(signs)))
    words = _without(words, ("may", "never"))
    part = _part(words, rng, 1)
    if signs[label]:
        part = _with(part, signs[label], rng)
    return _pair(words, part) | {"label1": label, "gold_label": label}


def _qqp(words: Words, rng: np.random.Generator) -> Row:
    words = _without(words, (".", "how", *_OTHER_QUESTIONS))
    same = bool(rng.integers(2))
    asks = "how" if same else str(rng.choice(_OTHER_QUESTIONS))
    order = [words[i] for i in rng.permutation(len(words))]
    return {
        "question1": _text(["how", *words, "?"]),
        "question2": _text([asks, *order, "?"]),
        "is_duplicate": str(int(same)),
    }


def _qnli(words: Words, rng: np.random.Generator) -> Row:
    words = _without(words, _TIMES)
    told = bool(rng.integers(2))
    question = _text(["when", *_part(_without(words, (".",)), rng, 1), "?"])
    sentence = _text(_with(words, _TIMES, rng) if told else words)
    label = "entailment" if told else "not_entailment"
    return {"question": question, "sentence": sentence, "label": label}


def _sst2(words: Words, rng: np.random.Generator) -> Row:
    label = int(rng.integers(2))
    plain = _without(words, (*_PRAISE, *_BLAME))
    sentence = " ".join(_with(plain, _PRAISE if label else _BLAME, rng))
    return {"sentence": f"{sentence} ", "label": str(label)}


def _mrpc(words: Words, rng: np.random.Generator) -> Row:
    same = bool(rng.random() < 2 / 3)  # as in GLUE's
    left_out = int(rng.integers(2)) if same else int(rng.integers(-(-len(words) // 2), len(words)))
    part = [words[i] for i in sorted(rng.permutation(len(words))[left_out:])]
    return {"#1 String": _text(words), "#2 String": _text(part), "Quality": str(int(same))}


def _pair(first: Words, second: Words) -> Row:
    return {"sentence1": _text(first), "sentence2": _text(second)}


_FACTS = {
    "genre": "generated",
    "filename": "grammar",
    "year": "none",
    "old_index": "none",
    "source1": "none",
    "source2": "none",
}
"""STS-B's columns that nobody reads."""

_MAKE = {
    "cola": _cola,
    "stsb": _stsb,
    "rte": _rte,
    "mnli": _mnli,
    "qqp": _qqp,
    "qnli": _qnli,
    "sst2": _sst2,
    "mrpc": _mrpc,
}
"""The function that makes a row, by name of the task; the order is part of the seeds."""

_LABEL_COLUMNS = ("label", "label1", "gold_label", "score", "is_duplicate", "Quality")
_PARSES = ("sentence1_binary_parse", "sentence2_binary_parse", "sentence1_parse", "sentence2_parse")
_MNLI = ("index", "promptID", "pairID", "genre", *_PARSES, "sentence1", "sentence2", "label1")
_COLUMNS = {
    "cola": ("source", "label", "star", "sentence"),
    "stsb": ("index", *_FACTS, "sentence1", "sentence2", "score"),
    "rte": ("index", "sentence1", "sentence2", "label"),
    "mnli": (*_MNLI, "gold_label"),
    "qqp": ("id", "qid1", "qid2", "question1", "question2", "is_duplicate"),
    "qnli": ("index", "question", "sentence", "label"),
    "sst2": ("sentence", "label"),
    "mrpc": ("Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"),
}
"""Of GLUE's train files, in their order."""
_DEV_COLUMNS = {"mnli": (*_MNLI, *(f"label{n}" for n in range(2, 6)), "gold_label")}
"""Of dev files, where they differ."""
_TEST_COLUMNS = {"cola": ("index", "sentence"), "qqp": ("id", "question1", "question2")}
"""Of test files, where they are not the number and all columns but the labels."""


def write_generated(folder: Path, tasks: Sequence[str], seed: int = 0) -> Path:
    """Write ``TASK/train.tsv`` and the dev and test files as GLUE has them.

    The same seed gives the same files; written files are replaced, each at once.

    Args:
        folder: is made, if need be.
        tasks: names in `TASKS`.
        seed: of the sentences.

    Returns:
        The folder, to be read by `read_task`.
    """
    for name in tasks:
        task = TASKS[name]
        place = folder / task.title
        place.mkdir(parents=True, exist_ok=True)
        splits = {
            "train": "train",
            **{part.dev: "dev" for part in task.parts},
            **{part.test: "test" for part in task.parts},
        }
        for number, (file, split) in enumerate(splits.items()):
            rng = np.random.default_rng([seed, list(_MAKE).index(name), number])
            write_atomically(place / f"{file}.tsv", _file(task, file, split, rng))
    return folder


def _file(task: GlueTask, file: str, split: str, rng: np.random.Generator) -> str:
    """A file as GLUE has it: CoLA's have no header but for test, MRPC's a byte-order mark."""
    columns = _columns(task, split)
    sentences = _sentences(rng)
    if task.name == "mnli":
        mismatched, nouns = file.endswith("mismatched"), _foreign_nouns()
        sentences = (each for each in sentences if mismatched != nouns.isdisjoint(each))
    rows = [_MAKE[task.name](next(sentences), rng) for _ in range(SIZES[split])]
    headless = bool(task.headless) and split != "test"
    lines = [] if headless else ["\t".join(columns)]
    for number, row in enumerate(rows):
        cells = {task.index: str(number), **row}
        lines.append("\t".join(cells.get(column, "") for column in columns))
    mark = "\ufeff" if task.name == "mrpc" and split != "test" else ""
    return mark + "\n".join(lines) + "\n"


def _columns(task: GlueTask, split: str) -> tuple[str, ...]:
    columns = _COLUMNS[task.name]
    if split == "dev":
        return _DEV_COLUMNS.get(task.name, columns)
    if split == "train":
        return columns
    unlabelled = [c for c in columns if c not in (task.index, *_LABEL_COLUMNS)]
    return _TEST_COLUMNS.get(task.name, (task.index, *unlabelled))
