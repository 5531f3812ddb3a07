"""Tasks in GLUE's format on the small generated English, so that fine-tuning needs no data.

CoLA: sentences of the grammar, or the same words shuffled. STS-B: a sentence and a part of its
words, scored by the share of words in common. RTE: a sentence and a part of its words, in which
"never" may be put in, and is then not entailed. A tiny model learns them within
a hundred steps, RTE not with every seed.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from experiments.bert.glue.tasks import TASKS
from experiments.bert.preparation.generated import generated_documents
from experiments.configuration import ConfigurationError
from taskrobust._files import write_atomically

__all__ = ["GENERATED", "write_generated"]

SIZES = {"train": 1000, "dev": 300, "test": 50}
"""Examples of each split."""

Words = list[str]


def _sentences(rng: np.random.Generator) -> Iterator[Words]:
    """Words of sentences, as many as are wanted."""
    for document in generated_documents(10_000, int(rng.integers(2**31))):
        for sentence in document.sentences:
            yield [sentence.text[start:end].lower() for start, end in sentence.spans]


def _text(words: Words) -> str:
    return " ".join([words[0].capitalize(), *words[1:]])


def _part(words: Words, rng: np.random.Generator, least: int) -> Words:
    """Some of the words, in their order."""
    kept = rng.permutation(len(words))[: rng.integers(least, len(words) + 1)]
    return [words[i] for i in sorted(kept)]


def _cola(words: Words, rng: np.random.Generator) -> tuple[str, ...]:
    label = rng.integers(2)
    order = np.arange(len(words)) if label else rng.permutation(len(words))
    return "generated", str(label), "" if label else "*", _text([words[i] for i in order])


def _stsb(words: Words, rng: np.random.Generator) -> tuple[str, ...]:
    part = _part(words, rng, 1)
    score = 5 * len(set(part)) / len(set(words))
    return *_FACTS.values(), _text(words), _text(part), f"{score:.3f}"


def _rte(words: Words, rng: np.random.Generator) -> tuple[str, ...]:
    part = _part(words, rng, 2)
    if entailed := bool(rng.integers(2)):
        part = [word for word in part if word != "never"] or words
    else:
        part.insert(int(rng.integers(1, len(part))), "never")
    return _text(words), _text(part), "entailment" if entailed else "not_entailment"


_FACTS = {
    "genre": "generated",
    "filename": "grammar",
    "year": "none",
    "old_index": "none",
    "source1": "none",
    "source2": "none",
}
"""STS-B's columns that nobody reads."""

Make = Callable[[Words, np.random.Generator], tuple[str, ...]]
GENERATED: dict[str, tuple[Sequence[str], Make]] = {
    "cola": (("source", "label", "star", "sentence"), _cola),
    "stsb": ((*_FACTS, "sentence1", "sentence2", "score"), _stsb),
    "rte": (("sentence1", "sentence2", "label"), _rte),
}
"""Columns after the index, and the function that makes a row, by name of the task."""


def write_generated(folder: Path, tasks: Sequence[str], seed: int = 0) -> Path:
    """Write ``TASK/train.tsv``, ``dev.tsv`` and ``test.tsv`` as GLUE has them.

    The same seed gives the same files; written files are replaced, each at once.

    Args:
        folder: is made, if need be.
        tasks: names of tasks.
        seed: of the sentences.

    Returns:
        The folder, to be read by `read_task`.

    Raises:
        ConfigurationError: a task that cannot be generated.
    """
    unknown = [name for name in tasks if name not in GENERATED]
    if unknown:
        raise ConfigurationError(
            f"`fine_tuning.tasks`: {', '.join(unknown)} cannot be generated (only "
            f"{', '.join(GENERATED)}); give GLUE's files by --data"
        )
    for name in tasks:
        place = folder / TASKS[name].title
        place.mkdir(parents=True, exist_ok=True)
        for number, (split, size) in enumerate(SIZES.items()):
            rng = np.random.default_rng([seed, list(GENERATED).index(name), number])
            write_atomically(place / f"{split}.tsv", _file(name, split, size, rng))
    return folder


def _file(name: str, split: str, size: int, rng: np.random.Generator) -> str:
    """A file as GLUE has it: test files have no labels, CoLA's other files no header and index."""
    task, (head, make) = TASKS[name], GENERATED[name]
    sentences = _sentences(rng)
    rows = [make(next(sentences), rng) for _ in range(size)]
    if split == "test":
        wanted = task.columns if task.headless else [c for c in head if c != task.label_column]
        places = [head.index(column) for column in wanted]
        head, rows = wanted, [tuple(row[place] for place in places) for row in rows]
    headless = bool(task.headless) and split != "test"
    lines = [] if headless else ["\t".join([task.index, *head])]
    lines += ["\t".join(row if headless else (str(n), *row)) for n, row in enumerate(rows)]
    return "\n".join(lines) + "\n"
