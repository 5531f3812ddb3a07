"""``python -m experiments bert prepare|pretrain|finetune|summary``."""

import argparse
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskrobust._command_line import seed, writable_directory
from taskrobust._files import write_atomically

if TYPE_CHECKING:
    from experiments.bert.configuration import BertStudy

__all__ = ["add_bert"]

Run = Callable[["BertStudy", argparse.Namespace, argparse.ArgumentParser], int]


def add_bert(parser: argparse.ArgumentParser) -> None:
    """Give a parser the commands of PoS-BERT."""
    parser.description = (
        "PoS-BERT: prepare text, pre-train with a task a part of speech, fine-tune on GLUE."
    )
    commands = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    prepare = _command(commands, "prepare", "text to tagged sentence pairs", _prepare)
    prepare.set_defaults(out=Path("runs/bert/prepared"))
    pretrain = _command(commands, "pretrain", "train every arm and seed", _pretrain)
    pretrain.set_defaults(out=Path("runs/bert/pretrained"), data=Path("runs/bert/prepared"))
    pretrain.add_argument(
        "--arms", nargs="+", metavar="ARM", help="arms of the preset (default: all of them)"
    )
    pretrain.add_argument(
        "--seeds", nargs="+", type=seed, metavar="N", default=[0], help="one run each (default: 0)"
    )
    finetune = _command(commands, "finetune", "train and evaluate on GLUE", _finetune)
    finetune.set_defaults(out=Path("runs/bert/finetuned"))
    finetune.add_argument(
        "--model",
        nargs="+",
        metavar="MODEL",
        default=["runs/bert/pretrained"],
        help="folders of pretrain (every finished arm and seed), checkpoints, or Hub ids "
        "(default: runs/bert/pretrained)",
    )
    summary = commands.add_parser("summary", help="all tables of finished runs on one page")
    summary.add_argument(
        "--pretrained",
        type=Path,
        metavar="DIR",
        default=Path("runs/bert/pretrained"),
        help="of pretrain (default: %(default)s)",
    )
    summary.add_argument(
        "--finetuned",
        type=Path,
        metavar="DIR",
        default=Path("runs/bert/finetuned"),
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
        "--preset", required=True, metavar="P", help="smoke, cpu, small, paper, or a YAML file"
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
    from experiments.bert.configuration import BertStudy
    from experiments.configuration import ConfigurationError, load, preset_path
    from experiments.records import RecordError

    options.command_line = command
    try:
        study = load(
            BertStudy, preset_path("bert", options.preset), options.overrides, study="bert"
        )
        return run(study, options, parser)
    except (ConfigurationError, RecordError) as error:
        parser.error(str(error))
    except OSError as error:  # a full disk, say; what was finished is kept
        parser.error(f"{error.filename or 'output'}: {error.strerror or error}")


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


def _summary(
    parser: argparse.ArgumentParser,
    options: argparse.Namespace,
    command: str,  # noqa: ARG001
) -> int:
    from rich.console import Console

    from experiments.bert.summary import summarise
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
    console.print(
        f"summary in {out / 'summary.md'}; * leaves the interjection out",
        highlight=False,
        soft_wrap=True,
    )
    return 0
