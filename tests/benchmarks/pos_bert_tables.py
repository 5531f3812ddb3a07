"""The aims of the PoS-BERT benchmark, judged, and its results as tables."""

from collections.abc import Iterator
from typing import Any

from tests.benchmarks.pos_bert_steps import MEAN, MINIMAX, STOCK
from tests.benchmarks.reporting import Results, Table, heading, section, shown

SPEED = {2: 1.7, 12: 1.15}
"""How many times as long the stock step should take at least, by number of layers."""
UTILISATION = 0.5
"""Share of the measured matrix rate that BERT-base should reach."""
NOISE = 0.05
"""Distance of the quartiles of a second equal step's ratio from 1 above which nothing is judged."""

_METHOD = """\
Forward, backward and fused AdamW of models 768 wide with 30,522 pieces, next-sentence prediction \
included, on the same masks. Medians (quartiles), all variants interleaved; ratios within a round. \
Without dropout, losses and norms of gradients of the stock model and of ours with plain means \
differ by {difference:.1e} of their value."""


def judge(results: Results) -> list[dict[str, Any]]:
    """The aims with what was measured and whether they hold.

    Balancing is within noise if its median ratio to the plain mean is no higher than the upper
    quartile of a second plain mean's. "holds" is None where there is too much noise to tell.
    """
    aims = []
    for case in results["cases"]:
        ratio, where = case["ratio"], case["case"]
        low, high = ratio["noise"]["quartiles"]
        within = None if max(1 - low, high - 1) > NOISE else True
        speed, cost = ratio["stock"]["median"], ratio["balancing"]["median"]
        bound = SPEED[case["layers"]]
        aims.append(_aim(f"stock / ours at least {bound}", where, speed, bound, speed >= bound))
        bound = max(high, 1.0)
        holds = within and cost <= bound
        aims.append(_aim("Minimax within noise of the plain mean", where, cost, bound, holds))
    for case in results.get("utilisation", {}).get("cases", []):
        share = max(
            found["utilisation"]["median"]
            for name, found in case.items()
            if name.startswith(MINIMAX)
        )
        name = f"utilisation at least {UTILISATION}"
        aims.append(_aim(name, case["case"], share, UTILISATION, share >= UTILISATION))
    return aims


def _aim(aim: str, where: str, measured: float, bound: float, holds: bool | None) -> dict[str, Any]:
    return {"aim": aim, "where": where, "measured": measured, "bound": bound, "holds": holds}


def tables(results: Results) -> Iterator[Table]:
    """Everything measured: medians, with quartiles in brackets."""
    cases = results["cases"]
    columns = ["", *(case["case"] for case in cases)]
    rows = [[name, *(shown(case["ms"][name]) for case in cases)] for name in cases[0]["ms"]]
    yield Table(
        f"One training step in {cases[0]['precision']}, ms of {results['clock']}", columns, rows
    )
    names = {
        "stock": f"{STOCK} / {MINIMAX}",
        "balancing": f"{MINIMAX} / {MEAN}",
        "noise": "the same twice",
    }
    rows = [[text, *(shown(case["ratio"][name]) for case in cases)] for name, text in names.items()]
    yield Table("Ratios, round by round", columns, rows)
    yield _memory(results["memory"])
    if "utilisation" in results:
        yield from _utilisation(results["utilisation"])
    yield Table(
        "Aims",
        ["aim", "where", "measured", "bound", "holds"],
        [
            [
                found["aim"],
                found["where"],
                f"{found['measured']:.3f}",
                f"{found['bound']:.3f}",
                {True: "yes", False: "no", None: "too noisy to tell"}[found["holds"]],
            ]
            for found in results["aims"]
        ],
    )


def _memory(memory: Results) -> Table:
    case, found = memory["case"], memory["MiB"]
    names = {
        "saved": "held for the backward pass",
        "peak": "peak of forward and backward",
        "gradients": "gradients in the end",
    }
    rows = [
        [
            text,
            f"{found['stock'][name]:.1f}",
            f"{found['ours'][name]:.1f}",
            f"{found['stock'][name] / found['ours'][name]:.2f}",
        ]
        for name, text in names.items()
    ]
    title = (
        f"Memory of the heads in float32, MiB: {case['batch']} × {case['sequence']}, "
        f"{case['predictions']} predictions, 30,522 pieces"
    )
    return Table(title, ["", "stock", "masked positions", "ratio"], rows)


def _utilisation(found: Results) -> Iterator[Table]:
    rows = [[side, shown(rate)] for side, rate in found["matrix_tflops"].items()]
    yield Table("bfloat16 matrix products, TFLOP/s", ["side", ""], rows)
    for case in found["cases"]:
        variants = {name: each for name, each in case.items() if isinstance(each, dict)}
        rows = [
            [name, *(shown(each[key]) for key in ("ms", "tokens_per_second", "utilisation"))]
            for name, each in variants.items()
        ]
        title = f"BERT-base in bfloat16, {case['case']}"
        yield Table(title, ["", "ms", "tokens/s", "utilisation"], rows)


def markdown(results: Results) -> str:
    """All tables, for people."""
    differences = [case["relative_difference_of_losses"] for case in results["cases"]]
    parts = [
        "# PoS-BERT: cost of a training step",
        heading(results),
        f"`{results['command']}`, {results['seconds']:.0f} s",
        _METHOD.format(difference=max(differences)),
    ]
    parts += [section(table) for table in tables(results)]
    return "\n\n".join(parts) + "\n"
