"""The aims of the Multi-Modal Mask MAE benchmark, judged, and its results as tables."""

from collections.abc import Iterator
from typing import Any

from tests.benchmarks.mae_steps import AVERAGE, MINIMAX, STRAIGHTFORWARD
from tests.benchmarks.reporting import Results, Table, heading, section, shown

UTILISATION = 0.45
"""Share of the measured matrix rate that ViT-B should reach."""
NOISE = 0.05
"""Distance of the quartiles of a second equal step's ratio from 1 above which nothing is judged."""

RATIOS = {
    "straightforward": (STRAIGHTFORWARD, AVERAGE),
    "balancing": (MINIMAX, AVERAGE),
    "both": (STRAIGHTFORWARD, MINIMAX),
}
"""Numerators and denominators by the name under which a case has the ratio."""

_METHOD = """\
Forward, balancer, backward and fused AdamW on the same images and visible tokens: rgb, depth and \
semseg, three decoders. Medians (quartiles), all variants interleaved; ratios within a round. \
Losses and norms of gradients of the straightforward model and of ours differ by \
{difference:.1e} of their value."""

_NO_GPU = """\
Images a second and FLOP utilisation of ViT-B in bfloat16, compiled and not, need a CUDA device \
and were not run."""


def judge(results: Results) -> list[dict[str, Any]]:
    """The aims with what was measured and whether they hold.

    Our step is not slower if the median of straightforward / ours is at least the lower quartile
    of the same step's ratio to itself, and Minimax within noise if its ratio is at most the upper
    one. "holds" is None where there is too much noise to tell.
    """
    aims = []
    for case in results["cases"]:
        ratio, where = case["ratio"], case["case"]
        low, high = ratio["noise"]["quartiles"]
        noisy = max(1 - low, high - 1) > NOISE
        low, high = min(low, 1.0), max(high, 1.0)
        speed, cost = ratio["straightforward"]["median"], ratio["balancing"]["median"]
        aims += [
            _aim("ours no slower than straightforward", where, speed, low, noisy, speed >= low),
            _aim("Minimax within noise of Average", where, cost, high, noisy, cost <= high),
        ]
    for each in results["memory"]:
        share = each["MiB"][STRAIGHTFORWARD]["peak"] / each["MiB"][AVERAGE]["peak"]
        aims.append(_aim("straightforward / our peak", each["case"], share, 1.0, False, share >= 1))
    for each in results["loading"]:
        rate, step = _best(each["rates"]), each["step"]
        where = f"{each['case']}: {each['source']}"
        aims.append(_aim("data loading keeps up", where, rate, step, False, rate >= step))
    for case in results.get("utilisation", {}).get("cases", []):
        share = max(each["utilisation"]["median"] for each in _ours(case["variants"]))
        name = f"utilisation at least {UTILISATION}"
        met = share >= UTILISATION
        aims.append(_aim(name, case["case"], share, UTILISATION, False, met))
    return aims


def _aim(
    aim: str, where: str, measured: float, bound: float, noisy: bool, holds: bool
) -> dict[str, Any]:
    return {
        "aim": aim,
        "where": where,
        "measured": measured,
        "bound": bound,
        "holds": None if noisy else holds,
    }


def _best(rates: Results) -> float:
    """With workers beside the process that trains: without, loading and training take turns."""
    return max(rate["median"] for workers, rate in rates.items() if int(workers))


def _ours(variants: Results) -> list[Results]:
    return [each for name, each in variants.items() if name.startswith(MINIMAX)]


def tables(results: Results) -> Iterator[Table]:
    """Everything measured: medians, with quartiles in brackets."""
    cases = results["cases"]
    columns = ["", *(case["case"] for case in cases)]
    rows = [[name, *(shown(case["ms"][name]) for case in cases)] for name in cases[0]["ms"]]
    clock, precision = results["clock"], cases[0]["precision"]
    yield Table(f"One training step in {precision}, ms of {clock}", columns, rows)
    names = {name: " / ".join(pair) for name, pair in RATIOS.items()} | {"noise": "the same twice"}
    rows = [[text, *(shown(case["ratio"][name]) for case in cases)] for name, text in names.items()]
    yield Table("Ratios, round by round", columns, rows)
    for each in results["memory"]:
        yield _memory(each, precision)
    yield _loading(results["loading"], clock)
    if "utilisation" in results:
        yield from _utilisation(results["utilisation"])
    yield Table(
        "Aims",
        ["aim", "where", "measured", "bound", "holds"],
        [
            [
                found["aim"],
                found["where"],
                f"{found['measured']:.{digits}f}",
                f"{found['bound']:.{digits}f}",
                {True: "yes", False: "no", None: "too noisy to tell"}[found["holds"]],
            ]
            for found in results["aims"]
            for digits in (3 if found["bound"] < 10 else 0,)
        ],
    )


def _memory(found: Results, precision: str) -> Table:
    names = {
        "saved": "held for the backward pass",
        "peak": "peak of forward and backward",
        "gradients": "gradients in the end",
    }
    theirs, ours = found["MiB"][STRAIGHTFORWARD], found["MiB"][AVERAGE]
    rows = [
        [text, f"{theirs[name]:.1f}", f"{ours[name]:.1f}", f"{theirs[name] / ours[name]:.2f}"]
        for name, text in names.items()
    ]
    title = f"Memory of a step in {precision}, MiB beyond parameters and optimiser: {found['case']}"
    return Table(title, ["", STRAIGHTFORWARD, AVERAGE, "ratio"], rows)


def _loading(found: list[Results], clock: str) -> Table:
    workers = list(found[0]["rates"])
    columns = ["", *(f"workers: {count}" for count in workers), f"step, by {clock}"]
    rows = [
        [
            f"{each['case']}: {each['source']}",
            *(shown(each["rates"][count]) for count in workers),
            f"{each['step']:.1f}",
        ]
        for each in found
    ]
    return Table(
        "Images a second: loading alone, in wall time, and a step with Minimax", columns, rows
    )


def _utilisation(found: Results) -> Iterator[Table]:
    rows = [[side, shown(rate)] for side, rate in found["matrix_tflops"].items()]
    yield Table("bfloat16 matrix products, TFLOP/s", ["side", ""], rows)
    for case in found["cases"]:
        rows = [
            [name, *(shown(each[key]) for key in ("ms", "images_per_second", "utilisation"))]
            for name, each in case["variants"].items()
        ]
        title = f"{case['case']}, in bfloat16: {case['flops'] / 1e12:.2f} TFLOP a step"
        yield Table(title, ["", "ms", "images/s", "utilisation"], rows)


def markdown(results: Results) -> str:
    """All tables, for people."""
    differences = [case["relative_difference_of_losses"] for case in results["cases"]]
    parts = [
        "# Multi-Modal Mask MAE: cost of a training step",
        heading(results),
        f"`{results['command']}`, {results['seconds']:.0f} s",
        _METHOD.format(difference=max(differences)),
        *([] if "utilisation" in results else [_NO_GPU]),
        *([] if results["real_data"] else ["NYUv2 was not there to be loaded."]),
    ]
    parts += [section(table) for table in tables(results)]
    return "\n\n".join(parts) + "\n"
