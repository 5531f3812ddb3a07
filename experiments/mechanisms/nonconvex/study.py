"""The whole study: every arm and seed of the network, then both controls; what is done is kept."""

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError

from experiments.bert.data import Prepared
from experiments.configuration import ConfigurationError, dump
from experiments.mechanisms.nonconvex.certificate import certify
from experiments.mechanisms.nonconvex.configuration import NonconvexStudy
from experiments.mechanisms.nonconvex.control import HeadTasks, head_tasks
from experiments.mechanisms.nonconvex.descent import Recipe, descend
from experiments.mechanisms.nonconvex.problem import Constants, sharpness
from experiments.mechanisms.nonconvex.text import TextTasks, prepared_text
from experiments.records import run_folder
from experiments.runs import finished, provenance, record, start
from taskrobust._files import write_atomically

__all__ = ["ENCODERS", "RECIPES", "run"]

ENCODERS = ("untrained", "trained")
"""What the controls' features are from."""

RECIPES = ("theorem", "adam")
"""How the controls descend: with the step size of Theorem 3.1, and as the network does."""

PACKAGES = ("torch", "transformers", "cvxpy", "clarabel")
"""Whose versions are recorded."""

WEIGHTS = "model.safetensors"


def run(
    study: NonconvexStudy, out: Path, seeds: int, command: str, note: Callable[[str], None]
) -> dict[str, Any]:
    """Run what is not finished, and collect everything.

    Args:
        study: the configuration.
        out: results of single runs go into ``network`` and ``control`` in it.
        seeds: 0 … seeds−1 are run.
        command: what was typed.
        note: told a line about every run.

    Returns:
        The content of ``nonconvex.json``.

    Raises:
        ConfigurationError: the configuration cannot be run, or `out` holds runs of another one.
        RecordError: a result is damaged.
    """
    prepared = prepared_text(study.text, out / "text")
    for seed in range(seeds):  # a control that cannot be made is refused before hours of training
        text = TextTasks(study, prepared, seed)
        head_tasks(study.control, *text.features(), text.num_tasks)
    order = [study.pilot, *(name for name in study.arms if name != study.pilot)]
    network, control = [], []
    for seed in range(seeds):
        found: dict[str, dict[str, Any]] = {}
        for arm in order:
            pilot = _pilot_constants(found[study.pilot]) if found else None
            found[arm] = _network(study, prepared, out, arm, seed, pilot, command, note)
        network += [found[arm] for arm in study.arms]
        control += [
            _control(study, prepared, out, encoder, seed, command, note) for encoder in ENCODERS
        ]
    return {
        **provenance(command, PACKAGES),
        "configuration": dump(study),
        "num_tasks": TextTasks.num_tasks,
        "seeds": list(range(seeds)),
        "network": network,
        "control": control,
    }


def _network(
    study: NonconvexStudy,
    prepared: Prepared,
    out: Path,
    arm: str,
    seed: int,
    pilot: Constants | None,
    command: str,
    note: Callable[[str], None],
) -> dict[str, Any]:
    """One arm and seed of the network."""
    folder = run_folder(out / "network", arm, seed)
    arms = {name: study.arms[name] for name in dict.fromkeys([study.pilot, arm])}
    encoder = replace(study.control, encoder=study.pilot)
    configuration = dump(replace(study, arms=arms, control=encoder), without=("control",))
    known = finished(folder, configuration)
    if known is not None:
        return known
    began = time.time()
    problem = TextTasks(study, prepared, seed)
    start(folder, configuration)
    size = study.network
    alpha = sharpness(study.arms[arm], size.steps, problem.num_tasks, pilot)
    trace = descend(problem, alpha, _adam(study))
    weights = {name: p.detach() for name, p in problem.model.named_parameters()}
    write_atomically(folder / WEIGHTS, safetensors.torch.save(weights))
    result = {
        **provenance(command, PACKAGES),
        "arm": arm,
        "seed": seed,
        "seconds": round(time.time() - began, 1),
        "constants": None if pilot is None else asdict(pilot),
        "trace": trace.as_data(),
    }
    record(folder, result)
    worst = max(trace.risks[-1])
    note(f"network, {arm}, seed {seed}: worst risk {worst:.3f} nats, {result['seconds']:.0f} s")
    return result


def _pilot_constants(pilot: dict[str, Any]) -> Constants:
    """What was seen in a run, in place of bounds that nobody knows."""
    trace = pilot["trace"]
    return Constants(
        radius=trace["moved"],
        lipschitz=max(trace["steepest"]),
        loss_bound=max(max(risks) for risks in trace["risks"]),
        certified=False,
    )


def _control(
    study: NonconvexStudy,
    prepared: Prepared,
    out: Path,
    encoder: str,
    seed: int,
    command: str,
    note: Callable[[str], None],
) -> dict[str, Any]:
    """Both recipes and all arms on the head of one frozen encoder."""
    folder = run_folder(out / "control", encoder, seed)
    configuration = dump(study)
    known = finished(folder, configuration)
    if known is not None:
        return known
    began = time.time()
    text = TextTasks(study, prepared, seed)
    if encoder == "trained":
        _load(text, run_folder(out / "network", study.control.encoder, seed) / WEIGHTS)
    states, pieces, tasks = text.features()

    def problem() -> HeadTasks:
        return head_tasks(study.control, states, pieces, tasks, text.num_tasks)

    first = problem()
    start(folder, configuration)
    certificate = certify(first)
    radius = float(np.linalg.norm(certificate.point))
    constants = Constants(radius, first.lipschitz, first.loss_bound, certified=True)
    rate = radius / (first.lipschitz * study.control.steps**0.5)
    plain = replace(
        _adam(study), steps=study.control.steps, learning_rate=rate, adam=False, averaging=True
    )
    traces: dict[str, dict[str, Any]] = {}
    for name, recipe in zip(RECIPES, (plain, _adam(study)), strict=True):
        traces[name] = {}
        for arm, how in study.arms.items():
            alpha = sharpness(how, recipe.steps, first.num_tasks, constants)
            trace = descend(problem(), alpha, recipe).as_data()
            traces[name][arm] = {**trace, "mean_inverse_alpha": _mean_inverse(alpha)}
    result = {
        **provenance(command, PACKAGES),
        "arm": encoder,
        "seed": seed,
        "seconds": round(time.time() - began, 1),
        "examples": len(first.inputs),
        "classes": first.num_classes,
        "certificate": certificate.as_data(),
        "constants": asdict(constants),
        "traces": traces,
    }
    record(folder, result)
    note(
        f"control, {encoder} encoder, seed {seed}: minimax in [{certificate.lower:.7f}, "
        f"{certificate.upper:.7f}] nats ({certificate.status}), {result['seconds']:.0f} s"
    )
    return result


def _adam(study: NonconvexStudy) -> Recipe:
    return Recipe(
        steps=study.network.steps,
        learning_rate=study.network.learning_rate,
        adam=True,
        risk_points=study.risk_points,
        gradient_points=study.gradient_points,
        active=study.active,
    )


def _mean_inverse(alpha: np.ndarray[Any, np.dtype[np.float64]]) -> float | None:
    """Mean of 1/α_k, of which the guarantee is made; None for the average, which has none."""
    return float(np.mean(1 / alpha)) if alpha.min() > 0 else None


def _load(text: TextTasks, path: Path) -> None:
    try:
        weights = safetensors.torch.load_file(path)
    except (OSError, SafetensorError) as error:
        raise ConfigurationError(
            f"{path} cannot be read ({error}); remove its folder to run the arm anew"
        ) from None
    with torch.no_grad():
        for name, parameter in text.model.named_parameters():
            parameter.copy_(weights[name])
