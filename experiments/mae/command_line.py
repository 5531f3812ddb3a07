"""``python -m experiments mae prepare|label|pretrain|finetune|summary``."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.mae.label.command_line import add_label
from experiments.study_commands import PREPARED, StudyCommands
from taskrobust._command_line import seed, writable_directory
from taskrobust._files import write_atomically

if TYPE_CHECKING:
    from experiments.mae.study import MaeStudy
    from experiments.page import Page

__all__ = ["add_mae"]


def add_mae(parser: argparse.ArgumentParser) -> None:
    """Give a parser the commands of Multi-Modal Mask MAE."""
    parser.description = (
        "Multi-Modal Mask MAE: prepare images, predict missing labels, pre-train with a task a "
        "modality, fine-tune."
    )
    commands = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    images = "folder or zip of the images (not needed if scenes are rendered)"
    help_text = "images to a checked manifest"
    _COMMANDS.add(commands, "prepare", help_text, _prepare, data=images, out=PREPARED)
    add_label(commands.add_parser("label", help="depth and semantics by published models"))
    help_text = "train every arm and seed"
    pretrain = _COMMANDS.add(
        commands, "pretrain", help_text, _pretrain, data=PREPARED, out="pretrained"
    )
    pretrain.add_argument(
        "--arms", nargs="+", metavar="ARM", help="arms of the preset (default: all of them)"
    )
    pretrain.add_argument(
        "--seeds", nargs="+", type=seed, metavar="N", default=[0], help="one run each (default: 0)"
    )
    help_text = "train and evaluate a downstream task"
    finetune = _COMMANDS.add(
        commands, "finetune", help_text, _finetune, data=PREPARED, out="finetuned"
    )
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
    _COMMANDS.add_summary(commands, _summarise)


def _kind() -> type:
    from experiments.mae.study import MaeStudy

    return MaeStudy


_COMMANDS = StudyCommands("mae", "smoke, cpu, study, small, paper, code", _kind)


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


def _summarise(pretrained: Path, finetuned: Path) -> "Page":
    from experiments.mae.summary import summarise

    return summarise(pretrained, finetuned)
