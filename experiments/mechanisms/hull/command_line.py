"""``python -m experiments mechanisms hull``."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskrobust._command_line import seed
from taskrobust._files import write_atomically

if TYPE_CHECKING:
    from experiments.mechanisms.hull.configuration import Settings

__all__ = ["add_options", "run"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give a parser what the command needs."""
    parser.description = (
        "How near gradients and risks of downstream tasks are to convex combinations of those of "
        "upstream tasks (Eq. 9), by regression on the simplex, beside controls."
    )
    parser.add_argument("--study", required=True, choices=["bert", "mae"], help="which study")
    parser.add_argument(
        "--preset", required=True, metavar="P", help="of the study: smoke, cpu, …, or a YAML file"
    )
    parser.add_argument(
        "--model",
        nargs="+",
        metavar="FOLDER",
        default=[],
        help="of `bert pretrain` or `mae pretrain`, or of one model; without it --arm is "
        "pre-trained, and measured at --snapshots steps",
    )
    parser.add_argument("--arm", metavar="ARM", help="of the preset (default: its first)")
    parser.add_argument(
        "--snapshots",
        type=int,
        metavar="N",
        default=8,
        help="models kept along a pre-training, the first and the last too (default: 8)",
    )
    parser.add_argument("--seed", type=seed, metavar="N", default=0, help="of all (default: 0)")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="PATH",
        help="what `prepare` made (default: runs/STUDY/prepared)",
    )
    parser.add_argument(
        "--downstream",
        nargs="+",
        type=Path,
        metavar="PATH",
        default=[],
        help="bert: folder or zip of GLUE's files; mae: manifests of downstream tasks (default: "
        "--data)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where results go (default: runs/mechanisms/hull/STUDY)",
    )
    for name, (kind, metavar, text) in _SETTINGS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=metavar, help=text)
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="key=value",
        help="override a field of the preset, such as optimisation.steps=200; may be repeated",
    )


_SETTINGS: dict[str, tuple[type, str, str]] = {
    "examples": (int, "N", "held-out examples of each risk (default: 512)"),
    "head_examples": (int, "N", "training examples for each downstream head (default: 2000)"),
    "head_steps": (int, "N", "steps in which a head is fitted (default: 500)"),
    "head_learning_rate": (float, "RATE", "of these steps; it falls to 0 (default: 0.003)"),
}
"""Fields of `Settings` that can be typed."""


def run(options: argparse.Namespace, command: str) -> int:
    """Measure every encoder, print tables, write ``hull.json`` and ``hull.md``.

    Args:
        options: of `add_options`.
        command: what was typed, recorded with the results.

    Raises:
        ConfigurationError: preset, models or data cannot be used.
        RecordError: the record of an encoder is damaged.
    """
    from rich.console import Console

    from experiments.mechanisms.hull import page
    from experiments.mechanisms.hull.study import analyse, measured

    how = _settings(options)
    out = options.out or Path("runs/mechanisms/hull") / options.study
    data = options.data or Path("runs") / options.study / "prepared"
    out.mkdir(parents=True, exist_ok=True)
    console = Console(soft_wrap=False)

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    prepare = _bert if options.study == "bert" else _mae
    encoders = prepare(options, data, out, how, command)
    thetas = measured(encoders, out, say, command=command)
    result = analyse(thetas, encoders[-1].configuration, command)
    for table in page.tables(result):
        console.print(table.rich(console.width))
    for note in page.NOTES:
        console.print(note, style="dim", highlight=False)
    text = json.dumps(result.to_data(), indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(out / "hull.json", text + "\n")
    write_atomically(out / "hull.md", page.markdown(result))
    say(f"results in {out / 'hull.md'}, {out / 'hull.json'}")
    return 0


def _settings(options: argparse.Namespace) -> "Settings":
    from pydantic import TypeAdapter, ValidationError

    from experiments.configuration import ConfigurationError
    from experiments.mechanisms.hull.configuration import Settings

    given = {name: getattr(options, name) for name in _SETTINGS}
    kept = {name: value for name, value in given.items() if value is not None}
    if options.snapshots < 2:
        raise ConfigurationError(f"--snapshots should be at least 2; found {options.snapshots}")
    try:
        return TypeAdapter(Settings).validate_python({**kept, "seed": options.seed})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).replace("_", "-")
        raise ConfigurationError(f"--{name}: {first['msg']}; found {first['input']}") from None


def _bert(
    options: argparse.Namespace, data: Path, out: Path, how: "Settings", command: str
) -> list[Any]:
    from experiments.bert.configuration import BertStudy
    from experiments.configuration import ConfigurationError, load, preset_path
    from experiments.mechanisms.hull.bert_snapshots import bert_snapshots
    from experiments.mechanisms.hull.encoders import bert_encoders

    path = preset_path("bert", options.preset)
    study = load(BertStudy, path, options.overrides, study="bert")
    if len(options.downstream) > 1:
        raise ConfigurationError(
            f"--downstream: should be one folder of GLUE's files; found {len(options.downstream)}"
        )
    glue = options.downstream[0] if options.downstream else None
    models = options.model
    if not models:
        arm = options.arm or next(iter(study.arms))
        kept = bert_snapshots(
            study, data, out / "snapshots", arm, options.seed, options.snapshots, command=command
        )
        models = [str(folder) for folder in kept]
    return bert_encoders(study, models, data, glue, out, how)


def _mae(
    options: argparse.Namespace, data: Path, out: Path, how: "Settings", command: str
) -> list[Any]:
    from experiments.configuration import load, preset_path
    from experiments.mae.study import MaeStudy
    from experiments.mechanisms.hull.encoders import mae_encoders
    from experiments.mechanisms.hull.mae_snapshots import mae_snapshots

    path = preset_path("mae", options.preset)
    study = load(MaeStudy, path, options.overrides, study="mae")
    models = options.model
    if not models:
        arm = options.arm or next(iter(study.arms))
        kept = mae_snapshots(
            study, data, out / "snapshots", arm, options.seed, options.snapshots, command=command
        )
        models = [str(folder) for folder in kept]
    return mae_encoders(study, models, data, options.downstream or [data], how)
