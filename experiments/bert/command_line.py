"""``python -m experiments bert prepare|pretrain|finetune|summary``."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.study_commands import PREPARED, StudyCommands
from taskrobust._command_line import seed, writable_directory
from taskrobust._files import write_atomically

if TYPE_CHECKING:
    from experiments.bert.configuration import BertStudy
    from experiments.page import Page

__all__ = ["add_bert"]


def add_bert(parser: argparse.ArgumentParser) -> None:
    """Give a parser the commands of PoS-BERT."""
    parser.description = (
        "PoS-BERT: prepare text, pre-train with a task a part of speech, fine-tune on GLUE."
    )
    commands = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    text = "folder of the text (not needed if it is generated, or of the Hub)"
    help_text = "text to tagged sentence pairs"
    _COMMANDS.add(commands, "prepare", help_text, _prepare, data=text, out=PREPARED)
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
    glue = "folder of GLUE's files (not needed if they are generated, or of the Hub)"
    help_text = "train and evaluate on GLUE"
    finetune = _COMMANDS.add(commands, "finetune", help_text, _finetune, data=glue, out="finetuned")
    finetune.add_argument(
        "--model",
        nargs="+",
        metavar="MODEL",
        default=["runs/bert/pretrained"],
        help="folders of pretrain (every finished arm and seed), checkpoints, or Hub ids "
        "(default: runs/bert/pretrained)",
    )
    _COMMANDS.add_summary(commands, _summarise, "; * leaves the interjection out")


def _kind() -> type:
    from experiments.bert.configuration import BertStudy

    return BertStudy


_COMMANDS = StudyCommands("bert", "smoke, cpu, study, small, paper", _kind)


def _prepare(
    study: "BertStudy", options: argparse.Namespace, parser: argparse.ArgumentParser
) -> int:
    from experiments.bert.preparation.prepare import prepare

    writable_directory(parser, options.out.parent)
    prepare(study.preparation, options.data, options.out)
    return 0


def _pretrain(
    study: "BertStudy", options: argparse.Namespace, parser: argparse.ArgumentParser
) -> int:
    from rich.console import Console

    from experiments import records
    from experiments.bert import results
    from experiments.bert.arms import check_arms, in_order
    from experiments.bert.pretrain import pretrain, run_configuration
    from experiments.comparable import check_comparable
    from experiments.runs import stage

    out = writable_directory(parser, options.out)
    console = Console(quiet=int(os.environ.get("RANK", "0")) > 0)
    arms = in_order(study, options.arms or list(study.arms))
    check_arms(study, arms)
    texts = {arm: run_configuration(study, arm, options.data) for arm in arms}
    planned = [
        {"arm": arm, "seed": number, "configuration": texts[arm]}
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
    finished = records.collect(out)
    for split in ("valid", "test"):
        made = results.rows(finished, list(study.arms), split)
        if made:
            console.print(results.table(made, f"Held-out cross-entropy, {split} (nats)"))
            write_atomically(out / f"{split}.md", results.markdown(made))
    console.print(
        f"results in {out}; * leaves the interjection out", highlight=False, soft_wrap=True
    )
    return 0


def _finetune(
    study: "BertStudy", options: argparse.Namespace, parser: argparse.ArgumentParser
) -> int:
    from rich.console import Console

    from experiments.bert.glue.study import fine_tune_all

    out = writable_directory(parser, options.out)
    console = Console(quiet=int(os.environ.get("RANK", "0")) > 0)
    fine_tune_all(
        study.fine_tuning,
        options.model,
        options.data,
        out,
        console=console,
        command=options.command_line,
    )
    console.print(f"results in {out}", highlight=False, soft_wrap=True)
    return 0


def _summarise(pretrained: Path, finetuned: Path) -> "Page":
    from experiments.bert.summary import summarise

    return summarise(pretrained, finetuned)
