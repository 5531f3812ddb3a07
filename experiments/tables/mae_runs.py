"""The runs of Table 2 and Figure 3: Multi-Modal Mask MAE pre-trained, then fine-tuned."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock

from experiments.configuration import ConfigurationError, dump
from experiments.mae.arms import check_arms
from experiments.mae.data.preparation import prepare
from experiments.mae.downstream.configuration import Depth, Downstream, FineTuning
from experiments.mae.downstream.models import Pretrained
from experiments.mae.downstream.plan import Run, plan
from experiments.mae.downstream.run import finetune
from experiments.mae.downstream.study import read_data
from experiments.mae.downstream.task_data import TaskData, depth_statistics
from experiments.mae.pretrain import pretrain, snapshot_folder
from experiments.mae.study import MaeStudy
from experiments.quiet import quick_collections
from experiments.records import RESULT, run_folder
from experiments.run_bar import run_bar
from experiments.tables.preset import load_study, preparation_of
from experiments.tables.store import HALFWAY, PRETRAIN
from experiments.tables.study_runs import StudyRuns

__all__ = ["HALF", "MaeRuns"]

HALF = 0.5
"""Share of pre-training after which Figure 3 looks at the model."""
_WITHOUT_EFFECT = ("seeds", "save_every", "keep_models", "pictures", "workers")


@dataclass(frozen=True, eq=False)
class MaeRuns(StudyRuns):
    """Makes them.

    Attributes:
        tasks: fine-tunings, such as "semseg"; with "-half", of the model halfway.
    """

    study = "mae"
    tasks: tuple[str, ...] = ("cls", "semseg", "depth")

    @cached_property
    def configuration(self) -> MaeStudy:
        """Of the study."""
        found = load_study(MaeStudy, self.study, self.table, self.more)
        check_arms(found, list(self.table.rows.values()))
        return replace(found, snapshots=(HALF,))

    def parts(self) -> Sequence[str]:
        """Pre-training, then task and seed of each fine-tuning."""
        return [
            PRETRAIN,
            *(f"{task}-{seed}" for task in self.tasks for seed in self._recipe_of(task).seeds),
        ]

    def recipe(self, arm: str, part: str) -> str:
        """The study of one arm, and how the images are prepared; or the recipe of fine-tuning."""
        study = self.configuration
        if part == PRETRAIN:
            without = ("downstream", "snapshots", "picture_every", "pictures")
            how = replace(study.optimisation, workers=0)
            kept = replace(study, arms={arm: study.arms[arm]}, optimisation=how)
            return dump(kept, without=without) + self._preparations()
        return (
            dump(self._recipe_of(self._task_of(part)), without=_WITHOUT_EFFECT)
            + self._preparations()
        )

    def defaults(self, part: str) -> str:
        """Of the fields of `recipe`."""
        if part == PRETRAIN:
            return dump(MaeStudy())
        how: FineTuning = getattr(Downstream(), self._task_of(part).removesuffix(HALFWAY))
        return dump(how)

    def run(self, arm: str, seed: int, part: str) -> dict[str, Any]:
        """Make one run, or go on with it."""
        if part == PRETRAIN:
            return self._pretrained(arm, seed)
        run = self.fine_tuning(arm, seed, part)
        with quick_collections(), run_bar(self.console, run.images, "images") as bar:
            bar.run(run.title, run.how.batch_size)
            return finetune(run, command=self.command, callbacks=[bar])

    def fine_tuning(self, arm: str, seed: int, part: str) -> Run:
        """A fine-tuning with all that it needs, checked.

        Args:
            arm: of the study.
            seed: of pre-training, which is finished.
            part: task and seed.
        """
        task, _, number = part.rpartition("-")
        folder = run_folder(self._folder / "pretrained", arm, seed)
        out = self._folder / "finetuned"
        model = folder / "model"
        if task.endswith(HALFWAY):
            out, model = self._folder / "finetuned-half", snapshot_folder(folder, HALF)
            if not model.is_dir():
                raise ConfigurationError(
                    f"{model} is missing: {folder} was pre-trained before snapshots were kept; "
                    "choose another --out"
                )
        data, statistics = self._read(task)
        data = replace(data, how=replace(data.how, seeds=(int(number),)))
        models = [Pretrained(arm, seed, model)]
        (run,) = plan(models, data, self.configuration.model, statistics, out)
        return run

    def pictured(self, arm: str, seed: int, part: str) -> Run | None:
        """A fine-tuning whose folder is here and finished, for its pictures; else None.

        Args:
            arm: of the study.
            seed: of pre-training.
            part: task and seed.
        """
        pretrained = run_folder(self._folder / "pretrained", arm, seed)
        if not (pretrained / RESULT).is_file():
            return None
        run = self.fine_tuning(arm, seed, part)
        return run if (run.folder / RESULT).is_file() else None

    @staticmethod
    def _task_of(part: str) -> str:
        return part.rpartition("-")[0]

    def _recipe_of(self, task: str) -> FineTuning:
        found: FineTuning = getattr(self.configuration.downstream, task.removesuffix(HALFWAY))
        return found

    def _pretrained(self, arm: str, seed: int) -> dict[str, Any]:
        data = self._prepared(PRETRAIN)
        out = self._folder / "pretrained"
        return pretrain(self.configuration, data, out, arm, seed, command=self.command)

    @cache  # noqa: B019 - one object a command
    def _read(self, task: str) -> tuple[TaskData, tuple[float, float] | None]:
        """Images of a task, and mean and deviation of depth."""
        how = self._recipe_of(task)
        read = read_data(how, self._prepared(task.removesuffix(HALFWAY)))
        if isinstance(how, Depth):
            return read, how.standardisation or depth_statistics(read)
        return read, None

    @cache  # noqa: B019 - one object a command
    def _prepared(self, part: str) -> Path:
        """What a part reads: prepared by the first process that needs it, checked by others."""
        name = self.table.reads[part]
        if name not in self.table.prepared:  # a manifest that somebody else made, such as `label`
            return (self.data or Path()) / self.table.data[name].path
        folder = self._folder / name
        self._folder.mkdir(parents=True, exist_ok=True)
        where = self.data or Path()
        how = preparation_of(MaeStudy, self.study, self.table, name, where, self.more)
        source = None if how.source == "scenes" else where / self.table.prepared[name].path
        with FileLock(self._folder / f".{name}.lock"):
            prepare(how, source, folder)
        return folder
