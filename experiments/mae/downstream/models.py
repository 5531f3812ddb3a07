"""The models to be fine-tuned: found, and checked before anything is trained."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.configuration import ConfigurationError
from experiments.mae.configuration import ModelSize
from experiments.mae.downstream.configuration import FineTuning
from experiments.mae.downstream.encoders import fresh_encoder, pretrained_encoder
from experiments.mae.model.checkpoints import CONFIGURATION, WEIGHTS
from experiments.mae.model.encoder import MultiModalEncoder
from experiments.records import RESULT, read

__all__ = ["SCRATCH", "Pretrained", "find_models"]

SCRATCH = "scratch"
"""Name of a model that has learned nothing."""


@dataclass(frozen=True)
class Pretrained:
    """A model to be fine-tuned."""

    arm: str
    """Its row in tables: the arm of the pre-training, the name of a folder, or `SCRATCH`."""
    seed: int | None
    """Of the pre-training."""
    folder: Path | None
    """Of `experiments.mae.model.checkpoints.save_model`; None: a fresh encoder."""

    @property
    def title(self) -> str:
        """For people."""
        return self.arm if self.seed is None else f"{self.arm}, seed {self.seed}"

    def runs(self, out: Path) -> Path:
        """Where its runs are kept."""
        return out / self.arm if self.seed is None else out / self.arm / f"seed-{self.seed}"

    def encoder(self, how: FineTuning, fresh: ModelSize) -> MultiModalEncoder:
        """The encoder; a fresh one is drawn from torch's generator.

        Args:
            how: inputs, image size and drop path.
            fresh: size of a model that has learned nothing.

        Raises:
            ConfigurationError: the model cannot be read, or does not fit the recipe.
        """
        options: dict[str, Any] = {"image_size": how.image_size, "drop_path": how.drop_path}
        if self.folder is None:
            return fresh_encoder(fresh, how.inputs, **options)
        return pretrained_encoder(self.folder, how.inputs, **options)

    def identity(self, fresh: ModelSize) -> dict[str, Any]:
        """What tells the model from others: its SHA-256, or the size of a fresh one."""
        if self.folder is None:
            return {"fresh": asdict(fresh)}
        digest = hashlib.sha256()
        for name in (CONFIGURATION, WEIGHTS):
            with (self.folder / name).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return {"sha256": digest.hexdigest()}


def find_models(given: Sequence[str]) -> list[Pretrained]:
    """All models that names mean.

    Args:
        given: folders of pre-training (each finished run below is a model), folders of
            `experiments.mae.model.checkpoints.save_model`, or `SCRATCH`.

    Raises:
        ConfigurationError: a folder without models, or two models of one name.
    """
    found = list(dict.fromkeys(model for name in given for model in _meant(name)))
    places: dict[Path, Pretrained] = {}
    for model in found:
        other = places.setdefault(model.runs(Path()), model)
        if other != model:
            raise ConfigurationError(
                f"--model: {model.folder} and {other.folder} are both called {model.title}; "
                "fine-tune them with another --out each"
            )
    if not found:
        raise ConfigurationError("--model: should name at least one model; found none")
    return found


def _meant(name: str) -> Iterator[Pretrained]:
    folder = Path(name)
    if (folder / CONFIGURATION).is_file():
        yield _pretrained(folder) or Pretrained(folder.resolve().name, None, folder)
        return
    if name == SCRATCH:
        yield Pretrained(SCRATCH, None, None)
        return
    if not folder.is_dir():
        raise ConfigurationError(
            f"--model {name}: is missing; give a folder of `python -m experiments mae pretrain`, "
            f"one with {CONFIGURATION}, or {SCRATCH}"
        )
    models = [_pretrained(path.parent) for path in sorted(folder.rglob(f"model/{CONFIGURATION}"))]
    finished = [model for model in models if model is not None]
    if not finished:
        raise ConfigurationError(
            f"--model {name}: should hold finished runs of `python -m experiments mae pretrain`, "
            f"ARM/seed-N/{RESULT} with ARM/seed-N/model/{CONFIGURATION}; found none"
        )
    yield from sorted(finished, key=lambda model: (model.arm, model.seed or 0))


def _pretrained(folder: Path) -> Pretrained | None:
    """The model of a finished pre-training run; None if there is no record of one beside it."""
    record = folder.resolve().parent / RESULT
    if not record.is_file():
        return None
    content = read(record)
    if "task" in content or not isinstance(content.get("arm"), str):
        return None
    return Pretrained(content["arm"], content.get("seed"), folder)
