"""Which pre-training a fine-tuned model is of: no table mixes studies."""

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from experiments.records import RESULT, RecordError, read, run_folder

__all__ = ["collect", "digest"]

_WEIGHTS = {".safetensors", ".bin"}
_READ_BESIDE = {
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
}
"""What else of a checkpoint decides what a model makes of text."""


def digest(model: Path) -> str:
    """Hash of the weights, the configuration and the tokenizer in a folder of a model."""
    found = hashlib.sha256()
    for path in sorted(model.iterdir()):
        if path.suffix in _WEIGHTS or path.name in _READ_BESIDE:
            found.update(f"{path.name}\n".encode())
            with path.open("rb") as file:
                found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()[:16]


def collect(
    finetuned: Path, pretrained: Path, runs: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Records of fine-tuning, by path; all of them are of one pre-training, or of published models.

    Args:
        finetuned: of ``bert finetune``.
        pretrained: of ``bert pretrain``.
        runs: the finished runs of `pretrained`.

    Raises:
        RecordError: one is damaged, or of a model that `pretrained` does not hold, or two of a
            task were fine-tuned differently: they would share a row of the table.
    """
    known = {(run["arm"], run["seed"]) for run in runs}
    identity = cache(digest)  # of large files, each needed by many records
    found = []
    first: dict[str, tuple[Path, dict[str, Any]]] = {}
    for path in sorted(finetuned.rglob(RESULT)):
        result = read(path)
        if "task" not in result:
            continue
        if not _belongs(result, pretrained, known, identity):
            raise RecordError(
                f"{path} is of {result['model']} (arm {result['arm']}), which is none of the "
                f"models that {pretrained} holds; give the pre-training that it is of by "
                "--pretrained, or another folder by --finetuned (a missing one: without GLUE)"
            )
        how = _recipe(result)
        _compare((path, how), first.setdefault(result["task"], (path, how)), result["task"])
        found.append(result)
    return found


def _recipe(result: dict[str, Any]) -> dict[str, Any]:
    """How a run was fine-tuned; runs of a table may differ in model and data, and in nothing else.

    The seed is none of the configuration.
    """
    content = yaml.safe_load(result["configuration"])
    return {name: value for name, value in content.items() if name not in {"model", "data"}}


def _compare(
    one: tuple[Path, dict[str, Any]], other: tuple[Path, dict[str, Any]], task: str
) -> None:
    """Refuse two runs of a task that were fine-tuned differently."""
    (path, how), (first, reference) = one, other
    for name in {**reference, **how}:
        values = [each.get(name, "nothing") for each in (reference, how)]
        if values[0] != values[1]:
            raise RecordError(
                f"runs of {task} in one table should be fine-tuned alike; found `{name}` "
                f"{values[0]} in {first.parent} and {values[1]} in {path.parent}; remove one, or "
                "give each kind a folder of its own"
            )


def _belongs(
    result: dict[str, Any],
    pretrained: Path,
    known: set[tuple[str, int]],
    identity: Callable[[Path], str],
) -> bool:
    """Whether the model is that of a run, by its content; by its path if only the record is left.

    A model of no run of ours, such as one of the Hub, is told from the arms by its name.
    """
    arm, seed = result["arm"], result["pretraining_seed"]
    if seed is None:
        return arm not in {name for name, _ in known}
    if (arm, seed) not in known:
        return False
    model = run_folder(pretrained, arm, seed) / "model"
    if any(path.suffix in _WEIGHTS for path in model.glob("*")):
        return identity(model) == str(yaml.safe_load(result["configuration"])["model"])
    return Path(result["model"]).resolve() == model.resolve()
