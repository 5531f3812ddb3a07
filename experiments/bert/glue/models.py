"""The models to be fine-tuned: found, and checked before anything is trained."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerBase,
)

from experiments.bert.glue.origin import digest
from experiments.bert.glue.tasks import GlueTask
from experiments.bert.results import arm_order
from experiments.configuration import ConfigurationError
from experiments.quiet import quiet
from experiments.records import RESULT, read

__all__ = ["Pretrained", "classifier", "find_models", "tokenizer_of"]

PADDINGS = (8, 16, 32, 64, 128)
"""Multiples to which vocabularies of published models are filled up."""


@dataclass(frozen=True)
class Pretrained:
    """A model to be fine-tuned."""

    arm: str
    """Its row in tables: the arm of our pre-training, or name of a folder or of the Hub."""
    seed: int | None
    """Of our pre-training."""
    path: str
    """Folder of `save_pretrained`, or id of the Hub."""

    @property
    def title(self) -> str:
        """For people."""
        return self.arm if self.seed is None else f"{self.arm}, seed {self.seed}"

    def folder(self, out: Path) -> Path:
        """Where its runs are kept."""
        folder = out / self.arm.replace("/", "--")
        return folder if self.seed is None else folder / f"seed-{self.seed}"

    def identity(self) -> str:
        """Hash of the files of a folder; for the Hub, the commit."""
        if not Path(self.path).is_dir():
            return f"{self.path}@{_config(self.path)._commit_hash}"
        return digest(Path(self.path))


def find_models(given: Sequence[str]) -> list[Pretrained]:
    """All models that names mean.

    Args:
        given: folders of `pretrain` (each finished run below is a model), folders of
            `save_pretrained`, or ids of the Hub.

    Raises:
        ConfigurationError: a folder without models, or two models of one name.
    """
    found = list(dict.fromkeys(model for name in given for model in _meant(name)))
    places: dict[tuple[str, int | None], str] = {}
    for model in found:
        other = places.setdefault((model.arm, model.seed), model.path)
        if other != model.path:
            raise ConfigurationError(
                f"--model: {other} and {model.path} are both {model.title}; give them in two runs "
                "with an --out each, or give one a folder of another name"
            )
    return found


def _meant(name: str) -> list[Pretrained]:
    folder = Path(name)
    if (folder / "config.json").is_file():
        record = folder.parent / RESULT
        known = _pretrained(record) if record.is_file() else None
        return [known or Pretrained(folder.resolve().name, None, name)]
    if folder.is_dir():
        records = sorted(folder.rglob(RESULT))
        models = {m: read(path) for path in records if (m := _pretrained(path)) is not None}
        if not models:
            raise ConfigurationError(
                f"--model {name}: holds no finished run of `python -m experiments bert pretrain`, "
                "and no config.json of a checkpoint"
            )
        arms = arm_order(list(models.values()))
        return sorted(models, key=lambda model: (arms.index(model.arm), model.seed or 0))
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ConfigurationError(
            f"--model {name}: is missing; run `python -m experiments bert pretrain` first, or give "
            "a folder of a checkpoint or a Hub id"
        )
    return [Pretrained(name, None, name)]


def _pretrained(record: Path) -> Pretrained | None:
    """The model of a pre-training run; None for records of something else."""
    content = read(record)
    model = record.parent / "model"
    if "arm" not in content or "task" in content or not (model / "config.json").is_file():
        return None
    return Pretrained(content["arm"], content["seed"], str(model))


def tokenizer_of(model: Pretrained, sequence_length: int) -> PreTrainedTokenizerBase:
    """The tokenizer of a model, checked against it.

    Raises:
        ConfigurationError: there is none, its pieces are not those of the model, or the model has
            too few positions.
    """
    with _usable(model):
        config = _config(model.path)
        tokenizer = AutoTokenizer.from_pretrained(model.path)
    pieces = len(tokenizer)
    fitting = {pieces, *(-(-pieces // multiple) * multiple for multiple in PADDINGS)}
    if config.vocab_size not in fitting:
        raise ConfigurationError(
            f"--model {model.path}: the tokenizer has {pieces:,} pieces, the model "
            f"{config.vocab_size:,}; put the tokenizer that the model was trained with beside it"
        )
    positions = getattr(config, "max_position_embeddings", sequence_length)
    if sequence_length > positions:
        raise ConfigurationError(
            f"`fine_tuning.sequence_length` should be at most {positions}, the positions of "
            f"{model.path}; found {sequence_length}"
        )
    return tokenizer


def classifier(model: Pretrained, task: GlueTask) -> Any:
    """A model with a new head for a task; the head depends on torch's random state.

    Raises:
        ConfigurationError: the checkpoint cannot be read, or lacks parameters of the encoder, which
            would be random.
    """
    with _usable(model), quiet():
        made, info = AutoModelForSequenceClassification.from_pretrained(
            model.path,
            num_labels=task.outputs,
            problem_type="regression" if task.is_regression else "single_label_classification",
            output_loading_info=True,
        )
    prefix = f"{made.base_model_prefix}."
    missing = sorted(name for name in info["missing_keys"] if name.startswith(prefix))
    if missing:
        raise ConfigurationError(
            f"--model {model.path}: the checkpoint lacks {len(missing)} parameters of the encoder "
            f"({', '.join(missing[:3])}{', …' if len(missing) > 3 else ''}), which would be "
            "random; give a checkpoint with the whole encoder"
        )
    # BERT's own loss ignores the Trainer's `num_items_in_batch`, which it must then not be given:
    # else nothing divides by the accumulation steps, and ranks multiply the loss.
    made.accepts_loss_kwargs = False
    return made


def _config(path: str) -> Any:
    return AutoConfig.from_pretrained(path)


@contextmanager
def _usable(model: Pretrained) -> Iterator[None]:
    """For nothing but reading a model: whatever that raises is said in one line."""
    try:
        yield
    except ConfigurationError:
        raise
    except Exception as error:  # what damaged pickles and tokenizers raise is no closed set
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
        raise ConfigurationError(
            f"--model {model.path}: cannot be loaded ({type(error).__name__}: {reason}); give a "
            "folder of `pretrain`, of `save_pretrained`, or a Hub id that can be reached"
        ) from error
