"""Everything that a PoS-BERT run can be told, as data; presets are in ``experiments/presets/bert``.

The defaults are the paper's where it states them (Tables 4 and 5) and BERT's where it does not.
"""

from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic.dataclasses import dataclass

from experiments.configuration import strict

__all__ = [
    "Arm",
    "BertStudy",
    "FineTuning",
    "Masking",
    "ModelSize",
    "Optimisation",
    "Phase",
    "Preparation",
]

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0)]
Seed = Annotated[int, Field(ge=0)]
Decay = Annotated[float, Field(ge=0, lt=1)]
ArmName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
"""Names of arms are names of folders."""
Grouping = Literal["pos", "frequency", "random"]


@dataclass(config=strict, kw_only=True)
class Preparation:
    """From text to sentence pairs with a part of speech for each piece (``prepare``).

    `train`, `valid` and `test` are files, folders or patterns, relative to ``--data``. Without
    `valid` (or `test`) a share `held_out` of the documents is kept from the training text.
    """

    source: Literal["local", "hub", "generated"] = "local"
    train: tuple[str, ...] = ("**/*",)
    valid: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    held_out: Share = 0.01
    hub: tuple[str, ...] = ()
    """Hub data sets as ``id[:config][@column]``, for source "hub"."""
    generated_documents: Positive = 400
    vocabulary: str | None = None
    """Hub id or folder of a WordPiece tokenizer; None trains one of `vocabulary_size` pieces."""
    vocabulary_size: Positive = 8192
    sequence_length: Annotated[int, Field(ge=16, le=512)] = 128
    short_pair_probability: Share = 0.1
    tagger: Literal["nltk", "gold"] = "nltk"
    """"gold" takes the tags of CoNLL-U input or of generated text."""
    processes: Positive = 1
    seed: Seed = 0


@dataclass(config=strict, kw_only=True)
class Masking:
    """BERT's masking, drawn by (seed, duplicate, instance)."""

    probability: Share = 0.15
    max_predictions: Positive = 20
    """Masked pieces an instance at most; also the static width K of the batches."""
    duplicates: Positive = 10
    """Virtual copies of each instance, with different masks."""
    seed: Seed = 0


@dataclass(config=strict, kw_only=True)
class ModelSize:
    """Sizes of `transformers.BertConfig`; the defaults are BERT-base."""

    layers: Positive = 12
    hidden: Positive = 768
    heads: Positive = 12
    intermediate: Positive | None = None
    """4 · hidden if None."""
    positions: Positive = 512
    dropout: Share = 0.1


@dataclass(config=strict, kw_only=True)
class Optimisation:
    """Optimiser and schedule: Table 4, whose peak learning rate contradicts the text's 1e-4."""

    steps: Positive = 1_000_000
    batch_size: Positive = 256
    """Instances a step over all processes and micro-batches."""
    micro_batch_size: Positive | None = None
    """Instances a process takes at once; None: the whole share of the process."""
    learning_rate: Rate = 2e-4
    warmup_steps: Annotated[int, Field(ge=0)] = 10_000
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    epsilon: Rate = 1e-6
    max_gradient_norm: Annotated[float, Field(ge=0)] = 0.0
    """0: no clipping (Table 4); BERT's code clips at 1."""
    precision: Literal["float32", "bf16", "fp16"] = "float32"
    compile: bool = False


@dataclass(config=strict, kw_only=True)
class Phase:
    """A share of the steps on instances of one prepared folder (BERT: 90 % at 128, 10 % at 512)."""

    share: Share = 1.0
    data: str | None = None
    """Folder of `prepare`; None: the one given by ``--data``."""
    max_predictions: Positive | None = None


@dataclass(config=strict, kw_only=True)
class Arm:
    """One way to combine the risks of the tasks: a balancer and its options."""

    balancer: str
    options: dict[str, Any] = field(default_factory=dict)
    reference: str | None = None
    """Name of a finished arm whose held-out risks are subtracted (excess-risk Minimax)."""
    grouping: Grouping | None = None
    """The grouping into tasks of this arm; None: that of the study."""


@dataclass(config=strict, kw_only=True)
class FineTuning:
    """GLUE: Table 5, which states neither epochs (BERT: 3, RoBERTa's row: 10) nor Adam's constants.

    Of the latter, ε and no clipping are those of Table 4 and of RoBERTa, β those of Table 4.
    """

    tasks: Annotated[
        tuple[Literal["mnli", "qqp", "qnli", "sst2", "cola", "stsb", "mrpc", "rte"], ...],
        Field(min_length=1),
    ] = ("mnli", "qqp", "qnli", "sst2", "cola", "stsb", "mrpc", "rte")
    source: Literal["local", "hub", "generated"] = "local"
    """Where the tasks are read from, unless ``--data`` gives a folder."""
    hub: str = "nyu-mll/glue"
    """Data set of the Hub, for source "hub"."""
    revision: str | None = None
    """Its commit, branch or tag; None: the newest."""
    epochs: Rate = 3.0
    batch_size: Positive = 32
    """Examples a step over all processes and micro-batches."""
    micro_batch_size: Positive | None = None
    """Examples a process takes at once; None: the whole share of the process."""
    learning_rate: Rate = 2e-5
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.06
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    epsilon: Rate = 1e-6
    max_gradient_norm: Annotated[float, Field(ge=0)] = 0.0
    """0: no clipping; BERT's code clips at 1."""
    sequence_length: Annotated[int, Field(ge=8)] = 128
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0, 1, 2, 3, 4)
    """Of the new head, the order of the data and dropout; each gives a run."""
    max_train_examples: Positive | None = None
    """The first examples only, for trials."""
    precision: Literal["float32", "bf16", "fp16"] = "float32"
    save_every: Positive | None = None
    """Steps between checkpoints of an unfinished run; None: it starts anew if interrupted."""
    keep_models: bool = False
    """Whether fine-tuned models are kept beside their results."""


@dataclass(config=strict, kw_only=True)
class BertStudy:
    """A preset: data, model, arms, training, evaluation, fine-tuning."""

    preparation: Preparation = field(default_factory=Preparation)
    masking: Masking = field(default_factory=Masking)
    model: ModelSize = field(default_factory=ModelSize)
    optimisation: Optimisation = field(default_factory=Optimisation)
    phases: tuple[Phase, ...] = (Phase(),)
    arms: dict[ArmName, Arm] = field(default_factory=dict)
    grouping: Grouping = "pos"
    """Tasks by part of speech; or, of the same sizes, by word frequency or at random."""
    other_is_task: bool = False
    """Whether pieces outside the nine classes make a tenth task; else they have no loss."""
    next_sentence: Annotated[
        Literal["added", "task", "off"],
        BeforeValidator(lambda value: "off" if value is False else value),  # as YAML reads off
    ] = "added"
    """Next-sentence prediction: added with weight 1 outside the balancing, a task, or left out."""
    evaluate_every: Positive = 1000
    log_every: Positive = 50
    save_every: Positive = 1000
    seed: Seed = 0
    fine_tuning: FineTuning = field(default_factory=FineTuning)

    @model_validator(mode="after")
    def _consistent(self) -> "BertStudy":
        if abs(sum(phase.share for phase in self.phases) - 1) > 1e-9:
            raise ValueError(f"`phases` should have shares that sum to 1; found {self.phases}")
        if self.model.hidden % self.model.heads:
            raise ValueError(
                f"`model.hidden` should be a multiple of `model.heads`; "
                f"found {self.model.hidden} and {self.model.heads}"
            )
        for name, arm in self.arms.items():
            if arm.reference is not None and arm.reference not in self.arms:
                raise ValueError(
                    f"`arms.{name}.reference` should name an arm; found {arm.reference!r}"
                )
        return self
