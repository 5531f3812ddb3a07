"""Attached against detached weights on Multi-Modal Mask MAE: the authors' code against Eq. (7)."""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskrobust._command_line import seed
from taskrobust._files import write_atomically

if TYPE_CHECKING:
    from experiments.mae.study import MaeStudy

__all__ = ["ATTACHED", "DETACHED", "add_options", "compare", "run", "sharpness"]

DETACHED, ATTACHED = "minimax", "attached"
"""Arms of the presets: weights as constants (Eq. 7), and differentiated through."""

_BALANCERS = {DETACHED: "minimax", ATTACHED: "minimax-attached"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give a parser what the command needs."""
    parser.description = (
        "Pre-train Multi-Modal Mask MAE with weights as constants (Eq. 7) and differentiated "
        "through (the authors' code): signs of the coefficients, and held-out risks."
    )
    parser.add_argument(
        "--preset", required=True, metavar="P", help="smoke, cpu, or a YAML file of `mae`"
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="PATH",
        default=Path("runs/mae/prepared"),
        help="a manifest of `mae prepare`, or its folder (default: %(default)s)",
    )
    parser.add_argument(
        "--seeds", nargs="+", type=seed, metavar="N", default=[0], help="one pair each (default: 0)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        default=Path("runs/mechanisms/attached"),
        help="where results go (default: %(default)s)",
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="key=value",
        help="override a field of the preset, such as optimisation.epochs=4; may be repeated",
    )


def run(options: argparse.Namespace, command: str) -> int:
    """Train both arms with every seed, compare, write JSON, Markdown and a figure.

    Args:
        options: of `add_options`.
        command: what was typed, recorded with the results.

    Raises:
        ConfigurationError: preset or data cannot be used.
    """
    from rich.console import Console

    from experiments.configuration import load, preset_path
    from experiments.mae.arms import check_arms
    from experiments.mae.pretrain import pretrain
    from experiments.mae.study import MaeStudy
    from experiments.mechanisms import attached_page
    from experiments.records import run_folder
    from experiments.runs import provenance, stage

    path = preset_path("attached", options.preset)
    study = load(MaeStudy, path, options.overrides, study="mae")
    alpha = sharpness(study)
    check_arms(study, list(_BALANCERS))
    options.out.mkdir(parents=True, exist_ok=True)
    console = Console()
    results: dict[str, list[dict[str, Any]]] = {arm: [] for arm in _BALANCERS}
    for number in dict.fromkeys(options.seeds):
        for arm, found in results.items():
            state = stage(run_folder(options.out, arm, number))
            title = f"arm {arm}, seed {number}" + (f" ({state})" if state else "")
            console.rule(title, characters="-")
            found.append(pretrain(study, options.data, options.out, arm, number, command=command))
    comparison = {
        **provenance(command, ("torch", "numpy", "scipy")),
        **compare(results, study.model.tasks, alpha),
    }
    page = attached_page.markdown(comparison)
    write_atomically(options.out / "attached.json", json.dumps(comparison, indent=1) + "\n")
    write_atomically(options.out / "attached.md", page)
    figure = attached_page.draw(results, study.model.tasks, alpha)
    write_atomically(options.out / "attached.png", figure)
    for table in attached_page.tables(comparison):
        console.print(table)
    console.print(f"results in {options.out}", highlight=False, soft_wrap=True)
    return 0


def sharpness(study: "MaeStudy") -> float:
    """The sharpness α that both arms of a study have.

    Args:
        study: the configuration.

    Raises:
        ConfigurationError: an arm is missing, has another balancer or another sharpness than the
            other, or not every step is logged.
    """
    from experiments.configuration import ConfigurationError

    if study.log_every != 1:
        raise ConfigurationError(
            "`log_every` should be 1: the sign of a coefficient is that of a step; "
            f"found {study.log_every}"
        )
    found = []
    for name, balancer in _BALANCERS.items():
        arm = study.arms.get(name)
        if arm is None or arm.balancer != balancer or set(arm.options) - {"alpha"}:
            raise ConfigurationError(
                f"`arms.{name}` should be {{balancer: {balancer}, options: {{alpha: …}}}} and "
                f"nothing else; found {arm}"
            )
        alpha = arm.options.get("alpha", 1.0)
        if (
            isinstance(alpha, bool)
            or not isinstance(alpha, int | float)
            or not 0 < alpha < math.inf
        ):
            raise ConfigurationError(
                f"`arms.{name}.options.alpha` should be a number above 0; found {alpha!r}"
            )
        found.append(float(alpha))
    if found[0] != found[1]:
        raise ConfigurationError(
            f"`arms.{ATTACHED}.options.alpha` should be that of {DETACHED}, {found[0]:g}; "
            f"found {found[1]:g}"
        )
    return found[0]


def compare(
    results: Mapping[str, Sequence[dict[str, Any]]], tasks: Sequence[str], alpha: float
) -> dict[str, Any]:
    """Signs of the coefficients of both forms, and what they do to held-out risks.

    Args:
        results: ``result.json`` of `DETACHED` and `ATTACHED`, the same seeds in the same order.
        tasks: names of the T tasks.
        alpha: sharpness of both, in 1 / loss units.

    Returns:
        Plain data: ``runs``, with the coefficients that each used (`used`), those of the attached
        form on the same risks (`attached_form`), how far training risks rose, and held-out risks;
        ``condition`` checked on the attached runs; ``differences`` of held-out risks, attached less
        detached, paired by seed.

    Raises:
        RecordError: a run that has not logged every step.
        ValueError: other seeds in the one arm than in the other.
    """
    from experiments.estimates import estimate
    from experiments.mechanisms.coefficients import (
        attached_coefficients,
        by_task,
        condition,
        rises,
        trace,
    )

    seeds = {arm: [result["seed"] for result in found] for arm, found in results.items()}
    if seeds[DETACHED] != seeds[ATTACHED]:
        raise ValueError(f"`results` should have the same seeds in both arms; found {seeds}")
    runs, checks = [], []
    for arm, found in results.items():
        for result in found:
            recorded = trace(result, tasks)
            form = attached_coefficients(recorded.risks, alpha)
            if arm == ATTACHED:
                checks.append({"seed": result["seed"], **condition(recorded, alpha)})
            runs.append(
                {
                    "arm": arm,
                    "seed": result["seed"],
                    "steps": len(recorded.steps),
                    "seconds": result["seconds"],
                    "device": result["device"],
                    "used": by_task(recorded.steps, recorded.coefficients, tasks),
                    "attached_form": by_task(recorded.steps, form, tasks),
                    "training_risks": rises(recorded),
                    "held_out": _risks(result),
                }
            )
    ours, theirs = ([_risks(result) for result in results[arm]] for arm in (ATTACHED, DETACHED))
    return {
        "alpha": alpha,
        "tasks": list(tasks),
        "seeds": seeds[DETACHED],
        "held_out_split": results[DETACHED][0]["held_out_split"],
        "configuration": results[DETACHED][0]["configuration"],
        "runs": runs,
        "condition": checks,
        "differences": {
            name: asdict(estimate([a[name] - b[name] for a, b in zip(ours, theirs, strict=True)]))
            for name in theirs[0]
        },
    }


def _risks(result: dict[str, Any]) -> dict[str, float]:
    """Held-out risks by task, then their worst and their mean."""
    found = result["held_out"]
    risks = {name: each["value"] for name, each in found["risks"].items()}
    return {**risks, "worst": found["worst"], "mean": found["mean"]}
