"""Held-out cross-entropy of each part of speech, with bootstrap intervals over instances."""

import io
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

from experiments.bert.tags import CLASSES, NUM_TASKS, TASKS
from experiments.records import RecordError
from taskrobust._files import write_atomically

__all__ = [
    "ClassSums",
    "Interval",
    "Summary",
    "class_sums",
    "differences",
    "read_sums",
    "summarise",
    "write_sums",
]

Floats = NDArray[np.float64]
INTERJECTION = TASKS.index("interjection")


@dataclass(frozen=True)
class ClassSums:
    """Sums and counts of masked-piece cross-entropies, by instance and class."""

    sums: Floats  # [n, 10], nats
    counts: Floats  # [n, 10]
    next_sentence: Floats  # [n], nats


@dataclass(frozen=True)
class Interval:
    """An estimate with a bootstrap interval, in nats."""

    value: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Summary:
    """Held-out risks of a model: the rows of a results table."""

    risks: dict[str, Interval]
    """By class, "other" included; a class without a masked piece is left out."""
    counts: dict[str, int]
    """Masked pieces by class."""
    worst: Interval
    """Largest risk over the nine tasks."""
    worst_but_interjection: Interval
    mean: Interval
    """Mean over the tasks."""
    mean_but_interjection: Interval
    token_mean: Interval
    """Mean over the pieces of the nine tasks."""
    next_sentence: float | None
    """Mean cross-entropy of the pairs; None without next-sentence prediction."""

    def as_data(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def class_sums(
    model: "nn.Module", batches: Iterable[dict[str, "Tensor"]], device: "torch.device | str"
) -> ClassSums:
    """Run a model over held-out batches and keep sums by instance and class, never logits.

    Args:
        model: a `PosBertForPreTraining`, put in evaluation mode; it returns ``task_values`` for
            ``[B, K]`` masked pieces, whatever grouping it was trained with.
        batches: from a `MaskingCollator` with `PosGroups`.
        device: where the model is.
    """
    import torch  # results are summarised and compared without it

    model.eval()
    sums, counts, pairs = [], [], []
    for batch in batches:
        shape = batch["mlm_labels"].shape
        with torch.no_grad():
            outputs = model(**{name: values.to(device) for name, values in batch.items()})
        size = shape[0] * shape[1]
        values = outputs["task_values"][:size].view(shape).double().cpu()
        groups = outputs["task_groups"][:size].view(shape).cpu()
        one_hot = (groups.unsqueeze(-1) == torch.arange(len(CLASSES))).double()
        sums.append((one_hot * values.unsqueeze(-1)).sum(1).numpy())
        counts.append(one_hot.sum(1).numpy())
        rest = outputs.get("auxiliary_values")
        rest = outputs["task_values"][size:] if rest is None else rest
        pairs.append(rest.double().cpu().numpy())
    return ClassSums(np.concatenate(sums), np.concatenate(counts), np.concatenate(pairs))


def write_sums(measured: ClassSums, path: Path) -> None:
    """Keep sums and counts by instance beside a result, for paired comparisons."""
    content = io.BytesIO()
    np.savez(content, sums=measured.sums, counts=measured.counts)
    write_atomically(path, content.getvalue())


def read_sums(path: Path) -> ClassSums:
    """What `write_sums` kept, without sentence pairs.

    Raises:
        RecordError: the file is missing or damaged.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
            return ClassSums(saved["sums"], saved["counts"], np.zeros(0))
    except (OSError, EOFError, KeyError, ValueError, BadZipFile) as error:
        raise RecordError(f"{path} should hold sums and counts by instance: {error}") from error


def summarise(
    measured: ClassSums, *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> Summary:
    """Risks with percentile bootstrap intervals; instances are what is resampled.

    The worst-class risk is a maximum of estimates, so its interval is biased upwards for classes
    with few pieces: read it beside `worst_but_interjection`.

    Args:
        measured: from `class_sums`.
        resamples: number of bootstrap samples.
        level: coverage aimed at.
        seed: of the resampling.
    """

    def statistics(weights: Floats) -> dict[str, Floats]:
        return _statistics(measured, weights)

    intervals = _bootstrap(statistics, len(measured.sums), resamples, level, seed)
    counts, pairs = measured.counts.sum(0), measured.next_sentence
    return Summary(
        risks={name: intervals[name] for c, name in enumerate(CLASSES) if counts[c] > 0},
        counts={name: int(counts[c]) for c, name in enumerate(CLASSES)},
        next_sentence=float(pairs.mean()) if pairs.size else None,
        **{name: intervals[name] for name in _AGGREGATES},
    )


def differences(
    measured: ClassSums,
    reference: ClassSums,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Risks less those of a reference, with paired percentile bootstrap intervals.

    Both models are evaluated on the same instances, which are resampled for both together: what
    makes an instance hard for both cancels.

    Args:
        measured: from `class_sums`.
        reference: of another model on the same masked pieces.
        resamples: number of bootstrap samples.
        level: coverage aimed at.
        seed: of the resampling.

    Returns:
        By class (those without a masked piece left out) and by aggregate of `Summary`.

    Raises:
        ValueError: the two are not of the same masked pieces.
    """
    if not np.array_equal(measured.counts, reference.counts):
        raise ValueError("`reference` should be of the same masked pieces as `measured`")

    def statistics(weights: Floats) -> dict[str, Floats]:
        ours, theirs = _statistics(measured, weights), _statistics(reference, weights)
        return {name: ours[name] - theirs[name] for name in ours}

    found = _bootstrap(statistics, len(measured.sums), resamples, level, seed)
    return {name: each for name, each in found.items() if not np.isnan(each.value)}


def _bootstrap(
    statistics: Callable[[Floats], dict[str, Floats]],
    n: int,
    resamples: int,
    level: float,
    seed: int,
) -> dict[str, Interval]:
    """Values of statistics of weighted instances, with percentile intervals."""
    rng = np.random.default_rng(seed)
    tail = 100 * (1 - level) / 2
    point = statistics(np.ones((1, n)))
    drawn = []
    for start in range(0, resamples, _chunk(n)):  # weights of all samples could fill the memory
        size = min(_chunk(n), resamples - start)
        weights = rng.multinomial(n, np.full(n, 1 / n), size=size).astype(float)
        drawn.append(statistics(weights))
    samples = {name: np.concatenate([each[name] for each in drawn]) for name in point}
    return {name: _interval(point[name][0], samples[name], tail) for name in point}


_AGGREGATES = ("worst", "worst_but_interjection", "mean", "mean_but_interjection", "token_mean")


def _chunk(instances: int) -> int:
    """Bootstrap samples at a time: 32 MiB of weights, one sample at least."""
    return max(1, 2**22 // instances)


def _statistics(measured: ClassSums, weights: Floats) -> dict[str, Floats]:
    """Every reported number ``[m]`` under ``[m, n]`` weights of the instances."""
    risks = _risks(weights @ measured.sums, weights @ measured.counts)
    tasks = risks[:, :NUM_TASKS]
    common = np.delete(tasks, INTERJECTION, axis=1)
    sums, counts = measured.sums[:, :NUM_TASKS].sum(1), measured.counts[:, :NUM_TASKS].sum(1)
    return {
        **{name: risks[:, c] for c, name in enumerate(CLASSES)},
        "worst": np.fmax.reduce(tasks, axis=1),
        "worst_but_interjection": np.fmax.reduce(common, axis=1),
        "mean": _mean(tasks),
        "mean_but_interjection": _mean(common),
        "token_mean": _risks(weights @ sums, weights @ counts),
    }


def _risks(sums: Floats, counts: Floats) -> Floats:
    """Sums over counts; NaN where there is nothing to count."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(counts > 0, sums / counts, np.nan)


def _mean(risks: Floats) -> Floats:
    """Mean over the classes that have a piece."""
    present = ~np.isnan(risks)
    return _risks(np.where(present, risks, 0.0).sum(1), present.sum(1).astype(float))


def _interval(value: float, samples: Floats, tail: float) -> Interval:
    finite = samples[~np.isnan(samples)]
    if finite.size == 0:
        return Interval(float(value), float("nan"), float("nan"))
    lower, upper = np.percentile(finite, [tail, 100 - tail])
    return Interval(float(value), float(lower), float(upper))
