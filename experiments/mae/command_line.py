"""``python -m experiments mae prepare|label|pretrain|finetune|summary``."""

import argparse
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.mae.label.command_line import add_label
from taskrobust._command_line import seed, writable_directory
from taskrobust._files import write_atomically

if TYPE_CHECKING:
    from experiments.mae.study import MaeStudy

__all__ = ["add_mae"]

Run = Callable[["MaeStudy", argparse.Namespace, argparse.ArgumentParser], int]


def add_mae(parser: argparse.ArgumentParser) -> None:
    """Give a parser the commands of Multi-Modal Mask MAE."""
    parser.description = (
        "Multi-Modal Mask MAE: prepare images, predict missing labels, pre-train with a task a "
        "modality, fine-tune."
    )
    commands = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    prepare = _command(commands, "prepare", "images to a checked manifest", _prepare)
    prepare.set_defaults(out=Path("runs/mae/prepared"))
    add_label(commands.add_parser("label", help="depth and semantics by published models"))
    pretrain = _command(commands, "pretrain", "train every arm and seed", _pretrain)
    pretrain.set_defaults(out=Path("runs/mae/pretrained"), data=Path("runs/mae/prepared"))
    pretrain.add_argument(
        "--arms", nargs="+", metavar="ARM", help="arms of the preset (default: all of them)"
    )
    pretrain.add_argument(
        "--seeds", nargs="+", type=seed, metavar="N", default=[0], help="one run each (default: 0)"
    )
    finetune = _command(commands, "finetune", "train and evaluate a downstream task", _finetune)
    finetune.set_defaults(out=Path("runs/mae/finetuned"), data=Path("runs/mae/prepared"))
    finetune.add_argument(
        "--task",
        nargs="+",
        choices=["cls", "semseg", "depth"],
        required=True,
        help="classes of images, classes of pixels, or depth in metres",
    )
    finetune.add_argument(
        "--model",
        nargs="+",
        metavar="MODEL",
        default=["runs/mae/pretrained"],
        help="folders of pretrain (every finished arm and seed) or of one model, or scratch for "
        "one that has learned nothing (default: runs/mae/pretrained)",
    )
    summary = commands.add_parser("summary", help="all tables of finished runs on one page")
    summary.add_argument(
        "--pretrained",
        type=Path,
        metavar="DIR",
        default=Path("runs/mae/pretrained"),
        help="of pretrain (default: %(default)s)",
    )
    summary.add_argument(
        "--finetuned",
        type=Path,
        metavar="DIR",
        default=Path("runs/mae/finetuned"),
        help="of finetune, if there is one (default: %(default)s)",
    )
    summary.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where summary.md goes (default: the folder of --pretrained)",
    )
    summary.set_defaults(run=partial(_summary, summary))


def _command(commands: Any, name: str, help_text: str, run: Run) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=help_text)
    parser.add_argument(
        "--preset",
        required=True,
        metavar="P",
        help="smoke, cpu, study, small, paper, code, or a YAML file",
    )
    parser.add_argument("--data", type=Path, metavar="PATH", help="where the input is")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where results go")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="key=value",
        help="override a field of the preset, such as model.layers=4; may be repeated",
    )
    parser.set_defaults(run=partial(_run, parser, run))
    return parser


def _run(
    parser: argparse.ArgumentParser, run: Run, options: argparse.Namespace, command: str
) -> int:
    """Read the configuration, then run; what is wrong with it ends in one line."""
    from experiments.configuration import ConfigurationError, load, message, preset_path
    from experiments.mae.study import MaeStudy
    from experiments.records import RecordError

    options.command_line = command
    try:
        study = load(MaeStudy, preset_path("mae", options.preset), options.overrides, study="mae")
        return run(study, options, parser)
    except (ConfigurationError, RecordError) as error:
        parser.error(message(error))
    except OSError as error:  # a full disk, say; what was finished is kept
        parser.error(f"{error.filename or 'output'}: {error.strerror or error}")


def _prepare(
    study: "MaeStudy", options: argparse.Namespace, parser: argparse.ArgumentParser
) -> int:
    from experiments.configuration import ConfigurationError
    from experiments.mae.data.preparation import prepare

    if study.preparation is None:
        raise ConfigurationError(
            f"preset {options.preset} should have a `preparation`; found none; give one, such as "
            "--set 'preparation={source: nyuv2}'"
        )
    writable_directory(parser, options.out.parent)
    manifest = prepare(study.preparation, options.data, options.out)
    splits = ", ".join(f"{name} {count:,}" for name, count in manifest.header.splits.items())
    print(f"{manifest.path}: {splits}")
    return 0


def _pretrain(
    study: "MaeStudy", options: argparse.Namespace, parser: argparse.ArgumentParser
) -> int:
    from rich.console import Console

    from experiments import records
    from experiments.comparable import check_comparable
    from experiments.mae import results
    from experiments.mae.arms import check_arms
    from experiments.mae.pretrain import pretrain, run_configuration
    from experiments.mae.reading import Images
    from experiments.runs import stage

    out = writable_directory(parser, options.out)
    console = Console(quiet=int(os.environ.get("RANK", "0")) > 0)
    arms = list(dict.fromkeys(options.arms or study.arms))
    check_arms(study, arms)
    images = Images(study, options.data)
    planned = [
        {"arm": arm, "seed": number, "configuration": run_configuration(study, arm, images)}
        for number in options.seeds
        for arm in arms
    ]
    check_comparable([*records.collect(out), *planned])  # one folder makes one table
    for number in options.seeds:
        for arm in arms:
            state = stage(records.run_folder(out, arm, number))
            title = f"arm {arm}, seed {number}" + (f" ({state})" if state else "")
            console.rule(title, characters="-")
            pretrain(study, options.data, out, arm, number, command=options.command_line)
    if console.quiet:
        return 0
    rows = results.rows(records.collect(out), list(study.arms))
    console.print(results.table(rows, f"Reconstruction risks, {images.held_out_split}"))
    write_atomically(out / "held-out.md", results.markdown(rows))
    console.print(f"results in {out}", highlight=False, soft_wrap=True)
    return 0


def _finetune(
    study: "MaeStudy", options: argparse.Namespace, parser: argparse.ArgumentParser
) -> int:
    from rich.console import Console

    from experiments.mae.downstream.study import fine_tune_all

    out = writable_directory(parser, options.out)
    console = Console(quiet=int(os.environ.get("RANK", "0")) > 0)
    for task in dict.fromkeys(options.task):
        fine_tune_all(
            getattr(study.downstream, task),
            options.model,
            options.data,
            out,
            fresh=study.model,
            console=console,
            command=options.command_line,
        )
    console.print(f"results in {out}", highlight=False, soft_wrap=True)
    return 0


def _summary(
    parser: argparse.ArgumentParser,
    options: argparse.Namespace,
    command: str,  # noqa: ARG001
) -> int:
    from rich.console import Console

    from experiments.mae.summary import summarise
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
    console.print(f"summary in {out / 'summary.md'}", highlight=False, soft_wrap=True)
    return 0
