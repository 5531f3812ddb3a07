"""What the commands of all studies have in common: a preset, its overrides, errors in one line."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskrobust._command_line import writable_directory
from taskrobust._files import write_atomically

if TYPE_CHECKING:
    from experiments.page import Page

__all__ = ["PREPARED", "StudyCommands"]

PREPARED = "prepared"
"""Folder of what ``prepare`` makes, below that of a study."""

Run = Callable[[Any, argparse.Namespace, argparse.ArgumentParser], int]
"""What a command does with a study: to an exit status."""


@dataclass(frozen=True)
class StudyCommands:
    """Adds the commands of a study; what they need is imported when they are run.

    Args:
        study: its name, of the presets and of the folders below ``runs``.
        presets: their names, for the help.
        kind: gives the dataclass of the configuration.
    """

    study: str
    presets: str
    kind: Callable[[], type]

    def add(
        self, commands: Any, name: str, help_text: str, run: Run, *, data: str, out: str
    ) -> argparse.ArgumentParser:
        """A command that reads a preset.

        Args:
            commands: of ``argparse``'s ``add_subparsers``.
            name: of the command.
            help_text: what it does.
            run: does it.
            data: what its input is; `PREPARED`: what ``prepare`` leaves in ``runs/STUDY/prepared``.
            out: name of the folder there that results go to.
        """
        home = Path("runs") / self.study
        known = home / data if data == PREPARED else None
        parser: argparse.ArgumentParser = commands.add_parser(name, help=help_text)
        parser.add_argument(
            "--preset", required=True, metavar="P", help=f"{self.presets}, or a YAML file"
        )
        parser.add_argument(
            "--data",
            type=Path,
            metavar="PATH",
            default=known,
            help=data if known is None else f"what prepare made (default: {known})",
        )
        parser.add_argument(
            "--out",
            type=Path,
            metavar="DIR",
            default=home / out,
            help="where results go (default: %(default)s)",
        )
        parser.add_argument(
            "--set",
            dest="overrides",
            action="append",
            default=[],
            metavar="key=value",
            help="override a field of the preset, such as model.layers=4; may be repeated",
        )
        parser.set_defaults(run=partial(self._run, parser, run))
        return parser

    def add_summary(
        self, commands: Any, summarise: Callable[[Path, Path], "Page"], note: str = ""
    ) -> None:
        """The command that puts all tables of finished runs on one page.

        Args:
            commands: of ``argparse``'s ``add_subparsers``.
            summarise: makes the page of the folders of pre-training and of fine-tuning.
            note: printed after the tables.
        """
        parser = commands.add_parser("summary", help="all tables of finished runs on one page")
        for name, text in (
            ("pretrained", "of pretrain"),
            ("finetuned", "of finetune, if there is one"),
        ):
            parser.add_argument(
                f"--{name}",
                type=Path,
                metavar="DIR",
                default=Path(f"runs/{self.study}/{name}"),
                help=f"{text} (default: %(default)s)",
            )
        parser.add_argument(
            "--out",
            type=Path,
            metavar="DIR",
            help="where summary.md goes (default: the folder of --pretrained)",
        )
        parser.set_defaults(run=partial(_summary, parser, summarise, note))

    def _run(
        self,
        parser: argparse.ArgumentParser,
        run: Run,
        options: argparse.Namespace,
        command: str,
    ) -> int:
        """Read the configuration, then run; what is wrong with it ends in one line."""
        from experiments.configuration import ConfigurationError, load, message, preset_path
        from experiments.records import RecordError

        options.command_line = command
        try:
            path = preset_path(self.study, options.preset)
            study: Any = load(self.kind(), path, options.overrides, study=self.study)
            return run(study, options, parser)
        except (ConfigurationError, RecordError) as error:
            parser.error(message(error))
        except OSError as error:  # a full disk, say; what was finished is kept
            parser.error(f"{error.filename or 'output'}: {error.strerror or error}")


def _summary(
    parser: argparse.ArgumentParser,
    summarise: Callable[[Path, Path], "Page"],
    note: str,
    options: argparse.Namespace,
    command: str,  # noqa: ARG001
) -> int:
    from rich.console import Console

    from experiments.records import RecordError

    try:
        found = summarise(options.pretrained, options.finetuned)
    except RecordError as error:
        parser.error(str(error))
    out = writable_directory(parser, options.out or options.pretrained)
    write_atomically(out / "summary.md", found.markdown)
    console = Console()
    for table in found.tables:
        console.print(table)
    console.print(f"summary in {out / 'summary.md'}{note}", highlight=False, soft_wrap=True)
    return 0
