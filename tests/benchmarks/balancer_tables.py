"""The aims of the balancer benchmark, judged, and its results as tables."""

from collections.abc import Iterator
from typing import Any

from taskrobust.balancers import balancer_info, list_balancers
from tests.benchmarks.balancer_steps import AGAIN, BASE, NORMALISATION, SKETCHED, STCH_NAME
from tests.benchmarks.reporting import Results, Table, heading, section, shown

CHEAP = ("Minimax", "Uncertainty", "DynamicWeightAverage", "GroupDRO")
"""Classes that should cost one ordinary step, and no more than TorchJD's STCH."""
GRADNORM = {9: 1.3, 100: 3.0}
"""Ratio to a plain sum that GradNorm should stay below on the transformer, by number of tasks."""
NOISE = 0.05
"""Distance of the quartiles of a second plain sum's ratio from 1 above which nothing is judged."""


def judge(results: Results) -> list[dict[str, Any]]:
    """The aims with what was measured and whether they hold.

    A cheap balancer is within noise of 1 if its median ratio is no higher than the upper quartile
    of a second plain sum's; it is not above STCH if the 95 % interval of the median of their
    pairwise ratio reaches down to 1. "holds" is None for cases with too much noise to tell.
    """
    aims = []
    for case in results["cases"]:
        noise = case["ratio"][AGAIN]["quartiles"]
        found = _case_aims(case, max(noise[1], 1.0))
        if max(1 - noise[0], noise[1] - 1) > NOISE:
            found = [aim | {"holds": None} for aim in found]
        aims += found
    return aims


def _case_aims(case: dict[str, Any], noise: float) -> list[dict[str, Any]]:
    where, tasks = f"{case['model']}, T = {case['tasks']}", case["tasks"]
    aims = []
    for name in list_balancers():
        kind = balancer_info(name).balancer.__name__
        ratio, to_stch = case["ratio"][name]["median"], case["to_stch"][name]
        if kind in CHEAP:
            aims.append(_aim(f"{name} within noise of 1", where, ratio, noise))
            above = _aim(f"{name} not above STCH", where, to_stch["median"], 1.0)
            aims.append(above | {"holds": to_stch["interval"][0] <= 1})
        elif kind == "GradNorm" and case["model"] == "transformer" and tasks in GRADNORM:
            # The last layer that all tasks share; the last large Linear before it, twice.
            for row in (NORMALISATION, name, SKETCHED):
                measured = case["ratio"][row]["median"]
                aims.append(
                    _aim(f"{row}: at most {GRADNORM[tasks]}", where, measured, GRADNORM[tasks])
                )
    return aims


def _aim(aim: str, where: str, measured: float, bound: float) -> dict[str, Any]:
    return {
        "aim": aim,
        "where": where,
        "measured": measured,
        "bound": bound,
        "holds": measured <= bound,
    }


def tables(results: Results) -> Iterator[Table]:
    """Everything measured: medians, with quartiles in brackets."""
    for model in dict.fromkeys(case["model"] for case in results["cases"]):
        yield _ratios(model, [case for case in results["cases"] if case["model"] == model])
    yield _calls(results["calls"])
    others = [["exact / micro accumulation", shown(results["accumulation"]["exact / micro"])]]
    others += [[name, shown(found)] for name, found in results["grouping"].items()]
    yield Table(_others_title(results), ["", "median (quartiles)"], others)
    yield _sketches(results)
    if "synchronisations" in results:
        rows = [[name, found or "none"] for name, found in results["synchronisations"].items()]
        yield Table("Synchronisation in a step, nonfinite='ignore'", ["balancer", "found"], rows)
    yield _aims(results["aims"])


def _others_title(results: Results) -> str:
    sizes = results["parts"]
    return (
        f"Accumulation over {sizes['micro_batches']} micro-batches (transformer, "
        f"T = {sizes['groups']}); risks of {sizes['groups']} tasks from {sizes['tokens']:,} losses"
    )


def _ratios(model: str, cases: list[dict[str, Any]]) -> Table:
    rows = [[f"{BASE}, ms", *(shown(case["base_ms"]) for case in cases)]]
    for name in dict.fromkeys(name for case in cases for name in case["ratio"]):
        cells = [case["ratio"].get(name) for case in cases]
        rows.append([name, *("–" if cell is None else shown(cell) for cell in cells)])
    title = f"{model}: one training step relative to a plain sum of the losses"
    return Table(title, ["", *(f"T = {case['tasks']}" for case in cases)], rows)


def _calls(calls: dict[str, Any]) -> Table:
    names = dict.fromkeys(name for found in calls.values() for name in found)
    rows = [[name, *(shown(found[name]) for found in calls.values())] for name in names]
    columns = ["", *(f"T = {tasks}" for tasks in calls)]
    return Table("One call, forward and backward to the risks, µs", columns, rows)


def _sketches(results: Results) -> Table:
    sketches = results["sketches"]
    rows = [[size, *map(shown, found.values())] for size, found in sketches.items()]
    title = (
        f"Norms by sketches (transformer, T = {results['parts']['groups']}): "
        "distance in % from exact norms"
    )
    return Table(title, ["size", *next(iter(sketches.values()))], rows)


def _aims(aims: list[dict[str, Any]]) -> Table:
    """One row an aim, over all models and numbers of tasks."""
    rows = []
    for aim in dict.fromkeys(found["aim"] for found in aims):
        cases = [found for found in aims if found["aim"] == aim]
        missed = [
            f"{found['where']}: {found['measured']:.3f} > {found['bound']:.3f}"
            for found in cases
            if found["holds"] is False
        ]
        noisy = [found["where"] for found in cases if found["holds"] is None]
        held = len(cases) - len(missed) - len(noisy)
        rows.append([aim, f"{held} of {len(cases)}", "; ".join(missed), "; ".join(noisy)])
    return Table("Aims", ["aim", "holds in", "missed", "too noisy to tell"], rows)


def markdown(results: Results) -> str:
    """All tables, for people."""
    parts = ["# Balancers: cost of a training step", heading(results)]
    parts += [f"{name}: {size}" for name, size in results["sizes"].items()]
    parts.append(
        f"In {results['clock']}. Medians (quartiles) of pairwise ratios within a round. "
        f"“{AGAIN}” is the noise; “{STCH_NAME}” has μ = 1 and unit weights, the smooth maximum "
        "at α = 1."
    )
    parts += [section(table) for table in tables(results)]
    return "\n\n".join(parts) + "\n"
