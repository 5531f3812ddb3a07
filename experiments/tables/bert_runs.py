"""The runs of Table 1: PoS-BERT pre-trained, then fine-tuned on each task of GLUE."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock

from experiments.bert.arms import check_arms, in_order
from experiments.bert.configuration import BertStudy, FineTuning
from experiments.bert.glue.examples import TaskData
from experiments.bert.glue.finetune import finetune, plan, steps
from experiments.bert.glue.models import Pretrained
from experiments.bert.glue.study import read_all
from experiments.bert.preparation.prepare import prepare
from experiments.bert.pretrain import pretrain
from experiments.configuration import dump
from experiments.quiet import quick_collections
from experiments.records import run_folder
from experiments.run_bar import run_bar
from experiments.tables.preset import load_study, preparation_of
from experiments.tables.store import PRETRAIN
from experiments.tables.study_runs import StudyRuns

__all__ = ["BertRuns"]


@dataclass(frozen=True, eq=False)
class BertRuns(StudyRuns):
    """Makes them."""

    study = "bert"

    @cached_property
    def configuration(self) -> BertStudy:
        """Of the study."""
        found = load_study(BertStudy, self.study, self.table, self.more)
        check_arms(found, in_order(found, list(self.table.rows.values())))
        return found

    def parts(self) -> Sequence[str]:
        """Pre-training, then task and seed of each fine-tuning."""
        how = self.configuration.fine_tuning
        return [PRETRAIN, *(f"{task}-{seed}" for task in how.tasks for seed in how.seeds)]

    def recipe(self, arm: str, part: str) -> str:
        """The study of one arm, and how the data are prepared; or the recipe of fine-tuning."""
        study = self.configuration
        if part == PRETRAIN:
            text = dump(replace(study, arms={arm: study.arms[arm]}), without=("fine_tuning",))
            return text + self._preparations()
        return dump(study.fine_tuning, without=("tasks", "seeds", "save_every", "keep_models"))

    def defaults(self, part: str) -> str:
        """Of the fields of `recipe`."""
        return dump(BertStudy() if part == PRETRAIN else FineTuning())

    def run(self, arm: str, seed: int, part: str) -> dict[str, Any]:
        """Make one run, or go on with it."""
        if part == PRETRAIN:
            return self._pretrained(arm, seed)
        task, _, number = part.rpartition("-")
        return self._fine_tuned(arm, seed, task, int(number))

    def _pretrained(self, arm: str, seed: int) -> dict[str, Any]:
        data = self._prepared(self.table.reads[PRETRAIN])
        out = self._folder / "pretrained"
        return pretrain(self.configuration, data, out, arm, seed, command=self.command)

    @cache  # noqa: B019 - one object a command
    def _prepared(self, name: str) -> Path:
        """What is read: prepared by the first process that needs it, checked by others."""
        for each in self.table.prepared:
            folder = self._folder / each
            self._folder.mkdir(parents=True, exist_ok=True)
            where = self.data or Path()
            how = preparation_of(BertStudy, self.study, self.table, each, where, self.more)
            source = None if how.source == "generated" else where / self.table.prepared[each].path
            with FileLock(self._folder / f".{each}.lock"):
                prepare(how, source, folder)
        return self._folder / name

    def _fine_tuned(self, arm: str, seed: int, task: str, number: int) -> dict[str, Any]:
        how = self._recipe_of(task, (number,))
        model = run_folder(self._folder / "pretrained", arm, seed) / "model"
        data = self._task(task)
        (run,) = plan(how, [Pretrained(arm, seed, str(model))], [data], self._folder / "finetuned")
        examples = steps(how, data) * how.batch_size
        with quick_collections(), run_bar(self.console, examples, "examples") as bar:
            bar.run(run.title, how.batch_size)
            return finetune(run, how, command=self.command, callbacks=[bar])

    def _recipe_of(self, task: str, seeds: tuple[int, ...]) -> FineTuning:
        how = self.configuration.fine_tuning
        kept = tuple(each for each in how.tasks if each == task)
        return replace(how, tasks=kept, seeds=seeds)

    def _task(self, task: str) -> TaskData:
        how = self._recipe_of(task, (0,))
        name = self.table.reads.get("glue")
        where = None if name is None else (self.data or Path()) / self.table.data[name].path
        (found,) = read_all(how, where, self._folder)
        return found
