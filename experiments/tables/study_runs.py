"""What the runs of both studies have in common: where they lie, what they read, their arms."""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import yaml
from rich.console import Console

from experiments.configuration import plain
from experiments.tables.preset import TablePreset, check_data

__all__ = ["StudyRuns"]


@dataclass(frozen=True, eq=False)
class StudyRuns:
    """Base of what makes the runs of a study.

    Attributes:
        preset: name of the preset of the table.
        table: its content.
        data: folder of the data sets; None if all is generated.
        work: folder of models and checkpoints.
        console: what a person sees.
        command: what was typed, for the records.
        more: ``key=value`` over the study, of ``--set``.
    """

    study: ClassVar[str]

    preset: str
    table: TablePreset
    data: Path | None
    work: Path
    console: Console
    command: str = ""
    more: tuple[str, ...] = ()

    @property
    def configuration(self) -> Any:
        """Of the study."""
        raise NotImplementedError

    @property
    def arms(self) -> Collection[str]:
        """Of the study."""
        found: Collection[str] = self.configuration.arms.keys()
        return found

    def check(self) -> None:
        """Refuse to start without the data.

        Raises:
            ConfigurationError: names what is missing, and where to get it.
        """
        check_data(self.table, self.data)

    @property
    def _folder(self) -> Path:
        return self.work / self.study / self.preset

    def _preparations(self) -> str:
        """How the data are prepared, as YAML: a part of recipes."""
        prepared = {name: plain(asdict(each)) for name, each in self.table.prepared.items()}
        return str(yaml.safe_dump({"prepared": prepared}, sort_keys=False))
